"""Measures by how much a camera's pictures and a microphone's sound are out of step."""

import math
from dataclasses import dataclass, field
from threading import Event
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from streamer.types import SAMPLE_RATE, AudioChunk, Floats, Frame, Source, StreamerError

Times = NDArray[np.float64]

LEAST = 3
"""Events that must agree."""

MOST = 2 / 3
"""The share of the sounds that must agree, and must be sharp and short; of what is seen, half."""

SHARP_MS = 8
"""How fast a clap or beep gets loud: speech takes longer."""

SHORT_MS = 400
"""How long a clap or beep is loud, in the second from its start on."""

WIDEST_S = 1.0
"""The largest offset looked for, s."""

AGREE_S = 0.05
"""Events that agree lie no further from their median, s."""

HOP = SAMPLE_RATE // 1000

HOW = (
    "Clap with the hands in the picture, or switch on a light or screen that beeps: "
    "five times or more, not in an even rhythm, at least a second apart."
)


@dataclass(frozen=True, slots=True)
class Offset:
    """How much later the sound of an event is stamped than its picture.

    seconds: the median over ``events``; positive where the pictures come too early, as
    ``live.av_offset_s``. spread_s: the median distance from it.
    """

    seconds: float
    spread_s: float
    events: int
    kind: Literal["flash", "clap"]


def offset(times: Times, brightness: Floats, motion: Floats, pcm: Floats) -> Offset:
    """The offset between pictures and sound, from flashes with beeps, or claps.

    times: of the frames, s (n,), rising. brightness: mean luminance of each, 0…255. motion: mean
    absolute difference from the frame before, 0…255. pcm: 16 kHz from 0 s on. A flash is exact to
    half a frame, a clap to about one. Raises StreamerError if fewer than three events agree, or not
    most of them, or the sounds are not those of claps or beeps: speech gives no offset.
    """
    heard = _onsets(pcm)
    flashes, claps = _flashes(times, brightness), _claps(times, motion)
    if len(heard) == 0:
        raise StreamerError("no beep or clap is heard")
    sharp = heard[[_is_sharp(pcm, t) for t in heard]]
    if len(sharp) < MOST * len(heard):
        raise StreamerError(
            f"{len(sharp)} of {len(heard)} sounds are as sharp and short as a clap or a beep; "
            "most must be"
        )
    if len(flashes) == len(claps) == 0:
        raise StreamerError("no flash or clap is seen")
    by_flash, by_clap = _differences(sharp, flashes), _differences(sharp, claps)
    flash_fits = _enough(by_flash, sharp, flashes)
    if not flash_fits and not _enough(by_clap, sharp, claps):
        use_flash = len(by_flash) >= min(len(by_clap), LEAST)
        found, seen = (by_flash, flashes) if use_flash else (by_clap, claps)
        raise StreamerError(
            f"{len(sharp)} sounds and {len(seen)} {'flashes' if use_flash else 'movements'}, but "
            f"only {len(found)} agree; {LEAST} or more are needed, and most of both"
        )
    found = by_flash if flash_fits else by_clap
    median = float(np.median(found))
    spread = float(np.median(np.abs(found - median)))
    return Offset(median, spread, len(found), "flash" if flash_fits else "clap")


def run(
    source: Source, duration: float, console: Console, current: float = 0.0, how: bool = True
) -> Offset:
    """Watch and listen for ``duration`` s of media, and say what to put into the configuration.

    current: the ``live.av_offset_s`` that the source has added already, s. how: say first what is
    to be done. Raises StreamerError if the source lacks picture or sound, or shows too little.
    """
    missing = [
        what
        for what, there in (("picture", source.info.has_video), ("sound", source.info.has_audio))
        if not there
    ]
    if missing:
        raise StreamerError(f"{source.info.name}: no {missing[0]}, so there is nothing to compare")
    if how:
        console.print(f"{HOW} Measuring for {duration:g} s …", markup=False)
    stop = Event()
    frames, sound = _Frames(source.info.start + duration, stop), _Sound(duration, stop)
    try:
        source.run(frames, sound, stop)
    finally:
        source.close()
    brightness, motion = (np.array(s, np.float32) for s in (frames.brightness, frames.motion))
    try:
        found = offset(np.array(frames.times), brightness, motion, sound.pcm())
    except StreamerError as error:
        raise StreamerError(f"{source.info.name}: {error}") from None
    total = round(current + found.seconds, 3) + 0.0
    order = "after" if found.seconds >= 0 else "before"
    console.print(
        f"The sound comes {abs(found.seconds) * 1000:.0f} ms {order} the picture "
        f"({found.events} {'flashes' if found.kind == 'flash' else 'claps'}, "
        f"±{found.spread_s * 1000:.0f} ms). In your config.yaml:\n"
        f"live:\n  av_offset_s: {total:.3f}",
        markup=False,
    )
    return found


@dataclass(slots=True)
class _Frames:
    """Keeps of each frame until ``end`` s what is needed: no picture."""

    end: float
    stop: Event
    times: list[float] = field(default_factory=list)
    brightness: list[float] = field(default_factory=list)
    motion: list[float] = field(default_factory=list)
    _before: Floats | None = None

    def put(self, frame: Frame) -> bool:
        if frame.t < self.end:
            small = cv2.resize(frame.load(), (64, 36), interpolation=cv2.INTER_AREA)
            gray = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.float32)
            before = gray if self._before is None else self._before
            self.times.append(frame.t)
            self.brightness.append(float(gray.mean()))
            self.motion.append(float(np.abs(gray - before).mean()))
            self._before = gray
        return self.advance(frame.t)

    def advance(self, t: float) -> bool:
        if t >= self.end:
            self.stop.set()
        return t < self.end

    def close(self, end: float | None = None) -> None:
        """Nothing to end."""


