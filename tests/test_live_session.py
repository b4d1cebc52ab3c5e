"""`streamer live` as a user runs it, on a loopback camera and a sound server of the test's own."""

import csv
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import pytest
from live import Mjpeg, mjpeg
from loudspeaker import PULSE, environment, pulseaudio, voice
from typer.testing import CliRunner

from streamer.cli import app
from streamer.clock import monotonic
from streamer.resources import demo_clip
from streamer.tables import HEADERS

PATIENCE_S = 60.0
RATE = 12.5
LIGHT = ["--set", "face.rate_hz=4", "--set", "speech.hop_s=1", "--set", "rings.max_lag_s=10"]
"""What a busy machine still does without leaving anything out."""


@cache
def speaker() -> list[bytes]:
    """The demo's pictures of its first 8 s, JPEG, RATE a second."""
    with av.open(str(demo_clip())) as clip:
        frames = [f.to_ndarray(format="bgr24") for f in islice(clip.decode(video=0), 200)]
    return [cv2.imencode(".jpg", image)[1].tobytes() for image in frames[::2]]


@contextmanager
def camera() -> Iterator[Mjpeg]:
    with mjpeg(rate=RATE, shows=speaker()) as served:
        yield served


def command(out: Path, camera: Mjpeg, *further: str) -> list[str]:
    live = [sys.executable, "-m", "streamer", "live", "--yes", "--camera", camera.url]
    limits = ["--set", "live.stall_s=1", "--set", "live.retry_s=0.5"]
    return [*live, "--out", str(out), "--session", "s", *limits, *LIGHT, *further]


class Session:
    """A running session, and what its tables say by now."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        self.process, self.folder = process, folder

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Look now and then until ``condition`` holds."""
        deadline = monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None, f"it ended: {self.process.communicate()}"
            assert monotonic() < deadline, f"never came: {what}"
            threading.Event().wait(0.05)

    def rows(self, table: str) -> list[dict[str, str]]:
        """The whole rows of a table."""
        path = self.folder / f"{table}.csv"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))

    def said(self, modality: str) -> list[float]:
        """The times at which the model said an emotion, s."""
        rows = self.rows(f"{modality}_predictions")
        return [float(r["time"]) for r in rows if r["neutral"]]

    def summary(self) -> Any:
        return json.loads((self.folder / "session.json").read_text(encoding="utf-8"))


