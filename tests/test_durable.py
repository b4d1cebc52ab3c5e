"""Disks that are full, slow or gone, folders that vanish, sessions that died: no row is lost."""

import json
import os
import resource
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import FileIO, StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
import scripted
from rich.console import Console
from scripted import ScriptedReader, ScriptedSource, at_rate, contents, sound
from typer.testing import CliRunner

from streamer import journal as files
from streamer import pipeline as wiring
from streamer import screen, writer
from streamer.agreement_file import pretty
from streamer.cli import app
from streamer.dashboard import render
from streamer.figures import document
from streamer.journal import JOURNAL, Journal
from streamer.pairing import Pair, Voice
from streamer.repair import repair, repaired
from streamer.resources import demo_clip
from streamer.screen import view
from streamer.tables import HEADERS, SessionTables, write_summary
from streamer.timeline import Timeline
from streamer.types import Interval, StreamerError

FACE = Interval("face", "Sad", 1.0, 2.0, 0.5, 0.5, 10, "change", face_id=1)
PAIR = Pair(FACE, Voice("Happy", 0.5, 0.25, 1.0))
LENGTH = 12.0


@contextmanager
def full(size: int) -> Iterator[None]:
    """No file may grow over so many bytes: the system itself refuses the write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def count(folder: Path, table: str = "video_intervals") -> int:
    """The rows of a table, which must be whole."""
    text = (folder / f"{table}.csv").read_text(encoding="utf-8")
    assert text.endswith("\n")
    return text.count("\n") - 1


def test_a_full_disk_keeps_rows_waiting_until_there_is_room(tmp_path: Path) -> None:
    with SessionTables(tmp_path) as tables:
        tables.pair(PAIR)
        tables.sync()
        size = (tmp_path / JOURNAL).stat().st_size
        for _ in range(20):
            tables.pair(PAIR)
        with full(size + 100):
            tables.sync()
            tables.pair(PAIR)
            tables.sync()
        assert tables.writer.trouble == "File too large"
        assert (count(tmp_path), tables.unsaved, tables.writer.waiting()) == (1, 21, 84)
        tables.finish()
        assert (count(tmp_path), tables.unsaved, tables.writer.trouble) == (22, 0, None)
        (note,) = tables.writer.notes()
        assert note.startswith("File too large, for ")
    assert not (tmp_path / JOURNAL).exists()


def test_a_disk_that_stays_full_is_told_at_the_end(tmp_path: Path) -> None:
    with SessionTables(tmp_path) as tables:
        tables.pair(PAIR)
        tables.sync()
        for _ in range(20):
            tables.pair(PAIR)
        with full((tmp_path / JOURNAL).stat().st_size + 5):
            with pytest.raises(StreamerError, match="too large: 80 rows are missing") as caught:
                tables.finish()
            tables.close()
    assert caught.value.status == 1
    assert {count(tmp_path, name) for name in HEADERS} == {0, 1}


@contextmanager
def held(tables: SessionTables, name: str) -> Iterator[None]:
    """A table that can't be written, as if another program had it."""
    table = tables.writer._store._tables[name]
    own, number = table._file, os.open(table.path, os.O_RDONLY)
    with FileIO(number, "r+") as useless:
        table._file = useless
        yield
        table._file = own
        if useless.closed:  # with the tables
            own.close()


def test_a_table_that_another_program_holds_is_caught_up(tmp_path: Path) -> None:
    with SessionTables(tmp_path) as tables:
        with held(tables, "audio_intervals"):
            tables.pair(PAIR)
            tables.sync()
            assert tables.writer.trouble == "Bad file descriptor"
            assert (count(tmp_path), count(tmp_path, "audio_intervals")) == (1, 0)
            assert tables.unsaved == 1
        tables.sync()
        assert tables.unsaved == 0
    assert count(tmp_path, "audio_intervals") == 1


def test_a_table_held_to_the_end_is_made_good_by_repair(tmp_path: Path) -> None:
    with SessionTables(tmp_path) as tables, held(tables, "audio_intervals"):
        tables.pair(PAIR)
        with pytest.raises(StreamerError, match="streamer repair"):
            tables.finish()
        tables.close()
    assert repair(tmp_path) == ["audio_intervals.csv: 1 row put back"]
    assert count(tmp_path, "audio_intervals") == 1
    assert repair(tmp_path) == []


# Whole runs


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> ScriptedSource:
    monkeypatch.setattr(wiring, "FaceReader", lambda *_: ScriptedReader())
    monkeypatch.setattr(wiring, "TICK_S", 0.0)
    face = [(t / 1.0, t + 1.0, ("Sad", "Happy")[t % 2]) for t in range(12)]
    frames, pcm = at_rate(25, LENGTH, face), sound(LENGTH, [(0, 7, "Sad"), (7, 12, "Fear")])
    return ScriptedSource(frames, pcm, end=LENGTH)


