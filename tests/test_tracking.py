"""Who is who: faces that cross, hide, flicker and change in size."""

import csv
import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scripted
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scripted import ScriptedSource, at_rate, config, one_hot, sound
from test_segmenter import CONFIG as SEGMENTER

from streamer.changepoint import ChangePointSegmenter
from streamer.pipeline import segmenter
from streamer.resegment import segment_file
from streamer.segmenter import ArgmaxSegmenter, HysteresisSegmenter
from streamer.summary import closing
from streamer.tracking import GATE, LARGER, MOST, Follower, PerFace, Tracker
from streamer.types import Face, Image, Interval, Prediction, Reading, Segmenter

TRACK_S = 2.0
RATE = 10


def box(x: float, side: float = 100, y: float = 240) -> Face:
    """A face around (x, y)."""
    return Face(x - side / 2, y - side / 2, side, side, 0.9)


def follow(
    pictures: list[list[Face]], rule: Any = "largest", start: float = 0.0
) -> list[int | None]:
    """The ids that speak, at RATE pictures a second."""
    follower = Follower(rule, TRACK_S)
    said = [follower.follow(start + k / RATE, faces) for k, faces in enumerate(pictures)]
    return [None if one is None else one[1] for one in said]


# Tracker


@pytest.mark.parametrize("speed", [60.0, 150.0, 300.0])
@pytest.mark.parametrize("front", [0, 1])
def test_two_people_who_cross_keep_their_ids(speed: float, front: int) -> None:
    tracker, hidden = Tracker(TRACK_S), 0
    for k in range(round(600 / speed * RATE) + 1):
        way = speed * k / RATE
        people = [box(20 + way), box(620 - way, 90, 250)]
        if abs(people[0].x - people[1].x) < 60:  # the detector sees only the one in front
            hidden += 1
            assert tracker.update(k / RATE, [people[front]]) == [front + 1]
        else:
            assert tracker.update(k / RATE, people) == [1, 2]
    assert hidden >= 2


def test_flicker_and_shaking_boxes_keep_the_ids() -> None:
    rng, tracker = np.random.default_rng(0), Tracker(TRACK_S)
    assert tracker.update(0.0, [box(200), box(420, 99)]) == [1, 2]
    for k in range(1, 3000):
        people = {1: box(200, 100), 2: box(420, 100)}
        seen = [i for i in people if rng.random() < 0.6]
        shaken = [
            box(*(np.array([people[i].x + 50, 100]) * rng.normal(1, 0.05, 2)).tolist())
            for i in seen
        ]
        assert tracker.update(k / RATE, shaken) == seen


def test_one_who_comes_close_fast_stays_the_same() -> None:
    tracker = Tracker(TRACK_S)
    for k in range(11):
        assert tracker.update(k / RATE, [box(320 + 20 * k, 80 * 1.15**k)]) == [1]


@pytest.mark.parametrize(("gone_s", "face_id"), [(1.9, 1), (2.0, 1), (2.1, 2)])
def test_a_loss_is_bridged_for_track_s(gone_s: float, face_id: int) -> None:
    tracker = Tracker(TRACK_S)
    tracker.update(3.0, [box(200)])
    tracker.update(3.0 + gone_s / 2, [])
    assert tracker.update(3.0 + gone_s, [box(210)]) == [face_id]


def test_a_face_elsewhere_is_another_one() -> None:
    tracker = Tracker(TRACK_S)
    assert tracker.update(0.0, [box(100)]) == [1]
    assert tracker.update(0.1, [box(100 + 100 * GATE + 1)]) == [2]
    assert tracker.update(0.2, [box(100), box(251)]) == [1, 2]
    assert tracker.update(0.3, [box(100, 100 * math.exp(GATE) + 1), box(251)]) == [3, 2]


def test_what_is_lost_does_not_drift_away() -> None:
    tracker = Tracker(TRACK_S)
    for k in range(20):
        tracker.update(k / RATE, [box(100 + 10 * k)])
    assert tracker.update(3.8, [box(340)]) == [1]  # 290 when last seen, at 100 pixels a second


def test_a_crowd_is_bounded() -> None:
    tracker = Tracker(3600)
    for k in range(20):
        crowd = [box(1000 * n, 10 + n % 7, 5000 * k) for n in range(100)]
        ids = tracker.update(k / RATE, crowd)
        assert sum(i > 0 for i in ids) == len(tracker.known) == MOST


