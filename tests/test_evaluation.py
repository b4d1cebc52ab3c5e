"""The figures of an evaluation: cases worked out by hand, and a plain oracle."""

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.evaluation.judge import Evaluation, judge
from streamer.evaluation.metrics import (
    NONE,
    Hits,
    Labels,
    Span,
    Tally,
    changes,
    grid,
    matched,
    mismatch,
    total,
)
from streamer.evaluation.report import listing, page
from streamer.evaluation.sessions import (
    find_truths,
    read_intervals,
    read_mismatches,
    read_truth,
    recording_of,
)
from streamer.types import EMOTIONS, StreamerError

ANGRY, HAPPY, SAD = (EMOTIONS.index(e) for e in ("Angry", "Happy", "Sad"))


def tally(truth: list[Span], said: list[Span], seconds: float) -> Tally:
    return Tally.of(grid(truth, round(seconds * 100)), said)


# Worked out by hand: Happy for 6 s, Sad for 4 s, nothing for 2 s. Said: Happy up to 4 s with .9,
# Angry up to 6.4 s with .6, nothing for 1.6 s, Sad from 8 to 11 s with .8.
TRUTH = [Span(0, 6, HAPPY), Span(6, 10, SAD)]
SAID = [Span(0, 4, HAPPY, 0.9), Span(4, 6.4, ANGRY, 0.6), Span(8, 11, SAD, 0.8)]
BY_HAND = tally(TRUTH, SAID, 12)


def test_time_accuracy_coverage_and_error_rate_are_as_by_hand() -> None:
    assert BY_HAND.labelled == 1000
    assert BY_HAND.time_acc == pytest.approx((4 + 2) / 10)
    assert BY_HAND.coverage == pytest.approx((6.4 + 2) / 10)
    missed, false_alarm, confused = 1.6, 1.0, 2.4
    assert BY_HAND.eder == pytest.approx((missed + false_alarm + confused) / 10)


def test_each_emotion_is_as_by_hand() -> None:
    emotions = BY_HAND.emotions
    assert list(emotions) == ["Angry", "Happy", "Sad"]
    assert (emotions["Happy"].precision, emotions["Happy"].recall) == (1.0, pytest.approx(4 / 6))
    assert (emotions["Sad"].precision, emotions["Sad"].recall) == (1.0, 0.5)
    assert emotions["Angry"].precision == 0
    assert np.isnan(emotions["Angry"].recall)
    assert BY_HAND.uar == pytest.approx((4 / 6 + 0.5) / 2)
    assert BY_HAND.macro_f1 == pytest.approx((0.8 + 2 / 3) / 2)


def test_the_confusions_are_as_by_hand() -> None:
    confusion = BY_HAND.confusion
    assert confusion.sum() == 1200
    assert {(i, j): int(confusion[i, j]) for i, j in zip(*np.nonzero(confusion), strict=True)} == {
        (HAPPY, HAPPY): 400,
        (HAPPY, ANGRY): 200,
        (SAD, ANGRY): 40,
        (SAD, NONE): 160,
        (SAD, SAD): 200,
        (NONE, SAD): 100,
        (NONE, NONE): 100,
    }


def test_the_calibration_error_is_as_by_hand() -> None:
    # .9: 4 s, all right. .8: 2 s of labelled time, all right. .6: 2.4 s, all wrong.
    assert BY_HAND.ece == pytest.approx((4 * 0.1 + 2 * 0.2 + 2.4 * 0.6) / 8.4)
    steps, _, right = BY_HAND.reliability
    assert steps.tolist() == [0, 0, 0, 0, 0, 0, 240, 0, 200, 400]
    assert right.tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 200, 400]


def test_the_boundaries_are_as_by_hand() -> None:
    # True: at 6. Found: at 4, and in the middle of the gap from 6.4 to 8.
    assert changes(grid(TRUTH, 1200)).tolist() == [6.0]
    assert changes(grid(SAID, 1200)).tolist() == pytest.approx([4.0, 7.2])
    assert BY_HAND.boundaries == Hits(0, 2, 1)
    assert BY_HAND.switches_per_min == pytest.approx((10.0, 5.0))