def run(folder: Path, source: ScriptedSource, tick: Callable[[], None] = lambda: None) -> list[str]:
    """Run to the end; what is said of the disk."""
    pipeline, tables = scripted.pipeline(folder, source, scripted.config("segmenter.policy=argmax"))
    with tables:
        pipeline.run(tick)
        return tables.writer.notes()


def test_a_folder_deleted_during_the_run_is_made_again(
    tmp_path: Path, source: ScriptedSource
) -> None:
    assert run(tmp_path / "whole", source) == []
    folder = tmp_path / "deleted"

    def delete() -> None:  # at once: while it is emptied, a file may be made in it again
        shutil.rmtree(folder.rename(tmp_path / "gone"))

    source.hooks = {8.0: delete}
    # Where it goes while a row is being written, another note says that this had to wait.
    assert "deleted" in run(folder, source)[-1]
    assert contents(folder) == contents(tmp_path / "whole")
    assert not (folder / JOURNAL).exists()


@pytest.mark.parametrize("gone", ["folder", "session.json"])
def test_what_the_session_is_is_written_again_too(tmp_path: Path, gone: str) -> None:
    folder, died = tmp_path / "s", tmp_path / "died"
    folder.mkdir()
    with SessionTables(folder) as tables:
        write_summary(folder, {"state": "running", "replay": 1})
        told = (folder / "session.json").read_bytes()
        tables.pair(PAIR)
        tables.sync()
        shutil.rmtree(folder) if gone == "folder" else (folder / gone).unlink()
        tables.pair(PAIR)
        tables.sync()
        shutil.copytree(folder, died)
    assert (died / "session.json").read_bytes() == told
    assert repair(died) == ["session.json: it says now that the session was interrupted"]
    assert count(died) == 2


def test_a_drive_that_was_away_is_gone_on_with(tmp_path: Path, source: ScriptedSource) -> None:
    run(tmp_path / "whole", source)
    folder, stick = tmp_path / "there", tmp_path / "away"
    pipeline, tables = scripted.pipeline(folder, source, scripted.config("segmenter.policy=argmax"))

    def tick() -> None:
        store = tables.writer._store
        if pipeline.analysis.agreement.rows > 3 and not stick.exists() and not told:
            assert store._journal is not None
            dead = os.open("/dev/full", os.O_RDWR)
            for file in (store._journal, *store._tables.values()):
                os.dup2(dead, file._file.fileno())  # neither read nor written any more
            os.close(dead)
            folder.rename(stick)
        elif tables.writer.trouble is not None and not told:
            told.append(tables.writer.trouble)
            stick.rename(folder)

    told = list[str]()
    with tables:
        pipeline.run(tick)
        assert told == ["Input/output error"]
        assert [note.partition(",")[0] for note in tables.writer.notes()] == told
    assert contents(folder) == contents(tmp_path / "whole")
    assert not (folder / JOURNAL).exists()


@pytest.mark.parametrize("torn", [b"", b"Sad,1.0"])
def test_a_drive_may_come_back_as_it_was_long_ago(tmp_path: Path, torn: bytes) -> None:
    folder, stick = tmp_path / "session", tmp_path / "stick"
    folder.mkdir()
    with SessionTables(folder) as tables:
        tables.pair(PAIR)
        tables.sync()
        if not torn:
            shutil.copytree(folder, stick)
        tables.pair(PAIR)
        tables.sync()
        if torn:
            shutil.copytree(folder, stick)
            for path in stick.iterdir():
                path.write_bytes(path.read_bytes() + torn)
        folder.rename(tmp_path / "moved")
        stick.rename(folder)
        tables.pair(PAIR)
        tables.sync()
        assert count(folder) == 3
        with pytest.raises(StreamerError, match="another run"):
            Journal(folder)
        tables.finish()
    assert {count(folder, n) for n in HEADERS if "modality" in n or "video" in n} == {3}
    assert not (folder / JOURNAL).exists()


def in_its_place(path: Path) -> None:
    path.rename(path.with_name("moved.csv"))
    path.write_text("my own\n" * 50)


def renamed_over(path: Path) -> None:
    beside = path.with_name("mine")
    beside.write_bytes(b"MY OWN WORK\n" + path.read_bytes())
    beside.replace(path)


def edited(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"Sad", b"HAPPY!"))


def appended(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"my note," + b"x" * 300 + b"\n")


def shortened(path: Path) -> None:
    path.write_bytes(b"mine\n")


