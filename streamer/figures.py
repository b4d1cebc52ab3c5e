"""agreement.json: what face and voice have to do with each other, how sure that is, and what chance
alone would make. docs/agreement.md says what each key means.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from streamer import __version__
from streamer.concordance import Doubles, event_kappa, kappa, quantiles
from streamer.resampling import SEED, UNIT_MS, Blocks, Shifts, joint, limits, p_value
from streamer.timeline import LAGS_MS, NIL, Event, Ints, Lane, Timeline, link
from streamer.types import EMOTIONS

RESAMPLES = 1000
QUICK = 200
"""Resamples while the session runs."""
EVENT_SHIFTS = 100
EVENTS = 1_000_000
"""Linked anew for all shifts together: a session of very many events has fewer, at least 20."""
QUARTILES = (0.5, 0.25, 0.75)
ZERO_LAG = int(np.flatnonzero(LAGS_MS == 0)[0])
Document = dict[str, object]


@dataclass(frozen=True, slots=True)
class Now:
    """The main figures by now; None where not defined. lag: s by which the voice comes after the
    face. face, voice: share of the time that shows an emotion. kappa_limits: its 95 % interval,
    as of the last time that it was worked out.
    """

    share: float | None
    kappa: float | None
    lag: float | None
    face: float | None
    voice: float | None
    kappa_limits: tuple[float, float] | None = None


def now(timeline: Timeline, kappa_limits: tuple[float, float] | None = None) -> Now:
    """The main figures, from the counts alone."""
    table = timeline.tables[ZERO_LAG]
    face, voice = (
        number(lane.totals.sum() / max(_known(timeline, lane), 1)) if lane.present else None
        for lane in timeline.lanes.values()
    )
    lag = best_lag(_parts(timeline.tables))
    return Now(
        number(share(table)),
        number(table_kappa(table)),
        None if np.isnan(lag) else float(lag) / 1000,
        face,
        voice,
        kappa_limits,
    )


def document(timeline: Timeline, resamples: int = RESAMPLES, chance: bool = True) -> Document:
    """What agreement.json says of the session by now. The same session gives the same document.

    chance: also what shifts of the voice against the face say (the longest part of the work).
    """
    return _Figures(timeline, resamples, chance).document()


def share(tables: NDArray[np.generic]) -> Doubles:
    """The share on the diagonal of (…, 7, 7), 0…1; nan where there is nothing."""
    counts = np.asarray(tables, np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.trace(counts, axis1=-2, axis2=-1) / counts.sum((-2, -1)))


def table_kappa(tables: NDArray[np.generic]) -> Doubles:
    """Kappa of each table (…, 7, 7)."""
    return _parts_kappa(_parts(tables))


def best_lag(parts: NDArray[np.generic]) -> Doubles:
    """The lag, ms, of the largest kappa of (…, lags, 15); of equal ones the shortest; nan where
    none is defined.
    """
    by_lag = np.round(_parts_kappa(parts), 9)  # equal ones may differ in rounding
    order = np.argsort(np.abs(LAGS_MS), kind="stable")
    ranked = np.where(np.isnan(by_lag), -np.inf, by_lag)[..., order]
    found = LAGS_MS[order][np.argmax(ranked, -1)].astype(np.float64)
    return np.where(np.isinf(ranked).all(-1), np.nan, found)


def number(value: float | Doubles, digits: int = 4) -> float | None:
    """Rounded, never −0.0; None for what is not finite."""
    return round(float(value), digits) + 0.0 if math.isfinite(value) else None


def _parts(tables: NDArray[np.generic]) -> NDArray[np.generic]:
    """All that kappa needs of (…, 7, 7): the diagonal's sum, sums of rows, of columns: (…, 15)."""
    diagonal = np.trace(tables, axis1=-2, axis2=-1)[..., None]
    return np.concatenate([diagonal, tables.sum(-1), tables.sum(-2)], -1)


def _parts_kappa(parts: NDArray[np.generic]) -> Doubles:
    return kappa(parts[..., 0], parts[..., 1 : 1 + NIL], parts[..., 1 + NIL :])


