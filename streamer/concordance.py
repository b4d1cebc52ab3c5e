"""The formulas of agreement and duration, for one table of counts or many at once."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Doubles = NDArray[np.float64]


def kappa(agree: ArrayLike, rows: ArrayLike, columns: ArrayLike) -> Doubles:
    """Cohen's kappa, (p_o − p_e) / (1 − p_e), from −1 to 1; nan where it is not defined.

    agree: (…), what both say alike. rows, columns: (…, classes), what each of them says. In any
    unit: by time, units are milliseconds. Not defined where there is nothing, or where both say one
    and the same thing all the time, for then chance alone agrees always.

    Sources: Cohen, "A coefficient of agreement for nominal scales", 1960; Bakeman and Quera,
    "Sequential Analysis and Observational Methods for the Behavioral Sciences", 2011 (by time).
    """
    first, second = np.asarray(rows, np.float64), np.asarray(columns, np.float64)
    total = first.sum(-1)
    expected = (first * second).sum(-1)  # times total², as agree is times total
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((agree * total - expected) / (total**2 - expected), np.float64)


def event_kappa(
    agree: ArrayLike, linked: ArrayLike, rows: ArrayLike, columns: ArrayLike
) -> Doubles:
    """Kappa by event: what has no partner counts as a disagreement; nan where it is not defined.

    linked: (…), events with a partner; agree: those of them with the same emotion. rows, columns:
    (…, 7), all events of each emotion, with a partner or without, of the face and of the voice.

    The table has an eighth class, "none", for events without a partner. Its cell (none, none) can't
    occur; the frequencies expected under quasi-independence of such a table, usually found by
    iterative proportional fitting, are rows_i · columns_j · linked / (Σ rows · Σ columns).

    Sources: Bakeman, Quera and Gnisci, "Observer agreement for timed-event sequential data: a
    comparison of time-based and event-based algorithms", 2009 (events, the class "none", fitting).
    """
    first, second = np.asarray(rows, np.float64), np.asarray(columns, np.float64)
    links = np.asarray(linked, np.float64)
    faces, voices = first.sum(-1), second.sum(-1)
    events = faces + voices - links
    with np.errstate(invalid="ignore", divide="ignore"):
        chance = (first * second).sum(-1) / (faces * voices) * links / events
        return np.asarray((agree / events - chance) / (1 - chance), np.float64)


def quantiles(
    durations: ArrayLike, ended: ArrayLike, weights: ArrayLike, shares: tuple[float, ...]
) -> Doubles:
    """Quantiles of durations of which some were not seen to end: (…, shares).

    durations, ended: (n,). weights: (…, n), how often each counts. A quantile is the shortest
    duration by which at least its share has ended by the product-limit estimate; inf where too much
    was censored to say, nan where there is nothing.

    Source: Kaplan and Meier, "Nonparametric estimation from incomplete observations", 1958.
    """
    lengths, ends = np.asarray(durations, np.float64), np.asarray(ended, bool)
    if not len(lengths):
        return np.full((*np.shape(weights)[:-1], len(shares)), np.nan)
    order = np.lexsort((~ends, lengths))  # at one duration, ends come before censorings
    counts = np.asarray(weights, np.float64)[..., order]
    at_risk = np.cumsum(counts[..., ::-1], -1)[..., ::-1]
    lost = np.where(ends[order], counts, 0) / np.maximum(at_risk, 1)
    survival = np.cumprod(1 - lost, -1)
    result = np.full((*counts.shape[:-1], len(shares)), np.nan)
    for k, share in enumerate(shares):
        reached = survival <= 1 - share + 1e-9  # rounding
        first = lengths[order][np.argmax(reached, -1)]
        result[..., k] = np.where(reached.any(-1), first, np.inf)
    result[counts.sum(-1) == 0] = np.nan
    return result
