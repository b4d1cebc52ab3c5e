"""What the command line itself does, before any work: help, and words that tell what to do."""

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streamer import cli, demo
from streamer.resources import demo_clip

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`streamer …` in this process: exit status, what it printed, what it complained of."""

    def main(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["streamer", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return main


@pytest.mark.parametrize(
    ("arguments", "command"),
    [([], "replay"), (["models"], "verify"), (["models", "--help"], "use")],
)
def test_a_bare_command_shows_its_help(run: Run, arguments: list[str], command: str) -> None:
    status, out, err = run(*arguments)
    assert (status, err) == (0, "")
    assert command in out


def test_a_wrong_command_is_still_refused(run: Run) -> None:
    status, out, err = run("models", "lost")
    assert (status, out) == (2, "")
    assert "lost" in err


def test_the_demo_is_described_as_it_is(run: Run) -> None:
    with demo_clip().with_suffix(".csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    words = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}
    emotions = {row["face_emotion"] for row in rows} | {row["voice_emotion"] for row in rows}
    mismatches = sum(row["match"] == "0" for row in rows)
    shown = " ".join(run("demo", "--help")[1].split())
    assert f"{words[len(emotions)]} emotions, {words[mismatches]} mismatch." in shown
    assert f"{round(float(rows[-1]['end']))} s of an actor" in shown
    assert f"{words[len(emotions)]} known emotions" in (demo.__doc__ or "")


@pytest.mark.parametrize("url", ["http://who:secret@127.0.0.1/x.mp4", "RTSP://secret/1", "udp://@"])
@pytest.mark.parametrize(("command", "use"), [("replay", "live"), ("calibrate", "calibrate")])
def test_a_url_in_place_of_a_file_is_told_from_one(
    run: Run, command: str, use: str, url: str
) -> None:
    expected = f"streamer: this is a URL, not a file: use streamer {use} --camera URL\n"
    assert run(command, url) == (2, "", expected)


def test_a_files_url_is_to_be_a_path(run: Run) -> None:
    told = "streamer: this is a URL: write a file's path without file://\n"
    assert run("replay", "file:///tmp/x.mp4") == (2, "", told)


def test_what_looks_like_a_url_but_is_a_file_is_read(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "http:").mkdir()
    (tmp_path / "http:" / "x.mp4").touch()
    assert "x.mp4: is empty" in run("replay", "http://x.mp4")[2]
    assert "x.mp4: no such file" in run("replay", "a:/x.mp4")[2]