CHANGES = [in_its_place, renamed_over, edited, appended, shortened]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("late", [False, True])
def test_a_table_that_others_changed_is_left_alone_and_told(
    tmp_path: Path, change: Callable[[Path], None], late: bool
) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    path, trouble = folder / "video_intervals.csv", "video_intervals.csv was changed by another"
    with SessionTables(folder) as tables:
        tables.pair(PAIR)
        tables.sync()
        if late:
            tables.pair(PAIR)
            tables.sync()
        change(path)
        theirs = path.read_bytes()
        if not late:
            tables.pair(PAIR)
            tables.sync()
            assert (tables.writer.trouble or "").startswith(trouble)
            assert (count(folder, "audio_intervals"), tables.writer.waiting()) == (2, 0)
            seen = screen.trouble(SimpleNamespace(tables=tables))  # type: ignore[arg-type]
            assert seen == f"can't write to {folder}: {tables.writer.trouble}"
        with pytest.raises(StreamerError, match=trouble) as caught:
            tables.finish()
    assert (caught.value.status, path.read_bytes()) == (1, theirs)
    (line,) = repair(folder)
    assert "(kept in video_intervals.csv.old)" in line
    assert (folder / "video_intervals.csv.old").read_bytes() == theirs
    assert {count(folder, n) for n in HEADERS if "modality" in n or "video" in n} == {2}
    assert repair(folder) == []


def test_a_table_that_is_put_back_is_gone_on_with(tmp_path: Path) -> None:
    path, mine = tmp_path / "video_intervals.csv", tmp_path / "mine.csv"
    with SessionTables(tmp_path) as tables:
        tables.pair(PAIR)
        tables.sync()
        before = path.read_bytes()
        path.write_text("mine\n")
        tables.pair(PAIR)
        tables.sync()
        assert tables.writer.trouble
        path.rename(mine)
        path.write_bytes(before)
        tables.finish()
    assert (count(tmp_path), mine.read_text()) == (2, "mine\n")


@pytest.mark.parametrize("size", [0, 7, 150])
def test_a_table_that_was_cut_is_made_again(tmp_path: Path, size: int) -> None:
    path = tmp_path / "video_intervals.csv"
    with SessionTables(tmp_path) as tables:
        for _ in range(3):
            tables.pair(PAIR)
            tables.sync()
        os.truncate(path, size)
        tables.pair(PAIR)
        tables.sync()
        assert (tables.writer.trouble, count(tmp_path)) == (None, 4)
        os.truncate(path, size)  # after its last row
        tables.finish()
        (note,) = tables.writer.notes()
        assert "cut while it ran" in note
    lines = path.read_bytes().splitlines(keepends=True)
    assert (len(lines), len(set(lines)), lines[0].decode()[:-1]) == (5, 2, HEADERS[path.stem])
    assert not (tmp_path / JOURNAL).exists()


