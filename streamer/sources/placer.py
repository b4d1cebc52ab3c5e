"""Where a device's sound goes in media time: any rate to 16 kHz, in step with the clock."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamer.clock import LiveClock
from streamer.drift import ClockFit, Steering
from streamer.types import SAMPLE_RATE, AudioChunk, AudioSink, Floats

WARM_S = 0.5
"""Stamps that are collected before the first sample is given its place, s."""
SHORT = SAMPLE_RATE // 10
"""A hole up to this long is silent samples, as readers of files take it for a jitter of stamps."""
MILLISECOND = SAMPLE_RATE // 1000


@dataclass(frozen=True, slots=True)
class Block:
    """What one callback brought: mono float32 (n,), the device's sample count at its end, and when
    it came (monotonic, s). ``lost``: sound is missing before it.
    """

    pcm: Floats
    count: int
    at: float
    lost: bool


class Placer:
    """Puts a device's blocks at their media time: any rate to 16 kHz, in step with the clock.

    Sound goes on without a seam until something is missing; what then lies between is silence.
    """

    def __init__(self, clock: LiveClock, sink: AudioSink) -> None:
        self._clock, self._sink = clock, sink
        self.end = 0
        """One after the last sample that was written or passed over."""
        self.silent = 0
        """Samples that were passed over since the first sound."""
        self.breaks = 0
        """How often something was missing while the device ran."""
        self.wanted = True
        """Whether the sink still takes sound."""
        self._sounded = False
        self._steering: Steering | None = None
        self._held: list[Floats] = []
        """The beginning of a stretch, until its stamps tell its place well enough."""
        self._held_to = 0
        self.open(SAMPLE_RATE)

    def open(self, rate: int) -> None:
        """A device with ``rate`` samples a second begins."""
        self.cut()
        self._rate = rate
        self._fit = ClockFit(rate)

    @property
    def drift(self) -> tuple[float, float] | None:
        """The device's clock against the monotonic one, ppm, and the error that is left, ms."""
        steering = self._steering
        return (self._fit.ppm, 1e3 * steering.error_s) if steering else None

    def add(self, block: Block) -> None:
        """Take the next block."""
        if block.lost:
            self.interrupt()
            self.breaks += 1
        stepped = self._fit.add(block.count, block.at)
        if self._steering is None:
            self._held.append(block.pcm)
            self._held_to = block.count
            if sum(map(len, self._held)) >= WARM_S * self._rate:
                self._anchor(block.count, np.concatenate(self._held))
            return
        ratio = None if stepped else self._steering.ratio(block.count, len(block.pcm))
        if ratio is None:
            self.cut()
            self.breaks += 1
            self._anchor(block.count, block.pcm)
        else:
            self._stretch(block.pcm, ratio)

    def interrupt(self) -> None:
        """The device goes on, but sound is missing before the next block."""
        self.cut()
        self._fit.restart()

    def cut(self) -> None:
        """What comes next does not follow on this: write what is still on its way."""
        if self._held:
            self._anchor(self._held_to, np.concatenate(self._held))
        if self._steering:
            self._write(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        self._steering = None

    def pass_over(self, sample: int) -> None:
        """There is no sound before ``sample``."""
        hole = sample - self.end
        if hole <= 0:
            return
        if hole <= SHORT:
            self._write(np.zeros(hole, np.float32))
        else:
            self.wanted &= self._sink.advance(sample)
            self.end = sample
        self.silent += hole if self._sounded else 0

    def _anchor(self, count: int, pcm: Floats) -> None:
        """Begin with the sound that ends with the device's ``count``-th sample."""
        self._held = []
        steering = Steering(self._fit, self._clock.origin, SAMPLE_RATE)
        overlap = (self.end - steering.place(count - len(pcm))) / SAMPLE_RATE
        pcm = pcm[math.ceil(max(overlap, 0) * self._fit.rate) :]
        if not len(pcm):
            return
        start = steering.place(count - len(pcm))
        # Recordings stamp in milliseconds: after a hole that a replay sees as one, begin on such.
        step = MILLISECOND if start - self.end > SHORT else 1
        first = max(round(start / step) * step, self.end)
        self.pass_over(first)
        steering.position = first
        ratio = steering.ratio(count, len(pcm))
        assert ratio is not None  # it stands where it belongs
        self._steering, self._sounded = steering, True
        self._resampler = _resampler(self._rate)
        self._stretch(pcm, ratio)

    def _stretch(self, pcm: Floats, ratio: float) -> None:
        self._resampler.set_io_ratio(ratio, 1.0)
        self._write(np.clip(self._resampler.resample_chunk(pcm), -1, 1))

    def _write(self, pcm: Floats) -> None:
        if len(pcm):
            self.wanted &= self._sink.write(AudioChunk(self.end, pcm))
            self.end += len(pcm)


def _resampler(rate: int) -> Any:
    import soxr  # noqa: PLC0415, an extra: only who records needs it

    # Variable rate; it must know the largest ratio beforehand.
    return soxr.ResampleStream(1.02 * rate, SAMPLE_RATE, 1, "float32", vr=True)
