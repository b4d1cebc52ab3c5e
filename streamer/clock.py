"""The only reader of wall time, and the pacer of replays."""

import sys
import threading
import time
from bisect import bisect_left
from collections import deque
from datetime import datetime
from typing import Protocol

SLEPT_S = 10.0
"""A replay that is suddenly later than this was asleep with its machine, s."""

# The clock that goes on while a laptop sleeps: Linux's own for this, macOS's CLOCK_MONOTONIC.
# Windows has no clock_gettime, and its time.monotonic goes on.
_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def monotonic() -> float:
    """Seconds of a clock that is never set and goes on while the machine sleeps."""
    if _CLOCK is None or sys.platform == "win32":
        return time.monotonic()
    return time.clock_gettime(_CLOCK)


def cpu() -> float:
    """CPU seconds that this process has used, all threads together."""
    return time.process_time()


def today() -> datetime:
    """The local date and time, with its zone."""
    return datetime.now().astimezone()


class Clock(Protocol):
    """Says when media time falls due and when a datum was captured."""

    lossless: bool
    """Whether a full ring makes the source wait (else the oldest data is overwritten)."""

    def wait(self, t: float) -> None:
        """Sleep until media time ``t`` s is due."""

    def mark(self, t: float) -> None:
        """Media up to ``t`` s has been handed over just now."""

    def captured(self, t: float) -> float:
        """Monotonic time at which the datum of media time ``t`` s was captured."""


class PacedClock:
    """Media time that runs ``speed`` times as fast as the wall's, from the first wait on.

    It stands still while the machine sleeps or the program is stopped (Ctrl-Z).
    """

    lossless = False

    def __init__(self, speed: float, stop: threading.Event) -> None:
        self._speed, self._stop = speed, stop
        self._origin: tuple[float, float] | None = None
        self._late = 0.0
        """How late the last wait was asked for, s."""

    def wait(self, t: float) -> None:
        now = monotonic()
        media, wall = self._origin = self._origin or (t, now)
        late = now - self.captured(t)
        if late - self._late > SLEPT_S:
            self._origin = media, wall + late - self._late
            late = self._late
        self._late = max(late, 0.0)
        if late < 0:
            self._stop.wait(-late)

    def mark(self, t: float) -> None:
        """Nothing to note: a paced datum counts as captured when it was due."""

    def captured(self, t: float) -> float:
        media, wall = self._origin or (t, monotonic())
        return wall + (t - media) / self._speed


class LiveClock:
    """Media time of a live session: monotonic seconds since ``origin``, its beginning."""

    lossless = False

    def __init__(self) -> None:
        self.origin = monotonic()

    def restart(self) -> None:
        """The session begins now."""
        self.origin = monotonic()

    def media(self, wall: float) -> float:
        """The media time, s, of a monotonic time."""
        return wall - self.origin

    def wait(self, t: float) -> None:
        """Devices set the pace."""

    def mark(self, t: float) -> None:
        """Nothing to note: a datum carries the time of its capture."""

    def captured(self, t: float) -> float:
        return self.origin + t


class FreeClock:
    """No pacing: media goes as fast as it is taken, and is captured when it is handed over."""

    lossless = True

    def __init__(self) -> None:
        self._marks: deque[tuple[float, float]] = deque(maxlen=4096)
        self._lock = threading.Lock()

    def wait(self, t: float) -> None:
        """Never waits."""

    def mark(self, t: float) -> None:
        with self._lock:
            self._marks.append((t, monotonic()))

    def captured(self, t: float) -> float:
        with self._lock:
            marks = list(self._marks)
        at = bisect_left(marks, (t, 0.0))
        return marks[min(at, len(marks) - 1)][1] if marks else monotonic()
