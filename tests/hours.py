"""Hours of a live session in virtual time: a microphone and a camera with every fault there is.

The real microphone source, placer, rings, workers and tables run behind simulated devices, whose
sound and pictures say which emotion they show. Nothing waits for the wall's clock: the rings are
lossless, so that all that happens is a function of the simulated devices.
"""

import csv
import gc
import math
import threading
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from room import Mic, Room
from scripted import NO_FACE, ScriptedReader, config, models, pipeline

from streamer import config as configuration
from streamer.sources import microphone as module
from streamer.sources.microphone import Microphone
from streamer.types import (
    EMOTIONS,
    SAMPLE_RATE,
    AudioChunk,
    AudioSink,
    Floats,
    Frame,
    FrameSink,
    Image,
    SourceInfo,
)

NOBODY = -1
ROUND_S = 300.0
"""Each of the five kinds of faults comes once in this time."""
BEFORE_S, AFTER_S = 4.0, 8.0
"""What a loss may change before and after it: windows, look-ahead, an unseen loss's detection."""
GRACE_S = 0.25
Rows = list[tuple[str, float, float]]


@dataclass(frozen=True)
class Scene:
    """What is shown or said: ``labels[k]`` (NOBODY: nothing) from ``starts[k]`` s on."""

    starts: NDArray[np.float64]
    labels: NDArray[np.int64]

    @classmethod
    def made(cls, seconds: float, seed: int) -> "Scene":
        """A random one. It changes midway between two voice windows' centres, where no window is
        half of the one and half of the other: sound that stands a little off changes no label.
        """
        random = np.random.default_rng(seed)
        steps = random.integers(8, 40, math.ceil(seconds / 4)) * 0.5
        starts = np.concatenate([[0.0], np.cumsum(steps) + 0.25])
        jumps = random.integers(1, len(EMOTIONS), len(starts))  # never the same again
        labels = np.cumsum(jumps) % len(EMOTIONS)
        labels[2::5] = NOBODY
        return cls(starts, labels)

    def at(self, times: NDArray[np.float64]) -> NDArray[np.int64]:
        return self.labels[np.searchsorted(self.starts, times, side="right") - 1]

    def sound(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        return (self.at(times) + 1) / 10


@dataclass
class Faults:
    """What goes wrong with the devices. losses: as Mic's; away, dim: (start, end) s."""

    ppm: float = 0.0
    losses: dict[float, tuple[float, bool]] = field(default_factory=dict)
    mic_away: list[tuple[float, float]] = field(default_factory=list)
    camera_away: list[tuple[float, float]] = field(default_factory=list)
    dim: list[tuple[float, float]] = field(default_factory=list)
    jitter: bool = False

    @classmethod
    def all(cls, seconds: float, ppm: float) -> "Faults":
        """In each round: a burst of lost chunks, a loss that nobody tells, a microphone and a
        camera that go away, a dark time that halves the camera's rate.
        """
        found = cls(ppm, jitter=True)
        for k in range(int(seconds // ROUND_S)):
            t = k * ROUND_S + 20
            found.losses |= {t + 0.45 * n: (0.06 + 0.05 * n, True) for n in range(4)}
            found.dim.append((t + 40, t + 90))
            found.camera_away.append((t + 100, t + 108 + k % 5))
            found.losses[t + 160] = (0.6, False)
            found.mic_away.append((t + 220, t + 228 + 3 * (k % 5)))
        return found

    def lateness(self, t: float) -> float:
        """Callbacks: every other second nothing comes for 200 ms, then all at once."""
        return max(0.2 - t % 2.0, 0.0) + 0.003 * abs(math.sin(1000 * t)) if self.jitter else 0.0

    def heard(self, start: float, end: float) -> bool:
        """Whether [start, end) s is out of every loss's reach, for sound."""
        lost = [(t, t + length) for t, (length, _) in self.losses.items()] + self.mic_away
        # A microphone is tried again now and then: found up to retry_s later.
        return all(end < a - BEFORE_S or start > b + AFTER_S + 10 for a, b in lost)

    def seen(self, start: float, end: float) -> bool:
        """The same for pictures."""
        return all(end < a - BEFORE_S or start > b + AFTER_S for a, b in self.camera_away)


class Hours:
    """A source: the real microphone and a simulated camera in one virtual time."""

    def __init__(
        self,
        seconds: float,
        faults: Faults,
        rate: int = 48_000,
        weigh: Callable[[], int] = lambda: len(gc.get_objects()),
    ) -> None:
        self.seconds, self.faults, self._weigh = seconds, faults, weigh
        self.face, self.voice = Scene.made(seconds, 1), Scene.made(seconds, 2)
        self.info = SourceInfo("hours", True, True, 0.0, seconds)
        self.problems: list[str] = []
        self.mic = Mic(
            rate=rate,
            ppm=faults.ppm,
            losses=faults.losses,
            lateness=faults.lateness,
            sound=self.voice.sound,
        )
        self.room = Room(self.mic, until=seconds)
        self.stamped_late: deque[float] = deque(maxlen=1000)
        self.edges: list[float] = []
        """Where the sound was seen to change, media s."""
        self.memory: list[int] = []
        """What ``weigh`` gave, once a minute."""
        self._random = np.random.default_rng(7)
        self._last = 0.0
        self._pictures = 0

    def run(self, frames: FrameSink, audio: AudioSink, _stop: threading.Event) -> None:
        for start, end in self.faults.mic_away:
            self.room.at(start, partial(setattr, self.mic, "plugged", False))
            self.room.at(end, partial(setattr, self.mic, "plugged", True))
        self.room.at(0.0, lambda: self._look(0.0, frames))
        for minute in range(1, int(self.seconds // 60)):
            self.room.at(60.0 * minute, self._count)
        with in_time_of(self.room):
            live = configuration.load().live
            self.source = Microphone("default", self.room.clock, live, self.room.system)
            self.source.run(_Watched(audio, self), self.room.stop)
        frames.close(self.seconds)

    def close(self) -> None:
        self.source.close()

    def _look(self, t: float, frames: FrameSink) -> None:
        """Capture the picture of ``t`` s, and the next one when it is its time."""
        faults = self.faults
        period = 1 / 15 if any(a <= t < b for a, b in faults.dim) else 1 / 30
        if any(a <= t < b for a, b in faults.camera_away):
            period = 0.1
            frames.advance(max(round(t - GRACE_S, 3), self._last))
        else:
            late = float(self._random.uniform(0, 0.015)) if faults.jitter else 0.0
            stamp = max(round(t + late, 3), round(self._last + 0.001, 3))
            self.stamped_late.append(stamp - t)
            self._last = stamp
            label = int(self.face.at(np.array([t]))[0])
            frames.put(Frame(stamp, self._pictures, partial(shown, label)))
            self._pictures += 1
        self.room.at(t + period, lambda: self._look(t + period, frames))

    def _count(self) -> None:
        self.memory.append(self._weigh())


class _Watched:
    """The sound on its way: where its level changes is where it stands in media time."""

    def __init__(self, sink: AudioSink, hours: Hours) -> None:
        self._sink, self._hours, self._level = sink, hours, 0

    def write(self, chunk: AudioChunk) -> bool:
        levels = np.rint(np.clip(chunk.pcm, 0, 1) * 10).astype(int)
        for at in np.flatnonzero(np.diff(levels, prepend=self._level)):
            self._hours.edges.append((chunk.start + int(at)) / SAMPLE_RATE)
        self._level = int(levels[-1])
        return self._sink.write(chunk)

    def advance(self, sample: int) -> bool:
        return self._sink.advance(sample)

    def close(self) -> None:
        self._sink.close()


@contextmanager
def in_time_of(room: Room) -> Iterator[None]:
    """The microphone takes the room's time for the real one."""
    before = module.monotonic
    module.monotonic = room.monotonic
    try:
        yield
    finally:
        module.monotonic = before


def shown(label: int) -> Image:
    return np.full((1, 1, 3), NO_FACE if label == NOBODY else label, np.uint8)


def hear_speech(input: Floats, h: Floats, c: Floats) -> list[NDArray[Any]]:  # noqa: A002
    """Speech is what is louder than the ringing of a resampler."""
    return [(input[:, 320] > 0.05).astype(np.float32), h, c]


def hear_emotion(input_values: Floats) -> list[NDArray[Any]]:
    """The share of each emotion in what is spoken."""
    said = np.clip(np.rint(input_values[0] * 10), 0, 7).astype(int)
    counts = np.bincount(said, minlength=8)[1:8].astype(np.float32)
    counts[-1] += not counts.any()
    return [(counts / counts.sum())[None]]


def run(folder: Path, hours: Hours) -> None:
    """Analyse them into tables in ``folder``."""
    # A window's voicing is 0.25 or 0.75 beside a change: far from this.
    made, tables = pipeline(
        folder,
        hours,
        config("speech.min_voiced=0.5"),
        loaded=models(hear_speech, hear_emotion),
    )
    made.face._reader = ScriptedReader()  # type: ignore[assignment]
    with tables:
        made.run(lambda: None)
    assert made.frames.dropped == made.speech.skipped == 0


def rows(folder: Path, table: str) -> Rows:
    with (folder / f"{table}.csv").open(newline="", encoding="utf-8") as file:
        return [(r["emotion"], float(r["start"]), float(r["end"])) for r in csv.DictReader(file)]


def closed_by(folder: Path, table: str, why: str) -> int:
    with (folder / f"{table}.csv").open(newline="", encoding="utf-8") as file:
        return sum(r["closed_by"] == why for r in csv.DictReader(file))


def sound_errors(hours: Hours) -> list[tuple[float, float]]:
    """(media time, how much too late its sound stands, s) of each change that no loss reaches."""
    edges = np.array(hours.edges)
    found = []
    for t in hours.voice.starts[1:]:
        if t < hours.seconds - 1 and hours.faults.heard(t, t):
            near = edges[np.abs(edges - t).argmin()]
            found.append((float(t), float(near - t)))
    return found


def missing(mine: Rows, others: Rows, clear: Callable[[float, float], bool]) -> Rows:
    """Which of my intervals, out of every loss's reach, the others lack: of the same emotion, with
    both ends at most 0.2 s further off.
    """
    others = sorted(others, key=lambda row: row[1])
    starts = [start for _, start, _ in others]
    lacking = []
    for label, start, end in mine:
        near = others[bisect_left(starts, start - 0.2) : bisect_right(starts, start + 0.2)]
        found = any(label == other and abs(end - e) <= 0.2 for other, _, e in near)
        if clear(start, end) and not found:
            lacking.append((label, start, end))
    return lacking