def test_a_boundary_is_found_within_half_a_second_and_only_once() -> None:
    assert matched(np.array([1.0, 9.5]), np.array([1.5, 9.0])) == 2
    assert matched(np.array([0.99]), np.array([1.5])) == 0
    assert matched(np.array([1.0, 1.2, 1.4]), np.array([1.3])) == 1
    # The nearest pair first: 2.4 goes to 2.5, so 2.0 is left for 1.9.
    assert matched(np.array([2.0, 2.4]), np.array([1.9, 2.5])) == 2
    assert matched(np.array([]), np.array([1.0])) == matched(np.array([1.0]), np.array([])) == 0


def test_the_same_emotion_after_a_gap_is_no_change() -> None:
    spans = [Span(0, 1, HAPPY), Span(2, 3, HAPPY), Span(4, 5, SAD)]
    assert changes(grid(spans, 500)).tolist() == pytest.approx([3.5])
    assert changes(grid([], 500)).size == changes(grid(spans[:1], 500)).size == 0


def test_mismatches_are_as_by_hand() -> None:
    face = grid([Span(0, 10, HAPPY)], 1000)
    voice = grid([Span(0, 4, HAPPY), Span(4, 8, SAD)], 1000)  # nobody speaks from 8 s on
    hits = mismatch(face, voice, [Span(3, 6, 0), Span(7, 7.5, 0), Span(9, 99, 0)])
    assert hits == Hits(350, 450, 600)
    assert hits.precision == pytest.approx(350 / 450)
    assert hits.recall == pytest.approx(350 / 600)
    assert hits.f1 == pytest.approx(700 / 1050)


def test_nothing_to_judge_is_nan_and_nothing_to_find_is_perfect() -> None:
    empty = tally([], [], 10)
    for figure in (empty.time_acc, empty.eder, empty.uar, empty.macro_f1, empty.ece):
        assert np.isnan(figure)
    assert empty.boundaries.f1 == 1.0
    assert np.isnan(Hits().precision)
    assert np.isnan(Tally().switches_per_min[0])


def test_an_unknown_probability_is_left_out_of_the_calibration() -> None:
    said = [Span(0, 5, HAPPY, 0.5), Span(5, 10, HAPPY)]
    assert tally([Span(0, 10, HAPPY)], said, 10).reliability[0].sum() == 500


LABELS = st.lists(st.integers(0, NONE), min_size=1, max_size=60).map(lambda x: np.array(x, np.int8))


def spans_of(labels: Labels, probability: float) -> list[Span]:
    return [Span(k / 100, (k + 1) / 100, int(e), probability) for k, e in enumerate(labels)]


@given(LABELS, st.data(), st.floats(0, 1))
def test_all_figures_agree_with_a_plain_oracle(
    truth: Labels, data: st.DataObject, probability: float
) -> None:
    same_length = st.lists(st.integers(0, NONE), min_size=len(truth), max_size=len(truth))
    found = np.array(data.draw(same_length), np.int8)
    judged = Tally.of(truth, spans_of(found, probability))
    pairs = list(zip(truth.tolist(), found.tolist(), strict=True))
    known = [(t, f) for t, f in pairs if t != NONE]
    false_alarm = sum(t == NONE and f != NONE for t, f in pairs)
    if not known:
        assert np.isnan(judged.time_acc)
        return
    right = sum(t == f for t, f in known)
    assert judged.time_acc == pytest.approx(right / len(known))
    assert judged.eder == pytest.approx((len(known) - right + false_alarm) / len(known))
    recalls = [
        sum(t == f == k for t, f in known) / sum(t == k for t, _ in known)
        for k in sorted({t for t, _ in known})
    ]
    assert judged.uar == pytest.approx(np.mean(recalls))
    said = [t == f for t, f in known if f != NONE]
    if said:
        assert judged.ece == pytest.approx(abs(np.mean(said) - probability))


