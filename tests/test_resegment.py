"""Saved predictions: every number comes back, and segmenting them again gives the same rows."""

import json
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scripted import ScriptedReader, ScriptedSource, at_rate, config, pipeline, sound
from typer.testing import CliRunner

from streamer import cli
from streamer.pipeline import Pipeline
from streamer.predictions import columns, vocabulary_of
from streamer.resegment import PredictionTable, segment_file
from streamer.resources import demo_clip
from streamer.tables import SessionTables
from streamer.types import EMOTIONS, Modality, Prediction, StreamEnd, StreamerError, Vocabulary

QUIET = Console(quiet=True)
HEADER = "time,angry,disgust,fear,happy,sad,surprise,neutral"
ROW = "0.7,0,0.1,0.1,0.05,0.05,0"
FACE = [(0, 2.3, "Happy"), (2.6, 5, "Sad"), (6.5, 9, "Sad"), (9, 12, "Fear"), (12, 14, "Angry")]
VOICE = [(0, 4, "Happy"), (7, 11, "Disgust"), (11, 13.1, "Neutral")]


def streamed(folder: Path, settings: list[str]) -> tuple[Pipeline, SessionTables]:
    """A session of scripted media with gaps, its predictions saved."""
    source = ScriptedSource(at_rate(25, 14.2, FACE), sound(13.3, VOICE), end=14.2)
    made, tables = pipeline(folder, source, config(*settings), predictions=True)
    made.face._reader = ScriptedReader()  # type: ignore[assignment]
    return made, tables


@pytest.mark.parametrize("policy", ["argmax", "hysteresis", "changepoint"])
@pytest.mark.parametrize("max_gap", ["0", "1"])
def test_the_same_settings_give_the_same_bytes(tmp_path: Path, policy: str, max_gap: str) -> None:
    settings = [f"segmenter.policy={policy}", f"segmenter.max_gap_s={max_gap}"]
    made, tables = streamed(tmp_path / "session", settings)
    with tables:
        made.run(lambda: None)
    same(tmp_path, settings, rows=3)


def test_time_that_passes_without_a_picture_is_no_row(tmp_path: Path) -> None:
    """How often it is told depends on the threads. That the last picture went stale is said behind
    the end of the pictures, which is told last.
    """
    tables = []
    for chunk in (160, 16_000):
        source = ScriptedSource(
            at_rate(25, 5.0, FACE), sound(30.0, VOICE), chunk=chunk, end=5.0, quiet=True
        )
        folder = tmp_path / str(chunk)
        made, written = pipeline(folder / "session", source, config(), predictions=True)
        made.face._reader = ScriptedReader()  # type: ignore[assignment]
        with written:
            made.run(lambda: None)
        same(folder, [], rows=2)
        tables.append((folder / "session" / "face_predictions.csv").read_text())
        assert made.analysis.tracks["face"].predictions == 52
    assert tables[0] == tables[1]
    last = [row.partition(",")[0] for row in tables[0].splitlines()[-3:]]
    assert last == ["4.96", "5.96", "5.96"]


@pytest.mark.parametrize("closed_by", ["stopped", "error"])
def test_an_early_end_gives_the_same_bytes(tmp_path: Path, closed_by: Any) -> None:
    made, tables = streamed(tmp_path / "session", [])
    probs = np.full(7, 1 / 7, np.float32)
    with tables:
        for k in range(30):
            made.analysis.take(Prediction("face", k / 10, k / 10, k / 10, probs))
            made.analysis.take(Prediction("voice", k / 2, k / 2, k / 2 + 3, probs, 0.5))
        made.analysis.finish(closed_by)
    same(tmp_path, [], rows=1)
    about = json.loads((tmp_path / "voice" / "session.json").read_text())
    assert about["ended_by"] == closed_by


def ended(modality: Modality, t: float) -> Prediction:
    return Prediction(modality, t, t, t, None)


def same(tmp_path: Path, settings: list[str], rows: int) -> None:
    """Segmenting the session's predictions again gives its own tables."""
    session = tmp_path / "session"
    for modality, table in (("face", "video_intervals"), ("voice", "voice_intervals")):
        stream, out = session / f"{modality}_predictions.csv", tmp_path / modality
        segment_file(stream, out, config(*settings), None, 0.0, QUIET)
        expected = (session / f"{table}.csv").read_bytes()
        assert (out / f"{table}.csv").read_bytes() == expected
        assert expected.count(b"\n") >= rows + 1  # and the header


