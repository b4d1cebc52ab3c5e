"""`streamer evaluate`: from recordings or tables to figures, pictures and a page."""

import base64
import json
import re
import signal
import subprocess
import sys
import wave
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from streamer import cli
from streamer.evaluation import figures
from streamer.evaluation.judge import Evaluation, judge
from streamer.evaluation.sessions import read_truth
from streamer.journal import JOURNAL
from streamer.resources import demo_clip
from streamer.types import EMOTIONS, StreamerError

HEAD = "start,end,face_emotion,voice_emotion"
SAID = "emotion,start,end,probability"
ODD = "interview 张三 $x$ <b>&"
"""A session's name with everything that a page or a picture may stumble over."""


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def truths(tmp_path: Path) -> Path:
    """Two truths, and tables of both in sessions/."""
    folder = tmp_path / "truths"
    for name in ("one", ODD):
        write(folder / f"{name}.csv", HEAD, "0,6,happy,happy", "6,10,sad,angry")
        session = tmp_path / "sessions" / name
        write(session / "video_intervals.csv", SAID, "Happy,0,6.2,0.8", "Fear,6.2,10,0.6")
        write(session / "audio_intervals.csv", SAID, "Happy,0,6.2,0.5", ",6.2,10,")
        write(session / "voice_intervals.csv", SAID, "Happy,0,5,0.7", "Angry,5.8,9,0.9")
        write(session / "modality_mismatch.csv", "start,end")
    return folder


