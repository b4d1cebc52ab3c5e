"""The formulas against scikit-learn, SciPy and the definitions they shorten."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.stats import CensoredData, ecdf
from sessions import UNHURRIED, by_millisecond, lanes, played
from sklearn.metrics import cohen_kappa_score

from streamer.concordance import event_kappa, kappa, quantiles
from streamer.figures import ZERO_LAG, table_kappa
from streamer.types import Interval

TABLES = arrays(np.int64, (7, 7), elements=st.integers(0, 50))


@UNHURRIED
@given(TABLES)
def test_kappa_is_that_of_scikit_learn(table: NDArray[np.int64]) -> None:
    i, j = np.nonzero(table)
    assume(len({*i, *j}) > 1)
    expected = cohen_kappa_score(i, j, sample_weight=table[i, j])
    assert table_kappa(table) == pytest.approx(expected)


@UNHURRIED
@given(lanes("face"), lanes("voice"))
def test_kappa_by_time_is_that_of_scikit_learn_by_millisecond(
    face: list[Interval], voice: list[Interval]
) -> None:
    timeline = played(face, voice)
    shown, heard = (by_millisecond(i, timeline.end) for i in (face, voice))
    both = (shown >= 0) & (heard >= 0)
    assume(len({*shown[both].tolist(), *heard[both].tolist()}) > 1)
    expected = cohen_kappa_score(shown[both], heard[both])
    assert table_kappa(timeline.tables[ZERO_LAG]) == pytest.approx(expected)


def test_kappa_by_hand() -> None:
    table = np.array([[88, 14, 18], [10, 40, 10], [2, 6, 12]])  # p_o = .70, p_e = .41
    got = kappa(np.trace(table), table.sum(1), table.sum(0))
    assert got == pytest.approx((0.70 - 0.41) / (1 - 0.41))


def test_kappa_is_not_defined_where_chance_alone_agrees_always() -> None:
    assert np.isnan(kappa(5, [5, 0], [5, 0]))
    assert np.isnan(kappa(0, [0, 0], [0, 0]))
    assert kappa(0, [5, 0], [0, 5]) == 0
    assert np.isnan(event_kappa(5, 5, [5, 0], [5, 0]))
    assert np.isnan(event_kappa(0, 0, [0, 0], [5, 0]))


@UNHURRIED
@given(TABLES, st.lists(st.integers(0, 50), min_size=14, max_size=14))
def test_kappa_by_event_is_that_of_a_table_fitted_without_its_empty_cell(
    table: NDArray[np.int64], alone: list[int]
) -> None:
    full = np.zeros((8, 8))
    full[:7, :7], full[:7, 7], full[7, :7] = table, alone[:7], alone[7:]
    rows, columns, total = full.sum(1), full.sum(0), full.sum()
    assume(table.sum() > 0)
    expected = np.ones((8, 8))
    expected[7, 7] = 0
    for _ in range(300):  # iterative proportional fitting (Deming and Stephan, 1940)
        expected *= (rows / np.maximum(expected.sum(1), 1e-300))[:, None]
        expected *= columns / np.maximum(expected.sum(0), 1e-300)
    chance = np.trace(expected) / total
    assume(chance < 0.99)
    direct = (np.trace(full) / total - chance) / (1 - chance)
    short = event_kappa(np.trace(table), table.sum(), rows[:7], columns[:7])
    assert short == pytest.approx(direct, abs=1e-4)


@UNHURRIED
@given(
    st.lists(st.tuples(st.integers(1, 12), st.booleans(), st.integers(0, 4)), max_size=25),
    st.lists(st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9]), min_size=1, max_size=3),
)
def test_quantiles_are_those_of_scipys_product_limit_estimate(
    parts: list[tuple[int, bool, int]], shares: list[float]
) -> None:
    columns = zip(*parts, strict=True) if parts else [[]] * 3
    lengths, ended, weights = (np.array(column) for column in columns)
    got = quantiles(lengths, ended, weights, tuple(shares))
    repeated = np.repeat(lengths, weights.astype(int)), np.repeat(ended, weights.astype(int))
    if not len(repeated[0]):
        assert np.isnan(got).all()
        return
    seen = repeated[1].astype(bool)
    survival = ecdf(CensoredData(repeated[0][seen], right=repeated[0][~seen])).sf
    for share, quantile in zip(shares, got, strict=True):
        reached = survival.quantiles[survival.probabilities <= 1 - share + 1e-9]
        assert quantile == (reached[0] if len(reached) else np.inf)


def test_many_tables_at_once_are_each_by_itself() -> None:
    rng = np.random.default_rng(1)
    tables, weights = rng.integers(0, 9, (6, 7, 7)), rng.integers(0, 3, (6, 30))
    assert table_kappa(tables).tolist() == [float(table_kappa(t)) for t in tables]
    lengths, ended = rng.integers(1, 9, 30), rng.random(30) < 0.7
    together = quantiles(lengths, ended, weights, (0.5, 0.9))
    alone = [quantiles(lengths, ended, w, (0.5, 0.9)).tolist() for w in weights]
    assert together.tolist() == alone
