"""Online segmentation by a change-point test with a fixed, bounded look-ahead.

A sticky hidden Markov chain with a fixed lag must name the new emotion from the look-ahead alone,
and so confuses neighbours. Here the two questions are asked apart. *Where* does the face or voice
change? From the whole vector of probabilities, within ``lag_s`` after the moment. *What* does an
interval show? From everything between its two boundaries, when it closes.
"""

import math
from collections import deque
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streamer.config import SegmenterConfig
from streamer.segmenter import Gap, Stretch
from streamer.types import EMOTIONS, ClosedBy, Floats, Interval, Modality, Prediction, Running

CONTEXT_S = 6.0
"""How much of the open interval a candidate is compared with, s."""
MIN_AFTER_S = 0.3
"""A rival boundary needs at least so much after it, s."""
MAX_WEIGHT_S = 0.5
"""No prediction stands for more time than this, s."""
STEADY = 0.01
"""Added to the scatter of √p: however steady a face is, its model is not that sure."""
LEAST_SHARE = 1e-6
"""Of its own predictions an interval keeps so much: it may end at the last one's time."""
LOOK_S = 1.0
"""Predictions of single moments repeat each other for about so long, s."""


@dataclass(frozen=True, slots=True)
class _Sample:
    t: float
    weight: float
    root: NDArray[np.float64]
    prediction: Prediction

    @property
    def probs(self) -> Floats:
        assert self.prediction.probs is not None
        return self.prediction.probs

    @property
    def window(self) -> float:
        """How much it looked at, s."""
        return self.prediction.end - self.prediction.start

    def share(self, start: float, end: float = math.inf) -> float:
        """How much of its window lies in [start, end) s, 0…1; 0 for a single moment."""
        if not self.window:
            return 0.0
        seen = min(self.prediction.end, end) - max(self.prediction.start, start)
        return max(seen / self.window, 0.0)

    def own(self, start: float) -> float:
        """How much it counts for the interval from ``start`` s on that it belongs to."""
        return max(self.share(start), LEAST_SHARE) if self.window else 1.0