@pytest.mark.parametrize("settings", [[], ["--set", "segmenter.policy=argmax"]])
def test_a_replay_can_be_segmented_again(tmp_path: Path, settings: list[str]) -> None:
    run = CliRunner().invoke
    session = tmp_path / "demo"
    replay = ["replay", str(demo_clip()), "--speed", "max", "--duration", "9"]
    where = ["--out", str(tmp_path), "--session", "demo"]
    assert run(cli.app, [*replay, "--save-predictions", *where, *settings]).exit_code == 0
    for modality, table in (("face", "video_intervals"), ("voice", "voice_intervals")):
        stream, out = session / f"{modality}_predictions.csv", tmp_path / modality
        done = run(cli.app, ["segment", str(stream), "--out", str(out), *settings])
        assert done.exit_code == 0, done.output
        rows = (session / f"{table}.csv").read_bytes()
        assert (out / f"{table}.csv").read_bytes() == rows
        assert rows.count(b"\n") > 1


def test_predictions_are_saved_only_when_asked_for(tmp_path: Path) -> None:
    with SessionTables(tmp_path) as tables:
        tables.prediction(Prediction("face", 0.0, 0.0, 0.0, None))
        tables.prediction(ended("face", 1.0), "end")
    assert not list(tmp_path.glob("*_predictions.csv"))


@given(
    st.lists(st.floats(0, 1, width=32), min_size=7, max_size=7).filter(lambda p: sum(p) > 1e-3),
    st.floats(0, 1e5),
    st.floats(0, 1),
)
def test_every_number_comes_back(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], t: float, voiced: float
) -> None:
    folder = tmp_path_factory.mktemp("saved")
    probs = (np.array(values) / sum(values)).astype(np.float32)
    said = [Prediction("voice", t, t / 3, t + 0.1, probs, voiced)]
    said.append(Prediction("voice", t, t, t, None))
    with SessionTables(folder, predictions=True) as tables:
        for prediction in said:
            tables.prediction(prediction)
        tables.prediction(ended("voice", t + 1), "stopped")
    with (folder / "voice_predictions.csv").open(newline="", encoding="utf-8") as file:
        table = PredictionTable(file, "saved")
        *read, end = list(table)
    assert end == StreamEnd("voice", t + 1)
    assert table.closed_by == "stopped"
    for before, after in zip(said, read, strict=True):
        assert isinstance(after, Prediction)
        assert (after.modality, after.time, after.start) == ("voice", t, before.start)
        assert (after.end, after.voiced) == (before.end, before.voiced)
        assert (after.probs is None) == (before.probs is None)
        assert before.probs is None or before.probs.tobytes() == after.probs.tobytes()  # type: ignore[union-attr]


def test_nine_digits_bring_back_every_float32() -> None:
    random.seed(1)
    for _ in range(20_000):
        (p,) = struct.unpack("f", struct.pack("I", random.randrange(0x3F800000)))  # below 1
        assert np.float32(float(f"{np.float32(p):.9g}")) == np.float32(p)


# Tables of others


def table_of(folder: Path, *lines: str) -> Path:
    path = folder / "stream.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_other_columns_an_order_of_their_own_and_gaps_are_taken(tmp_path: Path) -> None:
    stream = table_of(
        tmp_path,
        "\ufeffNeutral,Time,faces,detection,Angry,disgust,fear,happy,sad,surprise",
        *(f"0,{k / 10},1,0.9,1,0,0,0,0,0" for k in range(10)),
        *(f",{k / 10},0,,,,,,," for k in range(10, 30)),
        "",
        *(f"1,{k / 10},1,0.9,0,0,0,0,0,0" for k in range(30, 40)),
    )
    segment_file(stream, tmp_path / "out", config(), None, 0.0, QUIET)
    lines = (tmp_path / "out" / "video_intervals.csv").read_text().splitlines()
    assert [line.removesuffix(",,,,").rsplit(",", 1) for line in lines[1:]] == [
        ["Angry,0.000,1.000,1.0000,1.0000,10", "gap"],
        ["Neutral,3.000,4.000,1.0000,0.0000,10", "end"],  # the last one stands for one more step
    ]
    about = json.loads((tmp_path / "out" / "session.json").read_text())
    assert about["state"] == "complete"
    assert (about["predictions"], about["without_emotion"], about["intervals"]) == (40, 20, 2)
    assert about["seconds"] == {"face": {"Angry": 1.0, "Neutral": 1.0}}
    assert about["transitions"] == {"face": 1}
    assert about["config"]["segmenter"]["policy"] == "changepoint"


