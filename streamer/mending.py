"""Makes the tables of a session good of which no journal tells.

Each keeps its whole rows, and those of the four paired tables that have their partners; durations
and mismatches follow from them. Everything is read and judged before anything is written: what is
no table of a session is refused, and nothing has changed then.
"""

import codecs
import csv
import math
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from streamer.predictions import PROBS
from streamer.tables import HEADERS, TABLES, Markers, line_of, replace_file, seconds
from streamer.text import counted
from streamer.types import StreamerError

NOTHING = {"", "Unknown"}
"""What stands in a row where no emotion is known."""
DERIVED = ("modality_duration", "modality_mismatch")
BLANK = b"\0\t\r\n "
"""What a power failure or an editor leaves where there is nothing."""
Values = dict[str, str]


@dataclass
class Held:
    """A table: what the file holds, its columns and whole rows, and what is done to it."""

    name: str
    data: bytes
    columns: list[str]
    lines: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    taken: bool = False
    """Whether whole rows are taken out."""
    made: bool = False
    """Whether it was not there."""

    @property
    def content(self) -> bytes:
        """What the file is to hold."""
        return "".join([line_of(self.columns), *self.lines]).encode()

    def become(self, lines: list[str]) -> None:
        """Have these rows instead."""
        if self.lines == lines:
            return
        had, now = Counter(self.lines), Counter(lines)
        out, back = (had - now).total(), (now - had).total()
        if out:
            self.told.append(f"{counted(out, 'row')} without a partner taken out")
            self.taken = True
        if back or not out:
            self.told.append(f"{counted(back, 'row')} put back from the intervals")
        self.lines = lines

    def write(self, folder: Path) -> list[str]:
        """Do it; a line if the file changed."""
        if self.content == self.data:
            return []
        path, told = folder / f"{self.name}.csv", ", ".join(self.told)
        if self.taken:
            told += f" (kept in {keep(folder, path)})"
        replace_file(folder, path.name, self.content)
        return [f"{path.name}: {told}"]


class Mending:
    """What is to be done to a session's tables. Raises StreamerError if that can't be known.

    has_sound: whether session.json says so.
    """

    def __init__(self, folder: Path, has_sound: bool) -> None:
        self._folder = folder
        found = (_read(folder, name) for name in (*TABLES, "markers"))
        self._tables = {table.name: table for table in found if table is not None}
        self._pair(has_sound)
        own = [table for table in self._tables.values() if table.name not in DERIVED]
        self.taken = any(table.taken for table in own)
        """Whether a table loses whole rows that do not follow from others."""
        self.made = any(table.made for table in own)
        """Whether such a table was not there, and is made again without rows."""

    def write(self) -> list[str]:
        """Do it; a line for each table that changed."""
        return [line for table in self._tables.values() for line in table.write(self._folder)]

    def _pair(self, has_sound: bool) -> None:
        """Make the four paired tables agree: the rows of face and voice that both are there, then
        what follows from them.
        """
        video, audio = (self._values(name) for name in ("video_intervals", "audio_intervals"))
        duration = self._tables["modality_duration"]
        lengths = csv.DictReader(duration.lines, duration.columns)
        has_sound |= bool(audio) or any(row.get("audio_emotion") for row in lengths)
        paired = set(_keyed(video))
        if has_sound:
            paired &= _keyed(audio).keys()
        for name, rows in (("video_intervals", video), ("audio_intervals", audio)):
            if not rows and duration.lines and (has_sound or name == "video_intervals"):
                # One crash does not do that: without these rows all others would have to go.
                path = self._folder / f"{name}.csv"
                raise StreamerError(f"{path} has none of its rows: put it back", status=1)
            kept = [k for k, key in enumerate(_keyed(rows)) if key in paired]
            self._tables[name].become([self._tables[name].lines[k] for k in kept])
        faces = [row for key, row in _keyed(video).items() if key in paired]
        voices = [row for key, row in _keyed(audio).items() if key in paired] or [{} for _ in faces]
        derived = _derived(faces, voices)
        for name in DERIVED:
            columns = self._tables[name].columns
            rows = derived[name]
            self._tables[name].become([line_of([v.get(c, "") for c in columns]) for v in rows])

    def _values(self, name: str) -> list[Values]:
        table = self._tables[name]
        rows = list(csv.DictReader(table.lines, table.columns))
        with as_written(self._folder / f"{name}.csv"):
            for row in rows:
                span(row)
                row["emotion"], row["probability"]
        return rows


def mend_markers(folder: Path) -> list[str]:
    """Make a session's markers good, which no journal has; a line if they changed."""
    table = _read(folder, "markers")
    return table.write(folder) if table else []


