"""Session folders from strangers: `repair` and `resume` mend or refuse them in one line."""

import copy
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from streamer.cli import app
from streamer.journal import JOURNAL
from streamer.repair import repair
from streamer.resources import demo_clip
from streamer.tables import HEADERS, replace_file
from streamer.types import StreamerError

VALUES = [None, True, -1, 1e308, 10**30, "x", "\x1b[31m", [], {}, [1], {"a": 1}]
PIECES = [b"", b"\n", b",", b'"', b"\0", b"\r", b"\r\n", b"nan", b"inf", b"-1e400", b"\xff", b"=1"]
TABLES = ["video_intervals", "audio_intervals", "modality_duration", "voice_intervals"]
places = st.floats(0, 1)
edits = st.lists(
    st.tuples(st.sampled_from(TABLES), places, st.integers(0, 60), st.sampled_from(PIECES)),
    max_size=3,
)
changes = st.lists(st.tuples(places, st.none() | st.sampled_from(VALUES).map(lambda v: [v])))


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds of the demo."""
    out = tmp_path_factory.mktemp("whole")
    command = ["replay", str(demo_clip()), "--speed", "max", "--duration", "8", "--session", "s"]
    options = ["--out", str(out), "--set", "segmenter.policy=argmax"]
    assert CliRunner().invoke(app, [*command, *options]).exit_code == 0
    about = json.loads((out / "s" / "session.json").read_text(encoding="utf-8"))
    (out / "s" / "session.json").write_text(json.dumps(about | {"state": "running"}))
    return out / "s"


def nodes(parent: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON document: what holds it, and its key."""
    keys = parent if isinstance(parent, dict) else range(len(parent))
    for key in list(keys):
        yield parent, key
        if isinstance(parent[key], dict | list):
            yield from nodes(parent[key])


def spoil(
    folder: Path, said: list[tuple[float, Any]], cut: list[tuple[str, float, int, bytes]]
) -> None:
    """Change entries of session.json (None: take them out) and bytes of tables."""
    about = json.loads((folder / "session.json").read_text(encoding="utf-8"))
    for place, value in said:
        everything = list(nodes(about))
        if not everything:
            break
        parent, key = everything[min(int(place * len(everything)), len(everything) - 1)]
        if value is None:
            del parent[key]
        else:
            parent[key] = copy.deepcopy(value[0])
    (folder / "session.json").write_text(json.dumps(about), encoding="utf-8")
    for table, place, length, piece in cut:
        path = folder / f"{table}.csv"
        data = path.read_bytes()
        at = int(place * len(data))
        path.write_bytes(data[:at] + piece + data[at + length :])


@settings(max_examples=150, deadline=None, derandomize=True)
@given(changes, edits)
@example([], [("audio_intervals", 0.5, 0, b"\r")])
@example([], [("video_intervals", 0.8, 0, b"nan")])
def test_a_session_that_others_changed_is_mended_or_refused(
    session: Path, said: list[tuple[float, Any]], cut: list[tuple[str, float, int, bytes]]
) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = shutil.copytree(session, Path(place) / "s")
        spoil(folder, said, cut)
        try:
            repair(folder)
        except StreamerError:
            return  # any other error fails
        assert repair(folder) == []


@pytest.mark.parametrize("key", ["source", "config", "replay"])
@pytest.mark.parametrize("value", [None, "x", {}, [1]])
def test_what_is_no_replay_is_not_gone_on_with(
    session: Path, tmp_path: Path, key: str, value: object
) -> None:
    folder = shutil.copytree(session, tmp_path / "s")
    about = json.loads((folder / "session.json").read_text(encoding="utf-8"))
    (folder / "session.json").write_text(json.dumps(about | {key: value}))
    with pytest.raises(StreamerError):
        CliRunner().invoke(app, ["resume", str(folder)], catch_exceptions=False)


# Files that are none of the session's


def refused(command: str, folder: Path) -> str:
    """The line that tells that a session is refused."""
    with pytest.raises(StreamerError) as caught:
        CliRunner().invoke(app, [command, str(folder)], catch_exceptions=False)
    return str(caught.value)


