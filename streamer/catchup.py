"""What a session that is gone on with has already: it must come again, and is not written again."""

import io
import os
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from streamer.journal import Journal, Row
from streamer.types import StreamerError


class Known:
    """The rows of tables with these header lines, or the first ``keep`` of each table. Nothing is
    changed before ``cut``: whatever ends the run until then, the session is as it was.

    Tables that are missing or empty have no rows. Raises StreamerError if one can't be read.
    """

    def __init__(
        self, folder: Path, headers: Mapping[str, str], keep: Mapping[str, int] | None
    ) -> None:
        self._folder = folder
        rows = {name: _rows(folder / f"{name}.csv", header) for name, header in headers.items()}
        if keep is not None:
            rows = {name: lines[: keep.get(name, 0)] for name, lines in rows.items()}
        self._texts = {name: "".join([header, *rows[name]]) for name, header in headers.items()}
        self._rows = {name: deque(lines) for name, lines in rows.items()}
        self.held: list[Row] = []
        """What came beyond them."""

    @property
    def missing(self) -> int:
        """How many must still come."""
        return sum(map(len, self._rows.values()))

    def take(self, table: str, line: str) -> bool:
        """Take a row that comes; whether all came. Raises StreamerError if another one should."""
        expected = self._rows[table]
        if not expected:
            self.held.append((table, line))
        elif expected[0] == line:
            expected.popleft()
        else:
            raise StreamerError(
                f"{table}.csv of {self._folder} says {expected[0].strip()[:60]!r} where "
                f"now comes {line.strip()[:60]!r}: was data dropped, or is this another machine?",
                status=1,
            )
        return not self.missing

    def cut(self, journal: Journal) -> None:
        """Take out everything else from the tables. Raises OSError."""
        # The journal first: where this is cut short, a repair does the rest.
        journal.begin(self._texts)
        for name, text in self._texts.items():
            with (self._folder / f"{name}.csv").open("ab", buffering=0) as file:
                if file.tell() == 0:
                    file.write(text.encode())
                file.truncate(len(text.encode()))
                os.fsync(file.fileno())


def _rows(path: Path, header: str) -> list[str]:
    """The lines of a table. Raises StreamerError."""
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StreamerError(f"can't read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise StreamerError(f"can't read {path}: it is no UTF-8 text") from None
    first, *lines = io.StringIO(text, newline="\n") if text else [header]
    if first != header:
        raise StreamerError(f"{path} has other columns: another version or program wrote them")
    return lines
