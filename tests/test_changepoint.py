"""The change-point segmenter: where boundaries lie, how long they take, what they need."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamer import config as configuration
from streamer.changepoint import CONTEXT_S, MIN_AFTER_S, STEADY, ChangePointSegmenter
from streamer.types import EMOTIONS, Interval, Prediction

CONFIG = configuration.load().segmenter
RATE = 10


def mixture(label: str, share: float, rest: str = "Neutral") -> NDArray[np.float32]:
    probs = np.full(7, 0.01, np.float32)
    probs[EMOTIONS.index(label)] += share * 0.93
    probs[EMOTIONS.index(rest)] += (1 - share) * 0.93
    return probs


def stream(*parts: tuple[float, NDArray[np.float32] | None], noise: float = 0) -> list[Prediction]:
    """Predictions at k / RATE; each part is (its end in s, its probabilities or None)."""
    random, out = np.random.default_rng(1), list[Prediction]()
    for end, probs in parts:
        while len(out) / RATE < end - 1e-9:
            now = probs
            if probs is not None and noise:
                noisy = probs * random.lognormal(0, noise, 7)
                now = (noisy / noisy.sum()).astype(np.float32)
            t = len(out) / RATE
            out.append(Prediction("face", t, t, t, now))
    return out


def segment(
    predictions: list[Prediction], end: float | None = None, **values: float
) -> list[Interval]:
    segmenter = ChangePointSegmenter("face", CONFIG.model_copy(update=values))
    rows = [row for p in predictions for row in segmenter.push(p)]
    return rows + segmenter.finish(predictions[-1].time if end is None else end, "end")


def spans(rows: list[Interval]) -> list[tuple[str, float, float]]:
    return [(row.label, row.start, row.end) for row in rows]


HAPPY, SAD, ANGRY = mixture("Happy", 0.9), mixture("Sad", 0.9), mixture("Angry", 0.55, "Sad")


def test_a_boundary_lies_where_the_probabilities_change() -> None:
    rows = segment(stream((5, HAPPY), (9, SAD), (14, ANGRY)), 14.0)
    assert spans(rows) == [("Happy", 0, 5), ("Sad", 5, 9), ("Angry", 9, 14)]


@pytest.mark.parametrize("lag", [0.5, 1.0, 2.0])
def test_a_row_is_closed_just_when_its_end_is_lag_old(lag: float) -> None:
    segmenter = ChangePointSegmenter("face", CONFIG.model_copy(update={"lag_s": lag}))
    for prediction in stream((5, HAPPY), (9, SAD)):
        rows = segmenter.push(prediction)
        assert bool(rows) == (prediction.time == 5 + lag)


def test_noise_moves_a_boundary_little_and_adds_none() -> None:
    rows = segment(stream((5, HAPPY), (10, SAD), (15, HAPPY), noise=0.8), 15.0)
    assert [row.label for row in rows] == ["Happy", "Sad", "Happy"]
    assert [row.start for row in rows] == pytest.approx([0, 5, 10], abs=0.3)


def test_the_label_is_that_of_the_whole_interval_not_of_its_beginning() -> None:
    first, then = mixture("Angry", 0.46, "Sad"), mixture("Angry", 0.54, "Sad")
    rows = segment(stream((5, HAPPY), (7, first), (12, then)), 12.0)
    assert spans(rows) == [("Happy", 0, 5), ("Angry", 5, 12)]


def test_a_flicker_is_no_boundary() -> None:
    rows = segment(stream((5, HAPPY), (5.3, SAD), (10, HAPPY)), 10.0)
    assert spans(rows) == [("Happy", 0, 10)]


def test_a_shift_that_leaves_the_most_probable_emotion_is_no_boundary() -> None:
    rows = segment(stream((5, mixture("Happy", 0.95)), (10, mixture("Happy", 0.55))), 10.0)
    assert spans(rows) == [("Happy", 0, 10)]


def test_an_interval_is_at_least_as_long_as_asked() -> None:
    parts = stream((1.5, HAPPY), (8, SAD))
    assert spans(segment(parts, 8.0, min_interval_s=1.0)) == [("Happy", 0, 1.5), ("Sad", 1.5, 8)]
    assert spans(segment(parts, 8.0, min_interval_s=2.0)) == [("Happy", 0, 2), ("Sad", 2, 8)]


def test_more_evidence_may_be_asked_for() -> None:
    parts = stream((5, mixture("Happy", 0.55)), (10, mixture("Happy", 0.45)), noise=0.3)
    assert len(segment(parts)) == 2
    assert len(segment(parts, evidence_s=1.6)) == 1


def test_a_shift_is_judged_against_the_scatter_around_it() -> None:
    clear, vague = mixture("Happy", 0.65), mixture("Happy", 0.35)
    assert len(segment(stream((5, clear), (10, vague)))) == 2
    assert len(segment(stream((5, clear), (10, vague), noise=1.5))) == 1


def windows(
    *parts: tuple[float, NDArray[np.float32]], length: float, hop: float
) -> list[Prediction]:
    """Windows around k · hop up to the last part's end: the mean of what they cover."""
    out, begins = list[Prediction](), [0.0, *(end for end, _ in parts)]
    for k in range(round(parts[-1][0] / hop)):
        start, end = max(k * hop - length / 2, 0), min(k * hop + length / 2, parts[-1][0])
        covered = [
            max(min(end, b) - max(start, a), 0) / (end - start) * probs
            for a, (b, probs) in zip(begins, parts, strict=False)
        ]
        now = np.sum(covered, axis=0).astype(np.float32)
        out.append(Prediction("voice", max(k * hop - hop / 2, 0), start, end, now))
    return out


