"""How sure a figure is: blocks of time drawn again and again, and one modality turned against the
other.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import PCG64, Generator  # now: later it would hold up a live session
from numpy.typing import NDArray

from streamer.concordance import Doubles, kappa
from streamer.timeline import LAGS_MS, NIL, Ints

UNIT_MS = 250
"""The time units of the shifts; the lags are whole numbers of them."""
CELLS = 8
"""Cells in a block: blocks may begin at each cell."""
MIN_BLOCKS = 5
MAX_CELLS = 4000
"""Keeps memory and time in bounds: blocks of longer sessions are longer than they need be."""
SEED = 1
BATCH = 1 << 20
"""Numbers worked on at a time."""


def joint(first: Ints, second: Ints, edges: Ints, lag: int = 0) -> Ints:
    """Milliseconds in which one shows i at t and the other j at t + ``lag``: int64 (cells, 7, 7).

    first, second: int64 (3, n) as Lane.array gives. edges: int64 (cells + 1,), ms.
    """
    points = np.concatenate([first[:2].ravel(), second[:2].ravel() - lag, edges])
    points = np.sort(np.clip(points, edges[0], edges[-1]))
    at, lengths = points[:-1], np.diff(points)
    i, j = _shown(first, at), _shown(second, at + lag)
    both = (i >= 0) & (j >= 0) & (lengths > 0)
    cells = np.searchsorted(edges, at[both], "right") - 1
    size = (len(edges) - 1) * NIL * NIL
    sums = np.bincount((cells * NIL + i[both]) * NIL + j[both], lengths[both], size)
    return sums.astype(np.int64).reshape(-1, NIL, NIL)


def _shown(lane: Ints, at: Ints) -> Ints:
    """What is shown at each time, ms: a code, or −1 where there is nothing."""
    if not lane.shape[1]:
        return np.full(len(at), -1, np.int64)
    # Of intervals without length that begin together, the last one may be the one that lasts.
    k = np.searchsorted(lane[0], at, "right") - 1
    return np.where((k >= 0) & (at < lane[1][k]), lane[2][k], -1)


@dataclass(frozen=True, slots=True)
class Blocks:
    """A circular block bootstrap of the time axis, for figures that are functions of sums over it.

    edges: int64 (cells + 1,), ms. weights: float64 (resamples, cells), how often each resample has
    each cell. Seeded: the same session gives the same resamples.

    Face and voice go on for a while once they are as they are, so that single moments are not
    independent; blocks long against an interval nearly are. Their length grows with the cube root
    of the session's, counted in mean intervals: mean^⅔ · session^⅓.

    Sources: Künsch, "The jackknife and the bootstrap for general stationary observations", 1989;
    Politis and Romano, "A circular block-resampling procedure for stationary data", 1992.
    """

    edges: Ints
    weights: Doubles
    block_ms: int

    @classmethod
    def draw(cls, start: int, end: int, mean_ms: float, resamples: int) -> "Blocks | None":
        """Blocks of the session from ``start`` to ``end`` ms; None: it is shorter than MIN_BLOCKS
        blocks, too short to tell how sure anything is.
        """
        block = math.ceil(mean_ms ** (2 / 3) * (end - start) ** (1 / 3))
        if block == 0 or end - start < MIN_BLOCKS * block:
            return None
        cell = max(math.ceil(block / CELLS), math.ceil((end - start) / MAX_CELLS))
        edges = np.append(np.arange(start, end, cell), end)
        cells = len(edges) - 1
        shape = (resamples, round(cells / CELLS))
        begins = Generator(PCG64(SEED)).integers(0, cells, shape)
        begins += np.arange(resamples)[:, None] * cells
        counts = np.bincount(begins.ravel(), minlength=resamples * cells).reshape(resamples, cells)
        weights = sum((np.roll(counts, k, 1) for k in range(1, CELLS)), counts)
        return cls(edges, weights.astype(np.float64), cell * CELLS)

    def sums(self, features: NDArray[np.generic]) -> Doubles:
        """From (cells, …) in each cell to (resamples, …) in each resample; exact for integers."""
        flat = features.reshape(len(features), -1).astype(np.float64)
        return (self.weights @ flat).reshape(-1, *features.shape[1:])

    def counts(self, times: Ints, *kinds: Ints, shape: tuple[int, ...]) -> Ints:
        """How many of what happened at ``times`` ms are of which kind: int64 (cells, *shape)."""
        inside = times <= self.edges[-1]
        table = np.zeros((len(self.edges) - 1, *shape), np.int64)
        np.add.at(table, (self._cells(times[inside]), *(k[inside] for k in kinds)), 1)
        return table

    def repeats(self, times: Ints) -> Iterator[Doubles]:
        """How often each resample has what happened at ``times`` ms: (resamples, n), a bounded
        number of resamples at a time.
        """
        cells, inside = self._cells(times), times <= self.edges[-1]
        step = max(BATCH // max(len(times), 1), 1)
        for first in range(0, len(self.weights), step):
            yield self.weights[first : first + step, cells] * inside

    def _cells(self, times: Ints) -> Ints:
        cells = np.searchsorted(self.edges, times, "right") - 1
        return np.minimum(cells, len(self.edges) - 2)


def limits(values: Doubles) -> Doubles:
    """The 95 % percentile interval of (resamples, …): (2, …); nan where fewer than nine in ten
    resamples have a value.
    """
    ordered = np.sort(values, axis=0)  # nan last
    defined = (~np.isnan(values)).sum(0)
    at = np.ceil(np.multiply.outer([0.025, 0.975], defined)).astype(np.int64) - 1
    found = np.take_along_axis(ordered, np.maximum(at, 0), axis=0)
    return np.where(defined >= 0.9 * len(values), found, np.nan)


@dataclass(frozen=True, slots=True)
class Shifts:
    """What face and voice would show together if one had been recorded at another time.

    The voice is turned against the face, around the session as on a ring, by every whole number of
    units; each modality keeps its own durations, transitions and totals, only what they have to do
    with each other is lost. The p-value is the share of turns, the real one among them, that agree
    at least as well. It supposes that a modality goes on in the same way all through the session:
    one that is Happy in the first half and Sad in the second agrees with anything that is so too.
    The seam where the end meets the beginning is a small untruth.

    Source: Harris, "A shift test for independence in generic time series", 2020.

    share, kappa: float64 (shifts,), 0 the real one; nan where not defined. as_much: float64 (7, 7),
    share of shifts in which the face shows i while the voice has j for at least as long; nan where
    one of them never occurs.
    """

    share: Doubles
    kappa: Doubles
    as_much: Doubles

    @classmethod
    def turn(cls, first: Ints, second: Ints, start: int, end: int) -> "Shifts":
        """All shifts of a session of face and voice, int64 (3, n), from ``start`` to ``end`` ms."""
        units = np.arange(start + UNIT_MS // 2, max(end, start + UNIT_MS), UNIT_MS)
        shown, heard = _shown(first, units), _shown(second, units)
        n = len(units)
        agree, rows, columns = np.zeros(n), np.zeros((n, NIL)), np.zeros((n, NIL))
        as_much = np.full((NIL, NIL), np.nan)
        voices = {j: np.fft.rfft(heard == j) for j in range(NIL) if (heard == j).any()}
        for i in range(NIL):
            if not (shown == i).any():
                continue
            face = np.conj(np.fft.rfft(shown == i))
            for j, voice in voices.items():
                together = np.rint(np.fft.irfft(face * voice, n))  # at each shift: whole units
                rows[:, i] += together
                columns[:, j] += together
                agree += together if i == j else 0
                as_much[i, j] = np.mean(together >= together[0])
        with np.errstate(invalid="ignore"):
            share = agree / rows.sum(1)
        return cls(share, kappa(agree, rows, columns), as_much)

    def best(self) -> Doubles:
        """The largest kappa within the lags around each shift: (shifts,); nan: none is defined."""
        reach = int(LAGS_MS[-1]) // UNIT_MS
        padded = np.where(np.isnan(self.kappa), -np.inf, self.kappa)
        best = np.max([np.roll(padded, -k) for k in range(-reach, reach + 1)], axis=0)
        return np.where(np.isinf(best), np.nan, best)


def p_value(values: Doubles) -> float:
    """The share of all shifts with a value as large as that of the first, the real one, or larger;
    nan where that one is not defined.
    """
    defined = values[~np.isnan(values)]
    if not len(defined) or np.isnan(values[0]):
        return math.nan
    return float(np.mean(defined >= values[0] - 1e-12))  # rounding
