"""What the modalities say together."""

import math
from collections import deque
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import one_hot

from streamer import config as configuration
from streamer.agreement import Agreement, Transition, Transitions
from streamer.pairing import Pair, Voice
from streamer.segmenter import ArgmaxSegmenter, HysteresisSegmenter
from streamer.types import EMOTIONS, UNKNOWN, Interval, Modality, Prediction, Segmenter

LABELS = st.lists(st.sampled_from([*EMOTIONS[:3], None]), min_size=1, max_size=40)
CONFIG = configuration.load().segmenter.model_copy(
    update={"smoothing_s": 0.0, "min_duration_s": 0.3, "max_gap_s": 0.3}
)


class Follower:
    """One modality on its way through a segmenter into the common transitions."""

    def __init__(self, modality: Modality, segmenter: Segmenter, stream: list[str | None]) -> None:
        self._modality, self._segmenter, self._step = modality, segmenter, 0.1
        self.stream = deque(enumerate(stream))

    def go_on(self, transitions: Transitions) -> list[Transition]:
        k, label = self.stream.popleft()
        t, s = k * self._step, self._segmenter
        closed = s.push(Prediction(self._modality, t, t, t, one_hot(label) if label else None))
        return transitions.update(self._modality, closed, s.settled)

    def end(self, transitions: Transitions) -> list[Transition]:
        closed = self._segmenter.finish(9.0, "end")
        return transitions.update(self._modality, closed, math.inf)


def follow(streams: list[list[str | None]], choices: list[int], argmax: bool) -> list[Transition]:
    transitions = Transitions(["face", "voice"])
    names: list[Modality] = ["face", "voice"]
    followers = [
        Follower(m, ArgmaxSegmenter(m) if argmax else HysteresisSegmenter(m, CONFIG), stream)
        for m, stream in zip(names, streams, strict=True)
    ]
    out = []
    for choice in choices + [0] * len(streams[0]) + [1] * len(streams[1]):
        if followers[choice].stream:
            out += followers[choice].go_on(transitions)
    for follower in followers:
        out += follower.end(transitions)
    for modality in names:
        assert transitions.counts[modality] == sum(t.modality == modality for t in out)
    return out


@given(st.tuples(LABELS, LABELS), st.lists(st.integers(0, 1)), st.booleans())
def test_one_order_whatever_the_interleaving(
    streams: tuple[list[str | None], list[str | None]], choices: list[int], argmax: bool
) -> None:
    got = follow(list(streams), choices, argmax)
    assert got == follow(list(streams), [], argmax)
    for modality in ("face", "voice"):
        times = [change.time for change in got if change.modality == modality]
        assert times == sorted(times)


@given(LABELS)
def test_argmax_changes_are_those_of_the_stream_without_its_gaps(stream: list[str | None]) -> None:
    spoken = [label for label in stream if label]
    changes = sum(a != b for a, b in pairwise(spoken))
    assert len(follow([stream, [None]], [], argmax=True)) == changes


def test_same_emotion_after_a_gap_is_no_change() -> None:
    assert follow([["Sad", None, None, None, "Sad"], [None]], [], argmax=True) == []


def test_a_change_across_a_gap_tells_its_length() -> None:
    (change,) = follow([["Sad", None, None, "Fear"], [None]], [], argmax=True)
    assert (change.source, change.target) == ("Sad", "Fear")
    assert change.time == pytest.approx(0.3)
    assert change.gap == pytest.approx(0.2)


def test_a_change_is_told_when_its_interval_has_closed_and_no_earlier_one_can_come() -> None:
    transitions = Transitions(["face", "voice"])
    face = Follower("face", ArgmaxSegmenter("face"), ["Sad", "Fear", "Happy", "Happy"])
    voice = Follower("voice", ArgmaxSegmenter("voice"), ["Sad", "Sad", "Sad", "Sad"])
    given_out = [len(face.go_on(transitions)) for _ in range(4)]
    given_out += [len(voice.go_on(transitions)) for _ in range(4)]
    assert given_out == [0, 0, 0, 0, 0, 0, 0, 1]


def test_a_missing_modality_is_not_waited_for() -> None:
    transitions = Transitions(["face"])
    face = Follower("face", ArgmaxSegmenter("face"), ["Sad", "Fear", "Happy", "Happy"])
    assert [len(face.go_on(transitions)) for _ in range(4)] == [0, 0, 0, 1]


def test_an_unknown_interval_is_a_gap() -> None:
    def row(label: str, start: float) -> Interval:
        return Interval("face", label, start, start + 1, 0.5, 0.5, 1, "change")

    rows = [row("Sad", 0), row(UNKNOWN, 1), row("Sad", 2), row(UNKNOWN, 3), row("Fear", 4)]
    (change,) = Transitions(["face"]).update("face", rows, math.inf)
    assert (change.time, change.source, change.target, change.gap) == (4, "Sad", "Fear", 1)


@pytest.mark.parametrize(("face", "voice"), [(UNKNOWN, "Sad"), ("Sad", UNKNOWN)])
def test_what_is_unknown_agrees_with_nothing_and_differs_from_nothing(
    face: str, voice: str
) -> None:
    agreement = Agreement()
    pair = Pair(Interval("face", face, 0.0, 2.0, 0.3, 0.5, 1, "end"), Voice(voice))
    agreement.add(pair)
    agreement.add_interval(pair.face)
    assert not pair.mismatch
    assert (agreement.both_s, agreement.mismatch_s, agreement.face_s) == (0, 0, 2)
    assert agreement.seconds["face"] == {face: 2}


def test_mismatch_is_a_share_of_the_time_with_both() -> None:
    agreement = Agreement()
    assert agreement.mismatch_share == 0
    for start, end, face, voice in [
        (0.0, 1.0, "Sad", "Sad"),
        (1.0, 4.0, "Sad", "Happy"),
        (4.0, 9.0, "Fear", None),
    ]:
        interval = Interval("face", face, start, end, 1.0, 1.0, 1, "end")
        agreement.add(Pair(interval, Voice(voice)))
        agreement.add_interval(interval)
    assert agreement.mismatch_share == 0.75
    assert (agreement.rows, agreement.mismatches) == (3, 1)
    assert (agreement.face_s, agreement.both_s, agreement.mismatch_s) == (9, 4, 3)
    assert agreement.seconds == {"face": {"Sad": 4, "Fear": 5}, "voice": {}}
