"""A microphone: PortAudio's callback copies, this source's own thread does everything else."""

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Event

import numpy as np

from streamer.clock import LiveClock, monotonic
from streamer.config import LiveConfig
from streamer.sources.placer import MILLISECOND, Block, Placer
from streamer.sources.portaudio import (
    CONTINUE,
    INPUT_OVERFLOW,
    Device,
    Input,
    PortAudio,
    System,
    find,
)
from streamer.types import SAMPLE_RATE, AudioSink, DeviceState, StreamerError

BLOCKS_HZ = 50
"""Callbacks a second."""
BLOCKS = 200
"""What the capture ring holds: 4 s."""
DRAIN_S = 0.02
TICK_S = 0.1
"""How often silence goes on while the device is away, s."""
RETRY_S = 0.5
"""The first wait before a lost device is tried again; it doubles, up to live.retry_s."""


class CaptureRing:
    """Between PortAudio's callback and one reader, without locks: one writes rows and then their
    number, the other reads the number and then the rows. Everything is allocated beforehand.
    """

    def __init__(self, frames: int, channels: int) -> None:
        self._pcm = np.zeros((BLOCKS, frames * channels), np.float32)
        self._bytes = self._pcm.view(np.uint8)
        self._channels = channels
        self._frames = np.zeros(BLOCKS, np.int64)
        self._stamps = np.zeros(BLOCKS, np.float64)
        self._flags = np.zeros(BLOCKS, np.int64)
        self._written = self._taken = self._count = 0

    def callback(self, data: bytes, frames: int, _times: object, flags: int) -> tuple[None, int]:
        """PortAudio's thread: copy the block and its stamp, nothing more."""
        row = self._written % BLOCKS
        self._stamps[row] = monotonic()
        self._bytes[row, : len(data)] = np.frombuffer(data, np.uint8)
        self._frames[row] = frames
        self._flags[row] = flags
        self._written += 1  # last: now the reader may have it
        return None, CONTINUE

    def take(self) -> Iterator[Block]:
        """The blocks that came since the last call. A reader that is half a ring late jumps."""
        written = self._written
        lost = written - self._taken > BLOCKS // 2
        if lost:
            self._taken = written - 1
        while self._taken < written:
            row = self._taken % BLOCKS
            frames = int(self._frames[row])
            self._count += frames
            pcm = self._pcm[row, : frames * self._channels].reshape(-1, self._channels)
            mono = pcm.mean(axis=1, dtype=np.float32)
            yield Block(
                np.nan_to_num(mono, copy=False, nan=0.0, posinf=1.0, neginf=-1.0),
                self._count,
                float(self._stamps[row]),
                lost or bool(self._flags[row] & INPUT_OVERFLOW),
            )
            lost = False
            self._taken += 1


class Microphone:
    """One microphone: "default", an index or a part of its name. ``run`` has its own thread.

    It is opened at once: raises StreamerError where there is none such, or it is taken. Lost later
    on, it is opened again as soon as it is back; until then time goes on in silence.
    """

    def __init__(
        self,
        spec: str | int,
        clock: LiveClock,
        config: LiveConfig,
        system: Callable[[], System] = PortAudio,
    ) -> None:
        self._spec, self._clock, self._config, self._make = spec, clock, config, system
        self.state = DeviceState(str(spec), "microphone")
        self._system: System | None = None
        self._input: Input | None = None
        self._power = 0.0
        self._wait = RETRY_S
        self._open()
        if spec != "default":  # an index may be another one's the next time
            self._spec = self.state.name.partition(" (hw:")[0]

    def run(self, audio: AudioSink, stop: Event) -> None:
        """Write sound at its media time until ``stop`` or until nobody wants more; close the sink.

        Where there is no sound for a while, the sink is told so.
        """
        placer = Placer(self._clock, audio)
        try:
            while not stop.is_set() and placer.wanted:
                if self._input is not None:
                    self._listen(self._input, placer, stop)
                else:
                    self._recover(placer, stop)
        finally:
            self.state.status = "ended"
            self.close()
            placer.cut()
            audio.close()

    def close(self) -> None:
        """Release the microphone; may be called twice."""
        device, self._input = self._input, None
        system, self._system = self._system, None
        if device is not None:
            device.close()
        if system is not None:
            system.close()

    def _open(self) -> None:
        self._system = self._make()
        try:
            self._input = self._open_any(self._system, self._find(self._system.devices()))
        except BaseException:
            self.close()
            raise

    def _find(self, devices: list[Device]) -> Device:
        same = [d for d in devices if d.name == self.state.name and self._spec != "default"]
        return same[0] if same else find(self._spec, devices)

    def _open_any(self, system: System, device: Device) -> Input:
        """Open it at the rate and with the channels that it takes."""
        refusals = []
        for rate in dict.fromkeys((device.rate_hz, 48_000, 44_100, SAMPLE_RATE)):
            for channels in dict.fromkeys((min(device.channels, 2), 1, device.channels)):
                frames = rate // BLOCKS_HZ
                self._ring, self._rate = CaptureRing(frames, channels), rate
                try:
                    opened = system.open(device, rate, channels, frames, self._ring.callback)
                except StreamerError as error:
                    refusals.append(error)
                    continue
                self.state.name = device.name
                self.state.detail = f"{rate / 1000:g} kHz, {channels} ch, {device.api}"
                return opened
        raise refusals[0]

    def _listen(self, device: Input, placer: Placer, stop: Event) -> None:
        """Until ``stop``, or until the device is lost."""
        placer.open(self._rate)
        last = monotonic()
        with suppress(StreamerError):  # then it is not active either
            device.start()
        stopped = False
        while not stopped and placer.wanted:
            stopped = stop.wait(DRAIN_S)
            for block in self._ring.take():
                if block.at - last > self._config.stall_s:  # the machine slept
                    placer.interrupt()
                    self.state.losses += 1
                last = block.at
                placer.add(block)
                self._show(block, placer)
            stalled = monotonic() - last > self._config.stall_s
            if not stopped and (stalled or not device.active):
                self.close()
                return

    def _show(self, block: Block, placer: Placer) -> None:
        state = self.state
        self._power += 0.1 * (float(np.square(block.pcm).mean()) - self._power)
        state.status, state.level = "running", _decibels(self._power)
        self._wait = RETRY_S
        if (drift := placer.drift) is not None:
            state.drift_ppm, state.drift_ms = drift
        state.dropped, state.lost_s = placer.breaks, placer.silent / SAMPLE_RATE

    def _recover(self, placer: Placer, stop: Event) -> None:
        """Until ``stop``, or until the device is there again; meanwhile time goes on in silence."""
        state = self.state
        state.losses += state.status == "running"
        state.status, state.level = "lost", None
        placer.cut()
        due = monotonic() + self._wait
        while self._input is None and placer.wanted and not stop.wait(TICK_S):
            now = int(self._clock.media(monotonic()) * SAMPLE_RATE)
            placer.pass_over(now // MILLISECOND * MILLISECOND)
            state.lost_s = placer.silent / SAMPLE_RATE
            if monotonic() >= due:
                with suppress(StreamerError):
                    self._open()
                self._wait = min(2 * self._wait, self._config.retry_s)
                due = monotonic() + self._wait


def _decibels(power: float) -> float:
    """dBFS, of a full square wave 0."""
    return 10 * math.log10(max(power, 1e-10))