@dataclass(slots=True)
class _Sound:
    """Keeps the sound, from the first sample on."""

    duration: float
    stop: Event
    chunks: list[AudioChunk] = field(default_factory=list)

    def write(self, chunk: AudioChunk) -> bool:
        self.chunks.append(chunk)
        return self.advance(chunk.start + len(chunk.pcm))

    def advance(self, sample: int) -> bool:
        wanted = sample < (self.duration + WIDEST_S) * SAMPLE_RATE
        if not wanted:
            self.stop.set()
        return wanted

    def close(self) -> None:
        """Nothing to end."""

    def pcm(self) -> Floats:
        """From 0 s on, holes silent."""
        length = max([0, *(c.start + len(c.pcm) for c in self.chunks)])
        whole = np.zeros(length, np.float32)
        for chunk in self.chunks:
            start = max(chunk.start, 0)  # a network stream's sound may be from before the session
            pcm = chunk.pcm[start - chunk.start :]
            whole[start : start + len(pcm)] = pcm
        return whole


def _onsets(pcm: Floats) -> Times:
    """Times, s, at which sound sets in: ten times as much power as in the 50 ms before."""
    power = (pcm[: len(pcm) // HOP * HOP].reshape(-1, HOP).astype(np.float64) ** 2).mean(axis=1)
    if len(power) < 100:
        return np.zeros(0)
    sums = np.concatenate([[0.0], np.cumsum(power)])
    at = np.arange(50, len(power) - 20)
    floor = max(float(np.median(power)), 1e-9)
    before = np.maximum((sums[at] - sums[at - 50]) / 50, floor)
    after = (sums[at + 20] - sums[at]) / 20
    loud = float(np.percentile(after, 99.9))
    rise = np.where((after > 10 * before) & (after > loud / 20), after / before, 0)
    found = []
    for peak in _peaks(rise, 300):
        # From the middle between quiet and loud, in dB, on.
        span = power[at[peak] - 20 : at[peak] + 40]
        level = math.sqrt(before[peak] * after[peak])
        found.append((at[peak] - 20 + int(np.argmax(span > level))) / 1000)
    return np.array(found)


def _is_sharp(pcm: Floats, onset: float) -> bool:
    """Whether the sound that sets in at ``onset`` s is loud at once, and not for long."""
    at = round(onset * 1000)
    lead = min(at, 60)
    part = pcm[(at - lead) * HOP : (at + 1000) * HOP].astype(np.float64) ** 2
    hops = part[: len(part) // HOP * HOP].reshape(-1, HOP).mean(axis=1)
    power = np.convolve(hops, np.ones(5) / 5)
    near, later = power[: lead + 60], power[lead:]
    loud = int(np.argmax(near >= near.max() / 2))
    # Noise before it must not pass for its beginning.
    floor = max(near.max() / 20, 2 * float(np.median(near[: lead - 20])))
    before = np.flatnonzero(near[:loud] < floor)
    rise = loud - (int(before[-1]) if len(before) else -1)
    return rise <= SHARP_MS and int((later > later.max() / 10).sum()) <= SHORT_MS


def _enough(found: Times, heard: Times, seen: Times) -> bool:
    """Whether as many agree as only a common cause explains."""
    return len(found) >= max(LEAST, MOST * len(heard)) and 2 * len(found) > len(seen)


def _flashes(times: Times, brightness: Floats) -> Times:
    """Times, s, at which it became bright: half a frame before the frame that shows it."""
    if len(times) < 10:
        return np.zeros(0)
    before = np.stack([np.roll(brightness, k) for k in (1, 2, 3)]).max(axis=0)
    rise = np.maximum(brightness - before, 0)
    rise[:3] = 0
    noise = 1.48 * float(np.median(np.abs(np.diff(brightness))))
    least = max(8 * noise, 2.0, float(rise.max()) / 3)
    period = float(np.median(np.diff(times)))
    peaks = _peaks(np.where(rise >= least, rise, 0), round(0.3 / period))
    # The frame before may have caught a part of it.
    first = [k - 1 if rise[k - 1] > rise[k] / 2 else k for k in peaks]
    return np.asarray(times[first] - period / 2, np.float64)


def _claps(times: Times, motion: Floats) -> Times:
    """Times, s, at which a quick movement ends: the last frame with half of its speed."""
    if len(times) < 10:
        return np.zeros(0)
    low, calm = (float(p) for p in np.percentile(motion, [5, 25]))  # hands move half of the time
    least = max(calm + 8 * (calm - low), 0.5, float(motion.max()) / 3)
    period = float(np.median(np.diff(times)))
    found = []
    # Half a second: hands that part again, or are raised before, are no movement of their own.
    for peak in _peaks(np.where(motion >= least, motion, 0), round(0.5 / period)):
        half, last = calm + (motion[peak] - calm) / 2, peak
        while last + 1 < len(motion) and motion[last + 1] >= half:
            last += 1
        found.append(times[last])
    return np.array(found)


def _peaks(values: NDArray[np.floating], apart: int) -> list[int]:
    """Where the largest positive values are, ``apart`` from each other, in rising order."""
    left, found = np.array(values), []
    while len(left) and left[best := int(np.argmax(left))] > 0:
        found.append(best)
        left[max(best - apart, 0) : best + apart + 1] = 0
    return sorted(found)


def _differences(heard: Times, seen: Times) -> Times:
    """The differences heard − seen of the events that belong together: as many as agree."""
    every = (heard[:, None] - seen[None, :]).ravel()
    every = every[np.abs(every) <= WIDEST_S]
    best = np.zeros(0)
    for centre in sorted(every, key=abs):
        near = every[np.abs(every - centre) <= AGREE_S]
        if len(near) > len(best):
            best = near
    return best
