"""Blocks and shifts: what they must keep, and how often they are right."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sessions import UNHURRIED, by_millisecond, lanes, played, simulated

from streamer.figures import ZERO_LAG, document, share, table_kappa
from streamer.resampling import CELLS, LAGS_MS, Blocks, Shifts, joint, limits, p_value
from streamer.timeline import NIL, Timeline
from streamer.types import Interval

SEEDS = 100


@UNHURRIED
@given(st.integers(0, 9000), st.integers(60_000, 9_000_000), st.floats(200, 9000))
def test_every_resample_has_whole_blocks_and_about_the_sessions_length(
    start: int, length: int, mean: float
) -> None:
    blocks = Blocks.draw(start, start + length, mean, 50)
    if blocks is None:
        assert mean ** (2 / 3) * length ** (1 / 3) > length / 5 - 1
        return
    assert (blocks.edges[0], blocks.edges[-1]) == (start, start + length)
    cells = len(blocks.edges) - 1
    assert (blocks.weights.sum(1) == CELLS * round(cells / CELLS)).all()
    assert abs(CELLS * round(cells / CELLS) - cells) <= CELLS / 2
    around = np.roll(blocks.weights, -1, 1) - blocks.weights  # a block begins or ends, or neither
    assert (np.abs(around).sum(1) <= 2 * round(cells / CELLS)).all()


def test_the_same_session_gives_the_same_resamples() -> None:
    one, other = (Blocks.draw(0, 600_000, 3000, 30) for _ in range(2))
    assert one is not None
    assert other is not None
    assert (one.weights == other.weights).all()


def test_a_block_is_longer_than_an_interval_and_grows_with_the_cube_root_of_the_session() -> None:
    blocks = [Blocks.draw(0, n * 600_000, 4000, 1) for n in (1, 8)]
    lengths = [b.block_ms for b in blocks if b]
    assert lengths == [pytest.approx(21_254, abs=8), pytest.approx(42_507, abs=8)]


def test_a_session_of_few_intervals_has_no_blocks() -> None:
    assert Blocks.draw(0, 20_000, 5000, 1) is None
    assert Blocks.draw(0, 0, 0, 1) is None
    assert Blocks.draw(0, 100, 0, 1) is None


def test_limits_are_percentiles_of_what_is_defined() -> None:
    values = np.arange(1.0, 1001.0)
    assert limits(values).tolist() == [25, 975]
    values[::20] = np.nan
    assert limits(values).tolist() == [26, 976]
    values[::5] = np.nan
    assert np.isnan(limits(values)).all()


def interval_of_share(timeline: Timeline) -> tuple[float, float]:
    agreement: Any = document(timeline, resamples=200, chance=False)["agreement"]
    low, high = agreement["interval"]
    return low, high


def p_of_kappa(face: list[Interval], voice: list[Interval], length: float) -> float:
    a, b = (lane.array() for lane in played(face, voice, end=length).lanes.values())
    return p_value(Shifts.turn(a, b, 0, round(length * 1000)).kappa)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Three emotions, equally often, of a face and a voice that know nothing of each other."""
    length, truths, hits, widths = 600.0, [], 0, []
    for seed in range(SEEDS):
        session = simulated(length, 4.0, 0.0, np.random.default_rng(seed))
        timeline = played(*session, end=length)
        low, high = interval_of_share(timeline)
        hits += low <= 1 / 3 <= high
        widths.append(high - low)
        truths.append(float(share(timeline.tables[ZERO_LAG])))
    assert np.mean(truths) == pytest.approx(1 / 3, abs=0.02)
    assert 0.87 <= hits / SEEDS <= 1
    spread = float(np.quantile(truths, 0.975) - np.quantile(truths, 0.025))
    assert np.median(widths) == pytest.approx(spread, rel=0.35)


def test_independent_modalities_rarely_look_as_if_they_agreed() -> None:
    found = [
        p_of_kappa(*simulated(300.0, 4.0, 0.0, np.random.default_rng(seed)), 300.0)
        for seed in range(SEEDS)
    ]
    assert 0.3 < np.mean(found) < 0.7
    assert np.mean(np.array(found) <= 0.05) <= 0.12


def test_a_voice_that_follows_the_face_is_found() -> None:
    found = [
        p_of_kappa(*simulated(300.0, 4.0, 0.6, np.random.default_rng(seed)), 300.0)
        for seed in range(20)
    ]
    assert np.mean(np.array(found) <= 0.05) >= 0.9


@UNHURRIED
@given(lanes("face"), lanes("voice"))
def test_shifts_are_those_of_a_ring_of_units(face: list[Interval], voice: list[Interval]) -> None:
    timeline = played(face, voice)
    a, b = (lane.array() for lane in timeline.lanes.values())
    shifts = Shifts.turn(a, b, timeline.start, timeline.end)
    n = len(shifts.share)
    at = np.minimum(np.arange(n) * 250 + 125, max(timeline.end - 1, 0))
    shown, heard = (
        np.where(np.arange(n) * 250 + 125 < timeline.end, np.append(x, -1)[at], -1)
        for x in (by_millisecond(face, timeline.end), by_millisecond(voice, timeline.end))
    )
    tables = np.zeros((n, NIL, NIL), np.int64)
    for s in range(n):
        turned = np.roll(heard, -s)
        both = (shown >= 0) & (turned >= 0)
        np.add.at(tables[s], (shown[both], turned[both]), 1)
    np.testing.assert_allclose(shifts.share, share(tables), atol=1e-12)
    np.testing.assert_allclose(shifts.kappa, table_kappa(tables), atol=1e-12)
    for i, j in zip(*np.nonzero(tables.sum(0)), strict=True):
        assert shifts.as_much[i, j] == np.mean(tables[:, i, j] >= tables[0, i, j])
    reach = len(LAGS_MS) // 2
    windows = [[shifts.kappa[(s + k) % n] for k in range(-reach, reach + 1)] for s in range(n)]
    expected = [np.max(np.array(w)[~np.isnan(w)], initial=-np.inf) for w in windows]
    got = np.where(np.isnan(shifts.best()), -np.inf, shifts.best())
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_joint_counts_no_more_than_its_cells() -> None:
    lane = np.array([[0, 500], [500, 2000], [1, 2]])
    table = joint(lane, lane, np.array([250, 1000, 1500]))
    assert table[0].sum() == 750
    assert (table[0, 1, 1], table[0, 2, 2], table[1, 2, 2]) == (250, 500, 500)


def test_p_values_count_the_real_one_among_all() -> None:
    assert p_value(np.array([3.0, 1, 2, 0])) == 0.25
    assert p_value(np.array([1.0, 1, 1, np.nan])) == 1
    assert np.isnan(p_value(np.array([np.nan, 1.0])))
