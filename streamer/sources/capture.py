"""A capture device in a thread of its own, and its way to the rings while it comes and goes."""

import re
from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from queue import Empty, Full, Queue
from threading import Event, Thread

import numpy as np

from streamer.clock import LiveClock, monotonic
from streamer.config import LiveConfig
from streamer.types import (
    SAMPLE_RATE,
    AudioChunk,
    AudioSink,
    DeviceState,
    Frame,
    FrameSink,
    StreamerError,
)

TICK_S = 0.1
"""How often time is told to go on while nothing comes, and how soon ``stop`` is seen, s."""

GRACE_S = 0.25
"""How far behind now that time is: a datum may be on its way here, s."""

FIRST_RETRY_S = 0.25
"""After a loss: the first wait before the device is opened again; each further one doubles, s."""

AHEAD_S = 1.0
"""No datum is from so far ahead of now, s."""

JOIN_S = 0.3
"""How long the end waits for a thread that the device may hold, s."""

RATE_S = 2.0
"""Over how long the rate shown is measured, s."""

Datum = Frame | AudioChunk

_SCHEME = re.compile(r"(?:\w[\w+.-]*:/+)?")
_QUERY = re.compile(r"([?#]).*", re.DOTALL)
_SECRET = re.compile(
    r"([^/&;=]*(?:user|login|pass|pwd|pw|token|key|secret|auth|sign|sig|credential)[^/&;=]*)"
    r"=[^&;]*",
    re.IGNORECASE,
)


