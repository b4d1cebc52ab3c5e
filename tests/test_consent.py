"""Consent is asked for once, in words that say what is stored, and never taken for granted."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from streamer import config, consent, models
from streamer.models import Manifest
from streamer.resources import user_dir
from streamer.types import StreamerError


def manifests() -> list[Manifest]:
    """Those of the default models."""
    loaded = config.load()
    names = (loaded.face.emotion, loaded.speech.vad, loaded.speech.emotion)
    return [models.find(name, loaded.models)[0] for name in names]


def typed(*answers: str) -> Callable[[str], str]:
    left: Iterator[str] = iter(answers)

    def answer(_question: str) -> str:
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    return answer


def ask(*answers: str, **options: bool) -> str:
    """What was printed."""
    text = StringIO()
    console = Console(file=text, width=300)
    consent.ask_once(
        manifests(), console, answer=typed(*answers), **({"interactive": True} | options)
    )
    return text.getvalue()


def test_it_is_said_what_is_stored_and_what_is_forbidden() -> None:
    text = ask("y")
    assert len(text.splitlines()) <= 5
    for part in ("agreed", "tables only", "--record", "EU", "at work or in schools is forbidden"):
        assert part in text
    assert "For research only: speech_emotion_moonshine" in text


def test_models_for_everybody_are_not_named() -> None:
    free = [m for m in manifests() if not m.licence.research_only]
    assert free
    assert not any("research" in line for line in consent.statement(free, False))


def test_consent_is_asked_for_once() -> None:
    assert ask("y")
    assert ask() == ""


def test_consent_to_tables_is_none_to_a_recording() -> None:
    ask("y")
    assert "tables, picture and sound" in ask("yes", record=True)
    assert ask(record=True) == ask() == ""


@pytest.mark.parametrize("answers", [["n"], ["perhaps", "", "No "], []])
def test_without_consent_nothing_begins_and_it_is_asked_again(answers: list[str]) -> None:
    for _ in range(2):
        with pytest.raises(StreamerError, match="no consent") as refused:
            ask(*answers)
        assert refused.value.status == 1


def test_an_unclear_answer_is_asked_again() -> None:
    assert ask("maybe", "Y")


def test_yes_on_the_command_line_asks_and_remembers_nothing() -> None:
    assert ask(yes=True) == ""
    assert not user_dir().exists()
    with pytest.raises(StreamerError, match="confirm it with --yes"):
        ask(interactive=False)


def test_a_folder_that_can_not_be_written_means_asking_again() -> None:
    user_dir().parent.mkdir(parents=True, exist_ok=True)
    user_dir().write_text("a file, not a folder")
    assert ask("y")
    assert ask("y")


CODE = """
from rich.console import Console
from streamer import consent
consent.ask_once([], Console(stderr=True))
print("agreed")
"""


@pytest.mark.parametrize(("key", "status"), [("y", 0), ("n", 1)])
def test_a_person_is_asked_in_a_terminal(tmp_path: Path, key: str, status: int) -> None:
    answered = os.environ | {
        "XDG_CONFIG_HOME": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    ours, its = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", CODE], stdin=its, stdout=its, stderr=its, env=answered
    ) as child:
        os.close(its)
        shown = b""
        while b"[y/n]" not in shown:
            shown += os.read(ours, 1024)
        os.write(ours, key.encode() + b"\n")
        assert child.wait(30) == status
    os.close(ours)
    assert (tmp_path / "streamer" / "consent").exists() == (key == "y")
