"""Pairing: the same pairs whichever thread is faster."""

import math
from collections import deque
from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import one_hot

from streamer.config import SpeechConfig, load
from streamer.pairing import Pair, Pairing, Voice
from streamer.types import (
    EMOTIONS,
    UNKNOWN,
    Floats,
    Interval,
    Prediction,
    Reading,
    SpanReply,
    SpanRequest,
)

WINDOW, HOP, LEAST = 3.0, 0.5, 1.5
CONFIG: SpeechConfig = load(
    settings=[f"speech.window_s={WINDOW}", f"speech.hop_s={HOP}", f"speech.min_s={LEAST}"]
).speech


def face(start: float, end: float, label: str = "Sad") -> Interval:
    return Interval("face", label, start, end, 1.0, 1.0, 1, "change")


def window(centre: float, probs: Floats | None, voiced: float = 1.0) -> Prediction:
    start, end = max(centre - WINDOW / 2, 0), centre + WINDOW / 2
    return Prediction("voice", max(centre - HOP / 2, 0), start, end, probs, voiced)


class Listener:
    """A pairing with all that it asked, and all that it gave."""

    def __init__(self, has_audio: bool = True) -> None:
        self.asked: deque[SpanRequest] = deque()
        self.pairing = Pairing(CONFIG, self.asked.append, has_audio)
        self.pairs: list[Pair] = []

    def face(self, interval: Interval) -> None:
        self.pairs += self.pairing.face(interval)

    def hear(self, until: float, probs: Floats | None, face_from: float = 0.0) -> None:
        """All windows of one answer that end by ``until``."""
        for k in range(int((until - WINDOW / 2) / HOP) + 1):
            self.pairs += self.pairing.voice(window(k * HOP, probs), face_from)

    def answer(self, probs: Floats | None, voiced: float = 1.0) -> None:
        reading = None if probs is None else Reading(probs)
        self.pairs += self.pairing.reply(SpanReply(self.asked.popleft().key, reading, voiced))

    @property
    def labels(self) -> list[str | None]:
        return [pair.voice.label for pair in self.pairs]


@pytest.mark.parametrize(
    ("interval", "span"),
    [
        ((5.0, 5.2), (4.35, 5.85)),
        ((5.0, 6.5), (5.0, 6.5)),
        ((5.0, 7.9), (5.0, 7.9)),
        ((5.1, 8.2), (5.15, 8.15)),  # as long as a window, but none lies inside
    ],
)
def test_short_interval_has_its_own_sound_heard(
    interval: tuple[float, float], span: tuple[float, float]
) -> None:
    listener = Listener()
    listener.face(face(*interval))
    listener.hear(interval[1], one_hot("Happy"))
    assert not listener.asked
    listener.hear(interval[1] + HOP, one_hot("Happy"))
    (request,) = listener.asked
    assert (request.start, request.end) == pytest.approx(span)
    assert not listener.pairs
    listener.answer(one_hot("Fear", 0.8), 0.9)
    (pair,) = listener.pairs
    assert pair.voice == Voice("Fear", pytest.approx(0.8), pytest.approx(1 - 0.2 / 6), 0.9)
    assert listener.pairing.idle


def test_long_interval_takes_the_windows_wholly_inside() -> None:
    listener = Listener()
    for centre, label, voiced in [
        (2.0, "Angry", 1.0),  # begins at 0.5, too early
        (2.5, "Happy", 0.25),
        (3.0, "Sad", 0.75),
        (3.5, None, 0.0),
        (4.0, "Angry", 1.0),  # ends at 5.5, too late
    ]:
        probs = one_hot(label) if label else None
        listener.pairs += listener.pairing.voice(window(centre, probs, voiced), 0.0)
    listener.face(face(1.0, 5.0))
    (pair,) = listener.pairs
    assert pair.voice == Voice("Sad", 0.75, 1.0, pytest.approx(1 / 3))
    assert not listener.asked


def test_windows_without_measured_speech_count_alike() -> None:
    """speech.min_voiced may be 0."""
    listener = Listener()
    for centre, label in [(2.5, "Happy"), (3.0, "Sad"), (3.5, "Sad"), (4.0, "Sad")]:
        listener.pairs += listener.pairing.voice(window(centre, one_hot(label), 0.0), 0.0)
    listener.face(face(1.0, 5.0))
    (pair,) = listener.pairs
    assert pair.voice == Voice("Sad", pytest.approx(2 / 3), 1.0, 0.0)


