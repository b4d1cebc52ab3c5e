"""Tables: readable at any moment, and never more or less than was said."""

import csv
import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer import tables as module
from streamer.agreement import Transition
from streamer.pairing import Pair, Voice
from streamer.tables import HEADERS, SessionTables, new_session, seconds, share, write_summary
from streamer.types import Interval, StreamerError, Vocabulary

NOW = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
FACE = Interval("face", "Sad", 0.1 + 0.2, 1.1 + 2.2, 2 / 3, 0.99999, 31, "change")


def lines(folder: Path, name: str) -> list[str]:
    return (folder / f"{name}.csv").read_text(encoding="utf-8").splitlines()


def test_headers_are_there_from_the_beginning(tmp_path: Path) -> None:
    with SessionTables(tmp_path):
        assert {path.stem for path in tmp_path.glob("*.csv")} == set(HEADERS)
        for name, header in HEADERS.items():
            assert lines(tmp_path, name) == [header]


def test_issued_columns_come_first() -> None:
    for name, columns in {
        "video_intervals": "emotion,start,end",
        "audio_intervals": "emotion,start,end",
        "modality_mismatch": "start,end,video_emotion,audio_emotion",
        "modality_duration": "duration,start,end,video_emotion,audio_emotion",
        "voice_intervals": "emotion,start,end",
        "fused_intervals": "emotion,start,end",
        "transitions": "time,modality,from,to",
    }.items():
        assert HEADERS[name].startswith(columns)


def test_rows_are_in_the_file_after_a_sync(tmp_path: Path) -> None:
    with SessionTables(tmp_path) as tables:
        tables.pair(Pair(FACE, Voice("Happy", 0.5, 0.25, 1.0)))
        tables.voice(Interval("voice", "Fear", 0.0, 2.0, 0.5, 0.75, 4, "end"))
        tables.fused(Interval("fused", "Sad", 0.0, 1.0, 0.5, 0.75, 9, "gap", details=(0.75, 0.25)))
        tables.transition(Transition(1.25, "voice", "Sad", "Fear", 0.0))
        tables.sync()
        assert {name: lines(tmp_path, name)[1:] for name in HEADERS} == {
            "video_intervals": ["Sad,0.300,3.300,0.6667,1.0000,31,change,,,,"],
            "audio_intervals": ["Happy,0.300,3.300,0.5000,0.2500,1.0000,,,"],
            "modality_mismatch": ["0.300,3.300,Sad,Happy,0.6667,0.5000"],
            "modality_duration": ["3.000,0.300,3.300,Sad,Happy"],
            "voice_intervals": ["Fear,0.000,2.000,0.5000,0.7500,4,end,,,"],
            "fused_intervals": ["Sad,0.000,1.000,0.5000,0.7500,9,gap,0.7500,0.2500"],
            "transitions": ["1.250,voice,Sad,Fear,0.000"],
        }


def test_the_models_own_label_and_affect_stand_in_the_row(tmp_path: Path) -> None:
    face = Vocabulary(("sad", "joy", "delight", "blank"), ("Sad", "Happy", "Happy", None))
    voice = Vocabulary(("gut", "schlecht"), ("Happy", "Sad"))
    happy = replace(FACE, label="Happy", details=(0.4, 0.2, 0.3, 0.1, 0.25, -0.00001), face_id=2)
    nan = float("nan")
    with SessionTables(tmp_path, {"face": face, "voice": voice}) as tables:
        tables.pair(Pair(happy, Voice("Sad", 0.5, 0.25, 1.0, (0.4, 0.6, nan, nan))))
        tables.pair(Pair(FACE, Voice(None)))
        tables.voice(replace(FACE, modality="voice", label="Happy", details=(0.9, 0.1, -0.5, 1)))
    rows = list(csv.DictReader(lines(tmp_path, "video_intervals")))
    assert [tuple(row.values())[-4:] for row in rows] == [
        ("delight", "0.2500", "0.0000", "2"),
        ("", "", "", ""),
    ]
    rows = list(csv.DictReader(lines(tmp_path, "audio_intervals")))
    assert [tuple(row.values())[-3:] for row in rows] == [("schlecht", "", ""), ("", "", "")]
    (row,) = csv.DictReader(lines(tmp_path, "voice_intervals"))
    assert tuple(row.values())[-3:] == ("gut", "-0.5000", "1.0000")