def test_a_window_counts_for_each_interval_by_its_share_in_it() -> None:
    predictions = windows((7, HAPPY), (14, SAD), length=3.0, hop=0.5)
    first, second = segment(predictions, 14.0)
    assert (first.label, second.label) == ("Happy", "Sad")
    assert first.end == second.start == pytest.approx(7, abs=0.5)
    assert first.samples + second.samples == len(predictions)

    def mean(start: float, end: float) -> float:
        shares = np.array(
            [max(min(p.end, end) - max(p.start, start), 0) / (p.end - p.start) for p in predictions]
        )
        emotion = EMOTIONS.index("Happy" if start == 0 else "Sad")
        values = [float(p.probs[emotion]) for p in predictions if p.probs is not None]
        return float(np.average(values, weights=shares))

    assert first.score == pytest.approx(mean(0, first.end), abs=1e-6)
    assert second.score == pytest.approx(mean(first.end, 14), abs=1e-6)


def test_long_windows_need_more_evidence_as_they_repeat_each_other() -> None:
    parts = stream((5, mixture("Happy", 0.55)), (10, mixture("Happy", 0.45)), noise=0.3)
    assert len(segment(parts)) == 2
    assert len(segment([replace(p, end=p.time + 3) for p in parts])) == 1


def test_a_short_gap_is_bridged_and_a_long_one_ends_the_row_where_it_began() -> None:
    assert spans(segment(stream((3, HAPPY), (3.8, None), (6, HAPPY)), 6.0)) == [("Happy", 0, 6)]
    rows = segment(stream((3, HAPPY), (4.5, None), (6, HAPPY)), 6.0)
    assert [(r.start, r.end, r.closed_by) for r in rows] == [(0, 3, "gap"), (4.5, 6, "end")]


@pytest.mark.parametrize("change", [10.0, 10.1, 10.25, 10.4])
def test_windows_that_reach_over_a_change_are_no_interval_of_their_own(change: float) -> None:
    said = []
    for middle in np.arange(0, 20, 0.5):
        after = np.clip((middle + 1.5 - change) / 3, 0, 1)  # the share of the window
        probs = ((1 - after) * HAPPY + after * SAD).astype(np.float32)
        said.append(Prediction("voice", middle - 0.25, middle - 1.5, middle + 1.5, probs))
    rows = segment(said, 20.0)
    assert [row.label for row in rows] == ["Happy", "Sad"]
    assert rows[1].start == pytest.approx(change, abs=1)