def test_silence_gives_an_empty_label() -> None:
    listener = Listener()
    listener.hear(12.0, None)
    listener.face(face(0.0, 5.0))
    listener.face(face(5.0, 6.0))
    listener.answer(None, 0.1)
    assert listener.labels == [None, None]
    assert not any(pair.mismatch for pair in listener.pairs)


def test_without_sound_every_label_is_empty() -> None:
    listener = Listener(has_audio=False)
    for k in range(3):
        listener.face(face(k * 5.0, k * 5.0 + 1 + k * 2))
    assert listener.labels == [None] * 3
    assert not listener.asked


def test_a_voice_below_the_least_confidence_is_unknown() -> None:
    pairing = Pairing(CONFIG, lambda request: None, True, min_confidence=0.5)
    pairing.face(face(5.0, 5.2))
    pairing.face(face(5.2, 5.4))
    pairing.face(face(5.4, 5.6))
    pairing.voice_ended()
    probs = [one_hot("Happy") * p + one_hot("Sad") * 0.4 for p in (0.45, 0.55)]
    pairs = [
        pair
        for key, reading in enumerate([*map(Reading, probs), None], 1)
        for pair in pairing.reply(SpanReply(key, reading, 1.0))
    ]
    assert [pair.voice.label for pair in pairs] == [UNKNOWN, "Happy", None]
    assert [pair.mismatch for pair in pairs] == [False, True, False]


def test_order_of_the_face_is_kept() -> None:
    listener = Listener()
    listener.hear(20.0, one_hot("Happy"))
    listener.face(face(0.0, 1.0))
    listener.face(face(1.0, 9.0))
    listener.face(face(9.0, 10.0))
    assert not listener.pairs  # the second knows its voice, the first does not
    listener.asked.rotate(1)
    listener.answer(one_hot("Fear"))
    assert not listener.pairs
    listener.answer(one_hot("Sad"))
    assert listener.labels == ["Sad", "Happy", "Fear"]


def test_windows_that_end_together_are_all_waited_for() -> None:
    listener = Listener()
    listener.face(face(0.0, 5.0))
    for start, label in ((1.0, "Sad"), (1.5, "Happy"), (2.0, "Happy")):  # cut at the sound's end
        heard = Prediction("voice", start + 1.25, start, 5.0, one_hot(label), 1.0)
        listener.pairs += listener.pairing.voice(heard, 0.0)
        assert not listener.pairs
    listener.pairs += listener.pairing.voice_ended()
    assert listener.labels == ["Happy"]


def test_giving_up_leaves_what_was_not_answered_empty() -> None:
    listener = Listener()
    listener.hear(20.0, one_hot("Happy"))
    for start in (1.0, 2.0, 3.0):
        listener.face(face(start, start + 1))
    listener.asked.rotate(-1)
    listener.answer(one_hot("Fear"))
    listener.pairs += listener.pairing.give_up()
    assert listener.labels == [None, "Fear", None]
    assert listener.pairing.idle


def test_windows_that_no_face_can_need_are_dropped() -> None:
    listener = Listener()
    for k in range(10_000):
        time = k * HOP
        listener.pairing.voice(window(time, one_hot("Happy")), time - 10)
        assert len(listener.pairing._windows) <= 10 / HOP + 1


def test_a_waiting_interval_keeps_its_windows() -> None:
    listener = Listener()
    listener.face(face(0.0, 5.0))
    listener.hear(6.0, one_hot("Happy"), face_from=math.inf)
    assert listener.labels == ["Happy"]


# Whatever the interleaving


