"""Asks once, before the first live session, for the consent of the people recorded."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from streamer.models import Manifest
from streamer.resources import user_dir
from streamer.types import StreamerError

VERSION = "1"
"""Of the text below: who agreed to an older one is asked again."""


def statement(manifests: Iterable[Manifest], record: bool) -> list[str]:
    """What the user agrees to, a line each."""
    stored = "tables, picture and sound" if record else "tables only (--record: the media too)"
    research = sorted(m.name for m in manifests if m.licence.research_only)
    lines = [
        "Everybody who is seen or heard must have agreed to an analysis of their emotions.",
        f"Stored, on this machine alone: {stored}.",
        "In the EU, inferring emotions at work or in schools is forbidden "
        "(AI Act, Article 5(1)(f); exceptions: medical and safety reasons).",
    ]
    if research:
        lines.append(f"For research only: {', '.join(research)}.")
    return lines


def ask_once(
    manifests: Iterable[Manifest],
    console: Console,
    *,
    yes: bool = False,
    record: bool = False,
    interactive: bool | None = None,
    answer: Callable[[str], str] | None = None,
) -> None:
    """Ask for consent unless it was given before, and remember it.

    A recording is asked for by itself: an earlier consent to tables alone does not cover it.
    yes: consent is given on the command line; nothing is asked, nor remembered.
    interactive: whether somebody can answer, by default whether standard input is a terminal.
    answer: asks a question and returns what was typed, by default the console's input.
    Raises StreamerError if consent is refused, or nobody can be asked.
    """
    if yes or _covers(_remembered(), record):
        return
    for line in statement(manifests, record):
        console.print(Text(f"• {line}"))
    if not (_can_ask(console) if interactive is None else interactive):
        raise StreamerError("nobody can be asked for consent here: confirm it with --yes")
    ask = answer or (lambda text: console.input(Text(text)))
    while True:
        try:
            typed = ask("Have they agreed? [y/n] ").strip().lower()
        except EOFError:
            typed = "n"
        if typed in ("y", "yes"):
            _remember(record)
            return
        if typed in ("n", "no"):
            raise StreamerError("no consent, so nothing was recorded or analysed", status=1)


def _can_ask(console: Console) -> bool:
    return console.is_terminal and sys.stdin is not None and sys.stdin.isatty()


def _file() -> Path:
    return user_dir() / "consent"


def _remembered() -> set[str]:
    try:
        return set(_file().read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError):
        return set()


def _covers(remembered: set[str], record: bool) -> bool:
    return f"{'record' if record else 'tables'}-{VERSION}" in remembered


def _remember(record: bool) -> None:
    given = {f"tables-{VERSION}", *([f"record-{VERSION}"] if record else [])}
    try:
        _file().parent.mkdir(parents=True, exist_ok=True)
        _file().write_text("\n".join(sorted(_remembered() | given)) + "\n", encoding="utf-8")
    except OSError:
        return  # then it is asked again