def test_the_columns_tell_the_modality_and_a_shift_moves_windows(tmp_path: Path) -> None:
    lines = [f"{k / 4 + 1},-20,0,0,0,1,0,0,0" for k in range(8)]
    stream = table_of(tmp_path, HEADER.replace("time", "time,rms_db"), *lines)
    segment_file(stream, tmp_path / "voice", config(), None, -1.5, QUIET)
    rows = (tmp_path / "voice" / "voice_intervals.csv").read_text().splitlines()
    assert rows[1:] == ["Happy,0.000,1.500,1.0000,1.0000,8,end,,,"]
    segment_file(stream, tmp_path / "face", config(), "face", 0.0, QUIET)
    assert (tmp_path / "face" / "video_intervals.csv").exists()


WRONG = {
    "no such column": (["time,angry", "0,1"], "column disgust is missing"),
    "no time": ([HEADER.replace("time", "t"), f"0,{ROW}"], "column time is missing"),
    "twice the same": ([f"{HEADER},time", f"0,{ROW},0"], "two columns have the same name"),
    "empty": ([""], "column time is missing"),
    "header alone": ([HEADER], "no predictions"),
    "too few values": ([HEADER, f"0,{ROW}", "0.1,1"], "line 3: 2 values, the header has 8"),
    "time goes back": ([HEADER, f"2,{ROW}", f"1,{ROW}"], "line 3: time 1 comes after 2"),
    "negative time": ([HEADER, f"-1,{ROW}"], "line 2: time -1: use 0 or more"),
    "time missing": ([HEADER, f",{ROW}"], "line 2: time '' is not a number"),
    "time NaN": ([HEADER, f"nan,{ROW}"], "line 2: time 'nan' is not a number"),
    "NaN": ([HEADER, "0,nan,0,0,0,0,0,1"], "line 2: angry 'nan' is not a number"),
    "infinite": ([HEADER, "0,0,inf,0,0,0,0,1"], "line 2: disgust 'inf' is not a number"),
    "a word": ([HEADER, "0,a,0,0,0,0,0,1"], "line 2: angry 'a' is not a number"),
    "negative": ([HEADER, "0,-0.1,0,0,0,0,0.1,1"], "line 2: angry -0.1 is not a probability"),
    "percent": ([HEADER, "0,70,30,0,0,0,0,0"], "line 2: angry 70 is not a probability"),
    "logits": ([HEADER, "0,0.9,0.9,0,0,0,0,0"], "line 2: the probabilities add up to 1.8"),
    "partly empty": ([HEADER, "0,1,0,0,,0,0,0"], "line 2: happy is empty, others are not"),
    "after its end": (
        [f"{HEADER},closed_by", "1,,,,,,,,end", f"2,{ROW},"],
        "line 3: a row after the end",
    ),
    "unknown end": ([f"{HEADER},closed_by", "1,,,,,,,,over"], "line 2: closed_by 'over'"),
    "endless line": ([HEADER, "0" * 200_000], "line 2: 1 values"),
    "open quote": ([HEADER, '"' + "0\n" * 200_000], "after line 1: field larger"),
}