@pytest.mark.parametrize("change", [in_its_place, renamed_over, shortened])
def test_whatever_becomes_of_the_journal_the_tables_get_their_rows(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    with SessionTables(tmp_path) as tables:
        tables.pair(PAIR)
        tables.sync()
        change(tmp_path / JOURNAL)
        tables.pair(PAIR)
        tables.finish()
    assert count(tmp_path) == 2


def test_a_disk_that_hangs_holds_up_nothing(
    tmp_path: Path, source: ScriptedSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "whole", source)
    gate, write = threading.Event(), files._write
    folder = tmp_path / "stalled"
    pipeline, tables = scripted.pipeline(folder, source, scripted.config("segmenter.policy=argmax"))

    def hang(file: FileIO, data: bytes) -> None:
        gate.wait()
        write(file, data)

    monkeypatch.setattr(files, "_write", hang)
    monkeypatch.setattr(writer, "PATIENCE_S", 0.0)
    monkeypatch.setattr(writer, "STALL_S", 0.0)
    shown, dashboards = list[int](), list[str]()

    def tick() -> None:
        if pipeline.analysis.agreement.rows > 3 and not gate.is_set():
            seen = view(pipeline, "t", "max", "CPU", None)  # type: ignore[arg-type]
            shown.append(len(seen.rows))
            console = Console(width=120, height=40, file=StringIO())
            console.print(render(seen, 120, 40))
            text = console.file.getvalue()  # type: ignore[attr-defined]
            dashboards.append(" ".join(text.split()))  # its folder's length decides where it wraps
            gate.set()

    with tables:
        pipeline.run(tick)
    assert "the disk does not answer" in dashboards[0]
    # Four intervals have closed, none of them is on the disk: none is shown as closed.
    assert shown == [0]
    assert "Closed intervals · 0 " in dashboards[0]
    assert contents(folder) == contents(tmp_path / "whole")


def test_memory_for_waiting_rows_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MOST_WAITING", 8)
    with SessionTables(tmp_path) as tables:
        with full((tmp_path / JOURNAL).stat().st_size):
            for _ in range(5):
                tables.pair(PAIR)
                tables.sync()
            assert (tables.writer.waiting(), tables.writer.lost.total()) == (8, 12)
            assert tables.unsaved == 5
        tables.sync()
        tables.pair(PAIR)  # a table has no holes: what comes now is lost too
        assert tables.unsaved == 4  # two of six were written: no more are shown as closed
        with pytest.raises(StreamerError, match="File too large: 16 rows are missing"):
            tables.finish()
    assert {count(tmp_path, n) for n in HEADERS if "modality" in n or "video" in n} == {2}


def test_a_session_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    with SessionTables(tmp_path) as tables:
        tables.pair(PAIR)
        tables.sync()
        before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
        with pytest.raises(StreamerError, match="is being written by another run"):
            repair(tmp_path)
        assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


# Sessions that died


def session(folder: Path, pairs: int = 3) -> dict[str, bytes]:
    """A session without a journal, as older versions left them; its tables."""
    folder.mkdir(exist_ok=True)
    with SessionTables(folder) as tables:
        for n in range(pairs):
            face = Interval("face", "Sad", n, n + 1.0, 0.5, 0.5, 10, "change")
            tables.pair(Pair(face, Voice(("Happy", "Sad")[n % 2], 0.5, 0.25, 1.0)))
            tables.voice(Interval("voice", "Happy", n, n + 1.0, 0.5, 0.5, 2, "gap"))
        tables.finish()
    return {p.name: p.read_bytes() for p in folder.glob("*.csv")}


@pytest.mark.parametrize(
    "rest", ["Happy,3.0", "\0" * 99, "\0\0\n", "Happy,3.000,\xe9\n", "Sad,3\n"]
)
def test_torn_rows_are_cut(tmp_path: Path, rest: str) -> None:
    whole = session(tmp_path)
    for name in whole:
        with (tmp_path / name).open("a", encoding="latin-1") as file:
            file.write(rest)
    spoiled = {f"{p.name}.old": p.read_bytes() for p in tmp_path.iterdir()}
    done = repair(tmp_path)
    assert sorted(line.partition(":")[0] for line in done) == sorted(whole)
    assert all(f"{len(rest)} bytes" in line for line in done)
    kept = spoiled if rest.endswith("\n") and rest.strip("\0\n") else {}  # not what is no row
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == whole | kept
    assert repair(tmp_path) == []


def test_a_whole_row_that_is_cut_is_kept_and_missing_from_the_session(tmp_path: Path) -> None:
    session(tmp_path)
    write_summary(tmp_path, {"state": "complete", "ended_by": "end"})
    path = tmp_path / "voice_intervals.csv"
    *before, last = path.read_bytes().splitlines(keepends=True)
    noted = b"".join([*before, last[:-1], b",checked by Anna\n"])
    path.write_bytes(noted)
    assert repair(tmp_path) == [
        f"voice_intervals.csv: {len(last) + 16} bytes of torn rows cut "
        "(kept in voice_intervals.csv.old)",
        "session.json: it says now that rows are missing (interrupted)",
    ]
    assert (tmp_path / "voice_intervals.csv.old").read_bytes() == noted
    assert path.read_bytes() == b"".join(before)
    about = json.loads((tmp_path / "session.json").read_text(encoding="utf-8"))
    assert (about["state"], about["ended_by"]) == ("interrupted", "interrupted")
    assert repair(tmp_path) == []


FOREIGN: dict[str, Callable[[bytes], bytes]] = {
    "one semicolon": lambda data: data.replace(b",", b";", 1),
    "semicolons": lambda data: data.replace(b",", b";").replace(b".", b","),
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "other columns": lambda data: b"my" + data,
    "empty lines": lambda data: b"\n\n" + data,
}


@pytest.mark.parametrize("spoil", FOREIGN.values(), ids=list(FOREIGN))
@pytest.mark.parametrize("name", HEADERS)
def test_a_table_that_was_saved_in_another_form_is_refused(
    tmp_path: Path, name: str, spoil: Callable[[bytes], bytes]
) -> None:
    session(tmp_path)
    path = tmp_path / f"{name}.csv"
    path.write_bytes(spoil(path.read_bytes()))
    (tmp_path / "session.json").write_text("{}")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(StreamerError, match=f"{name}.csv is not as a session writes it") as caught:
        repair(tmp_path)
    assert caught.value.status == 1
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("torn", [b"", b"Sad,3"])
def test_what_editors_put_around_rows_is_taken_out(tmp_path: Path, torn: bytes) -> None:
    whole = session(tmp_path)
    for name, data in whole.items():
        text = b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n") + torn
        (tmp_path / name).write_bytes(text)
    cut = f", {len(torn)} bytes of torn rows cut" if torn else ""
    done = repair(tmp_path)
    told = "byte order mark taken out, line ends mended"
    assert sorted(done) == sorted(f"{name}: {told}{cut}" for name in whole)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == whole
    assert repair(tmp_path) == []


@pytest.mark.parametrize("name", ["video_intervals", "audio_intervals"])
@pytest.mark.parametrize("emptied", [True, False])
def test_without_all_rows_of_one_modality_nothing_is_taken_from_the_others(
    tmp_path: Path, name: str, emptied: bool
) -> None:
    session(tmp_path)
    if emptied:
        (tmp_path / f"{name}.csv").write_text(HEADERS[name] + "\n")
    else:
        (tmp_path / f"{name}.csv").unlink()
    write_summary(tmp_path, {"state": "complete", "source": {"has_audio": True}})
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(StreamerError, match=f"{name}.csv has none of its rows"):
        repair(tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("header", [b"time,note\n", b"meine;Liste\n"])
def test_a_torn_marker_is_cut_another_list_left_alone(tmp_path: Path, header: bytes) -> None:
    session(tmp_path)
    (tmp_path / "markers.csv").write_bytes(header + b"1.000")
    cut = ["markers.csv: 5 bytes of torn rows cut"] if header.startswith(b"time") else []
    assert repair(tmp_path) == cut
    left = b"" if cut else b"1.000"
    assert (tmp_path / "markers.csv").read_bytes() == header + left


def test_a_users_own_files_are_left_alone(tmp_path: Path) -> None:
    session(tmp_path)
    own = {
        "notes.csv": "Заметка;Время\r\nпациент отвлёкся;00:12\r\n".encode("cp1251"),
        "my.csv": b'a,b\n1,2\n3,4,5\n"two\nlines",5\ntorn',
    }
    for name, data in own.items():
        (tmp_path / name).write_bytes(data)
    assert repair(tmp_path) == []
    assert {name: (tmp_path / name).read_bytes() for name in own} == own


PARTNERS = {
    "video_intervals.csv": "audio_intervals.csv",
    "audio_intervals.csv": "video_intervals.csv",
}


@pytest.mark.parametrize(("lost", "partner"), PARTNERS.items())
def test_rows_without_their_partner_are_set_aside(tmp_path: Path, lost: str, partner: str) -> None:
    whole, shorter = session(tmp_path), session(tmp_path / "shorter", 2)
    (tmp_path / lost).write_bytes(shorter[lost])
    done = repair(tmp_path)
    # The third pair is a mismatch.
    names = {partner, "modality_duration.csv", "modality_mismatch.csv"}
    assert {line.partition(":")[0] for line in done} == names
    for name in {*names, lost}:
        assert (tmp_path / name).read_bytes() == shorter[name]
        assert name == lost or (tmp_path / f"{name}.old").read_bytes() == whole[name]
    assert repair(tmp_path) == []


@pytest.mark.parametrize("sound", [True, False])
def test_durations_and_mismatches_are_made_again(tmp_path: Path, sound: bool) -> None:
    whole = session(tmp_path)
    if not sound:
        with (tmp_path / "audio_intervals.csv").open("w", encoding="utf-8") as file:
            file.write(HEADERS["audio_intervals"] + "\n")
    remade = (
        "modality_duration.csv: made again, with its header, 3 rows put back from the intervals"
    )
    for name in ("modality_duration", "modality_mismatch"):
        (tmp_path / f"{name}.csv").unlink()
    write_summary(tmp_path, {"source": {"audio": "aac"} if sound else {}})
    assert remade in repair(tmp_path)
    if sound:
        assert {p.name: p.read_bytes() for p in tmp_path.glob("*.csv")} == whole
    else:
        text = (tmp_path / "modality_duration.csv").read_text(encoding="utf-8")
        assert text.splitlines()[1:] == [f"1.000,{n}.000,{n + 1}.000,Sad," for n in range(3)]
        assert count(tmp_path, "modality_mismatch") == 0


@pytest.mark.parametrize("tail", [b"", b"12345678 [[", b"\0" * 4096, b"00000000 []\n"])
def test_the_journal_makes_any_table_good(tmp_path: Path, tail: bytes) -> None:
    tables = SessionTables(tmp_path)
    for _ in range(3):
        tables.pair(PAIR)
        tables.sync()
    whole = {p.name: p.read_bytes() for p in tmp_path.glob("*.csv")}
    record = (tmp_path / JOURNAL).read_bytes()
    tables.close()
    write_summary(tmp_path, {"state": "running"})
    (tmp_path / JOURNAL).write_bytes(record + tail)
    (tmp_path / "video_intervals.csv").write_bytes(whole["video_intervals.csv"][:-60])
    (tmp_path / "audio_intervals.csv").unlink()
    (tmp_path / "modality_duration.csv").write_bytes(b"mine,\n" * 3)
    assert repair(tmp_path) == [
        "video_intervals.csv: 2 rows put back, 30 bytes of a torn row cut",
        "audio_intervals.csv: 4 rows put back",
        "modality_duration.csv: 4 rows put back, 3 rows taken out "
        "(kept in modality_duration.csv.old)",
        "session.json: it says now that the session was interrupted",
    ]
    assert {p.name: p.read_bytes() for p in tmp_path.glob("*.csv")} == whole
    assert repair(tmp_path) == []


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda data: b"",
    "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "no UTF-8, torn": lambda data: data.replace(b"0.5", b"\xff.5", 1)[:-10],
    "edited": lambda data: data.replace(b"0.5000", b"0.6000", 1),
}


@pytest.fixture
def killed_again(tmp_path: Path) -> Path:
    """A session that was killed while it was gone on with."""
    folder, killed = tmp_path / "running", tmp_path / "killed"
    whole = session(folder)
    with repaired(folder) as (journal, _), SessionTables(folder, journal=journal) as tables:
        for n in range(4):
            face = Interval("face", "Sad", n, n + 1.0, 0.5, 0.5, 10, "change")
            tables.pair(Pair(face, Voice(("Happy", "Sad")[n % 2], 0.5, 0.25, 1.0)))
            if n < 3:
                tables.voice(Interval("voice", "Happy", n, n + 1.0, 0.5, 0.5, 2, "gap"))
        tables.sync()
        shutil.copytree(folder, killed)
    assert count(killed) == 4
    assert (killed / "voice_intervals.csv").read_bytes() == whole["voice_intervals.csv"]
    return killed


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=list(SPOILT))
@pytest.mark.parametrize("name", ["video_intervals.csv", "voice_intervals.csv"])
def test_a_session_killed_while_it_was_gone_on_with_is_made_good(
    killed_again: Path, name: str, spoil: Callable[[bytes], bytes]
) -> None:
    whole = {p.name: p.read_bytes() for p in killed_again.glob("*.csv")}
    (killed_again / name).write_bytes(spoil(whole[name]))
    (line,) = repair(killed_again)
    assert line.startswith(f"{name}: ")
    assert {p.name: p.read_bytes() for p in killed_again.glob("*.csv")} == whole
    assert repair(killed_again) == []