class Capture:
    """Runs ``read`` again and again in a thread, and hands on what it yields.

    ``read`` opens the device, yields its data in order, and returns or raises StreamerError when
    the device is lost; it is closed when nothing more is wanted. It may block for long inside a
    driver or a network library, which nobody can end from outside: so the thread is a daemon that
    alone owns the device, is left behind if it doesn't come back in time, and never touches a ring.
    ``run`` takes the data from a bounded queue, so that it always ends in time.
    """

    def __init__(
        self,
        state: DeviceState,
        clock: LiveClock,
        config: LiveConfig,
        read: Callable[[], Generator[Datum, None, None]],
        room: int,
    ) -> None:
        self._state, self._clock, self._config, self._read = state, clock, config, read
        self._queue: Queue[Datum | StreamerError] = Queue(room)
        self._failure: BaseException | None = None
        self._thread = Thread(target=self._work, name=f"streamer-{state.kind}", daemon=True)
        self.leaving = Event()
        """Set when ``read`` is to end; it waits on nothing else."""
        self.format = self.note = ""
        """What the device gives, and what is odd about it: for people, set by ``read``."""
        self.damaged = 0
        """Data that could not be decoded, counted by ``read``."""
        self._overflowed = self._late = 0
        self._newest = self._told = 0.0
        self._heard: dict[type[Datum], float] = {}
        self._lost_since, self._lost_before, self._why = 0.0, 0.0, ""
        self._times: deque[float] = deque()

    def begin(self, patience_s: float) -> None:
        """Start, and wait for the first datum. Raises StreamerError if none comes in that time."""
        self._thread.start()
        try:
            first = self._queue.get(timeout=patience_s)
        except Empty:
            first = StreamerError(f"{self._state.name}: nothing came within {patience_s:g} s")
        except BaseException:  # Ctrl-C
            self.close()
            raise
        if isinstance(first, StreamerError):
            self.close()
            raise self._failure or first

    def run(self, frames: FrameSink, audio: AudioSink | None, stop: Event) -> None:
        """Hand on all that comes from now on, until ``stop``, then close the sinks.

        Raises what the thread died of, if it did.
        """
        while not self._queue.empty():  # from before the session
            with suppress(Empty):
                self._queue.get_nowait()
        self._heard = dict.fromkeys((Frame, AudioChunk), monotonic())
        self._state.status, self._overflowed = "running", 0
        going = True
        while going and not stop.is_set():
            try:
                item = self._queue.get(timeout=TICK_S)
            except Empty:
                item = None
            if self._failure:
                raise self._failure
            now = monotonic()
            if isinstance(item, StreamerError):
                self._lose(str(item))
            elif item is not None:
                self._return(now)
                self._heard[type(item)] = now
                going = self._deliver(item, frames, audio)
            going = going and self._go_on(now, frames, audio)
            self._describe(now)
        self._state.status = "ended"
        frames.close(max(round(self._clock.media(monotonic()), 3), self._told))
        if audio:
            audio.close()

    def close(self) -> None:
        """Let the device go; may be called twice."""
        if not self.leaving.is_set() and self._thread.ident:
            self.leaving.set()
            self._thread.join(JOIN_S)

    def _work(self) -> None:
        wait = FIRST_RETRY_S
        try:
            while not self.leaving.is_set():
                try:
                    with closing(self._read()) as data:
                        for datum in data:
                            if self.leaving.is_set():
                                return
                            wait = FIRST_RETRY_S
                            self._hand(datum)
                    self._hand(StreamerError("it went away"))
                except StreamerError as error:
                    self._hand(error)
                self.leaving.wait(wait)
                wait = min(2 * wait, self._config.retry_s)
        except BaseException as error:
            self._failure = error
            self._hand(StreamerError("failed"))

    def _hand(self, item: Datum | StreamerError) -> None:
        """Pass ``item`` to ``run``; where there is no room, the oldest is lost."""
        while True:
            try:
                return self._queue.put_nowait(item)
            except Full:
                with suppress(Empty):
                    self._queue.get_nowait()
                    self._overflowed += 1

    def _deliver(self, item: Datum, frames: FrameSink, audio: AudioSink | None) -> bool:
        # The offset moves the pictures alone.
        offset = self._config.av_offset_s if isinstance(item, Frame) else 0.0
        t = item.t if isinstance(item, Frame) else item.start / SAMPLE_RATE
        if t > self._clock.media(monotonic()) + offset + AHEAD_S:
            return True  # stamped before the session began, by the time of the preparations
        if isinstance(item, AudioChunk):
            power = float(np.mean(np.square(item.pcm))) if len(item.pcm) else 0.0
            self._state.level = 10 * float(np.log10(power + 1e-10))
            return audio is None or audio.write(item)
        self._times.append(self._heard[Frame])
        if item.t <= self._newest or item.t < self._told:  # a ring takes no step back
            self._late += item.t > 0  # else it is from before the session
            return True
        self._newest = item.t
        return frames.put(item)

    def _go_on(self, now: float, frames: FrameSink, audio: AudioSink | None) -> bool:
        """Notice a loss; where nothing comes, let time go on."""
        stall = self._config.stall_s
        if now - max(self._heard.values()) > stall:
            self._lose(f"nothing came for {stall:g} s")
        lost = self._state.status == "lost"
        if lost:
            self._state.lost_s = self._lost_before + now - self._lost_since
        t, going = round(self._clock.media(now) - GRACE_S, 3), True
        due = max(self._told + TICK_S, self._newest)  # not for each chunk of sound
        if (lost or now - self._heard[Frame] > stall) and t >= due:
            self._told = t
            going = frames.advance(t)
        if audio and (lost or now - self._heard[AudioChunk] > stall) and t > 0:
            going = audio.advance(round(t * SAMPLE_RATE)) and going
        return going

    def _lose(self, why: str) -> None:
        self._why = why
        if self._state.status != "lost":
            self._state.status, self._state.losses = "lost", self._state.losses + 1
            self._lost_since = max(self._heard.values())
            self._state.level = None
            self._times.clear()

    def _return(self, now: float) -> None:
        if self._state.status == "lost":
            self._lost_before += now - self._lost_since
            self._state.lost_s = self._lost_before
            self._state.status = "running"

    def _describe(self, now: float) -> None:
        state = self._state
        state.dropped = self._overflowed + self._late + self.damaged
        times = self._times
        while times and times[0] < now - RATE_S:
            times.popleft()
        if state.status == "lost":
            state.detail = self._why
            return
        parts = [self.format]
        if len(times) > 1 and times[-1] > times[0]:
            parts.append(f"{(len(times) - 1) / (times[-1] - times[0]):.3g}/s")
        state.detail = ", ".join(part for part in (*parts, self.note) if part)


def masked(url: str) -> str:
    """``url`` without what may be secret: user, password, query, and the like in its path."""
    scheme = _SCHEME.match(url)
    begin = scheme.end() if scheme else 0
    user, at, rest = url[begin:].rpartition("@")
    if re.search("[/?#]", user):  # in a password, or before an @ in a path or query?
        return f"{url[:begin]}***"
    shown = _QUERY.sub(r"\1…", rest)
    return url[:begin] + ("***@" if at else "") + _SECRET.sub(r"\1=…", shown)