class ChangePointSegmenter:
    """A boundary is where the probabilities before and after differ most, and differ enough.

    For a candidate c, the predictions of the open interval before it (at most CONTEXT_S) and those
    after it are compared by the generalised likelihood ratio of a shift in mean of √p,
    n₁n₂/(n₁+n₂) · ‖mean₂ − mean₁‖², with n in seconds; Euclidean distance of √p is, but for a
    factor, the Hellinger distance of the probabilities. The evidence is this ratio over the scatter
    that is left within the two sides (plus STEADY), so that a model or a face of vague
    probabilities is judged by the same measure as a marked one. When c is ``lag_s`` old it becomes
    a boundary if its evidence exceeds ``evidence_s``, no later candidate has a larger ratio, the
    interval before it is at least ``min_interval_s`` long, and the most probable emotion of the two
    sides differs, as they would be closed. Overlapping windows repeat each other: windows of w
    seconds need 1 + w / LOOK_S times the evidence. What comes less than ``lag_s`` before an end is
    not told apart from what is before it.

    An interval's probabilities are the mean of its predictions, each counted by the share of its
    window that lies inside, those of neighbouring cells too where their windows reach into it.
    A loss of the face or voice for ``max_gap_s`` ends the interval where it began.

    Sources: Basseville and Nikiforov, "Detection of Abrupt Changes", 1993, ch. 2.4 (the ratio);
    Rao, "A review of canonical coordinates and an alternative to correspondence analysis using
    Hellinger distance", 1995 (√p).
    """

    def __init__(self, modality: Modality, config: SegmenterConfig) -> None:
        self._modality, self._config = modality, config
        self._open: Stretch | None = None
        self._past: deque[_Sample] = deque()  # settled predictions of the open interval
        self._young: deque[_Sample] = deque()  # those younger than the look-ahead
        self._now = -math.inf
        self._gap = Gap(config.max_gap_s)

    @property
    def settled(self) -> float:
        """No interval that is not open yet begins before this time, s, and the open one does not
        end before it.
        """
        if self._young:
            return self._young[0].t
        return self._now if self._gap.since is None else self._gap.since

    @property
    def running(self) -> Running | None:
        """The open interval, with the emotion that it shows by now."""
        if self._open is None:
            return None
        total = self._open.total + self._ahead()
        return Running(EMOTIONS[int(np.argmax(total))], self._open.start)

    def push(self, prediction: Prediction) -> list[Interval]:
        """Take the next prediction; return what it closes."""
        t, probs, last = prediction.time, prediction.probs, self._now
        self._now = t
        closed = self.finish(t, "gap") if self._gap.is_too_long(t, probs is None) else []
        if probs is None:
            return closed
        self._gap.since = None
        if self._open is None:
            self._open = Stretch(t)
            last = t - MIN_AFTER_S
        weight = max(min(t - last, MAX_WEIGHT_S), 1e-3)
        self._young.append(_Sample(t, weight, np.sqrt(probs, dtype=np.float64), prediction))
        return closed + self._settle(t)

    def finish(self, end: float, closed_by: ClosedBy) -> list[Interval]:
        """Close what is open: where the face or voice was lost, else at ``end``."""
        if self._gap.since is not None:
            end, closed_by = self._gap.since, "gap"
        while self._young:
            self._take(self._young.popleft())
        closed = []
        if self._open:
            closed.append(self._ended(end).close(self._modality, end, closed_by))
        self._open, self._gap.since = None, None
        self._past.clear()
        return closed

    def _settle(self, now: float) -> list[Interval]:
        """Decide about every prediction that is ``lag_s`` old at ``now`` s."""
        closed = []
        while self._young and self._young[0].t <= now - self._config.lag_s + 1e-6:
            if self._is_boundary():
                closed.append(self._split(self._young[0].t))
            self._take(self._young.popleft())
        return closed

    def _take(self, sample: _Sample) -> None:
        """A prediction is the open interval's."""
        assert self._open is not None
        self._open.add(sample.prediction, sample.own(self._open.start))
        self._past.append(sample)
        while self._past[0].t < sample.t - CONTEXT_S:
            self._past.popleft()

    def _split(self, at: float) -> Interval:
        """End the open interval ``at`` s and begin the next there."""
        after = Stretch(at)
        for sample in self._past:
            if (beyond := sample.share(at)) > 0:
                after.weigh(sample.prediction, beyond)
        closed = self._ended(at).close(self._modality, at, "change")
        self._open = after
        self._past.clear()
        return closed

    def _ended(self, at: float) -> Stretch:
        """The open interval as it is if it ends ``at`` s: windows that reach over its end, from
        either side, count by their shares.
        """
        assert self._open is not None
        stretch = replace(self._open)
        for sample in self._young:
            if (reach := sample.share(stretch.start, at)) > 0:
                stretch.weigh(sample.prediction, reach)
        for sample in self._past:
            if (beyond := sample.share(at)) > 0:
                most = sample.own(stretch.start) - LEAST_SHARE
                stretch.weigh(sample.prediction, -min(beyond, most))
        return stretch

    def _ahead(self) -> NDArray[np.float64]:
        """The sum of the probabilities in the look-ahead, (7,)."""
        if not self._young:
            return np.zeros(len(EMOTIONS))
        return np.asarray(np.sum([s.probs for s in self._young], axis=0), np.float64)

    def _is_boundary(self) -> bool:
        assert self._open is not None
        first, newest = self._young[0].t, self._young[-1].t
        if not self._past or first - self._open.start < self._config.min_interval_s - 1e-6:
            return False
        if np.argmax(self._ahead()) == np.argmax(self._open.total):
            return False  # as mostly: spares the rest
        samples = [*self._past, *self._young]
        weights = np.array([s.weight for s in samples])
        seconds = np.concatenate([[0.0], np.cumsum(weights)])
        roots = np.array([s.root for s in samples]) * weights[:, None]
        sums = np.concatenate([np.zeros((1, len(EMOTIONS))), np.cumsum(roots, axis=0)])
        begin = len(self._past)
        rivals = sum(s.t <= newest - MIN_AFTER_S + 1e-6 for s in self._young)
        at = np.arange(begin, begin + max(rivals, 1))
        before, after = seconds[at], seconds[-1] - seconds[at]
        shift = (sums[-1] - sums[at]) / after[:, None] - sums[at] / before[:, None]
        ratio = before * after / (before + after) * (shift**2).sum(axis=1)
        # As ‖√p‖ = 1, the scatter about a mean is 1 − ‖mean‖².
        mean = sums[-1] / seconds[-1]
        scatter = max(1 - float(mean @ mean) - ratio[0] / seconds[-1], 0.0) + STEADY
        needed = self._config.evidence_s * (1 + self._young[0].window / LOOK_S)
        if not (ratio[0] > needed * scatter and ratio[0] >= ratio.max()):
            return False
        return bool(np.argmax(self._ahead()) != np.argmax(self._ended(first).total))
