"""What others do to a session: they begin another in its place, append rows, spoil its markers."""

import json
import shutil
from datetime import datetime
from pathlib import Path

import pytest
from test_durable import PAIR, bytes_of, change, full, replay, resume
from typer.testing import CliRunner

from streamer.cli import app
from streamer.journal import JOURNAL, Journal
from streamer.repair import repair
from streamer.resources import demo_clip
from streamer.tables import Markers, SessionTables, new_session, write_summary
from streamer.types import Interval, StreamerError

FOREIGN = "Fear,9.000,9.500,0.9000,0.9000,3,change,typed,,\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A replay of the demo's first twelve seconds, with its predictions."""
    return replay(tmp_path_factory.mktemp("whole"), "12")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "s")


def spoken(label: str, start: float) -> Interval:
    return Interval("voice", label, start, start + 1, 0.9, 0.9, 3, "change")


def test_a_run_whose_folder_another_one_has_by_now_writes_nothing_into_it(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    first = SessionTables(folder)
    first.voice(spoken("Sad", 0))
    first.sync()
    shutil.rmtree(folder)
    folder.mkdir()
    with SessionTables(folder) as second:
        before = (folder / JOURNAL).read_bytes()
        first.voice(spoken("Angry", 1))
        with pytest.raises(StreamerError, match="written by another run: this one's") as caught:
            first.sync()
        assert caught.value.status == 1
        assert not first.writable
        first.close()
        assert (folder / JOURNAL).read_bytes() == before
        second.voice(spoken("Fear", 0))
        second.finish()
        died = shutil.copytree(folder, tmp_path / "died")
    for session in (folder, died):
        repair(session)
        rows = (session / "voice_intervals.csv").read_text().splitlines()[1:]
        assert [row.partition(",")[0] for row in rows] == ["Fear"]


def test_a_replay_whose_folder_another_one_has_by_now_leaves_its_session_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, others = SessionTables.sync, list[SessionTables]()

    def taken(self: SessionTables) -> None:
        if self.rows["video_intervals"] >= 3 and not others:
            shutil.rmtree(self.folder)
            self.folder.mkdir()
            others.append(SessionTables(self.folder))
            write_summary(self.folder, {"state": "running", "whose": "the other's"})
        sync(self)

    monkeypatch.setattr(SessionTables, "sync", taken)
    command = ["replay", str(demo_clip()), "--speed", "max", "--duration", "12"]
    command += ["--out", str(tmp_path), "--session", "s", "--set", "segmenter.policy=argmax"]
    done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, StreamerError)
    assert "written by another run" in str(done.exception)
    others[0].close()
    about = json.loads((tmp_path / "s" / "session.json").read_text(encoding="utf-8"))
    assert about == {"state": "running", "whose": "the other's"}


@pytest.mark.parametrize("died", [False, True])
def test_a_row_that_others_append_is_kept_beside_the_table(tmp_path: Path, died: bool) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    path = folder / "voice_intervals.csv"
    with SessionTables(folder) as tables:
        write_summary(folder, {"state": "running"})
        tables.voice(spoken("Sad", 0))
        tables.sync()
        own = path.read_text()
        path.write_text(own + FOREIGN)
        if died:
            folder = shutil.copytree(folder, tmp_path / "died")
        else:
            with pytest.raises(StreamerError, match="changed by another program"):
                tables.finish()
    path = folder / path.name
    assert repair(folder)[0] == f"{path.name}: 1 row taken out (kept in {path.name}.old)"
    assert path.read_text() == own
    assert path.with_name(f"{path.name}.old").read_text() == own + FOREIGN
    assert repair(folder) == []


def test_a_journal_that_was_noted_before_any_table_hides_nothing(folder: Path) -> None:
    whole = bytes_of(folder)
    change(folder, state="running", ended_by=None)
    journal = Journal(folder)
    journal.begin({})  # as a resume does before all rows came
    journal.close()
    table = folder / "video_intervals.csv"
    table.write_bytes(table.read_bytes()[:-25])
    (folder / "transitions.csv").unlink()
    done = repair(folder)
    assert any(line.startswith("video_intervals.csv: ") for line in done)
    assert any(line.startswith("transitions.csv: made again") for line in done)
    assert repair(folder) == []
    assert resume(folder)[0] == 0
    assert bytes_of(folder) == whole


# Markers


def rows(folder: Path) -> list[str]:
    return (folder / "markers.csv").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("size", [0, 5, 12, 25])
def test_markers_wait_for_room_on_a_full_disk(tmp_path: Path, size: int) -> None:
    markers = Markers(tmp_path)
    with full(size):
        markers.add(1.0, "first")
        markers.add(2.0, "a note of some length")
        assert markers.unsaved > 0
    markers.add(3.0, "third")
    assert markers.unsaved == 0
    markers.close()
    assert rows(tmp_path) == [
        "time,note",
        "1.000,first",
        "2.000,a note of some length",
        "3.000,third",
    ]


def test_a_disk_that_stays_full_keeps_no_half_marker(tmp_path: Path) -> None:
    markers = Markers(tmp_path)
    markers.add(1.0, "first")
    with full(25):
        markers.add(2.0, "a note of some length")
        markers.close()
        markers.close()
    assert (markers.unsaved, rows(tmp_path)) == (1, ["time,note", "1.000,first"])


def test_markers_that_were_deleted_are_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    markers = Markers(folder)
    markers.add(1.0, "first")
    shutil.rmtree(folder)
    markers.add(2.0, "second")
    assert (markers.unsaved, rows(folder)) == (0, ["time,note", "1.000,first", "2.000,second"])
    markers.close()


def test_torn_markers_are_mended_beside_a_journal_too(tmp_path: Path) -> None:
    with SessionTables(tmp_path) as tables:
        tables.pair(PAIR)
        tables.sync()
        (tmp_path / "markers.csv").write_bytes("time,note\n1.000,a \ufffd\n2.0".encode())
        died = shutil.copytree(tmp_path, tmp_path / "died")
    assert repair(died) == ["markers.csv: 3 bytes of torn rows cut"]
    assert rows(died) == ["time,note", "1.000,a \ufffd"]  # a replacement character is a character
    assert repair(died) == []


# Names, and other settings


@pytest.mark.parametrize("letter", ["情", "é", "x", "🙂"])
def test_a_long_name_of_any_script_makes_a_session(tmp_path: Path, letter: str) -> None:
    name = letter * (255 // len(letter.encode()) - 1)
    folder = new_session(tmp_path, None, name, datetime(2026, 1, 2, 3, 4, 5))
    assert folder.is_dir()


def test_intervals_without_a_sure_emotion_are_segmented_again(folder: Path, tmp_path: Path) -> None:
    command = ["segment", str(folder / "face_predictions.csv"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*command, "--set", "segmenter.min_confidence=0.99"])
    assert done.exit_code == 0, done.output
    about = json.loads((tmp_path / "out" / "session.json").read_text(encoding="utf-8"))
    assert about["seconds"]["face"]["Unknown"] > 0
    assert "Unknown," in (tmp_path / "out" / "video_intervals.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_segmenting_that_ends_early_says_so(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:

    def fails(*_: object) -> None:
        raise failure

    monkeypatch.setattr("streamer.resegment.Table.append", fails)
    command = ["segment", str(folder / "face_predictions.csv"), "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(app, command).exit_code
    about = json.loads((tmp_path / "out" / "session.json").read_text(encoding="utf-8"))
    assert (about["state"], about["ended_by"]) == ("error", "error")
