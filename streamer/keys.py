"""Single keys from the terminal while the dashboard is shown, and what they mean."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, Self

LONGEST = 200
"""Characters of a note."""


@dataclass(frozen=True, slots=True)
class Note:
    """A marker was set: when its key was pressed, media s, and what was typed."""

    t: float
    text: str


Action = Literal["pause", "quit"] | Note


class Keys:
    """What typed characters ask for. Pure: the time is the caller's.

    m sets a marker at once; what is typed then is its note, until Enter (Esc: no marker).
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._text = ""

    @property
    def editing(self) -> str | None:
        """The note that is being typed, None: none is."""
        return None if self._since is None else self._text

    def press(self, typed: str, t: float) -> list[Action]:
        """Take characters typed up to media time ``t`` s. An unfinished escape sequence (a cursor
        key's, say) must not be cut: give what was read at once.
        """
        actions: list[Action] = []
        for key in _split(typed):
            action = self._command(key, t) if self._since is None else self._write(key)
            if action is not None:
                actions.append(action)
        return actions

    def finish(self) -> Note | None:
        """The marker whose note is still being typed, for nobody dropped it."""
        since, self._since = self._since, None
        return None if since is None else Note(since, self._text.strip())

    def _command(self, key: str, t: float) -> Action | None:
        match key.lower():
            case " " | "p":
                return "pause"
            case "q" | "\x03":  # Ctrl-C comes as a character on Windows
                return "quit"
            case "m":
                self._since, self._text = t, ""
        return None

    def _write(self, key: str) -> Action | None:
        assert self._since is not None
        match key:
            case "\r" | "\n":
                return self.finish()
            case "\x1b":
                self._since = None
            case "\x7f" | "\b":
                self._text = self._text[:-1]
            case "\x03":
                return "quit"
            case _ if key.isprintable() and len(self._text) < LONGEST:
                self._text += key
        return None


def _split(typed: str) -> list[str]:
    """Single keys; cursor and function keys, which send several characters, are left out."""
    keys, at = [], 0
    while at < len(typed):
        if typed[at] == "\x1b" and typed[at + 1 : at + 2] in ("[", "O"):
            at += 2
            while at < len(typed) and not "@" <= typed[at] <= "~":
                at += 1
        else:
            keys.append(typed[at])
        at += 1
    return keys


class Reader(Protocol):
    """Characters typed so far, without waiting."""

    def read(self) -> str:
        """What was typed since the last call; empty: nothing."""

    def close(self) -> None:
        """Give the terminal back as it was; may be called twice."""


class Keyboard:
    """The terminal's keys one by one, unechoed, while the context is open.

    Where standard input is no terminal it reads nothing. The terminal is given back as it was, also
    after an exception or a signal that Python handles. Ctrl-C keeps its meaning.
    """

    def __init__(self, open_reader: Callable[[], Reader | None] | None = None) -> None:
        self._open = open_reader or _platform_reader
        self._reader: Reader | None = None

    def __enter__(self) -> Self:
        self._reader = self._open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    @property
    def active(self) -> bool:
        """Whether keys can be read here."""
        return self._reader is not None

    def read(self) -> str:
        """What was typed since the last call; empty: nothing. Never waits."""
        return self._reader.read() if self._reader else ""


if sys.platform == "win32":
    import msvcrt

    class _Windows:
        def read(self) -> str:
            typed = ""
            while msvcrt.kbhit():
                key = msvcrt.getwch()
                if key in "\x00\xe0" and msvcrt.kbhit():  # a cursor or function key's first half
                    msvcrt.getwch()
                else:
                    typed += key
            return typed

        def close(self) -> None:
            """Nothing was changed."""

    def _platform_reader() -> Reader | None:
        return _Windows() if sys.stdin is not None and sys.stdin.isatty() else None

else:
    import codecs
    import select
    import termios
    import tty

    class Posix:
        """Keys of the terminal at a file descriptor."""

        def __init__(self, descriptor: int) -> None:
            self._descriptor = descriptor
            self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")
            self._before: list[Any] | None = termios.tcgetattr(descriptor)
            tty.setcbreak(descriptor, termios.TCSANOW)

        def read(self) -> str:
            typed = b""
            while select.select([self._descriptor], [], [], 0)[0]:
                try:
                    data = os.read(self._descriptor, 1024)
                except OSError:
                    data = b""
                if not data:  # the terminal was closed
                    break
                typed += data
            return self._decoder.decode(typed)

        def close(self) -> None:
            before, self._before = self._before, None
            if before is not None:
                with suppress(termios.error):  # the terminal was closed
                    termios.tcsetattr(self._descriptor, termios.TCSANOW, before)

    def _platform_reader() -> Reader | None:
        if sys.stdin is None or not sys.stdin.isatty():
            return None
        descriptor = sys.stdin.fileno()
        return Posix(descriptor) if _is_ours(descriptor) else None

    def _is_ours(terminal: int) -> bool:
        """Whether this process may use it: a job in the background would be stopped."""
        try:
            return os.tcgetpgrp(terminal) == os.getpgrp()
        except OSError:  # not the terminal that controls this process: nobody stops it
            return True
