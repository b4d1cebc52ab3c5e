"""Keys on a real pseudo-terminal, and what they mean."""

import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamer.keys import LONGEST, Keyboard, Keys, Note, Posix
from streamer.tables import Markers, harmless

ROOT = Path(__file__).parents[1]

# What keys mean


@pytest.mark.parametrize(
    ("typed", "actions"),
    [
        ("", []),
        (" ", ["pause"]),
        ("pP", ["pause", "pause"]),
        ("q", ["quit"]),
        ("xyz\r\t", []),
        ("m\r", [Note(2.5, "")]),
        ("mquiet pause\r", [Note(2.5, "quiet pause")]),
        ("m  déjà, 世界 \nq", [Note(2.5, "déjà, 世界"), "quit"]),
        ("mabc\x7f\x7fd\be\r", [Note(2.5, "ae")]),
        ("m\x7f\x7f\r", [Note(2.5, "")]),
        ("mforget this\x1bq", ["quit"]),
        ("ma\x00\x07\tb\r", [Note(2.5, "ab")]),
        ("mxyz\x03", ["quit"]),
        ("\x1b[A\x1bOP\x1b[15~ ", ["pause"]),
        ("ma\x1b[Db\r", [Note(2.5, "ab")]),
        ("\x1b", []),
    ],
)
def test_typed_keys_ask_for(typed: str, actions: list[object]) -> None:
    assert Keys().press(typed, 2.5) == actions


def test_a_marker_has_the_time_of_its_key_not_of_its_note() -> None:
    keys = Keys()
    assert keys.editing is None
    assert keys.press("m", 1.0) == []
    assert keys.press("lau", 2.0) == []
    assert keys.editing == "lau"
    assert keys.press("gh\r", 3.0) == [Note(1.0, "laugh")]
    assert keys.editing is None


def test_a_note_has_an_end() -> None:
    keys = Keys()
    assert keys.press("m" + "x" * 1000 + "\r", 0.0) == [Note(0.0, "x" * LONGEST)]


# The terminal


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """(what a person types into, what the program reads from)."""
    ours, its = pty.openpty()
    yield ours, its
    os.close(ours)
    os.close(its)


def echoes(its: int) -> tuple[bool, bool]:
    """Whether the terminal echoes, and waits for whole lines."""
    flags = termios.tcgetattr(its)[3]
    return bool(flags & termios.ECHO), bool(flags & termios.ICANON)


def test_keys_are_read_at_once_and_the_terminal_is_given_back(terminal: tuple[int, int]) -> None:
    ours, its = terminal
    before = termios.tcgetattr(its)
    with Keyboard(lambda: Posix(its)) as keyboard:
        assert keyboard.active
        assert echoes(its) == (False, False)
        assert keyboard.read() == ""
        os.write(ours, "mü\r".encode())
        assert keyboard.read() == "mü\n"  # the terminal makes a line's end of Enter
        os.write(ours, "世".encode()[:2])
        assert keyboard.read() == ""
        os.write(ours, "世".encode()[2:])
        assert keyboard.read() == "世"
    assert termios.tcgetattr(its) == before
    assert not keyboard.active
    assert keyboard.read() == ""


def test_the_terminal_is_given_back_after_an_error(terminal: tuple[int, int]) -> None:
    before = termios.tcgetattr(terminal[1])
    with pytest.raises(ValueError, match="broken"), Keyboard(lambda: Posix(terminal[1])):
        raise ValueError("broken")
    assert termios.tcgetattr(terminal[1]) == before


def test_a_terminal_that_was_closed_is_no_error() -> None:
    ours, its = pty.openpty()
    with Keyboard(lambda: Posix(its)) as keyboard:
        os.close(ours)
        assert keyboard.read() == ""
    os.close(its)


CHILD = """
import select, signal, sys
from streamer.keys import Keyboard, Keys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
with Keyboard() as keyboard:
    print(keyboard.active, flush=True)
    while "quit" not in Keys().press(keyboard.read(), 0.0):
        select.select([sys.stdin], [], [])
"""


def test_a_note_that_is_being_typed_is_kept_at_the_end() -> None:
    keys = Keys()
    assert keys.finish() is None
    keys.press("mlooks away ", 2.5)
    assert keys.finish() == Note(2.5, "looks away")
    assert (keys.finish(), keys.editing) == (None, None)


@pytest.mark.parametrize("end", ["q", "Ctrl-C", "SIGTERM"])
def test_a_program_gives_its_terminal_back(terminal: tuple[int, int], end: str) -> None:
    ours, its = terminal
    before = termios.tcgetattr(its)
    with subprocess.Popen(
        [sys.executable, "-c", CHILD],
        cwd=ROOT,
        stdin=its,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as child:
        assert child.stdout
        assert child.stdout.readline() == "True\n"
        assert echoes(its) == (False, False)
        if end == "q":
            os.write(ours, b"xq")
        else:
            child.send_signal(signal.SIGTERM if end == "SIGTERM" else signal.SIGINT)
        child.wait(30)
    assert child.returncode == {"q": 0, "Ctrl-C": -signal.SIGINT, "SIGTERM": 143}[end]
    assert termios.tcgetattr(its) == before


def test_without_a_terminal_nothing_is_read() -> None:
    with Keyboard(lambda: None) as keyboard:
        assert not keyboard.active
        assert keyboard.read() == ""
    code = "from streamer.keys import Keyboard\nwith Keyboard() as k: print(k.active)"
    for stdin in (subprocess.DEVNULL, None):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            stdin=stdin,
            input=None if stdin else "q",
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "False\n"


# markers.csv


def test_the_first_marker_makes_the_table(tmp_path: Path) -> None:
    markers = Markers(tmp_path)
    assert not (tmp_path / "markers.csv").exists()
    markers.add(1.25, 'laughs, "loudly"')
    markers.add(61.0004, "")
    markers.close()
    markers.close()
    text = (tmp_path / "markers.csv").read_text(encoding="utf-8")
    assert text == 'time,note\n1.250,"laughs, ""loudly"""\n61.000,\n'
    assert markers.count == 2
    Markers(tmp_path).close()  # one that was never used


@pytest.mark.parametrize(
    ("note", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@A1", "'@A1"),
        ("\tx", "' x"),
        (" =1", "' =1"),
        ("\r=1", "' =1"),
        ("a\nb\r\nc", "a b  c"),
        ("3 - 1 = 2", "3 - 1 = 2"),
        ("", ""),
    ],
)
def test_a_note_is_never_a_formula(note: str, written: str) -> None:
    assert harmless(note) == written


def test_a_marker_waits_for_a_disk_that_is_full(tmp_path: Path) -> None:
    folder = tmp_path / "session"
    markers = Markers(folder)  # that is not there yet
    markers.add(1.5, "first")
    markers.add(2.0, "second")
    assert (markers.count, markers.unsaved) == (2, 2)
    folder.mkdir()
    markers.save()
    assert markers.unsaved == 0
    markers.close()
    assert (folder / "markers.csv").read_text() == "time,note\n1.500,first\n2.000,second\n"
