"""Online segmenters: pure state machines, predictions in, closed intervals out.

All keep `streamer.types.Segmenter`. A boundary lies at the first prediction of the new emotion;
an interval ends where the next begins, or where its face or voice was lost.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from streamer.config import SegmenterConfig
from streamer.types import (
    EMOTIONS,
    NEUTRAL,
    UNKNOWN,
    ClosedBy,
    Floats,
    Interval,
    Modality,
    Prediction,
    Running,
    Segmenter,
)


@dataclass(slots=True)
class Stretch:
    """Predictions of one interval, from ``start`` s on. ``label`` None: the most probable one.

    ``weight`` is what all predictions count together, ``samples`` how many they are.
    """

    start: float
    label: int | None = None
    total: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(EMOTIONS)))
    details: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    weight: float = 0.0
    samples: int = 0

    def add(self, prediction: Prediction, share: float = 1.0) -> None:
        """Take a prediction that says something; ``share`` of it counts."""
        self.weigh(prediction, share)
        self.samples += 1

    def weigh(self, prediction: Prediction, share: float) -> None:
        """Let ``share`` more (less: negative) of a prediction count, that may not be of it."""
        assert prediction.probs is not None
        self.total = self.total + share * prediction.probs
        if prediction.details is not None:
            self.details = self.details + share * prediction.details
        self.weight += share

    def absorb(self, other: "Stretch") -> None:
        """Take what another stretch took."""
        self.total = self.total + other.total
        self.details = self.details + other.details
        self.weight += other.weight
        self.samples += other.samples

    def close(self, modality: Modality, end: float, closed_by: ClosedBy) -> Interval:
        """The interval that it has become."""
        mean = self.total / self.weight
        label = int(np.argmax(mean)) if self.label is None else self.label
        details = self.details / self.weight
        return Interval(
            modality,
            EMOTIONS[label],
            self.start,
            end,
            float(mean[label]),
            float(1 - mean[NEUTRAL]),
            self.samples,
            closed_by,
            tuple(float(value) for value in details) if len(details) > 1 else (),
        )


@dataclass(slots=True)
class Gap:
    """A time without face or voice, from ``since`` s on; None: there is none."""

    longest_s: float
    since: float | None = None

    def is_too_long(self, t: float, lost: bool) -> bool:
        """Note whether it is ``lost`` at ``t`` s; whether it was for too long to be bridged."""
        if lost and self.since is None:
            self.since = t
        return self.since is not None and t - self.since >= self.longest_s


def _running(stretch: Stretch | None) -> Running | None:
    if stretch is None or stretch.label is None:
        return None
    return Running(EMOTIONS[stretch.label], stretch.start)


class ArgmaxSegmenter:
    """The original's rule: a change of the most probable emotion closes the interval at once."""

    def __init__(self, modality: Modality) -> None:
        self._modality = modality
        self._open: Stretch | None = None
        self.settled = -math.inf

    @property
    def running(self) -> Running | None:
        """The open interval."""
        return _running(self._open)

    def push(self, prediction: Prediction) -> list[Interval]:
        """Take the next prediction; return what it closes."""
        self.settled = prediction.time
        if prediction.probs is None:
            return self.finish(prediction.time, "gap")
        label = int(np.argmax(prediction.probs))
        closed = []
        if self._open is None or self._open.label != label:
            closed = self.finish(prediction.time, "change")
            self._open = Stretch(prediction.time, label)
        self._open.add(prediction)
        return closed

    def finish(self, end: float, closed_by: ClosedBy) -> list[Interval]:
        """Close what is open at ``end``."""
        stretch, self._open = self._open, None
        return [stretch.close(self._modality, end, closed_by)] if stretch else []