@pytest.mark.parametrize(("voice", "rows"), [("Sad", 0), ("Happy", 1), (None, 0)])
def test_mismatch_needs_two_emotions_that_differ(
    tmp_path: Path, voice: str | None, rows: int
) -> None:
    with SessionTables(tmp_path) as tables:
        tables.pair(Pair(FACE, Voice(voice, 0.5, 0.25, 0.1)))
    assert len(lines(tmp_path, "modality_mismatch")) == 1 + rows
    (row,) = csv.DictReader(lines(tmp_path, "audio_intervals"))
    assert row["emotion"] == (voice or "")
    assert (row["probability"] == "") == (voice is None)
    assert row["voiced"] == "0.1000"


@given(st.floats(-1e-3, 1e6))
def test_times_have_millisecond_precision_and_no_minus_zero(t: float) -> None:
    text = seconds(t)
    assert len(text.partition(".")[2]) == 3
    assert abs(float(text) - t) <= 0.0005 + 1e-9
    assert text != "-0.000"


@given(st.floats(-1e-9, 1 + 1e-9))
def test_shares_have_four_digits_and_no_minus_zero(p: float) -> None:
    assert len(share(p)) == 6
    assert abs(float(share(p)) - p) <= 0.00005 + 1e-9
    assert not share(p).startswith("-")


@given(st.floats(0, 1e5), st.floats(0, 100))
def test_duration_is_the_difference_of_the_written_times(start: float, length: float) -> None:
    written: list[tuple[str, ...]] = []

    class Kept(SessionTables):
        def __init__(self) -> None:
            self._vocabularies = {}

        def _append(self, table: str, *row: str) -> None:
            if table == "modality_duration":
                written.append(row)

    face = Interval("face", "Sad", start, start + length, 1.0, 1.0, 1, "end")
    Kept().pair(Pair(face, Voice(None)))
    ((duration, first, last, *_),) = written
    assert math.isclose(float(duration), float(last) - float(first), abs_tol=1e-6)


def test_tables_close_twice(tmp_path: Path) -> None:
    tables = SessionTables(tmp_path)
    tables.close()
    tables.close()


def test_tables_of_an_earlier_session_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "transitions.csv").write_text("mine", encoding="utf-8")
    with pytest.raises(StreamerError, match="File exists"):
        SessionTables(tmp_path)
    assert (tmp_path / "transitions.csv").read_text(encoding="utf-8") == "mine"


def test_an_output_folder_that_is_a_file_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "statistics").write_text("mine")
    with pytest.raises(StreamerError, match="File exists") as refused:
        new_session(tmp_path / "statistics", None, "talk", NOW)
    assert refused.value.status == 2


def test_session_is_named_by_its_start_and_its_file(tmp_path: Path) -> None:
    folder = new_session(tmp_path / "a" / "b", None, "Мой talk (1)", NOW)
    assert folder == tmp_path / "a" / "b" / "20240506-070809_Мой_talk_1"
    assert folder.is_dir()


def test_sessions_of_one_second_do_not_meet(tmp_path: Path) -> None:
    names = [new_session(tmp_path, None, "talk", NOW).name for _ in range(3)]
    first = "20240506-070809_talk"
    assert names == [first, f"{first}-2", f"{first}-3"]


def test_a_named_session_is_made_once(tmp_path: Path) -> None:
    folder = new_session(tmp_path, "mine", "talk", NOW)
    (folder / "kept").touch()
    with pytest.raises(StreamerError, match="exists already"):
        new_session(tmp_path, "mine", "talk", NOW)
    assert (folder / "kept").exists()


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", "a\n", "x" * 129])
def test_bad_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StreamerError, match="--session"):
        new_session(tmp_path, name, "talk", NOW)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stem", ["", "..", "/", "...a/../b", "x" * 300, "я" * 300])
def test_any_stem_gives_a_folder_inside(tmp_path: Path, stem: str) -> None:
    folder = new_session(tmp_path, None, stem, NOW)
    assert folder.parent == tmp_path
    assert folder.name.startswith("20240506-070809_")


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(StreamerError, match="can't write to"):
        new_session(tmp_path / "out", None, "talk", NOW)


def test_summary_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "session.json"
    write_summary(tmp_path, {"state": "running", "name": "Мой"})
    first = json.loads(path.read_text(encoding="utf-8"))
    assert first == {"state": "running", "name": "Мой"}

    def full(_descriptor: int) -> None:
        assert json.loads(path.read_text(encoding="utf-8")) == first
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(StreamerError, match="No space left"):
        write_summary(tmp_path, {"state": "complete"})
    assert json.loads(path.read_text(encoding="utf-8")) == first
    monkeypatch.undo()
    write_summary(tmp_path, {"state": "complete"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"state": "complete"}
    assert [p.name for p in tmp_path.iterdir()] == ["session.json"]