sides = st.floats(1, 500)
places = st.floats(-100, 2000)
boxes = st.builds(Face, places, places, sides, sides, st.just(0.9))
films = st.lists(
    st.tuples(st.floats(0, 3), st.lists(boxes, max_size=5, unique=True)), min_size=1, max_size=12
)


@given(films, st.randoms(use_true_random=False))
def test_ids_are_unique_and_do_not_depend_on_the_order(film: Any, shuffled: Any) -> None:
    one, other, t, newest = Tracker(TRACK_S), Tracker(TRACK_S), 0.0, 0
    for passed, faces in film:
        t += passed
        ids = one.update(t, faces)
        assert len(set(ids)) == len(ids)
        fresh = sorted(i for i in ids if i > newest)
        assert fresh == list(range(newest + 1, newest + 1 + len(fresh)))
        newest += len(fresh)
        mixed = shuffled.sample(faces, len(faces))
        assert dict(zip(mixed, other.update(t, mixed), strict=True)) == dict(
            zip(faces, ids, strict=True)
        )
        assert len(one.known) <= MOST


# Follower


def test_sizes_that_shake_change_nobody() -> None:
    pictures = []
    for k in range(600):
        grown = 100 * 1.2 ** math.sin(k / 7)
        pictures.append([box(150, grown), box(450, 10000 / grown)])
    assert set(follow(pictures)) == {1}
    largest = [max((0, 1), key=lambda n, p=p: p[n].width) for p in pictures]
    assert len(set(largest)) == 2  # who is the largest does change


@pytest.mark.parametrize(("larger_s", "taken"), [(1.9, {1}), (2.0, {1, 2})])
def test_another_must_be_clearly_larger_for_track_s(larger_s: float, taken: set[int]) -> None:
    near, far = box(450, 100 * LARGER + 1), box(450, 90)
    pictures = [[box(150), far]] * 5 + [[box(150), near]] * (round(larger_s * RATE) + 1)
    assert set(follow(pictures + [[box(150), far]] * 5)) == taken


def test_a_larger_one_that_flickers_is_taken_all_the_same() -> None:
    both, alone = [box(150), box(450, 150)], [box(150)]
    said = follow([[box(150), box(450, 90)], *[both, alone] * 15])
    assert said.index(2) == 1 + 2 * RATE
    assert set(said[: said.index(2)]) == {1}


def test_rivals_who_take_turns_do_not_hold_each_other_up() -> None:
    first = [box(100, 60), box(300, 59), box(500, 58)]
    turns = [[box(100, 60), box(300, 100 + k % 2), box(500, 101 - k % 2)] for k in range(40)]
    said = follow([first, *turns])
    assert set(said[: 1 + 2 * RATE]) == {1}
    assert len(set(said[1 + 2 * RATE :])) == 1


def test_nobody_speaks_until_the_followed_one_is_gone_for_long() -> None:
    both, other = [box(150), box(450, 90)], [box(450, 90)]
    said = follow([both, *[other] * 19, both, *[other] * 25])
    assert said == [1, *[None] * 19, 1, *[None] * 20, *[2] * 5]


def test_of_many_the_largest_is_the_first() -> None:
    assert follow([[], [box(100, 50), box(300, 80), box(500, 60)]]) == [None, 1]
    follower = Follower("largest", TRACK_S)
    face = box(300, 80)
    assert follower.follow(0.0, [box(100, 50), face]) == (face, 1)


def test_single_takes_the_only_face_alone() -> None:
    one, two = [box(150)], [box(150), box(450, 300)]
    assert follow([one, two, [], one, [box(450, 300)]], "single") == [1, None, None, 1, 2]


def test_only_differences_of_time_count() -> None:
    pictures = [[box(150), box(450, 100 + 5 * (k % 30))] for k in range(100)]
    assert follow(pictures) == follow(pictures, start=86_400.0)


# Intervals


def machines() -> list[Segmenter]:
    return [
        ArgmaxSegmenter("face"),
        HysteresisSegmenter("face", SEGMENTER),
        ChangePointSegmenter("face", SEGMENTER),
    ]


def run(machine: Segmenter, said: list[Prediction]) -> list[Interval]:
    closed = [interval for one in said for interval in machine.push(one)]
    return closed + machine.finish(said[-1].time + 0.1, "end")


