"""Latency percentiles in constant memory."""

import math
from itertools import accumulate


class Latency:
    """A histogram of seconds with bins 2 % wide, from 0.1 ms to 1000 s: any length of session
    costs the same memory, and a percentile is right to 1 %.
    """

    _LOW, _STEP = 1e-4, math.log(1.02)

    def __init__(self) -> None:
        self._bins = [0] * (math.ceil(math.log(1e7) / self._STEP) + 1)
        self.count = 0

    def add(self, seconds: float) -> None:
        """Note one latency; less than the lowest bin counts as that."""
        at = round(math.log(max(seconds, self._LOW) / self._LOW) / self._STEP)
        self._bins[min(at, len(self._bins) - 1)] += 1
        self.count += 1

    def percentile(self, p: float) -> float | None:
        """The ``p``-th percentile (0…100), s; None without a measurement."""
        if not self.count:
            return None
        wanted = max(p / 100 * self.count, 1e-9)
        at = next(at for at, total in enumerate(accumulate(self._bins)) if total >= wanted)
        return self._LOW * math.exp(at * self._STEP)

    def summary(self) -> dict[str, float | None]:
        """p50, p95 and p99 in seconds, rounded to 0.1 ms."""
        values = {f"p{p}": self.percentile(p) for p in (50, 95, 99)}
        return {name: None if v is None else round(v, 4) for name, v in values.items()}
