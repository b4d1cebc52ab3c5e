"""A device's sample counter against the monotonic clock: pure arithmetic, no I/O."""

import numpy as np

BUCKET_S = 10.0
BUCKETS = 128
NEAR = 6
"""The last minute's buckets tell where the line lies, all of them how steep it is."""
LATE_S, LATE_BLOCKS = 2.0, 100
STEP_S = 0.03
"""Stamps that stay later than usual by so much, or come as much earlier, mean another line, s."""
MOST = 1e-3
"""No working sound clock is further off than this share: twice the worst that are sold."""
SLIP_S = 0.1
"""A wrong position up to this is made good by stretching, s."""
SETTLE_S = 10.0
"""Time constant of the stretching, s."""

Point = tuple[float, float]
"""A stamp: the time that the device's counter says, and how far the stamp lies behind it, s."""


class ClockFit:
    """The line that tells when each sample of a device was captured, estimated all along.

    Callbacks come late, by the system's moods, but never early: the least late one of each 10 s
    lies near the true line. Its slope is the Theil–Sen estimate (Sen 1968) of these over 20
    minutes, which bears bad ones and follows a clock that warms up; below it lies no stamp of the
    last minute. Memory is bounded.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._slope = 0.0
        self._rests_on = 2
        self.restart()

    def restart(self) -> None:
        """Forget where the samples lie, but not how fast the clock runs."""
        self._past: list[Point] = []
        self._bucket = -1
        self._best = self._least = (0.0, np.inf)
        self._floor = np.inf  # below which no stamp of the last minute's full buckets lies
        self._level = 0.0
        self._usual = 0.0  # how late the stamps are on average, s
        self._stamps = 0
        self._late, self._late_from = 0, 0.0

    @property
    def ppm(self) -> float:
        """How much faster than the monotonic clock the device's runs, parts per million."""
        return 1e6 * (1 / (1 + self._slope) - 1)

    @property
    def rate(self) -> float:
        """Samples a second of the monotonic clock."""
        return self._rate / (1 + self._slope)

    def time(self, count: float) -> float:
        """The monotonic time, s, at which the device had captured ``count`` samples."""
        nominal = count / self._rate
        return nominal + self._level + self._slope * nominal

    def add(self, count: int, at: float) -> bool:
        """The device's ``count``-th sample was there at ``at`` s.

        True: there was a step (samples lost unseen, or too many): the line begins anew.
        """
        nominal = count / self._rate
        point = (nominal, at - nominal)
        height, far = self._height(point), STEP_S + self._usual
        early = bool(self._past) and height < self._floor - far
        stepped = early or (self._stamps > 0 and self._is_late(point, height > self._level + far))
        if stepped:
            least = point if early else self._least
            self.restart()
            self._take(least)
        self._take(point)
        return stepped

    def _height(self, point: Point) -> float:
        """How high the point lies above a line through the origin."""
        return point[1] - self._slope * point[0]

    def _take(self, point: Point) -> None:
        bucket = int(point[0] // BUCKET_S)
        if bucket != self._bucket:
            if self._bucket >= 0:
                self._past = [*self._past[1 - BUCKETS :], self._best]
                # After a restart the slope that was known is better than that of a few buckets.
                if len(self._past) >= self._rests_on:
                    self._slope = _slope(self._past)
                    self._rests_on = min(len(self._past), BUCKETS // 4)
                self._floor = min(map(self._height, self._past[-NEAR:]))
            self._bucket, self._best = bucket, point
        elif self._height(point) < self._height(self._best):
            self._best = point
        self._level = min(self._floor, self._height(self._best))
        self._stamps += 1
        share = max(1 / self._stamps, 1 / (5 * LATE_BLOCKS))
        self._usual += share * (self._height(point) - self._level - self._usual)

    def _is_late(self, point: Point, now: bool) -> bool:
        """Whether the stamps have been late for so long that it can't be chance."""
        if not now:
            self._late = 0
            return False
        self._late += 1
        if self._late == 1:
            self._late_from = point[0]
        # The first ones may have been late by chance, before the step.
        if self._late <= LATE_BLOCKS // 2 or self._height(point) < self._height(self._least):
            self._least = point
        return self._late >= LATE_BLOCKS and point[0] - self._late_from >= LATE_S


def _slope(points: list[Point]) -> float:
    """Theil–Sen's: the median slope of all pairs."""
    x, y = np.array(points).T
    first, second = np.triu_indices(len(x), 1)
    slope = float(np.median((y[second] - y[first]) / (x[second] - x[first])))
    return min(max(slope, -MOST), MOST)


class Steering:
    """Keeps a resampler's output, at ``out_rate`` a second, in step with a ClockFit.

    ``position``: where the input's end stands in the output, in samples since ``origin``, a
    monotonic time. ``error_s``: how much later than that it belongs, before the newest block.
    """

    def __init__(self, fit: ClockFit, origin: float, out_rate: int) -> None:
        self._fit, self._origin, self._out_rate = fit, origin, out_rate
        self.position = 0.0
        self.error_s = 0.0

    def place(self, count: float) -> float:
        """Where the device's ``count``-th sample belongs in the output."""
        return (self._fit.time(count) - self._origin) * self._out_rate

    def ratio(self, count: int, frames: int) -> float | None:
        """Input samples per output sample for the ``frames`` that end with the device's ``count``;
        None: they are too far off to be made good by stretching.
        """
        self.error_s = (self.place(count - frames) - self.position) / self._out_rate
        if abs(self.error_s) > SLIP_S:
            return None
        stretch = 1 + self.error_s / SETTLE_S
        ratio = self._fit.rate / self._out_rate / stretch
        self.position += frames / ratio
        return ratio