@given(st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=4))
def test_sessions_add_up_in_any_order(sessions: list[tuple[Labels, Labels]]) -> None:
    tallies = [Tally.of(truth, spans_of(said, 0.25)) for truth, said in sessions]
    forth, back = total(tallies), total(reversed(tallies))
    assert forth.steps == sum(len(truth) for truth, _ in sessions)
    assert (forth.confusion == back.confusion).all()
    assert forth.boundaries == back.boundaries
    assert np.allclose(forth.reliability, back.reliability)


@given(LABELS)
def test_the_truth_itself_is_perfect(truth: Labels) -> None:
    judged = Tally.of(truth, spans_of(truth, 1.0))
    assert judged.boundaries.f1 == 1
    if judged.labelled:
        assert judged.time_acc == judged.coverage == judged.uar == judged.macro_f1 == 1
        assert judged.eder == judged.ece == 0


# Files


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


HEAD = "start,end,face_emotion,voice_emotion"
TRUTH_ERRORS = {
    "overlap": ([HEAD, "0,2,happy,sad", "1,3,sad,sad"], "line 3: starts at 1 s, before the row"),
    "backwards": ([HEAD, "2,1,happy,sad"], "line 2: an interval from 2 to 1 s can't be"),
    "unknown emotion": ([HEAD, "0,2,calm,sad"], "line 2: face_emotion 'calm' is none of Angry"),
    "NaN": ([HEAD, "nan,2,happy,sad"], "line 2: start 'nan' is not a number"),
    "word": ([HEAD, "0,two,happy,sad"], "line 2: end 'two' is not a number"),
    "endless": ([HEAD, "0,1e12,happy,sad"], "line 2: an interval from 0 to 1e+12 s can't be"),
    "short row": ([HEAD, "0,2"], "line 2: 2 values, the header has 4"),
    "no times": (["from,to,face_emotion", "0,2,sad"], "column start is missing"),
    "no emotions": (["start,end,emotion", "0,2,sad"], "neither column face_emotion nor voice_"),
    "empty": ([HEAD], "no known emotions"),
    "nothing": ([""], "column start is missing"),
    "two of one name": (["start,end,face_emotion,Face_Emotion ", "0,2,sad,happy"], "two columns"),
}


def test_a_truth_may_have_empty_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "truth.csv", "start,end,face_emotion,,", "0,2,sad,,")
    assert len(read_truth(path).spans["face_emotion"]) == 1


@pytest.mark.parametrize("name", ["...csv", "..csv"])
def test_a_truth_can_not_name_another_folder(tmp_path: Path, name: str) -> None:
    write(tmp_path / "good.csv", HEAD, "0,2,happy,sad")
    write(tmp_path / name, HEAD, "0,2,happy,sad")
    with pytest.raises(StreamerError, match="can't be a session's name"):
        find_truths(tmp_path)


@pytest.mark.parametrize("read", [read_truth, read_intervals, read_mismatches])
def test_a_pipe_is_not_waited_for(tmp_path: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "truth.csv")
    with pytest.raises(StreamerError, match=r"truth\.csv: not a plain file"):
        read(tmp_path / "truth.csv")


@pytest.mark.parametrize("head", ["", f"{HEAD}\n", f'{HEAD}\n"'])
def test_a_line_without_an_end_is_not_read_to_its_end(tmp_path: Path, head: str) -> None:
    path = tmp_path / "truth.csv"
    path.write_text(head)
    os.truncate(path, 1 << 30)
    tracemalloc.start()
    try:
        with pytest.raises(StreamerError) as caught:
            read_truth(path)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < len(str(path)) + 80