@st.composite
def recordings(draw: st.DrawFn) -> tuple[list[Interval], list[Prediction]]:
    lengths = draw(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 80)), max_size=8))
    edges = list(accumulate(n for pair in lengths for n in pair))
    faces = [face(a / 10, b / 10) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    last = (edges[-1] if edges else 0) / 10 + draw(st.integers(-30, 30)) / 10
    heard = [draw(st.sampled_from([*EMOTIONS[:3], None])) for _ in range(int(last / HOP) + 1)]
    voiced = st.sampled_from([0.2, 0.7, 1.0])
    voices = [
        window(k * HOP, one_hot(label) if label else None, draw(voiced))
        for k, label in enumerate(heard)
    ]
    return faces, voices


def test_details_are_weighted_as_the_probabilities_are() -> None:
    told = Pairing(CONFIG, lambda _: None, has_audio=True)
    long = Interval("face", "Happy", 0.0, 10.0, 1.0, 1.0, 100, "change")
    for k, (share, voiced) in enumerate([(0.2, 1.0), (0.8, 0.5), (0.6, 0.0)]):
        details = np.array([share, 1 - share, share / 2, math.nan], np.float32)
        one = Prediction("voice", k, k, k + 1, one_hot("Sad"), voiced, 0.0, details)
        assert told.voice(one, 0.0) == []
    (pair,) = [*told.face(long), *told.voice_ended()]
    assert pair.voice.details == pytest.approx((0.4, 0.6, 0.2, math.nan), rel=1e-5, nan_ok=True)


def spoken(request: SpanRequest) -> SpanReply:
    """An answer that depends on nothing but the question's span."""
    number = round((request.start + request.end) * 20)
    reading = None if number % 5 == 0 else Reading(one_hot(EMOTIONS[number % 7]))
    return SpanReply(request.key, reading, 0.5)


def play(faces: list[Interval], voices: list[Prediction], choices: list[int]) -> list[Pair]:
    """Take the three streams in the order that ``choices`` make, then the rest of each."""
    listener = Listener()
    pairing = listener.pairing
    to_come, to_hear = deque(faces), deque(voices)
    held = -math.inf
    known = 0

    def step(choice: int) -> None:
        nonlocal held, known
        if choice == 0 and to_come:
            listener.face(to_come.popleft())
        elif choice == 1 and to_hear:
            face_from = to_come[0].start if to_come else math.inf
            listener.pairs += pairing.voice(to_hear.popleft(), face_from)
        elif choice == 2 and listener.asked:
            listener.pairs += pairing.reply(spoken(listener.asked.popleft()))
            known -= 1
        for request in list(listener.asked)[known:]:
            assert request.start >= held
        known = len(listener.asked)
        settled = to_come[0].start if to_come else math.inf
        held = max(held, pairing.needed_from(settled))

    for choice in choices:
        step(choice)
    for choice, stream in enumerate((to_come, to_hear, listener.asked)):
        while stream:
            step(choice)
    listener.pairs += pairing.voice_ended()
    while listener.asked:
        step(2)
    assert pairing.idle
    return listener.pairs


@given(recordings(), st.lists(st.integers(0, 2)))
def test_interleaving_does_not_change_the_pairs(
    recording: tuple[list[Interval], list[Prediction]], choices: list[int]
) -> None:
    faces, voices = recording
    pairs = play(faces, voices, choices)
    assert pairs == play(faces, voices, [])
    assert [pair.face for pair in pairs] == faces


@given(recordings(), st.lists(st.integers(0, 2)))
def test_pairs_are_the_rule_said_plainly(
    recording: tuple[list[Interval], list[Prediction]], choices: list[int]
) -> None:
    faces, voices = recording
    for pair in play(faces, voices, choices):
        start, end = pair.face.start, pair.face.end
        inside = [w for w in voices if start <= w.start and w.end <= end]
        if end - start >= WINDOW and inside:
            total = sum((w.probs * w.voiced for w in inside if w.probs is not None), np.zeros(7))
            label = EMOTIONS[int(np.argmax(total))] if total.any() else None
            if label and np.isclose(total, total.max()).sum() == 1:
                assert pair.voice.label == label
            else:
                assert (pair.voice.label is None) == (label is None)
        else:
            half = min(max(end - start, LEAST), WINDOW) / 2
            middle = (start + end) / 2
            reading = spoken(SpanRequest(0, middle - half, middle + half)).reading
            label = None if reading is None else EMOTIONS[int(np.argmax(reading.probs))]
            assert pair.voice.label == label


@given(st.floats(3.0, 1000.0), st.floats(0, 100))
def test_a_long_interval_holds_back_no_more_sound_than_a_short_one(
    length: float, start: float
) -> None:
    """Else a lossless source would wait for ever behind a face that stays the same for long."""
    listener = Listener()
    end = start + length
    listener.face(face(start, end))
    assert listener.pairing.needed_from(end) == end - WINDOW - 2 * HOP


def test_held_sound_moves_on_with_the_faces() -> None:
    listener = Listener()
    needs = [listener.pairing.needed_from(t) for t in (5.0, 6.0, 7.0)]
    assert all(b - a == 1 for a, b in pairwise(needs))
