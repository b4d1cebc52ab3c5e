"""The only reader of wall time, and the pacer of replays."""

import threading
import time
from bisect import bisect_left
from collections import deque
from datetime import datetime
from typing import Protocol


def monotonic() -> float:
    """Seconds of the monotonic clock."""
    return time.monotonic()


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
    """Media time that runs ``speed`` times as fast as the wall's, from the first wait on."""

    lossless = False

    def __init__(self, speed: float, stop: threading.Event) -> None:
        self._speed, self._stop = speed, stop
        self._origin: tuple[float, float] | None = None

    def wait(self, t: float) -> None:
        if self._origin is None:
            self._origin = (t, monotonic())
        remaining = self.captured(t) - monotonic()
        if remaining > 0:
            self._stop.wait(remaining)

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
