"""The journal of a session's tables, and the files that only grow: what a crash can't tear.

`rows.journal` is there while a session runs, and after it died. Each line is what was written
together: a checksum and JSON, [[table, row], …]. The tables are its projection: ``streamer.repair``
makes them good from it. Its lock says that the session is being written.
"""

import errno
import json
import os
import sys
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Self

from streamer.types import StreamerError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

JOURNAL = "rows.journal"
Row = tuple[str, str]
"""A table's name, and one line of it with its newline."""
_LOCKED_BYTE = 1 << 40
"""Windows locks bytes, and keeps others from reading them: one where no row ever comes."""


class ChangedError(OSError):
    """Others wrote into a file, or put one in its place."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EIO, f"{path.name} was changed by another program")


class TakenError(StreamerError):
    """Another run writes the session."""


class AppendFile:
    """A file that only grows, by what is appended between two syncs at a time.

    What is not on the disk yet is kept: a sync that fails leaves no half row behind, and the next
    one does it all again. A file that was deleted or cut meanwhile is made again with all that it
    had; on a drive that went away and came back it is known by its content, and gone on with. One
    that others changed is left alone: ``sync`` raises ChangedError.
    header: of a new file; None: the file is there. known: where else its content is, if anywhere;
    then it is asked for each time whether the file has its length.
    """

    def __init__(
        self, path: Path, header: str | None = None, known: Callable[[], bytes] | None = None
    ) -> None:
        self.path, self._known = path, known
        self._file = path.open("r+b" if header is None else "x+b", buffering=0)
        if header is not None:
            _write(self._file, header.encode(), sync=False)  # the first row's sync is its too
        self._file.seek(0)
        content = self._file.read()
        self._length, self._sum = len(content), zlib.crc32(content)
        self._waiting = bytearray()
        self._changed: tuple[int, ...] | None = None
        """What the file was like in which others were found to have written."""
        self.remade = False
        """Whether the file had to be made again."""

    @property
    def length(self) -> int:
        """Bytes that are on the disk."""
        return self._length

    def append(self, text: str) -> None:
        """Take what the next sync is to write."""
        self._waiting += text.encode()

    def sync(self) -> None:
        """Bring everything to the disk. Raises OSError; what was taken is kept then."""
        if not self.path.exists():
            self._make_again()
        elif not self._is_as_left():
            self._find_again()
        if not self._waiting:
            return
        try:
            self._file.seek(self._length)
            _write(self._file, bytes(self._waiting))
        except OSError:
            with suppress(OSError):
                self._file.truncate(self._length)  # rather no row than half a one
            raise
        self._length += len(self._waiting)
        self._sum = zlib.crc32(self._waiting, self._sum)
        self._waiting = bytearray()

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()

    def _is_as_left(self) -> bool:
        there, own = self.path.stat(), os.fstat(self._file.fileno())
        right = self._known is None or own.st_size == self._length
        return os.path.samestat(there, own) and right

    def _make_again(self) -> None:
        """Write what the deleted file had, which lives as long as it is open, to a new one."""
        content = self.content()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(f".{self.path.name}.part")
        file = beside.open("w+b", buffering=0)
        try:
            _write(file, content)
            beside.replace(self.path)
        except OSError:
            file.close()
            raise
        self._file.close()
        self._file, self.remade = file, True

    def _find_again(self) -> None:
        """Go on with the file that is in this one's place, if it has what this one had, or the
        beginning of it: its drive came back, or it was cut. Raises ChangedError for another one.
        """
        there = self.path.stat()
        like = there.st_ino, there.st_size, there.st_mtime_ns
        if like == self._changed:
            raise ChangedError(self.path)  # without reading it all again, 8 times a second
        file = self.path.open("r+b", buffering=0)
        try:
            self._claim(file)
            file.seek(0)
            data = file.read()
            found, more, rest = data[: self._length], data[self._length :], b""
            if len(found) < self._length:
                content = self.content()
                mine, rest = content.startswith(found), content[len(found) :]
            else:
                mine = zlib.crc32(found) == self._sum
            if not mine or (b"\n" in more and not self._waiting.startswith(more)):
                self._changed = like
                raise ChangedError(self.path)
            file.truncate(len(found))
            file.seek(len(found))
            _write(file, rest)
            self.remade |= bool(rest) and os.path.samestat(there, os.fstat(self._file.fileno()))
            self._file, file = file, self._file
        finally:
            file.close()

    def _claim(self, file: FileIO) -> None:
        """See to it that nobody else writes an opened file. Raises TakenError."""

    def content(self) -> bytes:
        """What was written. Raises OSError if it is nowhere any more."""
        self._file.seek(0)
        content = self._file.read(self._length)
        if zlib.crc32(content) != self._sum and self._known is not None:
            content = self._known()[: self._length]
        if zlib.crc32(content) != self._sum:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return content


class Journal(AppendFile):
    """rows.journal of a session, locked for as long as it is open.

    A lock ends with its process, however that ends: none is ever stale. Where the file system has
    no locks there is none. Raises TakenError if another process has it, OSError.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / JOURNAL
        while True:
            with suppress(FileNotFoundError):  # its last owner removes it just now: make another
                path.touch()
                super().__init__(path)
                try:
                    self._claim(self._file)
                except TakenError:
                    self.close()
                    raise
                if os.path.samestat(path.stat(), os.fstat(self._file.fileno())):
                    return
                self.close()

    def begin(self, texts: Mapping[str, str]) -> None:
        """Start anew, for tables that have this text already: the journal knows all of it, whatever
        becomes of the tables.
        """
        self.clear()
        # Older versions noted a header and more bytes: it is told by these what is all of a table.
        tables = {name: (text, len(text.encode())) for name, text in texts.items()}
        self.append(_sealed({"journal": 1, "tables": tables}))
        self.sync()
        sync_folder(self.path.parent)

    def clear(self) -> None:
        """Forget everything, for the tables are good."""
        self._file.truncate(0)
        self._length, self._sum, self._waiting = 0, 0, bytearray()

    def add(self, rows: Iterable[Row]) -> None:
        """Take rows that belong together."""
        self.append(_sealed(list(rows)))

    def read(self, known: Collection[str]) -> "Record | None":
        """What it holds; None: no table. Raises StreamerError if no session with these tables
        wrote that: a checksum says that a line is whole, not whose it is.
        """
        self._file.seek(0)
        try:
            return Record.of(self._file.read(self._length), known)
        except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
            text = f"{self.path} says what no session says: without it repair goes by the tables"
            raise StreamerError(text, status=1) from None

    def remove(self) -> None:
        """Delete it, for the tables are good, and let go of the lock; may be called twice."""
        if self._file.closed:
            return
        try:
            self.path.unlink(missing_ok=True)
            self.close()
        except PermissionError:  # Windows deletes no open file
            self.close()
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def _make_again(self) -> None:
        super()._make_again()
        self._claim(self._file)

    def _find_again(self) -> None:
        with suppress(ChangedError):  # the tables have its rows too: those to come must go there
            super()._find_again()

    def _claim(self, file: FileIO) -> None:
        number = file.fileno()
        try:
            if sys.platform == "win32":
                file.seek(_LOCKED_BYTE)
                msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise TakenError(
                f"session {self.path.parent} is being written by another run"
            ) from None
        except OSError:
            return  # some network drives can't lock