@contextmanager
def started(
    out: Path, arguments: list[str], env: dict[str, str] | None = None
) -> Iterator[Session]:
    with subprocess.Popen(
        arguments, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Session(process, out / "s")
        finally:
            process.kill()


def tables(folder: Path) -> dict[str, str]:
    return {name: (folder / f"{name}.csv").read_text(encoding="utf-8") for name in HEADERS}


def ended(folder: Path) -> dict[str, str]:
    """The tables of a session as if it had ended where it was stopped."""
    return {name: text.replace(",stopped,", ",end,") for name, text in tables(folder).items()}


def replayed(session: Path, out: Path, *further: str) -> dict[str, str]:
    """The tables that a session's recording gives."""
    recording = str(session / "recording.mkv")
    replay = ["replay", recording, "--speed", "max", "--out", str(out), "--session", "again"]
    result = CliRunner().invoke(app, [*replay, *LIGHT, *further])
    assert result.exit_code == 0, result.output
    return tables(out / "again")


def assert_replays_to_the_same(session: Path, out: Path) -> None:
    """All tables, and everything that the models said."""
    assert replayed(session, out, "--save-predictions") == ended(session)
    for name in ("face_predictions.csv", "voice_predictions.csv"):
        live, again = (f / name for f in (session, out / "again"))
        said = live.read_text(encoding="utf-8").replace(",stopped,", ",end,")
        assert again.read_text(encoding="utf-8") == said, name


def test_a_recorded_session_replays_to_the_same_tables(tmp_path: Path) -> None:
    env = environment(tmp_path, PULSE)
    with ExitStack() as stack:
        stack.enter_context(pulseaudio(env))
        stack.enter_context(voice(env, tmp_path))
        served = stack.enter_context(camera())
        further = ["--mic", "default", "--record", "--save-predictions"]
        arguments = command(tmp_path, served, *further)
        session = stack.enter_context(started(tmp_path, arguments, env))
        session.until(lambda: len(session.said("voice")) > 2, "a voice")
        begun = session.said("face")[-1]
        session.until(lambda: session.said("face")[-1] > begun + 3, "faces")
        session.process.send_signal(signal.SIGINT)
        _, errors = session.process.communicate(timeout=30)
    assert session.process.returncode == 130, errors
    told = session.summary()
    assert told["recording"] == {"file": "recording.mkv", "lost": 0}
    assert (told["frames"]["dropped"], told["windows"]["dropped"]) == (0, 0)
    mic, stream = told["devices"]
    assert (mic["kind"], mic["status"], mic["losses"]) == ("microphone", "ended", 0)
    assert (stream["kind"], stream["status"], stream["losses"]) == ("stream", "ended", 0)
    for name in ("video_intervals", "voice_intervals", "fused_intervals"):
        assert session.rows(name), name
    assert_replays_to_the_same(session.folder, tmp_path)


def test_each_modality_goes_on_while_the_other_ones_device_is_away(tmp_path: Path) -> None:
    env = environment(tmp_path, PULSE)
    with ExitStack() as stack:
        sounding = stack.enter_context(ExitStack())
        sounding.enter_context(pulseaudio(env))
        sounding.enter_context(voice(env, tmp_path))
        served = stack.enter_context(camera())
        further = ["--mic", "default", "--record", "--save-predictions"]
        arguments = command(tmp_path, served, *further)
        session = stack.enter_context(started(tmp_path, arguments, env))
        session.until(lambda: len(session.said("voice")) > 2 and session.said("face"), "emotions")
        gone = session.said("face")[-1]
        served.cut.set()
        session.until(lambda: session.said("voice")[-1] > gone + 3, "the voice without a face")
        assert session.said("face")[-1] < gone + 2
        served.cut.clear()
        session.until(lambda: session.said("face")[-1] > gone + 3, "the face that is back")
        back = next(t for t in session.said("face") if t > gone + 2)
        sounding.close()  # the sound server is killed
        deaf = session.said("face")[-1]
        session.until(lambda: session.said("face")[-1] > deaf + 3, "the face without a voice")
        session.process.send_signal(signal.SIGINT)
        _, errors = session.process.communicate(timeout=30)
    assert session.process.returncode == 130, errors
    assert "Traceback" not in errors
    gap = next(r for r in session.rows("video_intervals") if r["closed_by"] == "gap")
    assert gone < float(gap["end"]) < gone + 2.5
    assert session.rows("video_intervals")[-1]["closed_by"] == "stopped"
    assert float(session.rows("video_intervals")[-1]["end"]) > deaf + 2
    assert [t for t in session.said("voice") if gone + 1.5 < t < back - 0.5]
    assert session.said("voice")[-1] < deaf + 2
    assert session.rows("voice_intervals")[-1]["closed_by"] == "gap"
    told = session.summary()
    assert (told["state"], told["ended_by"]) == ("complete", "SIGINT")
    mic, stream = told["devices"]
    assert (stream["losses"], mic["losses"]) == (1, 1)
    assert stream["lost_s"] > 2
    assert mic["lost_s"] > 2
    assert (told["frames"]["dropped"], told["windows"]["dropped"]) == (0, 0)
    assert_replays_to_the_same(session.folder, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_session_that_is_killed_leaves_whole_tables(
    tmp_path: Path, number: signal.Signals
) -> None:
    with camera() as served:
        further = ["--mic", "none", "--set", "segmenter.policy=argmax", "--record"]
        with started(tmp_path, command(tmp_path, served, *further)) as session:
            session.until(lambda: len(session.rows("video_intervals")) > 1, "rows")
            session.process.send_signal(number)
            _, errors = session.process.communicate(timeout=30)
        told, text = session.summary(), (session.folder / "video_intervals.csv").read_text()
    assert text.endswith("\n")
    assert {line.count(",") for line in text.splitlines()} == {text.splitlines()[0].count(",")}
    with av.open(str(session.folder / "recording.mkv")) as recording:
        assert sum(1 for _ in recording.decode(video=0)) > 2
    if number == signal.SIGKILL:
        assert told["state"] == "running"
        return
    assert session.process.returncode == 143, errors
    assert "Traceback" not in errors
    assert (told["state"], told["ended_by"]) == ("complete", "SIGTERM")
    assert session.rows("video_intervals")[-1]["closed_by"] == "stopped"
    assert told["devices"][0]["status"] == "ended"
    again = replayed(session.folder, tmp_path, "--set", "segmenter.policy=argmax")
    assert again == ended(session.folder)


def test_a_terminal_shows_it_and_takes_keys(tmp_path: Path) -> None:
    master, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    with camera() as served, ExitStack() as stack:
        arguments = command(tmp_path, served, "--mic", "none", "--preview")
        process: subprocess.Popen[str] = subprocess.Popen(
            arguments, stdin=terminal, stdout=terminal, stderr=terminal, text=True
        )
        stack.callback(process.kill)
        os.close(terminal)
        session, shown = Session(process, tmp_path / "s"), bytearray()

        def read() -> None:
            while True:
                try:
                    shown.extend(os.read(master, 65536))
                except OSError:  # nobody has the terminal any more
                    return

        reader = threading.Thread(target=read)
        reader.start()

        def shows(text: str) -> Callable[[], bool]:
            return lambda: text.encode() in shown

        session.until(shows("space: pause   m: marker"), "the keys")
        os.write(master, b" ")
        session.until(shows("PAUSED"), "a pause")
        os.write(master, b" mlooks away")
        session.until(shows("looks away"), "the note being typed")
        os.write(master, b"\r")
        session.until(lambda: session.rows("markers"), "the marker")
        os.write(master, b"q")
        process.wait(30)
        reader.join(PATIENCE_S)
    os.close(master)
    assert process.returncode == 0, shown[-2000:].decode(errors="replace")
    assert "▀".encode() in shown or "▄".encode() in shown  # the small picture
    assert b"Tables:" in shown
    assert [r["note"] for r in session.rows("markers")] == ["looks away"]
    told = session.summary()
    assert (told["ended_by"], told["markers"], told["state"]) == ("quit", 1, "complete")


def test_a_session_ends_after_its_duration_without_a_microphone(tmp_path: Path) -> None:
    with camera() as served:
        asked = ["--mic", "none", "--duration", "1.5", "--json"]
        with started(tmp_path, command(tmp_path, served, *asked)) as session:
            out, errors = session.process.communicate(timeout=60)
    assert session.process.returncode == 0, errors
    assert "Traceback" not in errors
    told = json.loads(out)
    assert told == session.summary()
    assert (told["state"], told["ended_by"], told["speed"]) == ("complete", "end", "live")
    assert "recording" not in told
    row = session.rows("video_intervals")[-1]
    assert row["closed_by"] == "end"
    assert float(row["end"]) == pytest.approx(1.5, abs=0.3)
    assert session.rows("voice_intervals") == []
