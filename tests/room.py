"""A room in virtual time with microphones in it: sound that tells its time, clocks that drift,
callbacks that come late, devices that go away. Time passes only while the program waits.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.clock import LiveClock
from streamer.sources.portaudio import INPUT_OVERFLOW, Callback, Device
from streamer.types import SAMPLE_RATE, AudioChunk, Floats, StreamerError

ORIGIN = 1000.0
"""The monotonic time at which media begins, s."""
SEARCHED_S = 0.1
TONES = np.random.default_rng(1).uniform((200, 0), (800, 2 * np.pi), (12, 2))


def speech(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """What sounds in the room at media time ``t`` s: tones that never meet so again."""
    sound = np.zeros(len(t))
    for frequency, phase in TONES:
        sound += np.sin(2 * np.pi * frequency * t + phase)
    return 0.1 * sound


def lateness(pcm: Floats, at: float) -> float:
    """How much too late 16 kHz sound stands if it begins at media time ``at``, s.

    NaN: it is not what sounded within SEARCHED_S of that.
    """
    margin = round(SEARCHED_S * SAMPLE_RATE)
    times = at + np.arange(-margin, len(pcm) + margin) / SAMPLE_RATE
    sounded = speech(times)
    spectrum = np.fft.rfft(sounded) * np.conj(np.fft.rfft(pcm, len(times)))
    products = np.fft.irfft(spectrum, len(times))[: 2 * margin + 1]
    powers = np.convolve(sounded**2, np.ones(len(pcm)), "valid")
    alike = products / np.sqrt(powers * np.square(pcm, dtype=np.float64).sum() + 1e-9)
    best = int(alike.argmax())
    return (margin - best) / SAMPLE_RATE if alike[best] > 0.8 else np.nan


@dataclass
class Mic:
    """A microphone. losses: {media time: (sound lost, s; whether the driver says so)}.

    takes: the (rate, channels) that it can be opened with; None: any. plugged, silent: whether it
    is there, and whether it says nothing although it is. sound: what it hears at media times, s.
    """

    name: str = "Desk mic (hw:0,0)"
    rate: int = 48_000
    channels: int = 1
    ppm: float = 0.0
    lateness: Callable[[float], float] = lambda t: 0.0
    losses: dict[float, tuple[float, bool]] = field(default_factory=dict)
    takes: set[tuple[int, int]] | None = None
    plugged: bool = True
    silent: bool = False
    api: str = "ALSA"
    is_default: bool = True
    sound: Callable[[NDArray[np.float64]], NDArray[np.float64]] = speech


class Room:
    """Stands for the time, the stop event and PortAudio."""

    def __init__(self, *mics: Mic, until: float) -> None:
        self.now = ORIGIN
        self.mics = list(mics)
        self.opened: list[tuple[float, int, int]] = []
        self.systems = 0
        self._until = ORIGIN + until
        self._slept = 0.0
        self._order = count()
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self.clock = LiveClock()
        self.clock.origin = ORIGIN

    def monotonic(self) -> float:
        return self.now

    @property
    def media(self) -> float:
        return self.now - ORIGIN

    @property
    def stop(self) -> Any:
        """The stop event: set when the time is over."""
        return self

    def is_set(self) -> bool:
        return self.now >= self._until

    def wait(self, timeout: float) -> bool:
        self._slept = 0.0
        end = self.now + timeout
        while self._due and self._due[0][0] <= end + self._slept:
            at, _, action = heapq.heappop(self._due)
            self.now = max(self.now, at)
            action()
        self.now = max(self.now, end + self._slept)
        return self.is_set()

    def at(self, t: float, action: Callable[[], object]) -> None:
        """Do something at media time ``t`` s."""
        heapq.heappush(self._due, (ORIGIN + t, next(self._order), action))

    def sleep(self, seconds: float) -> None:
        """The machine sleeps: time passes, nothing happens."""
        self._slept += seconds
        self.now += seconds
        self._due = [(at + seconds, order, action) for at, order, action in self._due]

    def system(self) -> "FakePortAudio":
        self.systems += 1
        return FakePortAudio(self)


class FakePortAudio:
    def __init__(self, room: Room) -> None:
        self._room = room
        self._mics = [m for m in room.mics if m.plugged]
        self._closed = False

    def devices(self) -> list[Device]:
        return [
            Device(i, m.name, m.api, m.channels, m.rate, m.is_default, m.api == "ALSA")
            for i, m in enumerate(self._mics)
        ]

    def open(
        self, device: Device, rate: int, channels: int, frames: int, callback: Callback
    ) -> "FakeInput":
        assert not self._closed
        mic = self._mics[device.index]
        if mic.takes is not None and (rate, channels) not in mic.takes:
            raise StreamerError(f"microphone {mic.name}: does not take this sample rate", 1)
        self._room.opened.append((self._room.media, rate, channels))
        return FakeInput(self._room, mic, rate, channels, frames, callback)

    def close(self) -> None:
        self._closed = True


class FakeInput:
    def __init__(
        self, room: Room, mic: Mic, rate: int, channels: int, frames: int, callback: Callback
    ) -> None:
        self._room, self._mic, self._callback = room, mic, callback
        self._true_rate = rate * (1 + 1e-6 * mic.ppm)
        self._channels, self._frames = channels, frames
        self._losses = sorted(mic.losses.items())
        self._closed = False

    @property
    def active(self) -> bool:
        return self._mic.plugged and not self._closed

    def start(self) -> None:
        if self.active:
            self._from = self._room.media
            self._losses = [loss for loss in self._losses if loss[0] >= self._from]
            self._samples, self._flags = 0, 0
            self._next()

    def close(self) -> None:
        self._closed = True

    def _next(self) -> None:
        """Capture a block; its callback comes when it does."""
        begin = self._from + self._samples / self._true_rate
        while self._losses and self._losses[0][0] <= begin:
            _, (length, told) = self._losses.pop(0)
            self._from += length
            begin += length
            self._flags |= INPUT_OVERFLOW if told else 0
        self._samples += self._frames
        end = begin + self._frames / self._true_rate
        # One order for all: a later block's callback never overtakes an earlier one's.
        self._came = max(getattr(self, "_came", 0.0), end + self._mic.lateness(end))
        self._room.at(self._came, lambda: self._bring(begin))

    def _bring(self, begin: float) -> None:
        if not self.active:
            return
        asleep = self._room.media - self._came  # the machine slept between
        self._from += asleep
        self._came += asleep
        if not self._mic.silent:
            times = begin + asleep + np.arange(self._frames) / self._true_rate
            pcm = np.repeat(self._mic.sound(times)[:, None], self._channels, axis=1).astype(
                np.float32
            )
            self._callback(pcm.tobytes(), self._frames, {}, self._flags)
            self._flags = 0
        self._next()


class Tape:
    """An AudioSink that keeps everything; chunks: (first sample, sound, or None: passed over)."""

    def __init__(self, full_at: float = np.inf) -> None:
        self.chunks: list[tuple[int, Floats | None]] = []
        self.end = 0
        self.closed = 0
        self._full_at = full_at

    def write(self, chunk: AudioChunk) -> bool:
        assert chunk.start == self.end, "sound must follow on sound"
        assert chunk.pcm.dtype == np.float32
        self.chunks.append((chunk.start, chunk.pcm))
        self.end += len(chunk.pcm)
        return self.end < self._full_at

    def advance(self, sample: int) -> bool:
        assert sample >= self.end
        self.chunks.append((sample, None))
        self.end = sample
        return self.end < self._full_at

    def close(self) -> None:
        self.closed += 1

    def pcm(self) -> Floats:
        """All of it from sample 0 on, silence where there is none, float32 (n,)."""
        pcm = np.zeros(self.end, np.float32)
        for start, part in self.chunks:
            if part is not None:
                pcm[start : start + len(part)] = part
        return pcm
