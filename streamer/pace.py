"""How often a worker looks when it can't keep up: halved in steps, and raised again."""

LATE_S = 0.5
"""A worker that is later than this is too slow, s."""
STEPS = 4
"""How often the rate may be halved."""
SETTLE_S = 1.0
"""Least time between two steps down, s: a step must show first."""
CALM_S = 5.0
"""How long there must have been room for twice the rate before it is doubled, s."""
FULL = 0.9
"""The share of time from which on work is too much."""
ROOM = 0.7
"""The share of time that the work may take at the doubled rate."""


class Pace:
    """Decides which of the wanted moments a worker takes: every one, every second, fourth, …

    Fed with what each piece of work took and how late it was; times are wall seconds, as the
    caller's clock gives them. ``period_s`` is the time between two moments at the full rate.
    """

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self.stride = 1
        """1, 2, 4, … 2 ** STEPS."""
        self._took: float | None = None
        self._stepped = self._busy = float("-inf")

    def note(self, now: float, took: float, late: float) -> bool:
        """Work is done at ``now``, ``late`` s after its moment. True: a step was made."""
        self._took = took if self._took is None else self._took + 0.2 * (took - self._took)
        share = self._took / (self._period_s * self.stride)
        if share > ROOM / 2:
            self._busy = now
        too_much = late > LATE_S and share > FULL  # else what waits is soon done
        if too_much and self.stride < 2**STEPS and now - self._stepped >= SETTLE_S:
            self.stride *= 2
        elif late <= LATE_S and self.stride > 1 and now - max(self._stepped, self._busy) >= CALM_S:
            self.stride //= 2
        else:
            return False
        self._stepped = self._busy = now
        return True