def _read(folder: Path, name: str) -> Held | None:
    """A table; None: it is none of the session's. Raises StreamerError for one that must be."""
    path, wanted = folder / f"{name}.csv", HEADERS.get(name, "")
    data = path.read_bytes() if path.exists() else b""
    text, told = plain(data)
    head, end, rest = text.partition(b"\n")
    header = head.decode("utf-8", "replace")
    if not text.strip(BLANK) or (not end and wanted.startswith(header)):
        told = ["made again, with its header"]
        return Held(name, data, wanted.split(","), told=told, made=True) if wanted else None
    columns: list[str] = []
    with suppress(csv.Error):
        columns = next(csv.reader([header]), [])
    known = header and line_of(columns) == f"{header}\n" and _is_of(name, columns)
    if not end or not known:
        if not wanted:
            return None
        raise StreamerError(
            f"{path} is not as a session writes it (its columns, with commas, in UTF-8): "
            "put it back, or save it that way",
            status=1,
        )
    table = Held(name, data, columns, told=told)
    _take_rows(table, rest)
    return table


def _is_of(name: str, columns: list[str]) -> bool:
    """Whether a table may have these columns; older versions wrote fewer."""
    if name in HEADERS:
        return columns == HEADERS[name].split(",")[: len(columns)]
    if name == "markers":
        return columns == list(Markers.HEADER)
    return columns[:1] == ["time"] and set(PROBS) <= set(columns)


def _take_rows(table: Held, rest: bytes) -> None:
    """Take the whole rows of what comes after the header."""
    torn = 0
    for raw in re.findall(rb"[^\n]*\n|[^\n]+$", rest):
        try:
            text = raw.decode()
            row = next(csv.reader([text.removesuffix("\n")]), [])
        except (csv.Error, UnicodeDecodeError):
            row = []
        whole = raw.endswith(b"\n")
        if whole and len(row) == len(table.columns) and b"\0" not in raw:
            table.lines.append(text)
        else:
            torn += len(raw)
            table.taken |= whole and bool(raw.strip(BLANK))
    if torn:
        table.told.append(f"{counted(torn, 'byte')} of torn rows cut")


def plain(data: bytes) -> tuple[bytes, list[str]]:
    """A table without what other programs put around its rows, and what that was."""
    text = data.removeprefix(codecs.BOM_UTF8)
    mended = text.replace(b"\r\n", b"\n")
    told = ["byte order mark taken out"] if text != data else []
    return mended, told + (["line ends mended"] if mended != text else [])


def _derived(faces: list[Values], voices: list[Values]) -> dict[str, list[Values]]:
    """Durations and mismatches of pairs."""
    derived: dict[str, list[Values]] = {name: [] for name in DERIVED}
    for face, voice in zip(faces, voices, strict=False):
        said = voice.get("emotion", "")
        start, end = span(face)
        length = seconds(end - start)
        values = face | {"duration": length, "video_emotion": face["emotion"]}
        values |= {"audio_emotion": said, "video_probability": face["probability"]}
        values["audio_probability"] = voice.get("probability", "")
        derived["modality_duration"].append(values)
        if not NOTHING & {said, face["emotion"]} and said != face["emotion"]:
            derived["modality_mismatch"].append(values)
    return derived


def _keyed(rows: list[Values]) -> dict[tuple[float, float, int], Values]:
    """Rows by when they are, and which of those that are then: partners have the same key."""
    seen = Counter[tuple[float, float]]()
    keyed = {}
    for row in rows:
        when = span(row)
        seen[when] += 1
        keyed[*when, seen[when]] = row
    return keyed


def span(row: Values) -> tuple[float, float]:
    """When an interval begins and ends, s. Raises ValueError, KeyError, TypeError."""
    start, end = float(row["start"]), float(row["end"])
    if not -math.inf < start <= end < math.inf:
        raise ValueError
    return start, end


@contextmanager
def as_written(path: Path) -> Iterator[None]:
    """Tell in a line that somebody else wrote into a file, whatever came of it."""
    try:
        yield
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError, csv.Error):
        text = f"{path} says what no session says: put back or take out what was changed in it"
        raise StreamerError(text, status=1) from None


def keep(folder: Path, path: Path) -> str:
    """Keep a file as it is beside itself; the copy's name."""
    number = 0
    while True:
        beside = folder / f"{path.name}.old{number or ''}"
        with suppress(FileExistsError), beside.open("xb") as file:
            file.write(path.read_bytes())
            return beside.name
        number += 1