def test_the_open_interval_shows_its_emotion_by_now() -> None:
    segmenter = ChangePointSegmenter("face", CONFIG)
    assert CONFIG.min_interval_s > 1  # so that Happy is too short to be told from Sad
    for prediction in stream((1, HAPPY), (2, SAD)):
        segmenter.push(prediction)
    assert segmenter.running is not None
    assert (segmenter.running.label, segmenter.running.start) == ("Sad", 0)


def test_memory_is_bounded_in_an_interval_without_end() -> None:
    segmenter = ChangePointSegmenter("face", CONFIG)
    for prediction in stream((60, HAPPY)):
        segmenter.push(prediction)
    kept = len(segmenter._past) + len(segmenter._young)
    assert kept <= (CONTEXT_S + CONFIG.lag_s) * RATE + 3


def offline(
    predictions: list[Prediction], lag: float, evidence: float, least: float
) -> list[float]:
    """The rule of the docstring by plain loops over everything at once, on k / RATE."""
    probs = [np.asarray(p.probs, np.float64) for p in predictions]
    step, begins = 1 / RATE, [0]
    ahead = round(lag * RATE)
    for c in range(1, len(probs) - ahead):
        begin = begins[-1]
        if (c - begin) * step < least - 1e-9:
            continue
        first = max(begin, c - 1 - round(CONTEXT_S * RATE))
        ratios, scatters = [], []
        for rival in range(c, c + ahead + 1):
            if rival > c and (c + ahead - rival) * step < MIN_AFTER_S - 1e-9:
                break
            # The first prediction of an interval stands for MIN_AFTER_S.
            weights = [MIN_AFTER_S if k == 0 else step for k in range(first, rival)]
            before, after = sum(weights), (c + ahead + 1 - rival) * step
            low = sum(
                w * np.sqrt(probs[k]) for w, k in zip(weights, range(first, rival), strict=True)
            )
            high = sum(np.sqrt(probs[k]) for k in range(rival, c + ahead + 1)) * step
            shift = high / after - low / before
            ratios.append(before * after / (before + after) * float(shift @ shift))
            left = sum(
                w * float(((np.sqrt(probs[k]) - low / before) ** 2).sum())
                for w, k in zip(weights, range(first, rival), strict=True)
            )
            right = sum(
                step * float(((np.sqrt(probs[k]) - high / after) ** 2).sum())
                for k in range(rival, c + ahead + 1)
            )
            scatters.append((left + right) / (before + after) + STEADY)
        past = np.argmax(sum(probs[begin:c]))
        new = np.argmax(sum(probs[c : c + ahead + 1]))
        enough = ratios[0] > evidence * scatters[0]
        if enough and ratios[0] >= max(ratios) - 1e-12 and past != new:
            begins.append(c)
    return [k / RATE for k in begins]


@settings(max_examples=40, deadline=None)  # the plain loops may take their time
@given(
    st.lists(
        st.tuples(st.integers(1, 40), st.sampled_from([HAPPY, SAD, ANGRY])), min_size=1, max_size=8
    ),
    st.sampled_from([0.5, 1.0]),
    st.sampled_from([0.4, 0.8]),
    st.sampled_from([0.5, 2.0]),
    st.integers(0, 5),
)
def test_it_is_the_rule_of_its_docstring(
    parts: list[tuple[int, NDArray[np.float32]]],
    lag: float,
    evidence: float,
    least: float,
    seed: int,
) -> None:
    random, predictions = np.random.default_rng(seed), list[Prediction]()
    for length, probs in parts:
        for _ in range(length):
            noisy = probs * random.lognormal(0, 0.5, 7)
            t = len(predictions) / RATE
            values = (noisy / noisy.sum()).astype(np.float32)
            predictions.append(Prediction("face", t, t, t, values))
    rows = segment(predictions, lag_s=lag, evidence_s=evidence, min_interval_s=least)
    assert [row.start for row in rows] == offline(predictions, lag, evidence, least)
    assert math.isclose(sum(row.samples for row in rows), len(predictions))
