"""Configurations, truths, predictions and addresses: anything is taken, or refused in one line; and
no text from strangers steers a terminal, a spreadsheet or a file of ours.
"""

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from streamer import config as configuration
from streamer.clock import LiveClock, today
from streamer.config import LiveConfig
from streamer.evaluation import sessions
from streamer.evaluation.command import Asked, evaluate
from streamer.pipeline import Models
from streamer.predictions import PROBS
from streamer.resegment import segment_file
from streamer.resources import default_config
from streamer.run import tell_once
from streamer.sources.network import NetworkStream
from streamer.tables import HEADERS, SessionTables, new_session
from streamer.text import printable, to_json
from streamer.types import Interval, StreamerError, Vocabulary

CONFIG = configuration.load()
KEYS = [f"{part}.{key}" for part, keys in CONFIG.model_dump().items() for key in keys]
HOSTILE = ["\x1b[2J", "\x9b2J", "\u202e", "\x07", "\r", "\n", "\x00", "\x7f", "\u2028"]
quietly = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(
        ["1e400", "0x10", "1:30", "2001-01-01", "!!int x", "&a *a", "<<: *x", "'", "\t"]
    ),
    st.text(max_size=12),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3),
    max_leaves=6,
)


def one_line(error: StreamerError) -> None:
    shown = printable(str(error))
    assert shown
    assert shown.isprintable()


# --- the configuration


@quietly
@given(st.sampled_from(KEYS) | st.text(max_size=20), st.one_of(ANYTHING.map(str), st.text()))
@example("models.threads", "9" * 5000)
@example("face.rate_hz", "2001-99-99")
@example("face.rate_hz", "0:" * 2000 + "1")
@example("face.rate_hz", "!!timestamp x")
@example("face.rate_hz", "? {a: 1}\n: 2")
def test_any_setting_is_taken_or_refused(key: str, value: str) -> None:
    try:
        configuration.load(settings=[f"{key}={value}"])
    except StreamerError as error:
        one_line(error)


@quietly
@given(
    st.binary(max_size=200)
    | st.dictionaries(
        st.sampled_from(list(CONFIG.model_dump())) | SCALARS,
        st.dictionaries(st.sampled_from(sorted(k.split(".")[1] for k in KEYS)), ANYTHING)
        | ANYTHING,
        max_size=3,
    ).map(lambda value: repr(value).encode(errors="replace"))
)
@example(b"face: {rate_hz: 2001-13-45}")
@example(b"face:\n  ? [a, b]\n  : 1\n")
@example(b"{face: {rate_hz: 5}}: 1")
@example(b"a: &a [x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nface: &c [*b,*b,*b,*b,*b,*b,*b,*b]")
@example(b"face: &f\n  rate_hz: *f")
@example(b"=: 1")
@example(b"<<: 1")
@example(b"--- 1\n--- 2")
def test_any_configuration_is_taken_or_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "my.yaml").write_bytes(content)
    try:
        configuration.load(tmp_path / "my.yaml")
    except StreamerError as error:
        one_line(error)


@quietly
@given(st.integers(0, 10_000), st.integers(0, 255), st.sampled_from(["set", "cut", "add"]))
def test_any_damage_to_the_packaged_one(tmp_path: Path, at: int, byte: int, how: str) -> None:
    whole = default_config().read_bytes()
    at %= len(whole)
    rest = {"set": whole[at + 1 :], "cut": b"", "add": whole[at:]}[how]
    (tmp_path / "my.yaml").write_bytes(whole[:at] + bytes([byte]) + rest)
    try:
        configuration.load(tmp_path / "my.yaml")
    except StreamerError as error:
        one_line(error)


# --- tables that are read

CELLS = st.one_of(
    st.sampled_from(["", "0", "1", "2.5", "-1", "nan", "inf", "1e400", "Happy", "happy", "0.2"]),
    st.text(max_size=6),
    st.floats().map(str),
)


def lines(header: list[str], rows: list[list[str]]) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return file.getvalue().encode(errors="replace")


def tables(columns: list[str]) -> st.SearchStrategy[bytes]:
    """Tables with about these columns; or anything."""
    header = st.just(columns) | st.lists(st.sampled_from([*columns, "x", ""]), max_size=14)
    row = st.lists(CELLS, min_size=len(columns), max_size=len(columns)) | st.lists(CELLS)
    return st.builds(lines, header, st.lists(row, max_size=4)) | st.binary(max_size=300)


@quietly
@given(tables(["start", "end", "face_emotion", "voice_emotion"]))
@example(b"start,end,face_emotion\n0,1e308,Happy\n")
@example(b'start,end,face_emotion\n0,1,"' + b"x" * 200_000)
@example(b"start,end,face_emotion\n0,\x00,Happy\n")
@example(b"start,start,end,face_emotion\n0,1,2,Happy\n")
def test_any_truth_is_taken_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "truth.csv"
    path.write_bytes(content)
    for read in (sessions.read_truth, sessions.read_intervals, sessions.read_mismatches):
        try:
            read(path)
        except StreamerError as error:
            one_line(error)


@quietly
@given(tables(["time", *PROBS, "start", "end", "voiced", "closed_by", "happy/=cmd", "valence"]))
@example(b"time," + ",".join(PROBS).encode() + b"\n1e308,1,0,0,0,0,0,0\n")
@example(b"time," + ",".join(PROBS).encode() + b"\n0,1,0,0,0,0,0,0\n1e9,1,0,0,0,0,0,0\n")
@example(b"time," + b"x" * 100_000)
def test_any_predictions_are_segmented_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("said")
    (folder / "said.csv").write_bytes(content)
    console = Console(file=io.StringIO())
    try:
        segment_file(folder / "said.csv", folder / "out", CONFIG, None, 0.0, console)
    except StreamerError as error:
        one_line(error)