def _events_kappa(tables: NDArray[np.generic]) -> Doubles:
    """Kappa by event of (…, 8, 8): the face's events by the voice's, the last class is NIL."""
    linked = tables[..., :NIL, :NIL]
    rows, columns = tables.sum(-1)[..., :NIL], tables.sum(-2)[..., :NIL]
    return event_kappa(np.trace(linked, axis1=-2, axis2=-1), linked.sum((-2, -1)), rows, columns)


def _events_table(events: list[Event]) -> Ints:
    """How many events of each kind: int64 (8, 8)."""
    _, face, voice = np.array(events, np.int64).reshape(-1, 3).T
    size = NIL + 1
    return np.bincount(face * size + voice, minlength=size * size).reshape(size, size)


def _known(timeline: Timeline, lane: Lane) -> int:
    """For how long a modality is known by now, ms."""
    end = timeline.end if math.isinf(lane.final_to) else lane.final_to
    return int(max(end, *lane.ends[-1:], timeline.start)) - timeline.start


def _shown(array: Ints, blocks: Blocks) -> Ints:
    """Milliseconds of each emotion of a modality in each cell: int64 (cells, 7)."""
    shown: Ints = joint(array, array, blocks.edges).sum(2)
    return shown


def _ratio(part: NDArray[np.generic], whole: NDArray[np.generic]) -> Doubles:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(part / np.asarray(whole, np.float64), np.float64)


def _list(values: Doubles, digits: int = 4) -> object:
    """Nested lists of rounded numbers."""
    return [_list(v, digits) for v in values] if np.ndim(values) else number(float(values), digits)