@pytest.mark.parametrize(("lines", "message"), TRUTH_ERRORS.values(), ids=TRUTH_ERRORS)
def test_what_is_wrong_with_a_truth_is_one_line(
    tmp_path: Path, lines: list[str], message: str
) -> None:
    path = write(tmp_path / "truth.csv", *lines)
    with pytest.raises(StreamerError) as caught:
        read_truth(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truth_may_have_gaps_other_columns_and_one_modality(tmp_path: Path) -> None:
    lines = ["Kind,START,end,Voice_Emotion", "a,0,2,HAPPY", "b,2,3,none", "", "c,4,5.5,"]
    truth = read_truth(write(tmp_path / "one.csv", *lines))
    assert (truth.name, truth.length) == ("one", 550)
    assert list(truth.spans) == ["voice_emotion"]
    spans = [(s.start, s.end, s.label) for s in truth.spans["voice_emotion"]]
    assert spans == [(0, 2, HAPPY), (2, 3, NONE), (4, 5.5, NONE)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("Calm,0,1,0.5", "line 2: emotion 'calm'"),
        ("Sad,0,1,1.5", "line 2: probability 1.5"),
        ("Sad,0,1,high", "line 2: probability 'high'"),
        ("Sad,1,0,0.5", "line 2: an interval from 1 to 0 s"),
    ],
)
def test_a_broken_table_is_told_with_its_line(tmp_path: Path, row: str, message: str) -> None:
    path = write(tmp_path / "video_intervals.csv", "emotion,start,end,probability", row)
    with pytest.raises(StreamerError, match=message):
        read_intervals(path)


def test_probabilities_may_be_empty_or_missing(tmp_path: Path) -> None:
    table = write(tmp_path / "a.csv", "emotion,start,end,probability", "Sad,0,1,", ",1,2,nan")
    for path in (table, write(tmp_path / "b.csv", "emotion,start,end", "Sad,0,1", "None,1,2")):
        spans = read_intervals(path)
        assert spans is not None
        assert [s.label for s in spans] == [SAD, NONE]
        assert all(np.isnan(s.probability) for s in spans)
    assert read_intervals(tmp_path / "nowhere.csv") is None


def test_streams_beside_a_truth_are_no_truths(tmp_path: Path) -> None:
    for name in ("a.csv", "a_face.csv", "a_voice.csv", "her_face.csv"):
        write(tmp_path / name, HEAD, "0,1,sad,sad")
    assert [p.name for p in find_truths(tmp_path)] == ["a.csv", "her_face.csv"]


def test_a_recording_stands_beside_its_truth(tmp_path: Path) -> None:
    truth = write(tmp_path / "a.b.csv", HEAD)
    with pytest.raises(StreamerError, match="no recording beside"):
        recording_of(truth)
    clip = write(tmp_path / "a.b.mkv", "")
    assert recording_of(truth) == clip
    write(tmp_path / "a.b.mp4", "")
    with pytest.raises(StreamerError, match=r"which one .*: a\.b\.mkv, a\.b\.mp4"):
        recording_of(truth)


# Sessions


def session(folder: Path, face: list[str], voice: list[str], differ: list[str]) -> None:
    head = "emotion,start,end,probability"
    write(folder / "video_intervals.csv", head, *face)
    write(folder / "audio_intervals.csv", head, *voice)
    write(folder / "modality_mismatch.csv", "start,end", *differ)


def test_sessions_are_judged_together_and_a_missing_one_said_nothing(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / f"{name}.csv", HEAD, "0,6,happy,happy", "6,10,sad,angry")
    session(
        tmp_path / "out" / "one",
        ["Happy,0,6.4,0.8", "Sad,6.4,10,0.6"],
        ["Happy,0,10,0.5"],
        ["6.4,10"],
    )
    truths = [read_truth(path) for path in find_truths(tmp_path)]
    evaluation = Evaluation.of([judge(t, tmp_path / "out" / t.name) for t in truths])
    assert evaluation.missing == ["two"]
    assert [lane.key for lane in evaluation.lanes] == ["face", "voice"]
    result = evaluation.as_json()
    face, voice = result["face"], result["voice"]
    assert isinstance(face, dict)
    assert isinstance(voice, dict)
    assert result["minutes"] == pytest.approx(20 / 60, abs=1e-4)
    assert face["time_acc"] == pytest.approx(9.6 / 20)
    assert face["coverage"] == 0.5
    assert face["boundary_f1"] == pytest.approx(2 / 3)  # one found, two are true
    assert face["switches_per_min"] == [3.0, 6.0]
    assert voice["time_acc"] == pytest.approx(6 / 20)
    assert face["emotions"]["Sad"]["true_s"] == 8.0
    assert face["confusion_s"]["true_by_said"][SAD][HAPPY] == 0.4
    # A session without tables has no mismatches to judge.
    assert result["mismatch_f1"] == pytest.approx(2 * 3.6 / (3.6 + 4))
    assert result["mismatch"] == {
        "precision": 1.0,
        "recall": pytest.approx(0.9),
        "f1": pytest.approx(7.2 / 7.6),
        "true_s": 4.0,
        "said_s": 3.6,
    }


