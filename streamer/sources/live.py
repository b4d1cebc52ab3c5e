"""A live session's source: devices that each have a thread of their own, and one clock."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Protocol

from streamer.clock import LiveClock, monotonic
from streamer.types import AudioChunk, AudioSink, DeviceState, Frame, FrameSink, SourceInfo

WATCH_S = 0.05
"""How soon the end is seen, s."""


class Device(Protocol):
    """What a camera, a microphone and a network stream have in common."""

    state: DeviceState

    def close(self) -> None:
        """Release it; may be called twice."""


@dataclass(frozen=True, slots=True)
class Part:
    """A device, what of it is taken, and what pushes that until told to stop, then closes the
    sinks of what is taken.
    """

    device: Device
    has_video: bool
    has_audio: bool
    run: Callable[[FrameSink, AudioSink, Event], None]


class LiveSource:
    """One part with pictures, one with sound, or one with both, until ``duration`` s have passed or
    it is stopped.

    Media time begins with ``run``. An error of one part ends all and is raised. While ``paused`` is
    set, nothing that is captured goes any further: time goes on without it.
    """

    def __init__(self, clock: LiveClock, parts: list[Part], duration: float | None = None) -> None:
        self._clock, self._parts, self._duration = clock, parts, duration
        self.devices = [part.device.state for part in parts]
        self.paused = Event()
        self.problems: list[str] = []
        self._has = any(p.has_video for p in parts), any(p.has_audio for p in parts)
        name = " + ".join(state.name for state in self.devices)
        about: dict[str, object] = {s.kind: f"{s.name}: {s.detail}" for s in self.devices}
        self.info = SourceInfo(name, *self._has, 0.0, duration, about)
        self._error: BaseException | None = None

    def run(self, frames: FrameSink, audio: AudioSink, stop: Event) -> None:
        """Capture into both sinks until the end."""
        ended = Event()
        self._clock.restart()
        sinks = _GatedFrames(frames, self.paused), _GatedAudio(audio, self.paused)
        threads = [
            threading.Thread(
                target=self._guarded,
                args=(partial(part.run, *sinks, ended), ended),
                name=f"streamer-{part.device.state.kind}-feed",
            )
            for part in self._parts
        ]
        for thread in threads:
            thread.start()
        try:
            while not stop.wait(WATCH_S) and not ended.is_set() and not self._is_over():
                pass
        finally:
            ended.set()
            for thread in threads:
                thread.join()
            if not self._has[0]:
                frames.close()
            if not self._has[1]:
                audio.close()
        for part in self._parts:
            self.problems += getattr(part.device, "problems", [])
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Release the devices; may be called twice."""
        for part in self._parts:
            part.device.close()

    def _is_over(self) -> bool:
        return self._duration is not None and self._clock.media(monotonic()) >= self._duration

    def _guarded(self, body: Callable[[], None], ended: Event) -> None:
        try:
            body()
        except BaseException as error:
            self._error = self._error or error
        finally:
            ended.set()


class _GatedFrames:
    """A frame sink that keeps out what is captured during a pause."""

    def __init__(self, sink: FrameSink, paused: Event) -> None:
        self._sink, self._paused = sink, paused

    def put(self, frame: Frame) -> bool:
        return self._sink.advance(frame.t) if self._paused.is_set() else self._sink.put(frame)

    def advance(self, t: float) -> bool:
        return self._sink.advance(t)

    def close(self, end: float | None = None) -> None:
        self._sink.close(end)


class _GatedAudio:
    """An audio sink that hears silence during a pause."""

    def __init__(self, sink: AudioSink, paused: Event) -> None:
        self._sink, self._paused = sink, paused

    def write(self, chunk: AudioChunk) -> bool:
        if self._paused.is_set():
            return self._sink.advance(chunk.start + len(chunk.pcm))
        return self._sink.write(chunk)

    def advance(self, sample: int) -> bool:
        return self._sink.advance(sample)

    def close(self) -> None:
        self._sink.close()


class Deaf:
    """An audio sink that lets all sound go by."""

    def write(self, _chunk: AudioChunk) -> bool:
        return True

    def advance(self, _sample: int) -> bool:
        return True

    def close(self) -> None:
        """Nothing is kept."""
