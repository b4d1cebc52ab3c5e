"""Segmenters: the original's published result, and what all policies owe to any input."""

import csv
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import one_hot

from streamer import config as configuration
from streamer.agreement import Transitions
from streamer.changepoint import ChangePointSegmenter
from streamer.pairing import Pair, Voice
from streamer.pipeline import segmenter as create
from streamer.segmenter import ArgmaxSegmenter, HysteresisSegmenter
from streamer.tables import SessionTables
from streamer.types import EMOTIONS, UNKNOWN, Floats, Interval, Prediction, Segmenter

CONFIG = configuration.load().segmenter
ORIGINAL = Path(__file__).parent / "original"


def policy(smoothing: float = 0, margin: float = 0, least: float = 0, gap: float = 0) -> Segmenter:
    values = {"smoothing_s": smoothing, "margin": margin, "min_duration_s": least, "max_gap_s": gap}
    return create("face", CONFIG.model_copy(update={"policy": "hysteresis", **values}))


def change_point(lag: float = 1, evidence: float = 0.8, least: float = 2) -> Segmenter:
    values = {"lag_s": lag, "evidence_s": evidence, "min_interval_s": least}
    return create("face", CONFIG.model_copy(update={"policy": "changepoint", **values}))


def at(t: float, probs: Floats | None) -> Prediction:
    return Prediction("face", t, t, t, probs)


def segment(
    segmenter: Segmenter, stream: list[Prediction], end: float | None = None
) -> list[Interval]:
    rows = [row for prediction in stream for row in segmenter.push(prediction)]
    return rows + segmenter.finish(stream[-1].time if end is None else end, "end")


def labelled(*stretches: tuple[float, str | None], rate: int = 10) -> list[Prediction]:
    """Predictions on k / rate; each stretch is (its end, its emotion or None)."""
    stream: list[Prediction] = []
    for end, label in stretches:
        while len(stream) / rate < end - 1e-9:
            stream.append(at(len(stream) / rate, one_hot(label) if label else None))
    return stream


def spans(rows: list[Interval]) -> list[tuple[str, float, float]]:
    return [(row.label, row.start, row.end) for row in rows]


# The original's published result