def test_a_journal_that_knows_lengths_only_leaves_it_to_the_tables(killed_again: Path) -> None:
    """Older versions wrote such ones when they went on."""
    whole = {p.name: p.read_bytes() for p in killed_again.glob("*.csv")}
    sizes = {name: (header + "\n", 200) for name, header in HEADERS.items()}
    (killed_again / JOURNAL).write_text(files._sealed({"journal": 1, "tables": sizes}))
    path = killed_again / "voice_intervals.csv"
    path.write_bytes(path.read_bytes() + b"\xff torn")
    assert repair(killed_again) == ["voice_intervals.csv: 6 bytes of torn rows cut"]
    assert {p.name: p.read_bytes() for p in killed_again.glob("*.csv")} == whole


@pytest.mark.parametrize("spoilt", [b"", b"Sad,1.000,2"])
def test_rows_beyond_a_damaged_journal_stay(tmp_path: Path, spoilt: bytes) -> None:
    folder, died = tmp_path / "running", tmp_path / "died"
    folder.mkdir()
    with SessionTables(folder) as tables:
        for _ in range(5):
            tables.pair(PAIR)
            tables.sync()
        shutil.copytree(folder, died)
    whole = {p.name: p.read_bytes() for p in died.glob("*.csv")}
    lines = (died / JOURNAL).read_bytes().splitlines(keepends=True)
    assert len(lines) == 6
    lines[3] = lines[3].replace(b"Sad", b"Bad", 1)
    (died / JOURNAL).write_bytes(b"".join(lines))
    with (died / "video_intervals.csv").open("ab") as file:
        file.write(spoilt)
    torn = [f"video_intervals.csv: {len(spoilt)} bytes of torn rows cut"] if spoilt else []
    assert repair(died) == torn
    assert {p.name: p.read_bytes() for p in died.iterdir()} == whole
    assert repair(died) == []