def says(k: int, emotion: str | None, face_id: int = 0) -> Prediction:
    t = k / RATE
    probs = None if emotion is None else one_hot(emotion, 0.9)
    return Prediction("face", t, t, t, probs, face_id=face_id)


@pytest.mark.parametrize("kind", range(3))
def test_another_person_closes_the_interval(kind: int) -> None:
    said = [says(k, "Sad", 1 if k < 47 else 3) for k in range(90)]
    first, second = run(PerFace(machines()[kind]), said)
    assert (first.label, first.start, first.end, first.closed_by) == ("Sad", 0, 4.7, "face")
    assert (second.start, second.end, second.closed_by) == (4.7, 9.0, "end")
    assert (first.face_id, second.face_id) == (1, 3)
    assert (first.samples, second.samples) == (47, 43)


@pytest.mark.parametrize("kind", range(3))
def test_between_two_people_the_gap_is_nobodys(kind: int) -> None:
    said = [says(k, "Sad", 1) for k in range(30)] + [says(k, None) for k in range(30, 35)]
    said += [says(k, "Sad", 2) for k in range(35, 70)]
    first, second = run(PerFace(machines()[kind]), said)
    assert (first.end, first.closed_by, first.face_id) == (3.0, "gap", 1)
    assert (second.start, second.face_id) == (3.5, 2)


scripts = st.lists(
    st.tuples(st.sampled_from(["Sad", "Happy", None]), st.integers(0, 2), st.integers(1, 30)),
    min_size=1,
    max_size=8,
)


@given(scripts, st.integers(0, 2))
def test_no_interval_holds_two_people_and_none_is_lost(script: Any, kind: int) -> None:
    said = [(emotion, who) for emotion, who, length in script for _ in range(length)]
    told = [says(k, emotion, who if emotion else 0) for k, (emotion, who) in enumerate(said)]
    found = run(PerFace(machines()[kind]), told)
    assert all(a.end <= b.start for a, b in pairwise(found))
    assert sum(i.samples for i in found) == sum(p.probs is not None for p in told)
    for interval in found:
        inside = {
            p.face_id for p in told if p.face_id and interval.start <= p.time < interval.end - 1e-9
        }
        assert inside <= {interval.face_id}
    alone = [replace(p, face_id=0) for p in told]
    assert run(PerFace(machines()[kind]), alone) == run(machines()[kind], alone)


# Session


class Duet:
    """Stands for FaceReader: the face is 1's until the picture says Happy, then 2's."""

    def read(self, image: Image, t: float) -> tuple[int, Reading | None]:
        count, said = scripted.ScriptedReader().read(image, t)
        if said is None:
            return count, None
        return 2, replace(said, face_id=2 if said.probs.argmax() == 3 else 1)


def test_tables_and_session_tell_people_apart(tmp_path: Path) -> None:
    face = [(0, 4, "Sad"), (4, 8, "Happy"), (8, 12, "Fear"), (12, 16, "Angry")]
    source = ScriptedSource(at_rate(25, 16, face), sound(16, []), end=16)
    made, tables = scripted.pipeline(tmp_path / "session", source, config(), predictions=True)
    made.face._reader = Duet()  # type: ignore[assignment]
    with tables:
        made.run(lambda: None)
    table = tmp_path / "session" / "video_intervals.csv"
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert [(r["emotion"], r["face_id"], r["closed_by"]) for r in rows] == [
        ("Sad", "1", "face"),
        ("Happy", "2", "face"),
        ("Fear", "1", "change"),
        ("Angry", "1", "end"),
    ]
    assert made.analysis.transitions.counts["face"] == 1
    assert made.analysis.timeline.lanes["face"].changes.sum() == 1
    assert made.analysis.timeline.lanes["face"].censored == [True, True, False, True]
    about: Any = closing(made, "end", None)
    assert about["frames"]["face_switches"] == 2
    assert about["frames"]["face_switches_per_min"] == 7.5
    json.dumps(about)
    saved, out = tmp_path / "session" / "face_predictions.csv", tmp_path / "again"
    segment_file(saved, out, config(), None, 0.0, Console(quiet=True))
    assert (out / "video_intervals.csv").read_bytes() == table.read_bytes()


def test_only_the_faces_segmenter_knows_people() -> None:
    assert isinstance(segmenter("face", SEGMENTER), PerFace)
    assert not isinstance(segmenter("voice", SEGMENTER), PerFace)
