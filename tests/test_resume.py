"""Replays that were stopped, killed while they stopped, or spoilt: `resume` ends them as if nothing
had happened, or leaves them as they are.
"""

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import scripted
from scripted import ScriptedReader, ScriptedSource, at_rate, sound
from test_durable import bytes_of, change, count, full, replay, resume
from typer.testing import CliRunner

from streamer import pipeline as wiring
from streamer import run, tables, writer
from streamer.catchup import Known
from streamer.cli import app
from streamer.journal import JOURNAL
from streamer.repair import repair, repaired
from streamer.resources import demo_clip
from streamer.tables import HEADERS, SessionTables
from streamer.types import StreamerError

NAMES = [*HEADERS, "face_predictions", "voice_predictions"]


def all_of(folder: Path) -> dict[str, bytes]:
    """Everything in a session's folder."""
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def when(reached: Callable[[SessionTables], bool], do: Callable[[SessionTables], object]) -> None:
    """Have something done once in a replay, as soon as ``reached`` says so of its tables."""
    done, sync = list[bool](), SessionTables.sync

    def act(self: SessionTables) -> None:
        sync(self)
        if not done and reached(self):
            done.append(True)
            do(self)

    SessionTables.sync = act  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def _own_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SessionTables, "sync", SessionTables.sync)
    monkeypatch.setattr(wiring, "TICK_S", 0.01)


