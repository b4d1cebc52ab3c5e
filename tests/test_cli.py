"""What the command line itself does, before any work: help, and words that tell what to do."""

import csv
import sys
from collections.abc import Callable

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
