"""Hears recordings with known emotions with many windows, hops and thresholds of voice activity.

    python benchmarks/voice_windows.py RECORDING… --sessions DIR

Beside each RECORDING stands its truth, NAME.csv; DIR/NAME/video_intervals.csv, as `streamer
evaluate` leaves it, gives the face intervals whose voice is asked for. The program's own worker,
segmenter and pairing run; the pictures are not looked at.
"""

import argparse
import csv
import hashlib
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from streamer import config as configuration
from streamer import models
from streamer.clock import FreeClock
from streamer.config import Config
from streamer.evaluation.metrics import NONE, Span, Tally, grid, total
from streamer.evaluation.sessions import Truth, read_truth
from streamer.models import Model
from streamer.pairing import Pair, Pairing
from streamer.pipeline import segmenter
from streamer.ring import AudioRing, FrameRing
from streamer.sources.file import FileSource
from streamer.speech import SpeechEmotion, VoiceActivity
from streamer.types import (
    EMOTIONS,
    SAMPLE_RATE,
    AudioChunk,
    Failure,
    Floats,
    Interval,
    Message,
    Prediction,
    SpanReply,
)
from streamer.workers import SpeechWorker

WINDOWS, HOPS = (1.5, 2.0, 3.0, 4.0), (0.25, 0.5, 1.0)
LEAST_VOICED, THRESHOLDS = (0.1, 0.3, 0.5), (0.3, 0.5, 0.7)
DEFAULT = (3.0, 0.5, 0.3, 0.5)
LONGEST_S = 600.0
Setting = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Remembering(Model):
    """A model that computes the same inputs only once."""

    known: dict[bytes, list[NDArray[Any]]] = field(default_factory=dict)

    def run(self, **inputs: NDArray[Any]) -> list[NDArray[Any]]:
        parts = b"".join(np.ascontiguousarray(array).tobytes() for array in inputs.values())
        key = hashlib.blake2b(parts).digest()
        if key not in self.known:
            self.known[key] = list(self.session.run(None, inputs))
        return self.known[key]


@dataclass(frozen=True, slots=True)
class Recording:
    """Sound float32 (n,) at 16 kHz from time 0, what is known of it, and the face's intervals."""

    name: str
    pcm: Floats
    truth: Truth
    faces: list[Interval]