def test_a_truth_without_a_voice_judges_the_face_alone(tmp_path: Path) -> None:
    truth = read_truth(write(tmp_path / "one.csv", "start,end,face_emotion", "0,10,happy"))
    session(tmp_path / "out", ["Happy,0,10,0.8"], ["Happy,0,10,0.5"], [])
    result = Evaluation.of([judge(truth, tmp_path / "out")]).as_json()
    assert "voice" not in result
    assert "mismatch" not in result
    assert result["by_session"]["one"]["face"]["time_acc"] == 1.0  # type: ignore[index]


def test_where_both_are_alike_each_is_judged_by_itself(tmp_path: Path) -> None:
    truth = write(
        tmp_path / "a.csv",
        "start,end,face_emotion,voice_emotion",
        "0,4,happy,happy",
        "4,6,happy,sad",
        "6,10,sad,sad",
    )
    said = {
        "video_intervals": ["Happy,0,8"],  # right for 4 of the 8 s
        "voice_intervals": ["Sad,0,5", "Sad,7,10"],  # for 3
        "fused_intervals": ["Happy,0,6", "Sad,6,9"],  # for 7
    }
    for table, rows in said.items():
        write(tmp_path / "s" / f"{table}.csv", "emotion,start,end", *rows)
    evaluation = Evaluation.of([judge(read_truth(truth), tmp_path / "s")])
    assert evaluation.as_json()["together"] == {
        "matching_s": 8.0,
        "time_acc": {"face": 0.5, "voice": 0.375, "both": 0.875},
    }
    line = listing(evaluation)[-1]
    assert line == (
        "right where face and voice are alike (8.0 s): face 0.500, voice 0.375, fused 0.875"
    )
    shown = page(evaluation, "title", {})
    assert line in shown
    assert "fused_intervals.csv" in shown


def test_a_session_that_lacks_one_of_the_tables_said_nothing_there(tmp_path: Path) -> None:
    truths = [
        read_truth(write(tmp_path / f"{name}.csv", HEAD, "0,10,happy,happy")) for name in "abc"
    ]
    for name, emotion in (("a", "Happy"), ("b", "Sad")):
        write(tmp_path / name / "video_intervals.csv", "emotion,start,end", f"{emotion},0,10")
    write(tmp_path / "a" / "fused_intervals.csv", "emotion,start,end", "Happy,0,10")
    evaluation = Evaluation.of([judge(truth, tmp_path / truth.name) for truth in truths])
    third = pytest.approx(1 / 3)
    assert evaluation.as_json()["together"] == {
        "matching_s": 30.0,
        "time_acc": {"face": third, "both": third},
    }


def test_a_page_of_one_truth_alone_explains_no_fused_table(tmp_path: Path) -> None:
    truth = write(tmp_path / "a.csv", "start,end,face_emotion", "0,4,happy")
    write(tmp_path / "s" / "video_intervals.csv", "emotion,start,end", "Happy,0,4")
    evaluation = Evaluation.of([judge(read_truth(truth), tmp_path / "s")])
    assert "fused_intervals.csv" not in page(evaluation, "title", {})
