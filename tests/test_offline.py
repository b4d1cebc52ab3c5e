"""Nothing listens, nothing is sent: the main jobs run with the network shut, and give the same."""

import ast
import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT

from streamer.resources import demo_clip
from streamer.tables import HEADERS

SHORT = ["--speed", "max", "--duration", "4", "--save-predictions"]
SHUT = [sys.executable, str(ROOT / "tests" / "offline.py")]


def run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """With a home of its own, and without what shuts the libraries up in the other tests."""
    own = {"PYTHONPATH": str(ROOT), "HOME": str(folder / "home")}
    unset = {"ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "XDG_CONFIG_HOME"}
    return subprocess.run(
        command,
        cwd=folder,
        env={k: v for k, v in os.environ.items() if k not in unset} | own,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def streamer(folder: Path, *arguments: str | Path, shut: bool = True) -> str:
    """What `streamer ARGUMENTS` prints; it must succeed."""
    start = [*SHUT, "streamer"] if shut else [sys.executable, "-m", "streamer"]
    done = run(*start, *map(str, arguments), folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.socket()",
        "import socket; socket.create_server(('', 0))",
        "import av; av.open('http://127.0.0.1:9/x')",
        "import av; av.open('udp://127.0.0.1:9')",
    ],
)
def test_the_network_is_shut(tmp_path: Path, code: str) -> None:
    (tmp_path / "talks.py").write_text(code)
    done = subprocess.run(
        [*SHUT, "talks"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == -signal.SIGSYS


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's beginning, with the network and without."""
    folder = tmp_path_factory.mktemp("offline")
    for name, shut in (("shut", True), ("open", False)):
        streamer(folder, "replay", demo_clip(), *SHORT, "--session", name, shut=shut)
    return folder / "statistics"


def test_replay_gives_the_same_tables(sessions: Path) -> None:
    names = {path.name for path in (sessions / "open").glob("*.csv")}
    assert names >= {f"{name}.csv" for name in HEADERS}
    for name in names:
        assert (sessions / "shut" / name).read_bytes() == (sessions / "open" / name).read_bytes()
    assert len((sessions / "shut" / "video_intervals.csv").read_text().splitlines()) > 1
    summary = json.loads((sessions / "shut" / "session.json").read_text(encoding="utf-8"))
    assert summary["frames"]["analysed"] == 40


def test_nothing_is_sent_later_either(tmp_path: Path) -> None:
    """Libraries that report to their makers do so after some seconds, and note it in the home."""
    arguments = ["--speed", "1", "--duration", "8", "--no-dashboard"]
    streamer(tmp_path, "replay", demo_clip(), *arguments)
    home = tmp_path / "home"
    assert [p.relative_to(home) for p in home.rglob("*") if p.is_file()] == [
        Path(".config/streamer/notices")
    ]


@pytest.mark.parametrize("package", ["streamer.models", "export_onnx.verify"])
def test_onnx_runtime_does_not_number_the_device(tmp_path: Path, package: str) -> None:
    done = run(sys.executable, "-c", f"import {package}", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("*"))


def test_segment_evaluate_and_the_models_need_no_network(sessions: Path, tmp_path: Path) -> None:
    said = sessions / "shut" / "face_predictions.csv"
    streamer(tmp_path, "segment", said, "--out", tmp_path / "again")
    written = (tmp_path / "again" / "video_intervals.csv").read_bytes()
    assert written == (sessions / "open" / "video_intervals.csv").read_bytes()
    with (demo_clip().with_suffix(".csv")).open(newline="", encoding="utf-8") as file:
        first = next(csv.DictReader(file))
    truth = tmp_path / "truth" / "shut.csv"
    truth.parent.mkdir()
    truth.write_text(f"start,end,face_emotion\n{first['start']},3,{first['face_emotion']}\n")
    told = streamer(tmp_path, "evaluate", truth.parent, "--sessions", sessions, "--json")
    assert json.loads(told)["sessions"]
    assert streamer(tmp_path, "models", "verify") == "all as their manifests say\n"


def test_the_program_knows_no_address() -> None:
    """It has no URL to fetch, and imports nothing that fetches: only the exporter does."""
    fetchers = {"urllib.request", "http", "socket", "ssl", "requests", "huggingface_hub", "ftplib"}
    for path in (ROOT / "streamer").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        texts = [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        assert not [text for text in texts if re.search(r"\w+://\w", text)], path
        imported = {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
        imported |= {str(n.module) for n in nodes if isinstance(n, ast.ImportFrom)}
        assert not {m for m in imported if m in fetchers or m.split(".")[0] in fetchers}, path
