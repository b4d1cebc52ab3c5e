"""The main job on the bundled clip, with the real models."""

import csv
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamer.cli import app
from streamer.figures import document
from streamer.resources import demo_clip
from streamer.tables import HEADERS
from streamer.timeline import Timeline
from streamer.types import Interval, Modality


def replay(out: Path, session: str, *arguments: str) -> dict[str, object]:
    """Replay the demo in this process; session.json's content."""
    command = ["replay", str(demo_clip()), "--out", str(out), "--session", session, "--json"]
    result = CliRunner().invoke(app, [*command, *arguments])
    assert result.exit_code == 0, result.output
    summary: dict[str, object] = json.loads(result.stdout)
    return summary


def tables(folder: Path) -> dict[str, bytes]:
    files = ["agreement.json", *(f"{name}.csv" for name in HEADERS)]
    return {name: (folder / name).read_bytes() for name in files}


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's session at full speed, lossless."""
    out = tmp_path_factory.mktemp("demo")
    replay(out, "max", "--speed", "max")
    return out / "max"


def test_demo_gives_the_emotions_that_the_models_see(demo: Path) -> None:
    face = [
        (r["emotion"], float(r["start"]), float(r["end"])) for r in rows(demo, "video_intervals")
    ]
    assert [label for label, _, _ in face] == ["Neutral", "Happy", "Angry"]
    assert [start for _, start, _ in face] == pytest.approx([0.0, 4.08, 12.4], abs=0.15)
    assert face[-1][2] == 20.88


def test_demo_shows_the_dubbed_voice_as_a_mismatch(demo: Path) -> None:
    dubbed = [r for r in rows(demo, "modality_mismatch") if float(r["start"]) < 8 < float(r["end"])]
    assert [(r["video_emotion"], r["audio_emotion"]) for r in dubbed] == [("Happy", "Angry")]


def test_the_four_paired_tables_agree_with_each_other(demo: Path) -> None:
    video, audio = rows(demo, "video_intervals"), rows(demo, "audio_intervals")
    duration = rows(demo, "modality_duration")
    assert len(video) == len(audio) == len(duration) > 1
    for v, a, d in zip(video, audio, duration, strict=True):
        assert v["start"] == a["start"] == d["start"]
        assert v["end"] == a["end"] == d["end"]
        assert (d["video_emotion"], d["audio_emotion"]) == (v["emotion"], a["emotion"])
        assert float(d["duration"]) == pytest.approx(float(v["end"]) - float(v["start"]), abs=1e-9)
    differing = [d for d in duration if d["audio_emotion"] not in ("", d["video_emotion"])]
    shown = [(m["start"], m["video_emotion"]) for m in rows(demo, "modality_mismatch")]
    assert shown == [(d["start"], d["video_emotion"]) for d in differing]


def test_session_json_tells_source_models_counts_latency_and_end(demo: Path) -> None:
    summary = json.loads((demo / "session.json").read_text())
    assert summary["state"] == "complete"
    assert summary["ended_by"] == "end"
    assert summary["source"]["fps"] == 25
    assert [m["task"] for m in summary["models"]] == [
        "face-detection",
        "face-emotion",
        "voice-activity",
        "speech-emotion",
    ]
    assert all(len(m["sha256"]) == 64 for m in summary["models"])
    assert summary["frames"]["seen"] == 522
    assert summary["frames"]["analysed"] == 209
    assert summary["frames"]["dropped"] == summary["windows"]["dropped"] == 0
    assert summary["transitions"]["face"] == 2
    assert set(summary["latency_s"]["face"]["capture_to_prediction"]) == {"p50", "p95", "p99"}
    assert summary["config"]["segmenter"]["policy"] == "changepoint"


def test_agreement_json_is_what_its_tables_say(demo: Path) -> None:
    told = json.loads((demo / "agreement.json").read_text())
    timeline = Timeline(["face", "voice"], 0.0, told["method"]["tolerance_s"])
    names: dict[Modality, str] = {"voice": "voice_intervals", "face": "video_intervals"}
    for modality, table in names.items():
        for r in rows(demo, table):
            times = float(r["start"]), float(r["end"])
            closed = Interval(modality, r["emotion"], *times, 1.0, 1.0, 1, r["closed_by"])  # type: ignore[arg-type]
            timeline.update(modality, [closed], closed.end)
        timeline.finish(modality, told["end_s"])
    assert document(timeline) == told
    assert told["agreement"]["share"] > 0
    assert told["state"] == "complete"


def test_a_second_run_gives_the_same_bytes(demo: Path, tmp_path: Path) -> None:
    replay(tmp_path, "again", "--speed", "max")
    assert tables(tmp_path / "again") == tables(demo)


@pytest.mark.parametrize("policy", ["argmax", "changepoint"])
def test_the_speed_of_life_gives_the_same_bytes_as_max(tmp_path: Path, policy: str) -> None:
    part = ["--start", "2", "--duration", "8", "--set", f"segmenter.policy={policy}"]
    paced = replay(tmp_path, "paced", "--speed", "1", *part)
    replay(tmp_path, "max", "--speed", "max", *part)
    assert paced["frames"]["dropped"] == paced["windows"]["dropped"] == 0  # type: ignore[index]
    assert tables(tmp_path / "paced") == tables(tmp_path / "max")
    assert 8 <= float(str(paced["wall_s"])) < 12


def test_argmax_gives_more_rows_than_the_default(demo: Path, tmp_path: Path) -> None:
    replay(tmp_path, "argmax", "--speed", "max", "--set", "segmenter.policy=argmax")
    assert len(rows(tmp_path / "argmax", "video_intervals")) > 5 * len(
        rows(demo, "video_intervals")
    )


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_a_signal_closes_the_open_intervals_and_writes_everything(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    command = [sys.executable, "-m", "streamer", "replay", str(demo_clip()), "--session", "cut"]
    with subprocess.Popen(
        [*command, "--out", str(tmp_path)], stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        assert process.stderr
        line = next(line for line in process.stderr if "rows" in line)
        process.send_signal(number)
        rest = process.stderr.read()
    assert "face" in line
    assert process.returncode == status, rest
    assert "Tables:" in rest
    assert "Traceback" not in rest
    summary = json.loads((tmp_path / "cut" / "session.json").read_text())
    assert summary["ended_by"] == number.name
    assert summary["state"] == "complete"
    assert rows(tmp_path / "cut", "video_intervals")[-1]["closed_by"] == "stopped"
    assert rows(tmp_path / "cut", "voice_intervals")[-1]["closed_by"] in ("stopped", "gap")


def test_the_licence_notice_is_told_once(tmp_path: Path) -> None:
    command = ["replay", str(demo_clip()), "--out", str(tmp_path), "--duration", "1"]
    first, second = (CliRunner().invoke(app, [*command, "--speed", "max"]) for _ in range(2))
    assert "research" in first.stderr
    assert "research" not in second.stderr


def test_a_terminal_shows_the_dashboard(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "streamer", "replay", str(demo_clip()), "--duration", "2"]
    shown = bytearray()

    def read(descriptor: int) -> bytes:
        data = os.read(descriptor, 65536)
        shown.extend(data)
        return data

    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        status = pty.spawn([*command, "--out", str(tmp_path)], read)
    finally:
        os.chdir(here)
    text = shown.decode(errors="replace")
    assert os.waitstatus_to_exitcode(status) == 0
    assert "Closed intervals" in text
    assert "Voice" in text
    assert "Tables:" in text