def original(name: str) -> list[dict[str, str]]:
    with (ORIGINAL / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return [
            {k: v if v.isalpha() else f"{float(v):.3f}" for k, v in row.items()}
            for row in csv.DictReader(file)
        ]


def original_rows() -> tuple[list[Interval], Transitions]:
    labels = [row["emotion"] for row in original("frame_labels")]
    assert len(labels) == 253
    segmenter, transitions, rows = ArgmaxSegmenter("face"), Transitions(["face"]), []
    for k, label in enumerate(labels):
        closed = segmenter.push(at(k / 25, one_hot(label)))
        transitions.update("face", closed, segmenter.settled)
        rows += closed
    last = segmenter.finish(10.08, "end")
    transitions.update("face", last, math.inf)
    return rows + last, transitions


def test_argmax_gives_the_originals_four_tables(tmp_path: Path) -> None:
    voices = [row["emotion"] for row in original("audio_intervals")]
    rows, _ = original_rows()
    with SessionTables(tmp_path) as tables:
        for face, voice in zip(rows, voices, strict=True):
            tables.pair(Pair(face, Voice(voice, 1.0, 1.0, 1.0)))
    for name, count in {
        "video_intervals": 24,
        "audio_intervals": 24,
        "modality_mismatch": 19,
        "modality_duration": 24,
    }.items():
        expected = original(name)
        with (tmp_path / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            got = [{k: row[k] for k in expected[0]} for row in csv.DictReader(file)]
        assert len(expected) == count
        assert got == expected


def test_the_originals_clip_has_23_changes() -> None:
    rows, transitions = original_rows()
    assert len(rows) == 24
    assert transitions.counts["face"] == 23


# Properties

PROBS = st.lists(st.integers(0, 9), min_size=7, max_size=7).map(
    lambda w: (np.array(w, np.float32) + 0.1) / np.float32(sum(w) + 0.7)
)
LABELS = st.sampled_from(EMOTIONS[:3]).map(one_hot)
TICKS = st.integers(1, 12)
"""Between two predictions, in twentieths of a second."""


@st.composite
def streams(draw: st.DrawFn) -> list[Prediction]:
    steps = draw(st.lists(st.tuples(TICKS, st.one_of(PROBS, LABELS, st.none())), min_size=1))
    ticks = np.cumsum([ticks for ticks, _ in steps])
    return [at(int(n) / 20, probs) for n, (_, probs) in zip(ticks, steps, strict=True)]


POLICIES = st.one_of(
    st.just(0).map(lambda _: ArgmaxSegmenter("face")),
    st.builds(
        policy,
        st.sampled_from([0, 0.2, 1]),
        st.sampled_from([0, 0.1, 0.5]),
        st.sampled_from([0, 0.3, 1]),
        st.sampled_from([0, 0.3, 1]),
    ),
    st.builds(
        change_point,
        st.sampled_from([0, 0.3, 1]),
        st.sampled_from([0, 0.1]),
        st.sampled_from([0, 0.5, 2]),
    ),
)


@given(streams(), POLICIES, st.integers(0, 40))
def test_intervals_are_ordered_and_lose_nothing(
    stream: list[Prediction], segmenter: Segmenter, rest: int
) -> None:
    end = stream[-1].time + rest / 20
    rows = segment(segmenter, stream, end)
    speaking = [p for p in stream if p.probs is not None]
    assert sum(row.samples for row in rows) == len(speaking)
    for row in rows:
        assert row.label in EMOTIONS
        assert 0 <= row.score <= 1
        assert 0 <= row.intensity <= 1
        assert row.start <= row.end <= end
        assert row.samples > 0
    for before, after in pairwise(rows):
        assert before.end <= after.start
        # Between two rows lies nothing, or a time without a face.
        assert (before.closed_by == "gap") == (before.end < after.start)
        assert before.closed_by in {"gap", "change"}
    if rows:
        assert rows[0].start == speaking[0].time
        assert rows[-1].end == end or rows[-1].closed_by == "gap"
    for p in speaking:
        assert any(row.start <= p.time <= row.end for row in rows)


@given(streams(), POLICIES)
def test_details_of_a_row_are_the_mean_of_its_predictions(
    stream: list[Prediction], segmenter: Segmenter
) -> None:
    known = [
        replace(p, details=None if p.probs is None else np.array([k, p.time, math.nan], np.float32))
        for k, p in enumerate(stream)
    ]
    left = [p.details for p in known if p.details is not None]
    for row in segment(segmenter, known):
        mine, left = left[: row.samples], left[row.samples :]
        assert row.details == pytest.approx(np.mean(mine, axis=0), rel=1e-5, nan_ok=True)
    assert left == []


@given(streams(), POLICIES)
def test_settled_is_never_wrong(stream: list[Prediction], segmenter: Segmenter) -> None:
    known = -math.inf
    for prediction in stream:
        opened = segmenter.running
        rows = segmenter.push(prediction)
        running = segmenter.running
        if running and (opened is None or running.start != opened.start):
            assert running.start >= known
        assert all(row.end >= known for row in rows)
        assert segmenter.settled >= known
        known = segmenter.settled


@given(streams(), POLICIES)
def test_the_running_interval_is_the_next_row(
    stream: list[Prediction], segmenter: Segmenter
) -> None:
    for prediction in stream:
        before = segmenter.running
        rows = segmenter.push(prediction)
        if rows:
            assert before is not None
            assert rows[0].start == before.start
        elif before is not None:
            assert segmenter.running is not None
            assert segmenter.running.start == before.start


def offline(stream: list[Prediction], end: float) -> list[tuple[str, float, float]]:
    """The argmax rule by looking at everything at once."""
    labels = [None if p.probs is None else int(np.argmax(p.probs)) for p in stream]
    times = [p.time for p in stream]
    starts = [k for k in range(len(labels)) if k == 0 or labels[k] != labels[k - 1]]
    return [
        (EMOTIONS[label], times[k], end if after is None else times[after])
        for k, after in zip(starts, [*starts[1:], None], strict=True)
        if (label := labels[k]) is not None
    ]


@given(streams())
def test_argmax_is_the_plain_offline_rule(stream: list[Prediction]) -> None:
    end = stream[-1].time + 1
    assert spans(segment(ArgmaxSegmenter("face"), stream, end)) == offline(stream, end)


@given(streams())
def test_hysteresis_of_nothing_is_argmax(stream: list[Prediction]) -> None:
    assert segment(policy(), stream) == segment(ArgmaxSegmenter("face"), stream)


@given(streams(), st.sampled_from([0.3, 0.5, 1.0]), st.sampled_from([0.0, 0.4]))
def test_a_change_makes_no_row_shorter_than_the_least(
    stream: list[Prediction], least: float, gap: float
) -> None:
    rows = segment(policy(smoothing=0.2, margin=0.1, least=least, gap=gap), stream)
    for before, after in pairwise(rows):
        if before.closed_by == "change":
            assert after.end - after.start >= least - 1e-6


@pytest.mark.parametrize(("lasts", "rows"), [(5, 1), (6, 1), (7, 3)])
def test_a_rival_must_lead_for_the_least_duration(lasts: int, rows: int) -> None:
    stream = labelled((2, "Sad"), (2 + lasts / 10, "Happy"), (5, "Sad"))
    assert len(segment(policy(least=0.6), stream)) == rows


def test_a_rivals_row_begins_where_its_lead_began() -> None:
    stream = labelled((2, "Sad"), (4, "Happy"))
    assert spans(segment(policy(least=0.6), stream)) == [("Sad", 0, 2), ("Happy", 2, 3.9)]


def test_two_rivals_in_turn_do_not_add_up() -> None:
    stream = labelled((2, "Sad"), (2.4, "Happy"), (2.8, "Fear"), (5, "Sad"))
    assert spans(segment(policy(least=0.6), stream)) == [("Sad", 0, 4.9)]


@pytest.mark.parametrize(("lead", "rows"), [(0.05, 1), (0.15, 2)])
def test_a_rival_must_lead_by_the_margin(lead: float, rows: int) -> None:
    sad, happy = EMOTIONS.index("Sad"), EMOTIONS.index("Happy")
    probs = np.zeros(7, np.float32)
    probs[sad], probs[happy] = 0.5 - lead / 2, 0.5 + lead / 2
    stream = [at(0, one_hot("Sad")), at(0.1, probs), at(0.2, probs)]
    assert len(segment(policy(margin=0.1), stream)) == rows


def test_smoothing_has_its_time_constant() -> None:
    stream = labelled((1, "Sad"), (4, "Happy"), rate=100)
    (_, happy) = segment(policy(smoothing=0.5), stream)
    # The smoothed Happy overtakes Sad when exp(-t / 0.5) falls to one half.
    assert happy.start == pytest.approx(1 - 0.01 + 0.5 * math.log(2), abs=0.011)


def test_what_was_before_a_gap_does_not_colour_what_comes_after() -> None:
    stream = labelled((2, "Sad"), (4, None), (5, "Happy"))
    rows = segment(policy(smoothing=10, gap=1.0), stream)
    assert spans(rows) == [("Sad", 0, 2), ("Happy", 4, 4.9)]


@pytest.mark.parametrize(("lost", "rows"), [(9, 1), (10, 2)])
def test_a_gap_shorter_than_the_longest_is_bridged(lost: int, rows: int) -> None:
    stream = labelled((2, "Sad"), (2 + lost / 10, None), (5, "Sad"))
    got = segment(policy(gap=1.0), stream)
    assert len(got) == rows
    assert sum(row.samples for row in got) == 50 - lost
    if rows == 2:
        assert spans(got) == [("Sad", 0, 2), ("Sad", 3, 4.9)]
        assert got[0].closed_by == "gap"


def test_a_gap_at_the_end_ends_the_row_where_it_began() -> None:
    rows = segment(policy(gap=1.0), labelled((2, "Sad"), (2.5, None)))
    assert spans(rows) == [("Sad", 0, 2)]
    assert rows[0].closed_by == "gap"


def test_score_and_intensity_are_means() -> None:
    stream = [at(0, one_hot("Sad", 0.4)), at(0.1, one_hot("Sad", 0.8))]
    for segmenter in (ArgmaxSegmenter("voice"), policy(smoothing=0.5)):
        (row,) = segment(segmenter, stream)
        assert row.score == pytest.approx(0.6)
        assert row.intensity == pytest.approx(1 - (0.1 + 0.2 / 6) / 2)
        assert row.samples == 2


def test_finish_tells_what_ended_it_and_is_final() -> None:
    for segmenter in (ArgmaxSegmenter("face"), policy(gap=1.0)):
        segmenter.push(at(0, one_hot("Sad")))
        (row,) = segmenter.finish(0.5, "stopped")
        assert (row.end, row.closed_by) == (0.5, "stopped")
        assert segmenter.running is None
        assert segmenter.finish(0.6, "end") == []


def test_the_configuration_names_the_policy() -> None:
    for name, kind in {
        "argmax": ArgmaxSegmenter,
        "hysteresis": HysteresisSegmenter,
        "changepoint": ChangePointSegmenter,
    }.items():
        config = configuration.load(None, [f"segmenter.policy={name}"]).segmenter
        assert isinstance(create("voice", config), kind)
    assert isinstance(create("voice", CONFIG), ChangePointSegmenter)


@pytest.mark.parametrize("chosen", ["argmax", "hysteresis", "changepoint"])
def test_an_interval_below_the_least_confidence_is_unknown(chosen: str) -> None:
    vague = (0.4 * one_hot("Sad") + 0.6 / 7).astype(np.float32)
    stream = labelled((5, "Happy")) + [at(5 + k / 10, vague) for k in range(50)]
    config = CONFIG.model_copy(update={"policy": chosen})
    plain = segment(create("face", config), stream, 10.0)
    assert [row.label for row in plain] == ["Happy", "Sad"]
    least = {"min_confidence": plain[1].score + 0.01}
    strict = segment(create("face", config.model_copy(update=least)), stream, 10.0)
    assert strict == [plain[0], replace(plain[1], label=UNKNOWN)]
    least = {"min_confidence": plain[1].score}  # just enough
    assert segment(create("face", config.model_copy(update=least)), stream, 10.0) == plain
