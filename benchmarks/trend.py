"""Whether a figure grows with time, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Trend:
    """A least-squares line: units a unit of time, with the 95 % interval of its slope."""

    slope: float
    low: float
    high: float

    @classmethod
    def of(cls, times: Sequence[float], values: Sequence[float]) -> "Trend":
        """The line through at least 8 values.

        What a process holds wanders: neighbours are alike, and a plain regression is far too sure
        of itself. So its standard error is that of Newey and West (Econometrica 55, 1987), which
        takes residuals up to a fifth of the series apart for dependent, and its 95 % are that
        estimate's own (Kiefer and Vogelsang, Econometric Theory 21, 2005), not 1.96.
        """
        x, y = np.asarray(times, float), np.asarray(values, float)
        if len(x) < 8:
            raise ValueError(f"{len(x)} values are too few for a trend")
        x = x - x.mean()
        slope = float(x @ y / (x @ x))
        score = x * (y - y.mean() - slope * x)
        lags = len(x) // 5
        spread = score @ score + 2 * sum(
            (1 - k / (lags + 1)) * (score[k:] @ score[:-k]) for k in range(1, lags + 1)
        )
        share = lags / len(x)
        critical = 1.96 + 2.9694 * share + 0.416 * share**2 - 0.5324 * share**3
        error = critical * float(np.sqrt(max(spread, 0) * len(x) / (len(x) - 2)) / (x @ x))
        return cls(slope, slope - error, slope + error)

    def __str__(self) -> str:
        return f"{self.slope:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"
