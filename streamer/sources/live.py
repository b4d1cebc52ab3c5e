"""A live session: devices that each have a thread of their own, and one clock."""

import threading
from collections.abc import Callable
from functools import partial
from threading import Event
from typing import Protocol

from streamer.clock import LiveClock, monotonic
from streamer.types import (
    AudioChunk,
    AudioSink,
    DeviceState,
    Frame,
    FrameSink,
    SourceInfo,
)

WATCH_S = 0.05


class Eye(Protocol):
    """A device that gives pictures."""

    state: DeviceState

    def run(self, frames: FrameSink, stop: Event) -> None:
        """Push pictures until ``stop``, then close the sink."""

    def close(self) -> None:
        """Release it; may be called twice."""


class Ear(Protocol):
    """A device that gives sound."""

    state: DeviceState

    def run(self, audio: AudioSink, stop: Event) -> None:
        """Push sound until ``stop``, then close the sink."""

    def close(self) -> None:
        """Release it; may be called twice."""


class LiveSource:
    """A camera, a microphone, or both, until ``duration`` s have passed or it is stopped.

    Each has its own thread; an error of one ends both and is raised. While ``paused`` is set,
    nothing of what they capture goes any further: time goes on without it.
    """

    def __init__(
        self, clock: LiveClock, eye: Eye | None, ear: Ear | None, duration: float | None = None
    ) -> None:
        self._clock, self._eye, self._ear, self._duration = clock, eye, ear, duration
        there = [device for device in (eye, ear) if device is not None]
        self.devices = [device.state for device in there]
        self.paused = Event()
        self.problems: list[str] = []
        name = " + ".join(state.name for state in self.devices)
        about: dict[str, object] = {s.kind: f"{s.name}: {s.detail}" for s in self.devices}
        self.info = SourceInfo(name, eye is not None, ear is not None, 0.0, duration, about)
        self._error: BaseException | None = None

    def run(self, frames: FrameSink, audio: AudioSink, stop: Event) -> None:
        """Capture into both sinks until the end."""
        ended = Event()
        gate_frames = _GatedFrames(frames, self.paused)
        gate_audio = _GatedAudio(audio, self.paused)
        bodies: list[Callable[[], None]] = []
        if self._eye is not None:
            bodies.append(partial(self._eye.run, gate_frames, ended))
        if self._ear is not None:
            bodies.append(partial(self._ear.run, gate_audio, ended))
        threads = [
            threading.Thread(target=self._guarded, args=(body, ended), name=f"streamer-device-{k}")
            for k, body in enumerate(bodies)
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
            # Where it ended, also for a device that was away by then.
            now = self._clock.media(monotonic())
            end = now if self._duration is None else min(now, self._duration)
            if self._ear is None:
                audio.close()
            if self._eye is None:
                frames.close(end)
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Release the devices; may be called twice."""
        for device in (self._eye, self._ear):
            if device is not None:
                device.close()

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
