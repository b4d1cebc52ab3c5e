"""A sticky hidden Markov model as a segmenter, for comparison with the change-point test."""

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.segmenter import Stretch
from streamer.types import EMOTIONS, ClosedBy, Floats, Interval, Modality, Prediction, Running

Reals = NDArray[np.float64]
NONE = len(EMOTIONS)
MAX_STEP_S = 0.5


@dataclass(frozen=True, slots=True)
class Chain:
    """The model's parameters.

    dwell_s: mean length of an interval; its distribution is Erlang's, of ``phases`` steps each.
    look_s: predictions this far apart count as independent, nearer ones by their share of it.
    prior: (7,) of the predictions' own bias, which emissions are divided by; None: even.
    """

    dwell_s: float = 6.0
    phases: int = 3
    look_s: float = 0.2
    prior: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Step:
    prediction: Prediction
    filtered: Reals
    moves: Reals
    emission: Reals


class HmmSegmenter:
    """Fixed-lag smoothing over the seven emotions, each in ``phases`` steps, and 'none'.

    What a prediction shows is the state that is most probable given everything up to ``lag_s``
    later; it is decided once. A boundary is where that changes.

    Sources: Rabiner, "A tutorial on hidden Markov models", 1989 (forward and backward, expanded
    states for durations); Moore, "Discrete-time fixed-lag smoothing algorithms", 1973.
    """

    def __init__(self, modality: Modality, lag_s: float, chain: Chain) -> None:
        self._modality, self._lag, self._chain = modality, lag_s, chain
        self._emotion = np.append(np.repeat(np.arange(NONE), chain.phases), NONE)
        self._entry = np.arange(NONE) * chain.phases
        self._young: deque[_Step] = deque()
        self._filtered = np.zeros(len(self._emotion))
        self._filtered[[*self._entry, -1]] = 1 / (NONE + 1)
        self._open: Stretch | None = None
        self._now = -math.inf

    @property
    def settled(self) -> float:
        """No interval that is not open yet begins before this time, s."""
        return self._young[0].prediction.time if self._young else self._now

    @property
    def running(self) -> Running | None:
        """The open interval."""
        opened = self._open
        return None if opened is None else Running(EMOTIONS[opened.label or 0], opened.start)

    def push(self, prediction: Prediction) -> list[Interval]:
        """Take the next prediction; return what it closes."""
        step = prediction.time - self._now
        step = min(step, MAX_STEP_S) if math.isfinite(step) else self._chain.look_s
        self._now = prediction.time
        moves, emission = self._moves(step), self._emission(prediction.probs, step)
        self._filtered = (self._filtered @ moves) * emission
        self._filtered /= self._filtered.sum()
        self._young.append(_Step(prediction, self._filtered, moves, emission))
        return self._settle(self._now - self._lag + 1e-6)

    def finish(self, end: float, closed_by: ClosedBy) -> list[Interval]:
        """Close what is open at ``end``."""
        return self._settle(math.inf) + self._close(end, closed_by)

    def _settle(self, until: float) -> list[Interval]:
        if not self._young or self._young[0].prediction.time > until:
            return []
        smoothed, later = list[int](), np.ones(len(self._emotion))
        for step in reversed(self._young):
            shares = np.bincount(self._emotion, step.filtered * later, NONE + 1)
            smoothed.append(int(shares.argmax()))
            later = step.moves @ (step.emission * later)
            later /= later.sum()
        closed = []
        while self._young and self._young[0].prediction.time <= until:
            closed += self._take(self._young.popleft().prediction, smoothed.pop())
        return closed

    def _take(self, prediction: Prediction, label: int) -> list[Interval]:
        closed = []
        if label != (self._open.label if self._open else NONE):
            closed = self._close(prediction.time, "gap" if label == NONE else "change")
            self._open = Stretch(prediction.time, label) if label != NONE else None
        if self._open and prediction.probs is not None:
            self._open.add(prediction)
        return closed

    def _close(self, end: float, closed_by: ClosedBy) -> list[Interval]:
        opened, self._open = self._open, None
        return [opened.close(self._modality, end, closed_by)] if opened and opened.weight else []

    def _moves(self, step: float) -> Reals:
        """Probabilities of going from state to state within ``step`` s."""
        phases = self._chain.phases
        leave = 1 - math.exp(-step * phases / self._chain.dwell_s)
        lost, found = step / 60, 1 - math.exp(-step)  # 'none' comes once a minute and lasts 1 s
        moves = np.diag(np.full(len(self._emotion), 1 - leave))
        for emotion, entry in enumerate(self._entry):
            for state in range(entry, entry + phases - 1):
                moves[state, state + 1] = leave
            moves[entry + phases - 1, np.delete(self._entry, emotion)] = leave / (NONE - 1)
        moves[:-1] *= 1 - lost
        moves[:-1, -1] = lost
        moves[-1, self._entry], moves[-1, -1] = found / NONE, 1 - found
        return np.asarray(moves)

    def _emission(self, probs: Floats | None, step: float) -> Reals:
        """How well each state explains a prediction that stands for ``step`` s."""
        if probs is None:
            logs = np.append(np.full(NONE, -3.0), 0.0)
        else:
            likely = np.log(np.maximum(probs, 1e-3), dtype=np.float64)
            likely -= np.log(self._chain.prior) if self._chain.prior else 0.0
            logs = np.append(likely - likely.max(), -3.0)
        return np.asarray(np.exp(logs * step / self._chain.look_s)[self._emotion])