def run(*arguments: str | Path) -> tuple[int, str, str]:
    """`streamer evaluate …` in this process: status, output, errors."""
    result = CliRunner().invoke(cli.app, ["evaluate", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def pixels(png: bytes) -> NDArray[np.uint8]:
    """RGB (H, W, 3)."""
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image[..., ::-1], np.uint8)


def test_truths_of_different_columns_are_drawn(tmp_path: Path) -> None:
    for name in ("face", "voice"):
        write(tmp_path / "t" / f"{name}.csv", f"start,end,{name}_emotion", "0,10,happy")
        write(tmp_path / "s" / name / "video_intervals.csv", SAID, "Happy,0,10,0.9")
    out = tmp_path / "out"
    status, _, _ = run(tmp_path / "t", "--sessions", tmp_path / "s", "--out", out)
    assert status == 0
    assert [path.name for path in (out / "timelines").iterdir()] == ["face.png"]
    assert "Timeline: face" in (out / "evaluation.html").read_text(encoding="utf-8")


def test_tables_become_figures_pictures_and_a_page(truths: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    status, shown, told = run(truths, "--sessions", tmp_path / "sessions", "--out", out)
    assert status == 0
    assert "2 sessions, 0.3 minutes" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
    rows = {line[:12].strip(): line[12:].split() for line in shown.splitlines()}
    assert rows["time acc."] == ["0.600", "0.600", "0.800"]
    assert rows["Happy"] == ["0.968", "1.000", "0.984"] * 2 + ["1.000", "0.833", "0.909"]
    assert rows["Fear"] == ["0.000", "–", "0.000", "–", "–"]
    assert str(out) in told.replace("\n", "")
    made = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    assert made == {
        "evaluation.json",
        "evaluation.html",
        "confusion.png",
        "reliability.png",
        "timelines/one.png",
        f"timelines/{ODD}.png",
    }
    result = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    assert (result["sessions"], result["missing"]) == (2, [])
    assert result["face"]["time_acc"] == pytest.approx(0.6)
    assert result["voice_alone"]["eder"] == pytest.approx(0.2)  # 1.8 s missed, 0.2 s confused
    assert result["face"]["emotions"]["Fear"]["recall"] is None


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else_and_no_name_can_break_it(truths: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(truths, "--sessions", tmp_path / "sessions", "--out", out)
    text = (out / "evaluation.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "form", "b"}
    assert not [a for _, a in page.tags if {"href", "onload", "onerror", "action"} & set(a)]
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    shown = [base64.b64decode(str(a["src"]).removeprefix("data:image/png;base64,")) for a in images]
    assert sorted(shown) == sorted(p.read_bytes() for p in out.rglob("*.png"))
    assert {a["alt"] for a in images} >= {f"Timeline: {ODD}"}
    assert "http" not in re.sub(r'http-equiv="|src="data:[^"]*"', "", text)
    assert "$" not in re.sub(r"\$x\$", "", text)  # nothing of the template is left


def test_json_is_printed_alone(truths: Path, tmp_path: Path) -> None:
    sessions, out = tmp_path / "sessions", tmp_path / "out"
    _, shown, _ = run(truths, "--sessions", sessions, "--out", out, "--json")
    assert json.loads(shown) == json.loads((out / "evaluation.json").read_text(encoding="utf-8"))


def test_a_missing_session_is_named_and_counts(truths: Path, tmp_path: Path) -> None:
    write(truths / "third.csv", HEAD, "0,20,happy,happy")
    out = tmp_path / "out"
    _, shown, _ = run(truths, "--sessions", tmp_path / "sessions", "--out", out)
    assert "3 sessions, 0.7 minutes; without tables: third" in shown
    result = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    assert result["face"]["coverage"] == pytest.approx(0.5)
    assert not (out / "timelines" / "third.png").exists()


def test_an_interrupted_session_is_warned_of(truths: Path, tmp_path: Path) -> None:
    session = tmp_path / "sessions" / "one"
    (session / JOURNAL).touch()
    _, _, told = run(truths, "--sessions", tmp_path / "sessions", "--out", tmp_path / "out")
    (line,) = [line for line in told.splitlines() if line.startswith("streamer:")]
    assert line == f"streamer: {session} was interrupted, or still runs: streamer repair, or resume"


def test_a_segmented_stream_can_be_judged(tmp_path: Path) -> None:
    truths = tmp_path / "truths"
    write(truths / "one.csv", HEAD, "0,6,happy,happy", "6,10,sad,angry")
    rows = [f"{k / 10},0,0,0,{int(k < 60)},{int(k >= 60)},0,0" for k in range(100)]
    header = "time,angry,disgust,fear,happy,sad,surprise,neutral"
    stream = write(tmp_path / "one_face.csv", header, *rows)
    made = tmp_path / "sessions" / "one"
    done = CliRunner().invoke(cli.app, ["segment", str(stream), "--out", str(made)])
    assert done.exit_code == 0
    run(truths, "--sessions", tmp_path / "sessions", "--out", tmp_path / "out")
    result = json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))
    assert result["face"]["time_acc"] == result["face"]["boundary_f1"] == 1.0
    assert "voice" not in result  # there is no table of it in any session


def test_recordings_are_replayed_lossless(tmp_path: Path) -> None:
    truths, out = demo_clip().parent, tmp_path / "out"
    status, shown, told = run(truths, "--out", out)
    assert status == 0
    assert "1 session, 0.3 minutes" in shown
    assert "Replaying demo.mp4 (1 of 1)" in told
    session = json.loads((out / "sessions" / "demo" / "session.json").read_text(encoding="utf-8"))
    assert (session["state"], session["ended_by"], session["speed"]) == ("complete", "end", "max")
    assert session["frames"]["dropped"] == session["windows"]["dropped"] == 0
    first = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    assert first["face"]["coverage"] == pytest.approx(1)
    assert first["face"]["time_acc"] > 0.7
    # The tables alone give the same figures once more.
    run(truths, "--sessions", out / "sessions", "--out", tmp_path / "again")
    again = json.loads((tmp_path / "again" / "evaluation.json").read_text(encoding="utf-8"))
    assert again == first


def test_a_recording_that_is_cut_off_is_told_and_judged(tmp_path: Path) -> None:
    truths, out = tmp_path / "truths", tmp_path / "out"
    write(truths / "cut.csv", HEAD, "0,4,neutral,neutral", "4,20,happy,happy")
    (truths / "cut.mp4").write_bytes(demo_clip().read_bytes()[:500_000])
    status, shown, told = run(truths, "--out", out)
    assert status == 3
    assert "cut off" in told
    assert "1 session" in shown


def test_silence_is_judged_as_having_said_nothing(tmp_path: Path) -> None:
    truths, out = tmp_path / "truths", tmp_path / "out"
    write(truths / "quiet.csv", HEAD, "0,4,happy,sad")
    with wave.open(str(truths / "quiet.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 4 * 16_000))
    run(truths, "--out", out)
    result = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    for lane in ("face", "voice", "voice_alone"):
        assert (result[lane]["coverage"], result[lane]["eder"]) == (0.0, 1.0)
        assert result[lane]["ece"] is None


def test_ctrl_c_stops_in_order_and_keeps_the_tables(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "streamer", "evaluate", str(demo_clip().parent)]
    with subprocess.Popen(
        [*command, "--out", str(tmp_path / "out")], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        next(line for line in process.stderr if line.startswith("Replaying"))
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130, rest
    assert "streamer: stopped; the sessions so far are in" in rest
    assert "Traceback" not in rest
    about = json.loads((tmp_path / "out" / "sessions" / "demo" / "session.json").read_text())
    assert about["ended_by"] == "SIGINT"
    assert not (tmp_path / "out" / "evaluation.json").exists()


def test_what_is_wrong_is_said_before_anything_is_replayed(truths: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sessions = tmp_path / "sessions"
    wrong = write(tmp_path / "bad" / "one.csv", HEAD, "0,6,calm,happy").parent
    lone = write(tmp_path / "lone" / "one.csv", HEAD, "0,6,sad,happy").parent
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ([tmp_path / "nowhere"], "no such folder"),
        ([tmp_path / "empty"], r"no \*\.csv in"),
        ([wrong], "line 2: face_emotion 'calm'"),
        ([lone], "no recording beside"),
        ([truths, "--sessions", tmp_path / "nowhere"], "no session of these in"),
        ([truths, "--sessions", sessions, "--set", "face.rate_hz=5"], "leave out --set"),
        ([lone, "--set", "face.rate=5"], "unknown key face.rate"),
    ):
        with pytest.raises(StreamerError, match=message):
            run(*arguments, "--out", out)
    assert not out.exists()
    with pytest.raises(StreamerError, match="is not empty"):
        run(truths, "--sessions", sessions, "--out", truths)
    write(sessions / "one" / "video_intervals.csv", SAID, "Happy,0,6.2,high")
    with pytest.raises(StreamerError, match=r"video_intervals\.csv: line 2: probability 'high'"):
        run(truths, "--sessions", sessions, "--out", out)
    assert not out.exists()


def test_nothing_waits_for_the_plotting_library_before_it_draws() -> None:
    code = (
        "import sys, streamer.cli, streamer.evaluation.command; print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# Pictures


def evaluation(tmp_path: Path, truth: list[str], face: list[str]) -> Evaluation:
    known = read_truth(write(tmp_path / "one.csv", "start,end,face_emotion", *truth))
    write(tmp_path / "one" / "video_intervals.csv", SAID, *face)
    return Evaluation.of([judge(known, tmp_path / "one")])


def shade(image: NDArray[np.uint8], colour: str) -> NDArray[np.bool_]:
    """Where a picture has exactly that colour."""
    wanted = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
    return np.asarray((image == wanted).all(axis=2))


def test_the_timeline_shows_each_emotion_as_long_as_it_lasts(tmp_path: Path) -> None:
    made = evaluation(tmp_path, ["0,30,happy", "30,40,sad"], ["Happy,0,20,0.5", "Angry,20,40,0.5"])
    image = pixels(figures.timeline(made, made.sessions[0]))
    happy, sad, angry = (shade(image, figures.COLOURS[e]) for e in ("Happy", "Sad", "Angry"))
    rows = np.flatnonzero(happy.sum(axis=1) > 300)
    gap = int(np.argmax(np.diff(rows) > 1))
    true, found = rows[1], rows[gap + 2]  # a row of pixels near each bar's upper edge
    width = happy[true].sum() + sad[true].sum()
    assert happy[true].sum() / width == pytest.approx(0.75, abs=0.01)
    assert happy[found].sum() / width == pytest.approx(0.5, abs=0.01)
    assert angry[found].sum() / width == pytest.approx(0.5, abs=0.01)


def test_a_long_timeline_is_broken_into_rows(tmp_path: Path) -> None:
    short = evaluation(tmp_path / "a", ["0,100,happy"], ["Happy,0,100,0.5"])
    long = evaluation(tmp_path / "b", ["0,36000,happy"], ["Happy,0,36000,0.5"])
    heights = [pixels(figures.timeline(e, e.sessions[0])).shape[0] for e in (short, long)]
    assert 4 < heights[1] / heights[0] < 8


def test_ten_thousand_intervals_are_drawn(tmp_path: Path) -> None:
    said = [f"{EMOTIONS[k % 7]},{k / 10},{(k + 1) / 10},0.5" for k in range(10_000)]
    made = evaluation(tmp_path, ["0,1000,happy"], said)
    assert pixels(figures.timeline(made, made.sessions[0])).shape[1] == 1560


def test_a_perfect_session_fills_the_diagonal_and_a_stubborn_one_a_column(tmp_path: Path) -> None:
    truth = [f"{k},{k + 1},{e}" for k, e in enumerate(EMOTIONS)]
    perfect = [f"{e},{k},{k + 1},0.95" for k, e in enumerate(EMOTIONS)]
    lean = []
    for name, face in (("perfect", perfect), ("stubborn", ["Happy,0,7,0.9"])):
        image = pixels(figures.confusions(evaluation(tmp_path / name, truth, face)))
        full = np.nonzero(shade(image, "#08306b"))  # "Blues" at 1
        assert len(full[0]) > 10_000
        lean.append(np.corrcoef(*full)[0, 1])
    assert lean == [pytest.approx(0.98, abs=0.01), pytest.approx(0, abs=0.05)]


def test_the_reliability_shows_a_gap_where_there_is_one(tmp_path: Path) -> None:
    sure = evaluation(tmp_path / "a", ["0,10,happy"], ["Happy,0,10,1"])
    wrong = evaluation(tmp_path / "b", ["0,10,sad"], ["Happy,0,10,0.9"])
    unknown = evaluation(tmp_path / "c", ["0,10,sad"], ["Happy,0,10,"])
    gaps = [
        int(shade(pixels(figures.reliability(e)), figures.GAP).sum())
        for e in (sure, wrong, unknown)
    ]
    assert gaps[1] > gaps[0] + 500  # the legend has one too
    assert gaps[2] == 0
