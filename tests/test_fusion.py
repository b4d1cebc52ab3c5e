"""Face and voice taken together: when a fused prediction is known, and of what it is made."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import one_hot

from streamer.fusion import Fuser
from streamer.types import EMOTIONS, Modality, Prediction, StreamEnd

WEIGHT = 0.3
Message = Prediction | StreamEnd


def prediction(modality: Modality, t: float, label: str | None) -> Prediction:
    probs = one_hot(label) if label else None
    return Prediction(modality, t, t, t, probs, captured=t + (modality == "voice"))


def stream(modality: Modality, labels: list[str | None], step: float, end: float) -> list[Message]:
    told = [prediction(modality, k * step, label) for k, label in enumerate(labels)]
    return [*told, StreamEnd(modality, end)]


def fuse(faces: list[Message], voices: list[Message], choices: list[bool]) -> list[Prediction]:
    """One after another, of the voice where a choice says so; then the rest."""
    fuser, out = Fuser(WEIGHT), list[Prediction]()
    waiting = {True: list(voices), False: list(faces)}
    for choice in [*choices, *[False] * len(faces), *[True] * len(voices)]:
        if waiting[choice]:
            out += fuser.take(waiting[choice].pop(0))
    assert fuser.end == max(faces[-1].t, voices[-1].t)  # type: ignore[union-attr]  # both are ends
    return out


LABELS = st.lists(st.sampled_from([*EMOTIONS[:3], None]), max_size=30)


def offline(faces: list[Message], voices: list[Message]) -> list[tuple[float, list[float] | None]]:
    """The rule of the docstring, with everything known: (time, the two weights or None)."""
    told = {
        m: [p for p in messages if isinstance(p, Prediction)]
        for m, messages in (("face", faces), ("voice", voices))
    }
    end = voices[-1].t if isinstance(voices[-1], StreamEnd) else math.inf
    kept, seen = [], False
    for face in told["face"]:
        if seen or face.probs is not None:
            kept.append(face)
        seen = face.probs is not None
    rows = []
    for face in kept:
        before = [v for v in told["voice"] if v.time <= face.time < end]
        spoken = bool(before) and before[-1].probs is not None
        rows.append((face.time, face.probs is not None, spoken))
    last = max((p.time for p in told["face"]), default=-math.inf)
    for voice in told["voice"]:
        earlier = [f for f in kept if f.time < voice.time]
        blind = not earlier or earlier[-1].probs is None or voice.time > last
        if blind and voice.time not in {f.time for f in kept}:
            rows.append((voice.time, False, voice.probs is not None))
    rows.sort()
    weights = [
        [(1 - WEIGHT) * bool(f) / s, WEIGHT * bool(v) / s]
        if (s := (1 - WEIGHT) * bool(f) + WEIGHT * bool(v))
        else None
        for _, f, v in rows
    ]
    return [(t, w) for (t, _, _), w in zip(rows, weights, strict=True)]


@given(LABELS, LABELS, st.floats(0, 3), st.floats(0, 3), st.lists(st.booleans(), max_size=60))
def test_the_order_of_the_threads_changes_nothing(
    face: list[str | None],
    voice: list[str | None],
    face_rest: float,
    voice_rest: float,
    choices: list[bool],
) -> None:
    faces = stream("face", face, 0.1, len(face) * 0.1 + face_rest)
    voices = stream("voice", voice, 0.25, len(voice) * 0.25 + voice_rest)
    out = fuse(faces, voices, choices)
    expected = offline(faces, voices)
    assert [p.time for p in out] == [t for t, _ in expected] == sorted({p.time for p in out})
    for p, (_, weights) in zip(out, expected, strict=True):
        assert (p.probs is None) == (p.details is None) == (weights is None)
        if p.probs is not None and p.details is not None:
            assert p.details == pytest.approx(weights)
            assert p.probs.sum() == pytest.approx(1)


def test_how_often_nothing_is_said_changes_nothing() -> None:
    voices = stream("voice", ["Sad"] * 12, 0.5, 6.0)
    seen = [prediction("face", k / 10, "Happy") for k in range(10)]
    back = [prediction("face", 4 + k / 10, "Happy") for k in range(10)]
    none = [prediction("face", t, None) for t in (1.9, 2.0, 2.13, 2.77, 3.5)]
    end: list[Message] = [StreamEnd("face", 5.0)]
    few, many = [*seen, none[0], *back, *end], [*seen, *none, *back, *end]
    assert [(p.time, p.details is None) for p in fuse(few, voices, [])] == [
        (p.time, p.details is None) for p in fuse(many, voices, [True, False] * 9)
    ]
    assert {2.0, 2.5, 3.0, 3.5} <= {p.time for p in fuse(many, voices, [])}


def test_a_face_waits_until_the_voice_beside_it_is_known() -> None:
    fuser = Fuser(WEIGHT)
    assert fuser.take(prediction("face", 0.0, "Happy")) == []
    assert fuser.take(prediction("voice", 0.0, "Sad")) == []
    assert fuser.take(prediction("face", 0.4, "Happy")) == []
    assert [p.time for p in fuser.take(prediction("voice", 0.5, "Angry"))] == [0.0, 0.4]
    assert fuser.take(prediction("face", 0.5, "Happy")) == []
    assert [p.time for p in fuser.take(StreamEnd("voice", 0.8))] == [0.5]
    assert [p.time for p in fuser.take(prediction("face", 0.6, "Happy"))] == [0.6]


def test_each_counts_by_its_weight_and_alone_wholly() -> None:
    voices = stream("voice", ["Sad", None, "Sad"], 1.0, 3.0)
    faces: list[Message] = [
        prediction("face", 0.5, "Happy"),
        prediction("face", 1.5, "Happy"),
        prediction("face", 2.5, None),
        StreamEnd("face", 3.0),
    ]
    alone, both, face, voice = fuse(faces, voices, [])
    assert (alone.time, alone.details is not None and list(alone.details)) == (0.0, [0, 1])
    happy, sad = EMOTIONS.index("Happy"), EMOTIONS.index("Sad")
    assert both.probs is not None
    assert both.probs[[happy, sad]] == pytest.approx([1 - WEIGHT, WEIGHT])
    assert both.captured == 1.0  # the voice's, which came later
    assert np.array_equal(face.probs, one_hot("Happy"))  # type: ignore[arg-type]
    assert np.array_equal(voice.probs, one_hot("Sad"))  # type: ignore[arg-type]


def test_the_voice_goes_on_alone_after_the_pictures() -> None:
    faces = stream("face", ["Happy"], 0.1, 0.1)
    out = fuse(faces, stream("voice", ["Sad"] * 4, 0.5, 2.0), [])
    assert [p.time for p in out] == [0.0, 0.5, 1.0, 1.5]
    assert [list(p.details) for p in out if p.details is not None][1:] == [[0, 1]] * 3


def test_a_voice_that_does_not_count_speaks_where_it_is_alone() -> None:
    fuser = Fuser(0.0)
    fuser.take(prediction("voice", 0.0, "Sad"))
    fuser.take(prediction("face", 0.0, None))
    (alone,) = fuser.take(StreamEnd("face", 1.0))
    assert np.array_equal(alone.probs, one_hot("Sad"))  # type: ignore[arg-type]


def test_a_long_wait_keeps_no_more_than_it_needs() -> None:
    fuser = Fuser(WEIGHT)
    for k in range(1000):
        fuser.take(prediction("face", k * 0.1, "Happy"))
        fuser.take(prediction("voice", k * 0.1, "Sad"))
    assert len(fuser._faces) + len(fuser._voices) <= 4