def read(path: Path, sessions: Path) -> Recording:
    """A recording, decoded as the program does."""
    clock = FreeClock()
    source = FileSource(path, clock, 0.0, None, 1280)
    ring = AudioRing(LONGEST_S, lossless=False)
    source.run(FrameRing(1.0, 2, lossless=False), ring, Event())
    source.close()
    pcm = ring.read(0, ring.end)
    assert pcm is not None
    faces = []
    with (sessions / path.stem / "video_intervals.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            times = float(row["start"]), float(row["end"])
            faces.append(Interval("face", row["emotion"], *times, 1.0, 1.0, 1, "change"))
    return Recording(path.stem, pcm, read_truth(path.with_suffix(".csv")), faces)


def hear(
    recording: Recording, config: Config, vad: Model, voice: Model
) -> tuple[list[Prediction], list[Pair]]:
    """What the voice's worker says of each window, and the voice of each face interval."""
    ring = AudioRing(len(recording.pcm) / SAMPLE_RATE + 1, lossless=False)
    ring.write(AudioChunk(0, recording.pcm))
    ring.close()
    said: list[Prediction] = []
    pairs: list[Pair] = []

    def take(message: Message) -> None:
        assert not isinstance(message, Failure)
        if isinstance(message, Prediction):
            said.append(message)
            pairs.extend(pairing.voice(message, np.inf))
        elif isinstance(message, SpanReply):
            pairs.extend(pairing.reply(message))
        else:
            pairs.extend(pairing.voice_ended())
            worker.dismiss()

    activity = VoiceActivity(vad, config.speech.vad_threshold, ring, LONGEST_S)
    emotion = SpeechEmotion(voice, config.speech)
    worker = SpeechWorker(activity, emotion, ring, FreeClock(), config.speech, 1.0, take)
    pairing = Pairing(config.speech, worker.ask, True)
    for interval in recording.faces:
        pairing.face(interval)
    worker.run()
    return said, pairs


def judge(said: list[Prediction], truth: Truth, config: Config) -> Tally:
    """The voice's own intervals against what is known."""
    machine = segmenter("voice", config.segmenter)
    rows = [interval for prediction in said for interval in machine.push(prediction)]
    rows += machine.finish(truth.length / 100, "end")
    return _tally(truth, [Span(i.start, i.end, EMOTIONS.index(i.label), i.score) for i in rows])


def judge_rows(pairs: list[Pair], truth: Truth) -> Tally:
    """The voice during the face's intervals against what is known."""
    spans = [
        Span(p.face.start, p.face.end, EMOTIONS.index(p.voice.label), p.voice.score)
        for p in pairs
        if p.voice.label
    ]
    return _tally(truth, spans)


def _tally(truth: Truth, spans: list[Span]) -> Tally:
    return Tally.of(grid(truth.spans["voice_emotion"], truth.length), spans)


def line(tally: Tally) -> str:
    """The figures in a row of a table: eder and then the part of it that is missed time."""
    missed = tally.confusion[:NONE, NONE].sum() / tally.labelled
    figures = (tally.time_acc, tally.macro_f1, tally.eder, missed, tally.boundaries.f1)
    shown = [f"{value:.3f}".lstrip("0") for value in figures]
    return " | ".join([*shown, f"{tally.switches_per_min[0]:.1f}"])


def configure(setting: Setting) -> Config:
    """The default configuration with another window, hop, least speech and threshold."""
    names = ("window_s", "hop_s", "min_voiced", "vad_threshold")
    pairs = zip(names, setting, strict=True)
    return configuration.load(None, [f"speech.{name}={value}" for name, value in pairs])


def held_out(found: dict[Setting, list[Tally]], count: int) -> str:
    """Each recording with the setting that is best on the others, against the default."""
    chosen, tallies = [], []
    for k in range(count):
        best = min(found, key=lambda s: total(t for i, t in enumerate(found[s]) if i != k).eder)
        chosen.append(best)
        tallies.append(found[best][k])
    picks = ", ".join(" ".join(f"{v:g}" for v in setting) for setting in chosen)
    return f"{line(total(tallies))} | ({picks})"


def main() -> None:
    """Read the arguments, hear everything, print the tables."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("recordings", type=Path, nargs="+")
    ask.add_argument("--sessions", type=Path, required=True)
    asked = ask.parse_args()
    base = configuration.load()
    vad, voice = (
        Remembering(m.manifest, m.session, m.provider, m.parts)
        for m in (
            models.load(base.speech.vad, "voice-activity", base.models),
            models.load(base.speech.emotion, "speech-emotion", base.models),
        )
    )
    recordings = [read(path, asked.sessions) for path in asked.recordings]
    alone: dict[Setting, list[Tally]] = {}
    rows: dict[Setting, list[Tally]] = {}
    grids = list(product(WINDOWS, HOPS, LEAST_VOICED, THRESHOLDS))
    for setting in track(grids, "settings", console=Console(stderr=True), transient=True):
        config = configure(setting)
        heard = [(r, *hear(r, config, vad, voice)) for r in recordings]
        alone[setting] = [judge(said, r.truth, config) for r, said, _ in heard]
        rows[setting] = [judge_rows(pairs, r.truth) for r, _, pairs in heard]
    for name, found in (("voice_intervals", alone), ("audio_intervals", rows)):
        _report(name, found, [r.name for r in recordings])


def _report(name: str, found: dict[Setting, list[Tally]], names: list[str]) -> None:
    print(
        f"\n## {name} (true: {total(found[DEFAULT]).switches_per_min[1]:.1f} switches a minute)\n"
    )
    print(
        "| window hop voiced vad | time_acc | macro_f1 | eder | missed | boundary_f1 | a minute |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    best = min(found, key=lambda s: total(found[s]).eder)
    for setting, tallies in found.items():
        if setting[2:] == DEFAULT[2:] or setting[:2] == DEFAULT[:2] or setting == best:
            mark = " (default)" if setting == DEFAULT else " (best of all)" * (setting == best)
            print(f"| {' '.join(f'{v:g}' for v in setting)}{mark} | {line(total(tallies))} |")
    print(f"| best on the other recordings | {held_out(found, len(names))} |")
    print("\nEach recording, eder, default and best of all:")
    for k, each in enumerate(names):
        print(f"{each} {found[DEFAULT][k].eder:.3f} {found[best][k].eder:.3f}")


if __name__ == "__main__":
    main()