def ctrl_c(_: SessionTables) -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A replay of the demo's first twelve seconds."""
    return replay(tmp_path_factory.mktemp("whole"), "12")


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same, stopped by Ctrl-C; and as `kill -9` leaves it when its last rows are there."""
    out = tmp_path_factory.mktemp("cut")
    killed, finish = out / "killed", SessionTables.finish

    def finished(self: SessionTables) -> None:
        finish(self)
        shutil.copytree(self.folder, killed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SessionTables, "sync", SessionTables.sync)
        patch.setattr(SessionTables, "finish", finished)
        patch.setattr(wiring, "TICK_S", 0.01)
        when(lambda tables: tables.rows["video_intervals"] >= 8, ctrl_c)
        command = ["replay", str(demo_clip()), "--speed", "max", "--duration", "12"]
        options = ["--out", str(out), "--session", "s", "--save-predictions"]
        options += ["--set", "segmenter.policy=argmax"]
        assert CliRunner().invoke(app, [*command, *options]).exit_code == 130
    return out / "s", killed


@pytest.fixture(params=[0, 1], ids=["stopped", "killed"])
def stopped(request: pytest.FixtureRequest, cut: tuple[Path, Path], tmp_path: Path) -> Path:
    folder = shutil.copytree(cut[request.param], tmp_path / "s")
    assert b"stopped" in (folder / "video_intervals.csv").read_bytes()
    assert (folder / JOURNAL).exists() == (request.param == 1)
    return folder


def test_a_stopped_replay_goes_on_to_the_same_bytes(whole: Path, stopped: Path) -> None:
    status, output = resume(stopped)
    assert status == 0, output
    assert bytes_of(stopped) == bytes_of(whole)


def test_a_resume_that_is_stopped_or_killed_before_its_end_leaves_everything(
    stopped: Path, tmp_path: Path
) -> None:
    repair(stopped)
    before = all_of(stopped)

    def kill(again: SessionTables) -> None:
        shutil.copytree(stopped, tmp_path / "killed")
        ctrl_c(again)

    when(lambda again: 0 < again.rows["video_intervals"] < 6 and again.catching_up, kill)
    status, message = resume(stopped)
    assert (status, "nothing has changed" in message) == (130, True), message
    assert all_of(stopped) == before
    assert repair(tmp_path / "killed") == []
    assert all_of(tmp_path / "killed") == before


def test_a_refused_resume_leaves_everything(stopped: Path) -> None:
    path = stopped / "face_predictions.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    (stopped / JOURNAL).unlink(missing_ok=True)
    path.write_text("".join([*lines[:3], *lines[4:]]))  # a picture was dropped
    repair(stopped)
    before = all_of(stopped)
    status, message = resume(stopped)
    assert (status, "was data dropped" in message) == (1, True), message
    assert all_of(stopped) == before


def test_a_replay_stopped_by_an_older_version_is_refused(stopped: Path) -> None:
    about = json.loads((stopped / "session.json").read_text(encoding="utf-8"))
    del about["replay"]["rows"]
    change(stopped, state="complete", ended_by="SIGINT", replay=about["replay"])
    assert "was stopped by an older version" in resume(stopped)[1]


def test_ctrl_c_on_a_full_disk_can_be_gone_on_from(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_room, write = list[bool](), run.write_summary

    def written(folder: Path, about: dict[str, object]) -> None:
        if no_room:  # of a new file: the tables' last blocks have some
            raise StreamerError("can't write: No space left on device", status=1)
        write(folder, about)

    def fill(again: SessionTables) -> None:
        no_room.append(True)
        ctrl_c(again)

    monkeypatch.setattr(run, "write_summary", written)
    when(lambda tables: tables.rows["video_intervals"] >= 8, fill)
    command = ["replay", str(demo_clip()), "--speed", "max", "--duration", "12"]
    options = ["--out", str(tmp_path), "--session", "s", "--save-predictions"]
    options += ["--set", "segmenter.policy=argmax"]
    result = CliRunner().invoke(app, [*command, *options])
    assert "No space" in str(result.exception)
    no_room.clear()
    assert resume(tmp_path / "s")[0] == 0
    assert bytes_of(tmp_path / "s") == bytes_of(whole)


@pytest.mark.parametrize("rows", [5, {"video_intervals": "x"}, {"video_intervals": 1e999}])
def test_rows_that_are_no_numbers_are_refused(stopped: Path, rows: object) -> None:
    about = json.loads((stopped / "session.json").read_text(encoding="utf-8"))
    change(stopped, replay=about["replay"] | {"rows": rows})
    assert "session.json is damaged" in resume(stopped)[1]


def test_what_is_taken_out_is_taken_out_of_all_tables_or_by_repair(
    whole: Path, stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repair(stopped)
    header, *rows = (stopped / "video_intervals.csv").read_text().splitlines(keepends=True)
    headers = {
        name: (stopped / f"{name}.csv").read_text().splitlines(keepends=True)[0] for name in NAMES
    }

    durations = (stopped / "modality_duration.csv").read_text().splitlines()[1:3]
    apart = sum(face != voice != "" for _, _, _, face, voice in (d.split(",") for d in durations))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    def take_out() -> None:
        with repaired(stopped) as (journal, _):
            begin = journal.begin

            def begun(sizes: dict[str, tuple[str, int]]) -> None:
                begin(sizes)
                monkeypatch.setattr("streamer.catchup.os.fsync", full)

            monkeypatch.setattr(journal, "begin", begun)
            keep = dict.fromkeys(NAMES, 2) | {"modality_mismatch": apart}
            Known(stopped, headers, keep).cut(journal)

    with pytest.raises(StreamerError, match="No space"):
        take_out()
    monkeypatch.undo()
    assert repair(stopped)
    assert (stopped / "video_intervals.csv").read_text() == "".join([header, *rows[:2]])
    pairs = "video_intervals", "audio_intervals", "modality_duration"
    assert {count(stopped, name) for name in pairs} == {2}
    assert repair(stopped) == []
    assert resume(stopped)[0] == 0
    assert bytes_of(stopped) == bytes_of(whole)


@pytest.mark.parametrize("policy", ["argmax", "hysteresis", "changepoint"])
@pytest.mark.parametrize("error", [False, True], ids=["stopped", "failed"])
def test_rows_from_before_the_end_are_those_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, error: bool
) -> None:
    face = [(0.0, 2.0, "Sad"), (2.0, 3.0, "Happy"), (3.0, 5.0, "Sad"), (11.0, 16.0, "Fear")]
    voice = [(0.0, 3.0, "Sad"), (3.0, 6.0, "Fear"), (11.0, 16.0, "Sad")]
    # Stopped in a gap that the whole bridges.
    settings = ["segmenter.max_gap_s=20", "rings.audio_s=60", f"segmenter.policy={policy}"]
    settings += ["segmenter.min_duration_s=0.5"]
    frames, noted = at_rate(25, 16.0, face), list[dict[str, int]]()
    monkeypatch.setattr(wiring, "TICK_S", 0.0)
    for name in ("whole", "cut"):
        stop, seen = threading.Event(), list[int]()

        def fail(name: str = name, seen: list[int] = seen) -> None:
            seen.append(1)
            if (name, error, len(seen)) == ("cut", True, 45):
                raise OSError("no more")

        monkeypatch.setattr(wiring, "FaceReader", lambda *_, b=fail: ScriptedReader(b))
        pipeline, made = scripted.pipeline(
            tmp_path / name,
            ScriptedSource(frames, sound(16.0, voice)),
            scripted.config(*settings),
            stop=stop,
            predictions=True,
        )

        def tick(
            name: str = name, made: SessionTables = made, stop: threading.Event = stop
        ) -> None:
            if name == "cut" and made.rows["face_predictions"] >= 60:
                stop.set()

        with made, suppress(OSError):
            pipeline.run(tick, lambda made=made: noted.append(dict(made.rows)))
        assert len(noted) == (name == "cut")
    for table in NAMES:
        text = {
            n: (tmp_path / n / f"{table}.csv").read_text().splitlines() for n in ("whole", "cut")
        }
        kept = 1 + noted[0].get(table, 0)
        assert text["cut"][:kept] == text["whole"][:kept], table
    assert noted[0]["face_predictions"] > 40
    assert all_of(tmp_path / "cut") != all_of(tmp_path / "whole")


def test_a_complete_session_has_its_agreement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, write = list[bool](), run.write_summary

    def look(folder: Path, about: dict[str, object]) -> None:
        if about["state"] == "complete":
            found.append((folder / "agreement.json").exists())
        write(folder, about)

    monkeypatch.setattr(run, "write_summary", look)
    replay(tmp_path, "2")
    assert found == [True]


@pytest.mark.parametrize("gone", [True, False])
def test_lost_predictions_are_made_again(
    whole: Path, stopped: Path, gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However many: they don't all fit into what waits for the disk.
    monkeypatch.setattr(writer, "MOST_WAITING", 60)
    monkeypatch.setattr(tables, "MOST_WAITING", 60)
    monkeypatch.setattr(wiring, "TICK_S", 0.0)
    (stopped / JOURNAL).unlink(missing_ok=True)
    path = stopped / "face_predictions.csv"
    path.unlink() if gone else path.write_bytes(b"")
    status, message = resume(stopped)
    assert status == 0, message
    assert bytes_of(stopped) == bytes_of(whole)


@pytest.mark.parametrize(
    ("table", "old", "new"),
    [
        ("voice_intervals", ",", ";"),
        ("transitions", "time,modality", "when,modality"),
        ("transitions", "modality", "mod\u00e4lity"),
    ],
)
def test_a_table_with_other_columns_is_told_in_a_line(
    cut: tuple[Path, Path], tmp_path: Path, table: str, old: str, new: str
) -> None:
    folder = shutil.copytree(cut[0], tmp_path / "s")
    path = folder / f"{table}.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    status, message = resume(folder)
    assert (status, "\n" in message.strip()) == (1, False)
    assert f"{table}.csv" in message


def test_a_number_that_others_changed_is_told_in_a_line(whole: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(whole, tmp_path / "s")
    change(folder, state="interrupted", ended_by="interrupted")
    path = folder / "voice_intervals.csv"
    header, first, *rest = path.read_text(encoding="utf-8").splitlines(keepends=True)
    emotion, _, others = first.split(",", 2)
    path.write_text("".join([header, f"{emotion},now,{others}", *rest]), encoding="utf-8")
    status, message = resume(folder)
    assert (status, "\n" in message.strip()) == (1, False), message
    assert "voice_intervals.csv" in message


def test_a_replay_goes_on_from_another_folder(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mm").mkdir()
    shutil.copy(demo_clip(), tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    command = ["replay", "clip.mp4", "--speed", "max", "--duration", "2", "--session", "s"]
    result = CliRunner().invoke(app, [*command, "--out", ".", "--set", "models.dir=mm"])
    assert result.exit_code == 0, result.output
    about = json.loads((tmp_path / "s" / "session.json").read_text(encoding="utf-8"))
    assert about["source"]["name"] == "clip.mp4"
    before = bytes_of(tmp_path / "s")
    change(tmp_path / "s", state="running")
    monkeypatch.chdir(whole)
    assert resume(tmp_path / "s")[0] == 0
    assert bytes_of(tmp_path / "s") == before


@pytest.mark.parametrize("room", [500, 2000], ids=["tables", "session.json"])
def test_a_start_without_room_leaves_the_name_free(tmp_path: Path, room: int) -> None:
    command = ["replay", str(demo_clip()), "--duration", "1", "--speed", "max"]
    with full(room):
        result = CliRunner().invoke(
            app, [*command, "--out", str(tmp_path / "out"), "--session", "a"]
        )
    assert isinstance(result.exception, StreamerError)
    assert result.exception.status == 1
    assert list((tmp_path / "out").iterdir()) == []