@pytest.mark.parametrize("command", ["repair", "resume"])
@pytest.mark.parametrize(
    "name", [JOURNAL, "video_intervals.csv", "my.csv", "session.json", "agreement.json"]
)
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_no_file_elsewhere_is_touched(
    session: Path, tmp_path: Path, command: str, name: str, kind: str
) -> None:
    folder = shutil.copytree(session, tmp_path / "s")
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (folder / name).unlink(missing_ok=True)
    make = {"link": lambda p: p.symlink_to(precious), "pipe": os.mkfifo, "folder": Path.mkdir}
    make[kind](folder / name)
    before = sorted(folder.iterdir())
    assert f"{name} is no plain file" in refused(command, folder)
    assert precious.read_text() == "precious"
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    "name", [".session.json.part", ".video_intervals.csv.part", "video_intervals.csv.old"]
)
def test_what_is_written_beside_follows_no_link(session: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(session, tmp_path / "s")
    for lane in ("video", "audio"):  # without a journal: a row that has lost its partner
        with (folder / f"{lane}_intervals.csv").open("a") as file:
            file.write(f"Sad,{100 if lane == 'video' else 200},300,0.5,0.5,5,end,,,,1\n")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    if name.endswith(".part"):
        assert f"{name} is no plain file" in refused("repair", folder)
    else:
        repair(folder)
        assert (folder / "video_intervals.csv.old1").is_file()
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_is_replaced_not_what_its_link_points_to(tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "s"
    elsewhere.write_text("precious")
    folder.mkdir()
    for name in ("x.csv", ".x.csv.part"):
        (folder / name).symlink_to(elsewhere)
    replace_file(folder, "x.csv", "new")
    assert (elsewhere.read_text(), (folder / "x.csv").read_text()) == ("precious", "new")
    assert [path.name for path in folder.iterdir()] == ["x.csv"]


# Journals that no session wrote: their checksums are right


def sealed(*lines: str) -> bytes:
    return b"".join(b"%08x %s\n" % (zlib.crc32(x), x) for x in map(str.encode, lines))


VIDEO = HEADERS["video_intervals"] + "\n"
HEAD = json.dumps({"journal": 1, "tables": {"video_intervals": [VIDEO, len(VIDEO)]}})


def head(**tables: object) -> str:
    return json.dumps({"journal": 1, "tables": tables})


JOURNALS: dict[str, tuple[str, ...]] = {
    "outside": (head(**{"../precious": ["", 0]}),),
    "outside, with a header": (head(**{"../precious": ["x\n", 0]}), '[["../precious","x\\n"]]'),
    "another table": (head(session=["x\n", 0]),),
    "long name": (head(**{"a" * 400: ["x\n", 0]}),),
    "no tables": ('{"journal":1}',),
    "tables are a list": ('{"tables":[1]}',),
    "a table is a number": (head(video_intervals=1),),
    "a table is a list": ('{"tables":{"video_intervals":[[],0]}}',),
    "size is text": (head(video_intervals=[VIDEO, "y"]),),
    "size is negative": (head(video_intervals=[VIDEO, -5]),),
    "size is a truth": (head(video_intervals=[VIDEO, True]),),
    "size of 5000 digits": (HEAD.replace(str(len(VIDEO)), "9" * 5000),),
    "header is no line": (head(video_intervals=["x", 0]),),
    "row of an unknown table": (HEAD, '[["b","x\\n"]]'),
    "row is a number": (HEAD, "[5]"),
    "rows are a number": (HEAD, "5"),
    "line is a number": (HEAD, '[["video_intervals",5]]'),
    "line is a half": (HEAD, '[["video_intervals","x"]]'),
    "line is no text": (HEAD, '[["video_intervals","\\ud800\\n"]]'),
    "head is nothing": ("null",),
    "no JSON": ("nonsense",),
    "no JSON later": (HEAD, "nonsense"),
    "nested": ("[" * 100_000,),
}


@pytest.mark.parametrize("lines", JOURNALS.values(), ids=list(JOURNALS))
def test_a_journal_that_no_session_wrote_is_refused(tmp_path: Path, lines: tuple[str, ...]) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    (tmp_path / "precious.csv").write_text("precious\n")
    (folder / "session.json").write_text('{"state": "running"}')
    (folder / JOURNAL).write_bytes(sealed(*lines))
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert f"{JOURNAL} says what no session says" in refused("repair", folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_journal_mends_a_table_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "session.json").write_text('{"state": "complete"}')
    (tmp_path / "transitions.csv").write_bytes(b"\xff,time\ntorn")
    (tmp_path / JOURNAL).write_bytes(
        sealed(head(transitions=["x\n", 7]), '[["transitions","1\\n"]]')
    )
    assert repair(tmp_path) == ["transitions.csv: 1 row put back, 4 bytes of a torn row cut"]
    assert (tmp_path / "transitions.csv").read_bytes() == b"\xff,time\n1\n"
