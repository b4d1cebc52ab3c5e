"""Figures of intervals against known ones: pure functions of labels on a 10 ms grid.

Everything that is counted adds up over sessions, so memory holds one session at a time.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Self

import numpy as np
from numpy.typing import NDArray

from streamer.types import EMOTIONS

STEP_S = 0.01
TOLERANCE_S = 0.5
"""A boundary is found if one is said so near, s."""
NONE = len(EMOTIONS)
"""The label where there is no emotion: no face, nobody speaks."""
BINS = 10
"""Of probability, equally wide."""

Labels = NDArray[np.int8]
Counts = NDArray[np.int64]
Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Span:
    """``label`` (0…6 in the order of EMOTIONS, or NONE) from ``start`` to ``end`` s, said with
    ``probability`` 0…1, NaN where that is not known.
    """

    start: float
    end: float
    label: int
    probability: float = np.nan

    @property
    def steps(self) -> slice:
        """Where it lies on the grid."""
        return slice(max(_steps(self.start), 0), max(_steps(self.end), 0))


def _steps(seconds: float) -> int:
    return round(seconds / STEP_S)


def grid(spans: Iterable[Span], length: int) -> Labels:
    """Labels int8 (length,) in steps of 10 ms; a later emotion wins, what is beyond is cut."""
    labels = np.full(length, NONE, np.int8)
    for span in spans:
        if span.label != NONE:
            labels[span.steps] = span.label
    return labels


def changes(labels: Labels) -> Numbers:
    """Times, s, at which the emotion becomes another one, (n,).

    A change over a gap lies in the gap's middle; the same emotion after a gap is no change.
    """
    known = np.flatnonzero(labels != NONE)
    at = np.flatnonzero(np.diff(labels[known]) != 0)
    return np.asarray((known[at] + known[at + 1] + 1) / 2 * STEP_S, np.float64)


def matched(found: Numbers, true: Numbers) -> int:
    """How many changes were found: pairs at most TOLERANCE_S apart, nearest first, one to one."""
    near = [
        (distance, i, j)
        for j, t in enumerate(true)
        for i in range(*np.searchsorted(found, (t - 2 * TOLERANCE_S, t + 2 * TOLERANCE_S)))
        if (distance := abs(found[i] - t)) <= TOLERANCE_S
    ]
    taken_found, taken_true = set(), set()
    for _, i, j in sorted(near):
        if i not in taken_found and j not in taken_true:
            taken_found.add(i)
            taken_true.add(j)
    return len(taken_found)


def f1(hits: float, found: float, true: float) -> float:
    """The harmonic mean of precision and recall; 1 where there was nothing to find nor found."""
    return float(2 * hits / (found + true)) if found + true else 1.0


def share(part: float, whole: float) -> float:
    """``part`` / ``whole``; NaN where there is nothing."""
    return float(part / whole) if whole else float("nan")


@dataclass(frozen=True, slots=True)
class Hits:
    """Things found and true: their numbers, or the time that they last."""

    hits: int = 0
    found: int = 0
    true: int = 0

    def __add__(self, other: "Hits") -> "Hits":
        return Hits(self.hits + other.hits, self.found + other.found, self.true + other.true)

    @property
    def precision(self) -> float:
        """Share of the found that is true; NaN where nothing was found."""
        return share(self.hits, self.found)

    @property
    def recall(self) -> float:
        """Share of the true that was found; NaN where nothing is true."""
        return share(self.hits, self.true)

    @property
    def f1(self) -> float:
        """Both in one."""
        return f1(self.hits, self.found, self.true)


def mismatch(face: Labels, voice: Labels, said: Iterable[Span]) -> Hits:
    """Time, in steps, in which ``said`` calls face and voice different, and in which they are.

    Where only one of them has an emotion, they are different.
    """
    differ = face != voice
    called = grid(said, len(face)) != NONE
    return Hits(int((differ & called).sum()), int(called.sum()), int(differ.sum()))


def together(face: Labels, voice: Labels, said: Iterable[Span]) -> Hits:
    """Time, in steps, in which face and voice show the same: the hits of ``said`` in it, how much
    of it ``said`` speaks of, and all of it.
    """
    same = (face == voice) & (face != NONE)
    named = grid(said, len(face))
    right = int((same & (named == face)).sum())
    return Hits(right, int((same & (named != NONE)).sum()), int(same.sum()))


@dataclass(frozen=True, slots=True)
class Tally:
    """What one modality came to; tallies of sessions add up to that of all of them.

    confusion: int64 (8, 8), steps in which row is true and column was said, NONE being the last.
    boundaries: of the changes of emotion.
    reliability: float64 (3, BINS): steps, their summed probability, and those of them that were
    right, by the probability with which the label was said.
    steps: how long the sessions are.
    """

    confusion: Counts = field(default_factory=lambda: np.zeros((NONE + 1, NONE + 1), np.int64))
    boundaries: Hits = Hits()
    reliability: Numbers = field(default_factory=lambda: np.zeros((3, BINS)))
    steps: int = 0

    @classmethod
    def of(cls, truth: Labels, said: list[Span]) -> Self:
        """One session: labels (n,) and the spans that were said."""
        length = len(truth)
        found = grid(said, length)
        confusion = np.zeros((NONE + 1, NONE + 1), np.int64)
        np.add.at(confusion, (truth, found), 1)
        at, true_at = changes(found), changes(truth)
        boundaries = Hits(matched(at, true_at), len(at), len(true_at))
        return cls(confusion, boundaries, _reliability(truth, found, said), length)

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.confusion + other.confusion,
            self.boundaries + other.boundaries,
            self.reliability + other.reliability,
            self.steps + other.steps,
        )

    @property
    def labelled(self) -> int:
        """Steps whose emotion is known."""
        return int(self.confusion[:NONE].sum())

    @property
    def time_acc(self) -> float:
        """Share of the labelled time whose emotion is right."""
        return share(np.trace(self.confusion[:NONE, :NONE]), self.labelled)

    @property
    def eder(self) -> float:
        """(Missed + falsely alarmed + confused time) / labelled time: 0 at best, may exceed 1."""
        confused = self.confusion[:NONE, :NONE].sum() - np.trace(self.confusion[:NONE, :NONE])
        missed, false_alarm = self.confusion[:NONE, NONE].sum(), self.confusion[NONE, :NONE].sum()
        return share(confused + missed + false_alarm, self.labelled)

    @property
    def coverage(self) -> float:
        """Share of the labelled time in which any emotion was said."""
        return share(self.confusion[:NONE, :NONE].sum(), self.labelled)

    @property
    def emotions(self) -> dict[str, Hits]:
        """Steps of each emotion that is true or was said, within the labelled time."""
        within = self.confusion[:NONE]
        each = {
            name: Hits(int(within[k, k]), int(within[:, k].sum()), int(within[k].sum()))
            for k, name in enumerate(EMOTIONS)
        }
        return {name: hits for name, hits in each.items() if hits.found or hits.true}

    @property
    def macro_f1(self) -> float:
        """The mean of F1, by time, of the emotions that are true at some time."""
        return _mean(hits.f1 for hits in self.emotions.values() if hits.true)

    @property
    def uar(self) -> float:
        """Unweighted average recall, by time, of the emotions that are true at some time."""
        return _mean(hits.recall for hits in self.emotions.values() if hits.true)

    @property
    def switches_per_min(self) -> tuple[float, float]:
        """Changes of emotion a minute, found and true."""
        minutes = self.steps * STEP_S / 60
        return share(self.boundaries.found, minutes), share(self.boundaries.true, minutes)

    @property
    def ece(self) -> float:
        """Expected calibration error: |share that is right − probability|, meaned over the time
        that has both; NaN where no probability is known.
        """
        steps, probability, right = self.reliability
        return share(np.abs(right - probability).sum(), steps.sum())


def total(tallies: Iterable[Tally]) -> Tally:
    """All of them together."""
    return reduce(add, tallies, Tally())


def _reliability(truth: Labels, found: Labels, said: list[Span]) -> Numbers:
    probability = np.full(len(truth), np.nan)
    for span in said:
        if span.label != NONE:
            probability[span.steps] = span.probability
    judged = (truth != NONE) & (found != NONE) & ~np.isnan(probability)
    p, right = probability[judged], (truth == found)[judged]
    at = np.minimum((p * BINS).astype(int), BINS - 1)
    weights = (None, p, right.astype(float))
    return np.array([np.bincount(at, w, minlength=BINS) for w in weights], np.float64)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return float(np.mean(found)) if found else float("nan")