# --- addresses


@quietly
@given(
    st.text(max_size=30)
    | st.builds(
        "{}://{}".format,
        st.sampled_from(
            ["file", "concat", "subfile,,start,0,end,0,,", "pipe", "data", "tee", "fd"]
        ),
        st.sampled_from(["/etc/passwd", "0", "text/plain,x", "a|b", "\x1b[2J"]) | st.text(),
    )
)
@example("file:/etc/passwd")
@example("://")
@example("http:/x")
def test_any_other_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(StreamerError) as caught:
        NetworkStream(url, LiveClock(), LiveConfig.model_validate(CONFIG.live.model_dump()))
    one_line(caught.value)


# --- what is written and shown


@quietly
@given(st.text(), st.text())
@example("../../x", "..")
@example("\x1b]0;x\x07", "a\x9b2J")
def test_a_session_stays_in_its_folder(
    tmp_path_factory: pytest.TempPathFactory, stem: str, name: str
) -> None:
    out = tmp_path_factory.mktemp("sessions")
    made = new_session(out, None, stem, today())
    assert made.parent == out
    assert made.resolve().parent == out.resolve()
    assert made.name.isprintable()
    try:
        assert new_session(out, name, "x", today()).resolve().parent == out.resolve()
    except StreamerError as error:
        one_line(error)


@quietly
@given(st.recursive(st.text(), lambda i: st.dictionaries(st.text(), i) | st.lists(i)))
@example("".join(HOSTILE))
@example("\udcff\U000e0001")
def test_json_is_harmless_and_whole(value: Any) -> None:
    written = to_json(value)
    assert written.replace("\n", "").isprintable()
    assert json.loads(written.encode()) == value


def test_json_has_no_numbers_that_are_none() -> None:
    written = to_json({"a": [float("nan"), (float("-inf"), 1.5)], "b": {"c": float("inf")}})
    wanted = {"a": [None, [None, 1.5]], "b": {"c": None}}
    assert json.loads(written, parse_constant=pytest.fail) == wanted


@pytest.mark.parametrize(
    "label", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "=\n"]
)
def test_no_label_is_a_formula(tmp_path: Path, label: str) -> None:
    vocabulary = Vocabulary((label, "other"), ("Happy", "Sad"))
    (tmp_path / "s").mkdir()
    with SessionTables(tmp_path / "s", {"voice": vocabulary}) as written:
        details = (0.9, 0.1, np.nan, np.nan)
        written.voice(Interval("voice", "Happy", 0, 1, 0.9, 0.9, 5, "change", details=details))
    with (tmp_path / "s" / "voice_intervals.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["native_label"].startswith("'")
    assert row["native_label"].isprintable()
    assert set(row) == set(HEADERS["voice_intervals"].split(","))


def test_an_evaluation_of_odd_names_is_whole(tmp_path: Path) -> None:
    names = ["$\\frac{$", "\x1b[2J", "=cmd", "<script>x", os.fsdecode(b"\xff")]
    for name in names:
        folder = tmp_path / "sessions" / name
        folder.mkdir(parents=True)
        intervals = "emotion,start,end,probability\nHappy,0,3,0.9\n"
        (folder / "video_intervals.csv").write_text(intervals)
        (tmp_path / "truths").mkdir(exist_ok=True)
        (tmp_path / "truths" / f"{name}.csv").write_text("start,end,face_emotion\n0,3,Happy\n")
    page, out = io.StringIO(), tmp_path / "out"
    asked = Asked(tmp_path / "truths", tmp_path / "sessions", out, None, [])
    outcome = evaluate(asked, Console(file=page), Console(file=page))
    assert outcome.status == 0
    assert page.getvalue().replace("\n", "").isprintable()
    assert len(list((out / "timelines").iterdir())) == len(names)
    written = (out / "evaluation.html").read_text(encoding="utf-8")
    assert "<script>" not in written
    assert "\x1b" not in written
    json.loads((out / "evaluation.json").read_text(encoding="utf-8"))


def test_notices_that_are_no_text_are_shown_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "streamer").mkdir()
    (tmp_path / "streamer" / "notices").write_bytes(b"\xff\xfe")
    page = io.StringIO()
    loaded = Models.load(CONFIG)
    for _ in range(2):
        tell_once(loaded, Console(file=page, width=500))
    notices = [m for m in loaded.all() if m.manifest.licence.notice]
    assert notices
    assert page.getvalue().count("\n") == len(notices)


def test_names_do_not_steer_the_terminal(tmp_path: Path) -> None:
    table = lines(["time", *PROBS], [["0", "1", *"000000"], ["1", "1", *"000000"]])
    path, out = tmp_path / "\x1b[2J.csv", tmp_path / f"\x9b2J{os.fsdecode(b'%ff' + bytes([255]))}"
    path.write_bytes(table)
    page = io.StringIO()
    segment_file(path, out, CONFIG, None, 0.0, Console(file=page, soft_wrap=True))
    assert page.getvalue().replace("\n", "").isprintable()
    assert "?2J" in page.getvalue()
    assert (out / "session.json").read_text(encoding="utf-8").replace("\n", "").isprintable()
