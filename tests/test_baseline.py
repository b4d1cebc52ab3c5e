"""A person's baseline: learnt from the first seconds, taken out of what follows."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import one_hot

from streamer.baseline import LEAST, Baseline
from streamer.types import EMOTIONS, NEUTRAL, Floats, Prediction

SAD, HAPPY, DISGUST = (EMOTIONS.index(e) for e in ("Sad", "Happy", "Disgust"))


def probs(**shares: float) -> Floats:
    left = 1 - sum(shares.values())
    rest = left / (len(EMOTIONS) - len(shares))
    return np.array([shares.get(e, rest) for e in EMOTIONS], np.float32)


def said(end: float, what: Floats | None, length: float = 0.0) -> Prediction:
    return Prediction("face", end - length, end - length, end, what, 0.5, 7.0)


def learnt(what: Floats, seconds: float = 2.0) -> Baseline:
    baseline = Baseline(seconds)
    for k in range(round(seconds * 10)):
        baseline.apply(said(k / 10, what))
    return baseline


LOOKS_SAD = probs(Sad=0.5, Neutral=0.3)


def test_a_neutral_face_that_looks_sad_becomes_neutral() -> None:
    rested = learnt(LOOKS_SAD).apply(said(3.0, LOOKS_SAD)).probs
    assert rested is not None
    assert rested.argmax() == NEUTRAL
    assert rested.sum() == pytest.approx(1)
    # The mean of the six is 0.7 / 6; Sad is lowered to it, and all is scaled to a sum of one.
    assert rested[NEUTRAL] / rested[SAD] == pytest.approx(0.3 / (0.7 / 6), rel=1e-5)


def test_what_the_baseline_does_not_show_keeps_its_share() -> None:
    before = probs(Happy=0.6, Sad=0.1, Neutral=0.2)
    after = learnt(LOOKS_SAD).rest(before)
    assert after[HAPPY] / after[NEUTRAL] == pytest.approx(3, rel=1e-5)
    assert after[HAPPY] / after[DISGUST] == pytest.approx(before[HAPPY] / before[DISGUST], rel=1e-5)
    assert after[HAPPY] > before[HAPPY]


def test_real_sadness_is_still_seen() -> None:
    assert learnt(LOOKS_SAD).rest(probs(Sad=0.95)).argmax() == SAD


def test_the_baseline_itself_passes_unchanged_and_later_predictions_do_not_change_it() -> None:
    baseline = Baseline(2.0, start=10.0)
    first = [said(10 + k / 10, LOOKS_SAD) for k in range(21)]
    assert all(baseline.apply(p) is p for p in first)
    assert baseline.samples == 21
    after = baseline.apply(said(12.1, LOOKS_SAD))
    for k in range(100):
        baseline.apply(said(12.2 + k / 10, one_hot("Happy")))
    again = baseline.apply(said(30.0, LOOKS_SAD))
    assert baseline.samples == 21
    assert after.probs is not None
    assert np.array_equal(after.probs, again.probs)  # type: ignore[arg-type]


def test_a_window_that_ends_after_the_baseline_is_rested() -> None:
    baseline = learnt(LOOKS_SAD)
    assert baseline.apply(said(2.0, LOOKS_SAD, 3.0)).probs is LOOKS_SAD
    assert baseline.apply(said(2.01, LOOKS_SAD, 3.0)).probs is not LOOKS_SAD


def test_only_the_probabilities_change() -> None:
    before = said(3.0, LOOKS_SAD, 0.5)
    after = learnt(LOOKS_SAD).apply(before)
    assert replace(after, probs=None) == replace(before, probs=None)
    assert after.probs is not None
    assert after.probs.dtype == np.float32


def test_nobody_seen_says_nothing_and_is_no_baseline() -> None:
    baseline = Baseline(2.0)
    for k in range(20):
        assert baseline.apply(said(k / 10, None)).probs is None
    for k in range(LEAST - 1):
        baseline.apply(said(k / 10, LOOKS_SAD))
    assert baseline.mean is None
    assert np.allclose(baseline.rest(LOOKS_SAD), LOOKS_SAD)
    baseline.apply(said(1.0, LOOKS_SAD))
    assert not np.allclose(baseline.rest(LOOKS_SAD), LOOKS_SAD)


simplex = st.lists(st.floats(1e-6, 1), min_size=7, max_size=7).map(
    lambda v: (np.array(v) / sum(v)).astype(np.float32)
)


@given(simplex, simplex)
def test_it_only_lowers_what_the_baseline_has_much_of(base: Floats, later: Floats) -> None:
    rested = learnt(base).rest(later)
    assert rested.sum() == pytest.approx(1, abs=1e-5)
    ratio = rested / later
    assert ratio[NEUTRAL] == pytest.approx(ratio.max(), rel=1e-4)
    others = np.delete(base, NEUTRAL)
    assert ratio[base <= others.mean() * 0.999] == pytest.approx(ratio.max(), rel=1e-4)


@pytest.mark.parametrize("label", ["Neutral", "Sad"])
def test_a_sure_baseline_gives_no_division_by_zero(label: str) -> None:
    baseline = learnt(one_hot(label))
    for emotion in EMOTIONS:
        rested = baseline.rest(one_hot(emotion))
        assert rested.sum() == pytest.approx(1)
        assert rested.argmax() == EMOTIONS.index(emotion)


@pytest.mark.parametrize("share", [1e-9, 3e-8, 1e-45])
@pytest.mark.parametrize("label", ["Neutral", "Sad"])
def test_shares_that_one_lacks_to_float32_give_no_division_by_zero(
    label: str, share: float
) -> None:
    base = one_hot("Neutral")
    base[SAD] = share
    rested = learnt(base).rest(one_hot(label))
    assert rested.argmax() == EMOTIONS.index(label)
    assert rested.sum() == pytest.approx(1)
    level = learnt(base)._weigh()[SAD]
    assert level == pytest.approx(1 / 6)  # Sad is all that the six have
