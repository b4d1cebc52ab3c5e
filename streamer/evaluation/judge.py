"""Sessions against their truths: every figure, as numbers and as JSON."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from streamer.evaluation.metrics import (
    BINS,
    NONE,
    STEP_S,
    Hits,
    Span,
    Tally,
    grid,
    mismatch,
    together,
    total,
)
from streamer.evaluation.sessions import (
    FUSED,
    LANES,
    MISMATCH,
    Lane,
    Truth,
    read_intervals,
    read_mismatches,
)
from streamer.types import EMOTIONS

TOGETHER = {"face": "face", "voice": "voice_alone", "both": "fused"}
"""What is compared where face and voice are alike."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One session. ``said`` and ``tallies`` by the lanes' keys; ``missing``: it has no tables.

    mismatch: None where truth or tables say nothing of it.
    """

    truth: Truth
    said: dict[str, list[Span]]
    tallies: dict[str, Tally]
    mismatch: Hits | None
    together: dict[str, Hits]
    """Where truth has face and voice alike: face, voice and both (fused)."""
    compared: frozenset[str]
    """Those of them for which it has a table."""
    missing: bool


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All sessions. ``lanes`` are those that both truths and tables speak of."""

    sessions: list[Judged]
    lanes: list[Lane]
    tallies: dict[str, Tally]
    mismatch: Hits | None
    together: dict[str, Hits]

    @classmethod
    def of(cls, sessions: list[Judged]) -> "Evaluation":
        """Add up what each session came to."""
        tallies = {
            lane.key: total(s.tallies[lane.key] for s in sessions if lane.key in s.tallies)
            for lane in LANES
            if any(lane.key in s.said for s in sessions)
        }
        lanes = [lane for lane in LANES if lane.key in tallies and tallies[lane.key].labelled]
        mismatches = [s.mismatch for s in sessions if s.mismatch]
        both = {
            name: sum((s.together[name] for s in sessions if s.together), Hits())
            for name in TOGETHER
            if any(name in s.compared for s in sessions if s.together)
        }
        called = sum(mismatches, Hits()) if mismatches else None
        return cls(sessions, lanes, tallies, called, both)

    @property
    def minutes(self) -> float:
        """How long the sessions are together."""
        return sum(s.truth.length for s in self.sessions) * STEP_S / 60

    @property
    def missing(self) -> list[str]:
        """Names of the sessions without tables: they count as having said nothing."""
        return [s.truth.name for s in self.sessions if s.missing]

    def as_json(self) -> dict[str, object]:
        """All figures; null where there is nothing to judge. Times in s."""
        said = {lane.key: lane_json(self.tallies[lane.key]) for lane in self.lanes}
        result: dict[str, object] = {
            "sessions": len(self.sessions),
            "minutes": round(self.minutes, 4),
            "missing": self.missing,
            **said,
        }
        if (hits := self.mismatch) is not None:
            result["mismatch_f1"] = hits.f1
            result["mismatch"] = hits_json(hits)
        if self.together:
            accuracy = {name: _number(hits.recall) for name, hits in self.together.items()}
            seconds = max(hits.true for hits in self.together.values()) * STEP_S
            result["together"] = {"matching_s": round(seconds, 2), "time_acc": accuracy}
        result["by_session"] = {s.truth.name: self._session_json(s) for s in self.sessions}
        return result

    def _session_json(self, session: Judged) -> dict[str, object]:
        return {
            lane.key: main_json(session.tallies[lane.key])
            for lane in self.lanes
            if lane.key in session.tallies
        }


def judge(truth: Truth, folder: Path) -> Judged:
    """The tables in ``folder`` against the truth. Raises StreamerError for unreadable ones."""
    read = {lane.key: read_intervals(folder / f"{lane.table}.csv") for lane in LANES}
    said = {key: spans for key, spans in read.items() if spans is not None}
    known = {column: grid(spans, truth.length) for column, spans in truth.spans.items()}
    tallies = {
        lane.key: Tally.of(known[lane.truth], said.get(lane.key, []))
        for lane in LANES
        if lane.truth in known
    }
    face, voice = known.get("face_emotion"), known.get("voice_emotion")
    called = read_mismatches(folder / f"{MISMATCH}.csv")
    differing = None
    if face is not None and voice is not None and called is not None:
        differing = mismatch(face, voice, called)
    fused = read_intervals(folder / f"{FUSED}.csv")
    spans = said if fused is None else {**said, "fused": fused}
    compared = frozenset(name for name, key in TOGETHER.items() if key in spans)
    alike: dict[str, Hits] = {}
    if face is not None and voice is not None:
        alike = {n: together(face, voice, spans.get(k, [])) for n, k in TOGETHER.items()}
    return Judged(truth, said, tallies, differing, alike, compared, not said)


def number(value: float) -> str:
    """For people: three digits; a dash where there is nothing to say."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def main_json(tally: Tally) -> dict[str, object]:
    """The figures that are one number, and the switches a minute found and true."""
    found, true = tally.switches_per_min
    figures = {
        "time_acc": tally.time_acc,
        "macro_f1": tally.macro_f1,
        "uar": tally.uar,
        "eder": tally.eder,
        "boundary_f1": tally.boundaries.f1,
        "boundary_precision": tally.boundaries.precision,
        "boundary_recall": tally.boundaries.recall,
        "coverage": tally.coverage,
        "ece": tally.ece,
    }
    return {k: _number(v) for k, v in figures.items()} | {
        "switches_per_min": [round(found, 2), round(true, 2)]
    }


def lane_json(tally: Tally) -> dict[str, object]:
    """Everything that is known of one lane."""
    steps, probability, right = tally.reliability
    return {
        **main_json(tally),
        "emotions": {name: hits_json(hits) for name, hits in tally.emotions.items()},
        "confusion_s": {
            "labels": [*EMOTIONS, "none"],
            "true_by_said": [_seconds(row) for row in tally.confusion],
        },
        "reliability": [
            {
                "from": k / BINS,
                "to": (k + 1) / BINS,
                "seconds": round(steps[k] * STEP_S, 2),
                "probability": _number(probability[k] / steps[k] if steps[k] else math.nan),
                "right": _number(right[k] / steps[k] if steps[k] else math.nan),
            }
            for k in range(BINS)
        ],
        "unlabelled_s": round(float(tally.confusion[NONE].sum()) * STEP_S, 2),
    }


def hits_json(hits: Hits) -> dict[str, float | None]:
    """Precision, recall and F1 of time, and the times in s."""
    return {
        "precision": _number(hits.precision),
        "recall": _number(hits.recall),
        "f1": hits.f1,
        "true_s": round(hits.true * STEP_S, 2),
        "said_s": round(hits.found * STEP_S, 2),
    }


def _seconds(steps: Iterable[int]) -> list[float]:
    return [round(float(n) * STEP_S, 2) for n in steps]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