def killed_session(folder: Path, faces: list[Interval]) -> None:
    """A session of pictures without sound that was killed after these rows."""
    with SessionTables(folder) as tables:
        for face in faces:
            tables.pair(Pair(face, Voice(None), sound=False))
    source = {"has_video": True, "has_audio": False, "start_s": 0.0}
    config = {"agreement": {"tolerance_s": 1.0}}
    write_summary(folder, {"state": "running", "source": source, "config": config})


def test_from_one_person_to_another_nothing_changes_after_a_repair_either(tmp_path: Path) -> None:
    said = [("Sad", "face", 1), ("Happy", "change", 2), ("Angry", "gap", 2)]
    faces = [
        Interval("face", label, n, n + 1.0, 0.5, 0.5, 10, closed, face_id=whose)  # type: ignore[arg-type]
        for n, (label, closed, whose) in enumerate(said)
    ]
    killed_session(tmp_path, faces)
    repair(tmp_path)
    timeline = Timeline(["face"], 0.0, 1.0)
    timeline.update("face", faces, 3.0)
    timeline.finish("face", 3.0)
    assert timeline.lanes["face"].changes.sum() == 1
    agreement = json.loads((tmp_path / "agreement.json").read_text(encoding="utf-8"))
    assert agreement == json.loads(pretty(document(timeline)))


