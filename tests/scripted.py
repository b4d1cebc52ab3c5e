"""Scripted sources and models: media that says what it holds, and models that read it off.

A frame's first pixel is the emotion's index (NO_FACE: none). Sound of emotion e is the constant
(e + 1) / 10, silence is 0. A model's answer is thus known beforehand, and exact.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer import config as configuration
from streamer.clock import Clock, FreeClock
from streamer.config import Config
from streamer.models import Manifest, Model
from streamer.pipeline import Models, Pipeline
from streamer.resources import models_dir
from streamer.tables import HEADERS, SessionTables
from streamer.types import (
    EMOTIONS,
    NEUTRAL,
    SAMPLE_RATE,
    AudioChunk,
    AudioSink,
    Floats,
    Frame,
    FrameSink,
    Image,
    Reading,
    SourceInfo,
)

NO_FACE = 255
Script = Sequence[tuple[float, float, str]]
"""(start, end, emotion) of stretches, s."""


def one_hot(label: str, sure: float = 1.0) -> Floats:
    """Probabilities (7,) with ``sure`` for ``label``, the rest shared by the others."""
    probs = np.full(len(EMOTIONS), (1 - sure) / 6, np.float32)
    probs[EMOTIONS.index(label)] = sure
    return probs


def picture(label: str | None) -> Image:
    value = NO_FACE if label is None else EMOTIONS.index(label)
    return np.full((1, 1, 3), value, np.uint8)


def sound(length_s: float, voice: Script) -> Floats:
    pcm = np.zeros(round(length_s * SAMPLE_RATE), np.float32)
    for start, end, label in voice:
        at = slice(round(start * SAMPLE_RATE), round(end * SAMPLE_RATE))
        pcm[at] = (EMOTIONS.index(label) + 1) / 10
    return pcm


def at_rate(rate: int, length_s: float, face: Script) -> list[tuple[float, str | None]]:
    """Frames (t, emotion) at k / rate."""
    times = [k / rate for k in range(round(length_s * rate))]
    return [(t, next((e for s, end, e in face if s <= t < end), None)) for t in times]


@dataclass
class ScriptedSource:
    """Pushes frames and sound in order of time; the sound ``ahead_s`` earlier than it is due.

    hooks: called when the media time has come to their key. early: each sink is closed when its
    own stream ends, not both at the end. quiet: says where there are no frames, at each chunk.
    """

    frames: list[tuple[float, str | None]]
    pcm: Floats
    clock: Clock = field(default_factory=FreeClock)
    chunk: int = 1600
    ahead_s: float = 0.0
    end: float | None = None
    hooks: dict[float, Callable[[], object]] = field(default_factory=dict)
    early: bool = False
    quiet: bool = False
    problems: list[str] = field(default_factory=list)
    closed: int = 0

    def __post_init__(self) -> None:
        self.info = SourceInfo("scripted", bool(self.frames), len(self.pcm) > 0)

    def run(self, frames: FrameSink, audio: AudioSink, stop: threading.Event) -> None:
        events: list[tuple[float, int, Callable[[], object]]] = []
        for index, (t, label) in enumerate(self.frames):
            events.append((t, 0, partial(frames.put, Frame(t, index, partial(picture, label)))))
        for start in range(0, len(self.pcm), self.chunk):
            chunk = AudioChunk(start, self.pcm[start : start + self.chunk])
            due = (start + len(chunk.pcm)) / SAMPLE_RATE
            events.append((due - self.ahead_s, 1, partial(audio.write, chunk)))
            if self.quiet:
                events.append((due, 2, partial(frames.advance, due)))
        if self.early:
            last = self.frames[-1][0] if self.frames else 0.0
            events.append((last, 3, lambda: frames.close(self.end)))
            events.append((len(self.pcm) / SAMPLE_RATE - self.ahead_s, 3, audio.close))
        events += [(t, 4, hook) for t, hook in self.hooks.items()]
        for due, _, push in sorted(events, key=lambda event: event[:2]):
            self.clock.wait(due)
            self.clock.mark(due)
            if stop.is_set():
                break
            push()
        frames.close(self.end)
        audio.close()

    def close(self) -> None:
        self.closed += 1


class ScriptedReader:
    """Stands for FaceReader: reads the emotion off the picture; ``before`` is called first."""

    def __init__(self, before: Callable[[], object] = lambda: None) -> None:
        self._before = before

    def read(self, image: Image, t: float) -> tuple[int, Reading | None]:
        self._before()
        if image[0, 0, 0] == NO_FACE:
            return 0, None
        return 1, Reading(one_hot(EMOTIONS[image[0, 0, 0]]), face_id=1)


class ScriptedSession:
    """Stands for an ONNX Runtime session: ``answer`` says what it gives for its inputs."""

    def __init__(self, answer: Callable[..., list[NDArray[Any]]]) -> None:
        self._answer = answer

    def run(
        self, _outputs: None, inputs: dict[str, NDArray[Any]], _options: Any
    ) -> list[NDArray[Any]]:
        return self._answer(**inputs)


def hear_speech(input: Floats, h: Floats, c: Floats) -> list[NDArray[Any]]:  # noqa: A002
    """Stands for silero-vad: a chunk is speech if its middle is not silent."""
    return [(input[:, 320] != 0).astype(np.float32), h, c]


def hear_emotion(input_values: Floats) -> list[NDArray[Any]]:
    """The share of each emotion in what is not silent; Neutral where all is."""
    said = np.rint(input_values[0] * 10).astype(int)
    counts = np.bincount(said, minlength=8)[1:8].astype(np.float32)
    counts[NEUTRAL] += not counts.any()
    return [(counts / counts.sum())[None]]


def model(name: str, answer: Callable[..., list[NDArray[Any]]], **changes: object) -> Model:
    """``answer`` behind the manifest of a packaged model."""
    text = (models_dir() / f"{name}.json").read_bytes()
    manifest = Manifest.model_validate_json(text).model_copy(update=changes)
    session: Any = ScriptedSession(answer)
    return Model(manifest, session, "CPUExecutionProvider")


def models(
    vad: Callable[..., list[NDArray[Any]]] = hear_speech,
    voice: Callable[..., list[NDArray[Any]]] = hear_emotion,
) -> Models:
    """Scripted voice models; the face's are never run, as ScriptedReader stands before them."""
    own = {"labels": list(EMOTIONS), "mapping": {e: e for e in EMOTIONS}, "output": "probs"}
    return Models(
        model("blazeface", list),
        model("face_emotion_mini_big", list),
        model("silero_vad", vad),
        model("speech_emotion_moonshine", voice, **own),
    )


def config(*settings: str) -> Config:
    return configuration.load(settings=list(settings))


def pipeline(
    folder: Path,
    source: Any,
    settings: Config | None = None,
    clock: Clock | None = None,
    stop: threading.Event | None = None,
    loaded: Models | None = None,
    predictions: bool = False,
) -> tuple[Pipeline, SessionTables]:
    folder.mkdir(parents=True, exist_ok=True)
    tables = SessionTables(folder, predictions=predictions)
    made = Pipeline(
        source,
        loaded or models(),
        settings or config(),
        clock or FreeClock(),
        tables,
        stop or threading.Event(),
    )
    return made, tables


def contents(folder: Path) -> dict[str, str]:
    """The text of every table."""
    return {name: (folder / f"{name}.csv").read_text(encoding="utf-8") for name in HEADERS}