@pytest.mark.parametrize(("lines", "expected"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_with_its_line(
    tmp_path: Path, lines: list[str], expected: str
) -> None:
    stream = table_of(tmp_path, *lines)
    with pytest.raises(StreamerError) as caught:
        segment_file(stream, tmp_path / "out", config(), None, 0.0, QUIET)
    assert expected in str(caught.value)
    assert str(stream) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_before_an_error_are_kept_and_session_json_tells_it(tmp_path: Path) -> None:
    good = [f"{k / 10},{int(k < 30)},0,0,0,0,0,{int(k >= 30)}" for k in range(60)]
    stream = table_of(tmp_path, HEADER, *good, "6,x,,,,,,")
    with pytest.raises(StreamerError, match="line 62"):
        segment_file(stream, tmp_path / "out", config(), None, 0.0, QUIET)
    rows = (tmp_path / "out" / "video_intervals.csv").read_text().splitlines()
    assert rows[1:] == ["Angry,0.000,3.000,1.0000,1.0000,30,change,,,,"]
    about = json.loads((tmp_path / "out" / "session.json").read_text())
    assert (about["state"], about["intervals"]) == ("error", 1)
    assert "line 62" in about["error"]


def test_what_is_not_a_table_or_not_a_new_folder_is_refused(tmp_path: Path) -> None:
    stream = table_of(tmp_path, HEADER, f"0,{ROW}")
    image = tmp_path / "image.png"
    image.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    for path, out, message in (
        (image, tmp_path / "out", "not UTF-8 text"),
        (tmp_path / "nowhere.csv", tmp_path / "out", "can't read"),
        (stream, tmp_path, "is not empty; name a new folder"),
        (stream, stream, "is a file; name a new folder"),
    ):
        with pytest.raises(StreamerError, match=message):
            segment_file(path, out, config(), None, 0.0, QUIET)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [(["--modality", "text"], "use face or voice"), (["--shift", "nan"], "--shift nan")],
)
def test_wrong_options_are_refused(tmp_path: Path, option: list[str], message: str) -> None:
    stream = table_of(tmp_path, HEADER, f"0,{ROW}")
    out = ["--out", str(tmp_path / "out")]
    error = CliRunner().invoke(cli.app, ["segment", str(stream), *out, *option]).exception
    assert isinstance(error, StreamerError)
    assert message in str(error)


@pytest.mark.parametrize(
    "setting", ["face.rate_hz=5", "fusion.voice_weight=0.2", "segmenter.baseline_s=20"]
)
def test_a_setting_that_would_change_nothing_is_refused(tmp_path: Path, setting: str) -> None:
    stream = table_of(tmp_path, HEADER, f"0,{ROW}")
    given = ["--set", "segmenter.lag_s=2", "--set", setting]
    arguments = ["segment", str(stream), "--out", str(tmp_path / "out"), *given]
    error = CliRunner().invoke(cli.app, arguments).exception
    assert isinstance(error, StreamerError)
    assert f"--set {setting}: changes nothing" in str(error)
    assert "segmenter.KEY, with KEY one of policy, lag_s, " in str(error)
    assert not (tmp_path / "out").exists()


def test_every_setting_of_the_segmenter_is_taken(tmp_path: Path) -> None:
    stream = table_of(tmp_path, HEADER, f"0,{ROW}")
    given = [
        argument
        for key, value in config().segmenter.model_dump(exclude={"baseline_s"}).items()
        for argument in ("--set", f" segmenter.{key} = {value}")
    ]
    arguments = ["segment", str(stream), "--out", str(tmp_path / "out"), *given]
    assert CliRunner().invoke(cli.app, arguments).exit_code == 0
    assert (tmp_path / "out" / "video_intervals.csv").exists()


def test_a_setting_that_is_none_is_told_as_elsewhere(tmp_path: Path) -> None:
    stream = table_of(tmp_path, HEADER, f"0,{ROW}")
    arguments = ["segment", str(stream), "--out", str(tmp_path / "out"), "--set", "segmenter.lag=2"]
    error = CliRunner().invoke(cli.app, arguments).exception
    assert str(error).endswith("unknown key segmenter.lag; did you mean segmenter.lag_s?")


@pytest.mark.parametrize("modality", ["face", "voice"])
def test_headers_tell_the_models_own_labels(modality: Modality) -> None:
    own = Vocabulary(("gut, sehr", "other", "A/B"), ("Happy", None, "Sad"))
    assert vocabulary_of(columns(modality, own)) == own
    assert vocabulary_of(columns(modality, None)) is None


def test_headers_hold_the_seven_emotions_in_order() -> None:
    for names in (columns("face", None), columns("voice", None)):
        at = names.index("angry")
        assert names[at : at + 7] == [e.lower() for e in EMOTIONS]