def test_a_table_that_others_wrote_into_is_told_in_a_line(tmp_path: Path) -> None:
    killed_session(tmp_path, [FACE])
    table = tmp_path / "video_intervals.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("1.000", "now"), encoding="utf-8")
    with pytest.raises(StreamerError, match=r"video_intervals\.csv says what no session says"):
        repair(tmp_path)


def test_a_folder_that_is_no_session_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(StreamerError, match="is no session"):
        repair(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_journal_whose_folder_vanished_is_locked_again(tmp_path: Path) -> None:
    folder = tmp_path / "session"
    session(folder)
    with repaired(folder) as (journal, _):
        shutil.rmtree(folder)
        journal.sync()
        with pytest.raises(StreamerError, match="another run"):
            Journal(folder)
        journal.remove()


# Going on


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A replay of the demo's first twelve seconds."""
    return replay(tmp_path_factory.mktemp("whole"), "12")


def replay(out: Path, duration: str) -> Path:
    command = ["replay", str(demo_clip()), "--speed", "max", "--duration", duration]
    options = ["--out", str(out), "--session", "s", "--save-predictions"]
    options += ["--set", "segmenter.policy=argmax"]
    result = CliRunner().invoke(app, [*command, *options])
    assert result.exit_code == 0, result.output
    return out / "s"


def bytes_of(folder: Path) -> dict[str, bytes]:
    names = [*(p.name for p in folder.glob("*.csv")), "agreement.json"]
    return {name: (folder / name).read_bytes() for name in names}


def resume(folder: Path, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["resume", str(folder), *options])
    if isinstance(result.exception, StreamerError):
        return result.exception.status, str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def change(folder: Path, **entries: object) -> None:
    about = json.loads((folder / "session.json").read_text(encoding="utf-8"))
    write_summary(folder, about | entries)


@pytest.fixture
def died(whole: Path, tmp_path: Path) -> Path:
    """The session as if it had been killed half-way."""
    folder = tmp_path / "died"
    shutil.copytree(whole, folder)
    for path in folder.glob("*.csv"):
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[: 1 + len(lines) // 2]) + b"Sad,1")
    change(folder, state="running")
    return folder


def test_a_whole_session_is_good_without_a_journal_too(whole: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(whole, tmp_path / "copy")
    assert repair(folder) == []
    assert bytes_of(folder) == bytes_of(whole)


def test_rows_of_a_killed_replay_that_are_there_stay(died: Path) -> None:
    repair(died)
    assert not list(died.glob("*_intervals.csv.old"))
    assert count(died, "video_intervals") == count(died, "audio_intervals") > 5


def test_two_rows_of_one_moment_are_two_pairs(tmp_path: Path) -> None:
    with SessionTables(tmp_path) as tables:
        for whose in (1, 2):
            tables.pair(replace(PAIR, face=replace(FACE, face_id=whose)))
    whole = {p.name: p.read_bytes() for p in tmp_path.glob("*.csv")}
    (tmp_path / "modality_duration.csv").unlink()
    assert repair(tmp_path) == [
        "modality_duration.csv: made again, with its header, 2 rows put back from the intervals"
    ]
    assert {p.name: p.read_bytes() for p in tmp_path.glob("*.csv")} == whole


def test_a_killed_replay_goes_on_to_the_same_bytes(whole: Path, died: Path) -> None:
    status, output = resume(died)
    assert status == 0, output
    assert "bytes of torn rows cut" in output
    assert bytes_of(died) == bytes_of(whole)
    assert resume(died)[1].endswith("is complete: nothing is left to do\n")


@pytest.mark.parametrize("lost", ["a table", "a row"])
def test_what_a_complete_replay_lost_comes_again(whole: Path, tmp_path: Path, lost: str) -> None:
    folder = shutil.copytree(whole, tmp_path / "s")
    path = folder / "voice_intervals.csv"
    if lost == "a table":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b",checked by Anna\n")
    assert resume(folder)[0] == 0
    assert bytes_of(folder) == bytes_of(whole)


def test_rows_that_do_not_come_again_stop_it_and_nothing_changes(died: Path) -> None:
    path = died / "face_predictions.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([*lines[:3], *lines[4:]]))  # a picture was dropped
    repair(died)
    before = bytes_of(died), (died / "session.json").read_bytes()
    status, message = resume(died)
    assert (status, "was data dropped" in message) == (1, True), message
    assert (bytes_of(died), (died / "session.json").read_bytes()) == before


REFUSALS: dict[str, tuple[dict[str, object], str]] = {
    "live": ({"replay": None}, "is no replay that can go on"),
    "models": ({"models": []}, "other models"),
    "damaged": ({"config": {"face": 1}}, "is damaged"),
}


@pytest.mark.parametrize(("entries", "words"), REFUSALS.values(), ids=list(REFUSALS))
def test_what_can_not_go_on_is_refused(died: Path, entries: dict[str, object], words: str) -> None:
    change(died, state="interrupted", **entries)
    status, message = resume(died)
    assert (status, words in message) == (2, True), message
    assert not (died / JOURNAL).exists()


def test_a_recording_that_was_moved_is_asked_for(died: Path) -> None:
    about = json.loads((died / "session.json").read_text(encoding="utf-8"))
    change(died, replay=about["replay"] | {"file": "elsewhere.mp4"})
    assert "name the recording with --file" in resume(died)[1]
    del about["replay"]["file"]
    change(died, replay=about["replay"], source={"name": "as_typed.mp4"})
    assert "as_typed.mp4: no such file" in resume(died)[1]


@pytest.mark.parametrize("key", ["start_s", "duration_s"])
@pytest.mark.parametrize(
    "value",
    ["abc", [1], {}, float("nan"), -5, 1e300, pytest.param(10**400, id="400 digits")],
)
def test_parts_that_no_replay_has_are_refused(died: Path, key: str, value: object) -> None:
    about = json.loads((died / "session.json").read_text(encoding="utf-8"))
    about |= {"state": "interrupted", "replay": about["replay"] | {key: value}}
    (died / "session.json").write_text(json.dumps(about), encoding="utf-8")
    before = {path.name: path.read_bytes() for path in died.glob("*.json")}
    status, message = resume(died)
    assert (status, "session.json is damaged" in message) == (2, True), message
    assert {path.name: path.read_bytes() for path in died.glob("*.json")} == before


def test_an_agreement_that_is_no_text_is_made_again(whole: Path, died: Path) -> None:
    repair(died)
    (died / "agreement.json").write_bytes(b"\xff")
    assert resume(died)[0] == 0
    assert bytes_of(died) == bytes_of(whole)


def test_a_stopped_replay_that_others_wrote_into_stays_as_it_is(died: Path) -> None:
    repair(died)
    about = json.loads((died / "session.json").read_text(encoding="utf-8"))
    noted = about["replay"] | {"rows": {"video_intervals": 5, "fused_intervals": 5}}
    change(died, ended_by="SIGINT", replay=noted)
    table = died / "fused_intervals.csv"
    row = b"\nHappy,x,y,1,1,1,end,.5,.5\n"
    table.write_bytes(table.read_bytes().replace(b"\n", row, 1))
    before = bytes_of(died), (died / "session.json").read_bytes()
    status, message = resume(died)
    assert (status in (1, 2), "fused_intervals.csv" in message) == (True, True), message
    assert (bytes_of(died), (died / "session.json").read_bytes()) == before


def test_names_of_sessions_do_not_steer_the_terminal(whole: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(whole, tmp_path / "\x1b[2J")
    said = '"\x9b2J \u202e \\ud800", "fused": NaN'
    text = (folder / "session.json").read_text(encoding="utf-8")
    (folder / "session.json").write_text(
        text.replace("{", f'{{"note": {said},', 1), encoding="utf-8"
    )
    for options in ([], ["--json"]):
        status, output = resume(folder, *options)
        assert (status, "?[2J is complete" in output) == (0, True), output
        assert output.replace("\n", "").isprintable()
    start = output.index("{")
    about = json.loads(output[start:], parse_constant=pytest.fail)
    assert (about["note"], about["fused"]) == ("\x9b2J \u202e \ud800", None)


def test_another_recording_is_refused(died: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.mp4"
    other.write_bytes(demo_clip().read_bytes() + b"more")
    assert "is not the file that" in resume(died, "--file", str(other))[1]
