"""Session folders from strangers: `repair` and `resume` mend or refuse them in one line."""

import copy
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from streamer.cli import app
from streamer.repair import repair
from streamer.resources import demo_clip
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