@dataclass(frozen=True, slots=True)
class Record:
    """What a journal says: of each table its text when the journal began and that one's bytes, and
    the rows since.
    """

    tables: dict[str, tuple[str, int]]
    rows: dict[str, list[str]]
    whole: bool
    """Whether it was read to its end: then no table can rightly go on beyond it."""

    @classmethod
    def of(cls, data: bytes, known: Collection[str]) -> Self | None:
        """Read up to the first line that is torn: nothing after it was ever acknowledged."""
        entries = list(_entries(data))
        if not entries or not entries[0]["tables"]:
            return None  # a resume that was killed before all rows came has noted no table yet
        tables: dict[str, tuple[str, int]] = {}
        for name, (header, size) in entries[0]["tables"].items():
            if name not in known or type(size) is not int or size < 0:
                raise ValueError(name)
            tables[name] = _line(header), size
        rows: dict[str, list[str]] = {name: [] for name in tables}
        for entry in entries[1:]:
            for name, line in entry:
                rows[name].append(_line(line))
        read = len(b"".join(data.splitlines(keepends=True)[: len(entries)]))
        return cls(tables, rows, b"\n" not in data[read:])

    def text(self, table: str) -> str:
        """All that a table is to hold."""
        return self.tables[table][0] + "".join(self.rows[table])


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk, where that can be asked for."""
    with suppress(OSError):  # Windows opens no folder, some network drives sync none
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def replace(path: Path, data: bytes) -> None:
    """Replace a file in one step: a reader sees the old or the new one. Raises OSError."""
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.unlink(missing_ok=True)  # of a run that died; or a link to somebody else's file
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


def _write(file: FileIO, data: bytes, sync: bool = True) -> None:
    """Write all of it to the disk: a full one takes a part, and says why only when asked again."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
    if sync:
        os.fsync(file.fileno())


def _sealed(entry: object) -> str:
    text = json.dumps(entry, ensure_ascii=False, separators=(",", ":"))
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def _line(text: str) -> str:
    """A line of a table, that can be written. Raises ValueError, TypeError, AttributeError."""
    if not text.encode().endswith(b"\n"):
        raise ValueError(text)
    return text


def _entries(data: bytes) -> Iterator[Any]:
    for line in data.splitlines(keepends=True):
        seal, _, text = line.partition(b" ")
        if not line.endswith(b"\n") or seal != b"%08x" % zlib.crc32(text[:-1]):
            return
        yield json.loads(text)