class HysteresisSegmenter:
    """Smoothed probabilities, a margin and a least duration.

    Another emotion takes over when its probability, smoothed exponentially with the time constant
    ``smoothing_s``, has led the current one's by ``margin`` for ``min_duration_s``; the boundary is
    where its lead began. A loss of the face or voice ends the interval only after ``max_gap_s``,
    and then where it began.
    """

    def __init__(self, modality: Modality, config: SegmenterConfig) -> None:
        self._modality, self._config = modality, config
        self._open: Stretch | None = None
        self._rival: Stretch | None = None
        self._smooth: Floats | None = None
        self._last = self._now = -math.inf
        self._gap = Gap(config.max_gap_s)

    @property
    def settled(self) -> float:
        """No interval that is not open yet begins before this time, s, and the open one does not
        end before it.
        """
        if self._rival:
            return self._rival.start
        return self._now if self._gap.since is None else self._gap.since

    @property
    def running(self) -> Running | None:
        """The open interval."""
        return _running(self._open)

    def push(self, prediction: Prediction) -> list[Interval]:
        """Take the next prediction; return what it closes."""
        self._now = t = prediction.time
        probs = prediction.probs
        closed = self.finish(t, "gap") if self._gap.is_too_long(t, probs is None) else []
        if probs is None:
            return closed
        self._gap.since = None
        label = self._follow(t, probs)
        if self._open is None:
            self._open = Stretch(t, label)
        if label == self._open.label:
            self._settle()
        elif self._rival is None or self._rival.label != label:
            self._settle()
            self._rival = Stretch(t, label)
        (self._rival or self._open).add(prediction)
        if self._rival and t - self._rival.start >= self._config.min_duration_s - 1e-9:
            closed += [self._open.close(self._modality, self._rival.start, "change")]
            self._open, self._rival = self._rival, None
        return closed

    def finish(self, end: float, closed_by: ClosedBy) -> list[Interval]:
        """Close what is open: where the face or voice was lost, else at ``end``."""
        if self._gap.since is not None:
            end, closed_by = self._gap.since, "gap"
        self._settle()
        stretch, self._open, self._smooth, self._gap.since = self._open, None, None, None
        return [stretch.close(self._modality, end, closed_by)] if stretch else []

    def _follow(self, t: float, probs: Floats) -> int:
        """Smooth, and name the emotion that leads: the open one unless beaten by the margin."""
        if self._smooth is None or self._config.smoothing_s == 0:
            self._smooth = probs
        else:
            weight = 1 - math.exp(-(t - self._last) / self._config.smoothing_s)
            self._smooth = self._smooth + weight * (probs - self._smooth)
        self._last = t
        best = int(np.argmax(self._smooth))
        now = self._open.label if self._open else None
        if now is not None and self._smooth[best] - self._smooth[now] < self._config.margin:
            return now
        return best

    def _settle(self) -> None:
        """A rival that did not last belongs to the open interval."""
        if self._open and self._rival:
            self._open.absorb(self._rival)
        self._rival = None


class Mapped:
    """Another segmenter, each of whose intervals is given as ``change`` makes it."""

    def __init__(self, segmenter: Segmenter, change: Callable[[Interval], Interval]) -> None:
        self._segmenter, self._change = segmenter, change

    @property
    def settled(self) -> float:
        """As the other segmenter's."""
        return self._segmenter.settled

    @property
    def running(self) -> Running | None:
        """The open interval."""
        return self._segmenter.running

    def push(self, prediction: Prediction) -> list[Interval]:
        """Take the next prediction; return what it closes."""
        return [self._change(row) for row in self._segmenter.push(prediction)]

    def finish(self, end: float, closed_by: ClosedBy) -> list[Interval]:
        """Close what is open at ``end``."""
        return [self._change(row) for row in self._segmenter.finish(end, closed_by)]


class ConfidentSegmenter(Mapped):
    """Another segmenter, whose intervals are named Unknown where their score is below
    ``min_confidence``, 0…1. The open interval keeps its emotion: it may yet become probable.
    """

    def __init__(self, segmenter: Segmenter, min_confidence: float) -> None:
        def named(row: Interval) -> Interval:
            return replace(row, label=UNKNOWN) if row.score < min_confidence else row

        super().__init__(segmenter, named)
