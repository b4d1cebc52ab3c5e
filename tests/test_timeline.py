"""Counted row by row, or all at once in the end: the same."""

import math
from collections import deque
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from sessions import UNHURRIED, by_millisecond, interval, lanes, played

from streamer.figures import document
from streamer.resampling import joint
from streamer.tables import seconds
from streamer.timeline import CODES, LAGS_MS, NIL, Event, Timeline, link, milliseconds
from streamer.types import EMOTIONS, UNKNOWN, Interval

BEGINNINGS = st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 2)), max_size=12)
CHOICES = st.lists(st.booleans(), max_size=16)


@UNHURRIED
@given(lanes("face"), lanes("voice"), CHOICES)
def test_counts_are_those_of_every_single_millisecond(
    face: list[Interval], voice: list[Interval], choices: list[bool]
) -> None:
    timeline = played(face, voice, choices)
    length = timeline.end
    shown, heard = by_millisecond(face, length), by_millisecond(voice, length)
    late = np.concatenate([np.full(3000, -1), heard, np.full(3000, -1)])
    for lag, table in zip(LAGS_MS, timeline.tables, strict=True):
        later = late[3000 + lag : 3000 + lag + length]
        both = (shown >= 0) & (later >= 0)
        pairs = np.bincount(shown[both] * NIL + later[both], minlength=NIL * NIL)
        assert table.ravel().tolist() == pairs.tolist(), lag
    for lane, sampled in zip(timeline.lanes.values(), (shown, heard), strict=True):
        assert lane.totals.tolist() == [int((sampled == c).sum()) for c in range(NIL)]


@UNHURRIED
@given(lanes("face"), lanes("voice"), CHOICES)
def test_the_order_in_which_the_modalities_come_does_not_matter(
    face: list[Interval], voice: list[Interval], choices: list[bool]
) -> None:
    one, other = played(face, voice, choices), played(face, voice)
    assert (one.tables == other.tables).all()
    assert one.events == other.events
    assert document(one, resamples=20) == document(other, resamples=20)


@UNHURRIED
@given(lanes("face"), lanes("voice"), st.integers(1, 5000))
def test_counts_are_the_sums_over_any_cells(
    face: list[Interval], voice: list[Interval], cell: int
) -> None:
    timeline = played(face, voice)
    edges = np.append(np.arange(timeline.start, timeline.end + 1, cell), timeline.end + 1)
    a, b = (lane.array() for lane in timeline.lanes.values())
    for lag, table in zip(LAGS_MS, timeline.tables, strict=True):
        assert (joint(a, b, edges, int(lag)).sum(0) == table).all()


@UNHURRIED
@given(lanes("face", 20))
def test_transitions_are_those_between_neighbours(face: list[Interval]) -> None:
    lane = played(face, []).lanes["face"]
    expected = np.zeros((NIL, NIL), np.int64)
    for before, after in pairwise(face):
        if before.label != after.label:
            expected[CODES[before.label], CODES[after.label]] += 1
    assert (lane.changes == expected).all()
    assert len(lane.change_times) == expected.sum()


@UNHURRIED
@given(BEGINNINGS, BEGINNINGS, st.integers(0, 2000))
def test_as_many_beginnings_are_linked_as_can_be(
    first: list[tuple[int, int]], second: list[tuple[int, int]], tolerance: int
) -> None:
    faces, voices = sorted(first), sorted(second)
    events = link(deque(faces), deque(voices), tolerance)
    linked = [e for e in events if NIL not in (e.face, e.voice)]
    assert len(events) == len(faces) + len(voices) - len(linked)
    assert [e.face for e in events if e.face != NIL] == [code for _, code in faces]
    assert [e.voice for e in events if e.voice != NIL] == [code for _, code in voices]
    near = [[abs(f - v) <= tolerance for v, _ in voices] for f, _ in faces]
    if faces and voices:
        most = (maximum_bipartite_matching(csr_array(np.array(near, int))) >= 0).sum()
        assert len(linked) == most


def test_a_beginning_waits_until_no_partner_can_come() -> None:
    timeline = Timeline(["face", "voice"], 0.0, 1.0)
    timeline.update("face", [interval("face", "Sad", 2.0, 4.0)], 4.0)
    timeline.update("voice", [], 3.0)
    assert timeline.events == []
    timeline.update("voice", [], 3.001)
    assert timeline.events == [Event(2000, CODES["Sad"], NIL)]


def test_a_missing_modality_is_not_waited_for() -> None:
    timeline = Timeline(["face"], 0.0, 1.0)
    timeline.update("face", [interval("face", "Sad", 2.0, 4.0)], 4.0)
    assert timeline.events == [Event(2000, CODES["Sad"], NIL)]
    assert (timeline.end, timeline.complete) == (4000, False)
    timeline.finish("face", 5.0)
    assert (timeline.end, timeline.complete) == (5000, True)


def test_what_is_known_by_now_ends_with_the_later_modality() -> None:
    timeline = Timeline(["face", "voice"], 1.0, 1.0)
    assert (timeline.start, timeline.end) == (1000, 1000)
    timeline.update("face", [], 9.0)
    timeline.update("voice", [], -math.inf)
    assert timeline.end == 1000
    timeline.update("voice", [], 4.0)
    assert timeline.end == 4000
    timeline.finish("face", 9.5)
    assert timeline.end == 4000
    timeline.finish("voice", 9.25)
    assert timeline.end == 9500


@UNHURRIED
@given(st.floats(0, 1e5))
def test_milliseconds_are_those_of_the_tables(t: float) -> None:
    assert milliseconds(t) == int(seconds(t).replace(".", ""))


def test_an_unknown_interval_is_a_gap_on_the_line() -> None:
    line = Timeline(["face"], 0.0, 1.0)
    rows = [
        Interval("face", label, float(k), k + 1.0, 0.4, 0.4, 1, "change")
        for k, label in enumerate(["Sad", UNKNOWN, "Fear"])
    ]
    line.update("face", rows, 3.0)
    assert line.lanes["face"].totals.sum() == 2000
    assert line.lanes["face"].change_times == [
        (2000, EMOTIONS.index("Sad"), EMOTIONS.index("Fear"))
    ]