class _Figures:
    """The parts of the document, and what they share."""

    def __init__(self, timeline: Timeline, resamples: int, chance: bool) -> None:
        self.timeline, self.resamples = timeline, resamples
        face, voice = timeline.lanes.values()
        self.face, self.voice = face.array(), voice.array()
        self.start, self.end = timeline.start, timeline.end
        count = self.face.shape[1] + self.voice.shape[1]
        mean = int(face.totals.sum() + voice.totals.sum()) / max(count, 1)
        self.blocks = Blocks.draw(self.start, self.end, mean, resamples)
        self.table = timeline.tables[ZERO_LAG]
        self.together = bool(self.table.any())
        self.chance = chance and face.present and voice.present
        if self.chance:
            self.shifts = Shifts.turn(self.face, self.voice, self.start, self.end)
        affordable = EVENTS // max(len(timeline.events), 1)
        self.event_shifts = min(max(affordable, 20), EVENT_SHIFTS)
        if self.blocks:
            self.cells = joint(self.face, self.voice, self.blocks.edges)
            self.sums = self.blocks.sums(self.cells)

    def document(self) -> Document:
        blocks = self.blocks
        return {
            "streamer": __version__,
            "state": "complete" if self.timeline.complete else "running",
            "emotions": list(EMOTIONS),
            "start_s": self.start / 1000,
            "end_s": self.end / 1000,
            "method": {
                "resamples": self.resamples if blocks else 0,
                "block_s": blocks.block_ms / 1000 if blocks else None,
                "no_intervals": None if blocks else "too short for blocks of several intervals",
                "seed": SEED,
                "shifts": len(self.shifts.share) if self.chance else 0,
                "shift_step_s": UNIT_MS / 1000,
                "event_shifts": self.event_shifts if self.chance else 0,
                "tolerance_s": self.timeline.tolerance / 1000,
            },
            **self._agreement(),
            "kappa_event": self._events(),
            "lag": self._lag(),
            "contingency": self._contingency(),
            "coverage": self._coverage(),
            **{m: self._modality(lane) for m, lane in self.timeline.lanes.items()},
        }

    def _limits(self, formula: Callable[[Blocks], Doubles], digits: int = 4) -> object:
        """The interval of what ``formula`` makes (resamples, …) of; None if it can't be told."""
        if self.blocks is None:
            return None
        low, high = limits(formula(self.blocks))
        if np.ndim(low):
            return {"low": _list(low, digits), "high": _list(high, digits)}
        if not (np.isfinite(low) and np.isfinite(high)):
            return None
        return [number(float(low), digits), number(float(high), digits)]

    def _null(self, values: Doubles) -> object:
        """What chance alone makes: mean, where 95 % of all shifts lie, and the p-value."""
        defined = values[~np.isnan(values)]
        if not len(defined):
            return None
        low, high = limits(defined)
        spread = [number(float(low)), number(float(high))]
        return {
            "mean": number(float(defined.mean())),
            "spread": spread,
            "p": number(p_value(values), 6),
        }

    def _why(self, value: object) -> str | None:
        """Why a figure of both modalities is not defined."""
        if value is not None:
            return None
        for name, lane in self.timeline.lanes.items():
            if not lane.present:
                return f"the source has no {name}"
            if not lane.codes:
                return f"no emotion of the {name}"
        if not self.together:
            return "face and voice never show an emotion at the same time"
        return "both show one and the same emotion all the time: chance alone agrees always"

    def _agreement(self) -> Document:
        table = self.table
        agreed, k = number(share(table)), number(table_kappa(table))
        return {
            "agreement": {
                "share": agreed,
                "interval": self._limits(lambda _: share(self.sums)),
                "chance": self._null(self.shifts.share) if self.chance else None,
                "agree_s": int(np.trace(table)) / 1000,
                "both_s": int(table.sum()) / 1000,
                "reason": self._why(agreed),
            },
            "kappa_time": {
                "kappa": k,
                "interval": self._limits(lambda _: table_kappa(self.sums)),
                "chance": self._null(self.shifts.kappa) if self.chance else None,
                "reason": self._why(k),
            },
        }

    def _events(self) -> Document:
        table = _events_table(self.timeline.events)
        times, face, voice = np.array(self.timeline.events, np.int64).reshape(-1, 3).T
        k = number(_events_kappa(table))

        def resampled(blocks: Blocks) -> Doubles:
            return _events_kappa(blocks.sums(blocks.counts(times, face, voice, shape=table.shape)))

        return {
            "kappa": k,
            "interval": self._limits(resampled),
            "chance": self._null(self._event_shifts()) if self.chance else None,
            "linked": int(table[:NIL, :NIL].sum()),
            "agreeing": int(np.trace(table)),
            "face_only": int(table[:, NIL].sum()),
            "voice_only": int(table[NIL].sum()),
            "kappa_linked": number(table_kappa(table[:NIL, :NIL])),
            "reason": self._why(k),
        }

    def _event_shifts(self) -> Doubles:
        """Kappa by event at equally spaced shifts, the real one first."""
        span = max(self.end - self.start, 1)
        faces = list(zip(self.face[0].tolist(), self.face[2].tolist(), strict=True))
        onsets, codes = self.voice[0] - self.start, self.voice[2]
        tables = [_events_table(self.timeline.events)]
        for k in range(1, self.event_shifts):
            turned = (onsets + k * span // self.event_shifts) % span
            order = np.argsort(turned, kind="stable")
            moved = zip((turned[order] + self.start).tolist(), codes[order].tolist(), strict=True)
            events = link(deque(faces), deque(moved), self.timeline.tolerance)
            tables.append(_events_table(events))
        return _events_kappa(np.stack(tables))

    def _lag(self) -> Document:
        parts = _parts(self.timeline.tables)
        curve, best = _parts_kappa(parts), best_lag(parts)
        known = not np.isnan(best)

        def resampled(blocks: Blocks) -> Doubles:
            lagged = [_parts(joint(self.face, self.voice, blocks.edges, int(g))) for g in LAGS_MS]
            return best_lag(blocks.sums(np.stack(lagged, 1))) / 1000

        return {
            "best_s": number(float(best) / 1000, 3),
            "kappa": number(float(np.nanmax(curve))) if known else None,
            "interval": self._limits(resampled, 3) if known else None,
            "chance": self._null(self.shifts.best()) if self.chance else None,
            "lags_s": (LAGS_MS / 1000).tolist(),
            "kappa_by_lag": _list(curve),
            "share_by_lag": _list(share(self.timeline.tables)),
            "reason": self._why(number(float(best))),
        }

    def _contingency(self) -> Document:
        table, span = self.table, max(self.end - self.start, 1)
        face, voice = (lane.totals for lane in self.timeline.lanes.values())

        def resampled(blocks: Blocks) -> Doubles:
            drawn = blocks.sums(np.diff(blocks.edges)) / span  # of the session's time
            return self.sums / drawn[:, None, None] / 1000

        return {
            "seconds": _list(table / 1000, 3),
            "interval": self._limits(resampled, 3),
            "by_chance": _list(np.multiply.outer(face, voice) / span / 1000, 3),
            "p": _list(self.shifts.as_much, 6) if self.chance else None,
        }

    def _coverage(self) -> Document:
        both, lanes = int(self.table.sum()), self.timeline.lanes
        result: Document = {}
        for (name, lane), array in zip(lanes.items(), (self.face, self.voice), strict=True):
            known, shown = _known(self.timeline, lane), int(lane.totals.sum())
            result[name] = {
                "share": number(shown / known) if known and lane.present else None,
                "interval": self._shares(partial(_shown, array)),
                "seconds": shown / 1000,
                "none_s": (known - shown) / 1000 if lane.present else None,
            }
        span = self.end - self.start
        result["both"] = {
            "share": number(both / span) if span else None,
            "interval": self._shares(lambda _: self.cells.sum(2)),
            "seconds": both / 1000,
        }
        return result

    def _shares(self, seen: Callable[[Blocks], Ints]) -> object:
        return self._limits(lambda b: _ratio(b.sums(seen(b)).sum(1), b.sums(np.diff(b.edges))))

    def _modality(self, lane: Lane) -> Document:
        array, ended = lane.array(), ~np.array(lane.censored, bool)
        return {
            "seconds": _list(lane.totals / 1000, 3),
            "transitions": self._transitions(lane, array),
            "dwell_s": {
                e: self._dwell(array[:2, array[2] == code], ended[array[2] == code])
                for code, e in enumerate(EMOTIONS)
            },
        }

    def _transitions(self, lane: Lane, array: Ints) -> Document:
        times, source, target = np.array(lane.change_times, np.int64).reshape(-1, 3).T

        def per_minute(changes: NDArray[np.generic], shown: Ints | Doubles) -> Doubles:
            return _ratio(changes, shown[..., None] / 60_000)

        def resampled(blocks: Blocks) -> Doubles:
            changes = blocks.counts(times, source, target, shape=(NIL, NIL))
            return per_minute(blocks.sums(changes), blocks.sums(_shown(array, blocks)))

        return {
            "counts": lane.changes.tolist(),
            "share": _list(_ratio(lane.changes, lane.changes.sum(1, keepdims=True))),
            "per_minute": _list(per_minute(lane.changes, lane.totals), 3),
            "interval": self._limits(resampled, 3),
        }

    def _dwell(self, intervals: Ints, ended: NDArray[np.bool_]) -> Document | None:
        starts, ends = intervals
        if not len(starts):
            return None
        seconds = (ends - starts) / 1000
        middle, low, high = quantiles(seconds, ended, np.ones(len(starts)), QUARTILES)

        def resampled(blocks: Blocks) -> Doubles:
            parts = [quantiles(seconds, ended, w, QUARTILES) for w in blocks.repeats(starts)]
            return np.concatenate(parts)

        bounds = limits(resampled(self.blocks)) if self.blocks else None
        return {
            "intervals": len(starts),
            "censored": int((~ended).sum()),
            "median": number(float(middle), 3),
            "iqr": [number(float(low), 3), number(float(high), 3)],
            "median_interval": None if bounds is None else _list(bounds[:, 0], 3),
            "iqr_intervals": None if bounds is None else _list(bounds[:, 1:].T, 3),
        }
