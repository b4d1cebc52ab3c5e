"""Known emotions, and the tables that a session has of them, read from their files."""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from streamer.evaluation.metrics import NONE, STEP_S, Span
from streamer.text import lines
from streamer.types import EMOTIONS, StreamerError

LONGEST_S = 48 * 3600.0
NOTHING = ("", "none", "noface", "unknown", "nan")
"""What stands for no emotion."""
_INDEX = {name.lower(): k for k, name in enumerate(EMOTIONS)} | dict.fromkeys(NOTHING, NONE)
_SLACK_S = 0.0015
"""Truths are rounded to the millisecond."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One row of labels that is judged: its table, and the truth's column that it is held to."""

    key: str
    short: str
    title: str
    table: str
    truth: str


LANES = (
    Lane("face", "face", "Face", "video_intervals", "face_emotion"),
    Lane("voice", "voice", "Voice during the face's intervals", "audio_intervals", "voice_emotion"),
    Lane(
        "voice_alone",
        "voice alone",
        "Voice in its own intervals",
        "voice_intervals",
        "voice_emotion",
    ),
)
MISMATCH = "modality_mismatch"
FUSED = "fused_intervals"


@dataclass(frozen=True, slots=True)
class Truth:
    """A session's known emotions: spans by the column that they come from, ``length`` in steps."""

    name: str
    length: int
    spans: dict[str, list[Span]]


def find_truths(folder: Path) -> list[Path]:
    """The truths NAME.csv in ``folder``; NAME_face.csv and NAME_voice.csv beside one are none."""
    if not folder.is_dir():
        raise StreamerError(f"{folder}: no such folder")
    found = {path.stem: path for path in sorted(folder.glob("*.csv"))}
    endings = ("_face", "_voice")
    streams = {n for n in found for e in endings if n.endswith(e) and n.removesuffix(e) in found}
    truths = [path for name, path in found.items() if name not in streams]
    if not truths:
        raise StreamerError(f"no *.csv in {folder}: known emotions are wanted there")
    for path in truths:
        if path.stem in (".", ".."):
            raise StreamerError(f"{path}: {path.stem} can't be a session's name: name it otherwise")
    return truths


def recording_of(truth: Path) -> Path:
    """The recording beside a truth. Raises StreamerError if there is none, or more than one."""
    beside = sorted(p for p in truth.parent.iterdir() if p.stem == truth.stem and p != truth)
    files = [p for p in beside if p.is_file()]
    if not files:
        raise StreamerError(f"no recording beside {truth} (such as {truth.stem}.mp4)")
    if len(files) > 1:
        names = ", ".join(p.name for p in files)
        raise StreamerError(f"which one is the recording of {truth.name}: {names}?")
    return files[0]


def read_truth(path: Path) -> Truth:
    """Known emotions: start, end (s) and face_emotion, voice_emotion or both. Raises StreamerError
    with the line where rows overlap or go back in time, or an emotion is none of ours.
    """
    columns = [lane.truth for lane in LANES]
    spans: dict[str, list[Span]] = {}
    last = 0.0
    for row in _rows(path, ("start", "end")):
        here = [c for c in dict.fromkeys(columns) if c in row.values]
        if not here:
            raise StreamerError(f"{path}: neither column face_emotion nor voice_emotion is there")
        start, end = row.times()
        if start < last - _SLACK_S:
            raise row.wrong(f"starts at {start:g} s, before the row above ends ({last:g} s)")
        last = end
        for column in here:
            spans.setdefault(column, []).append(Span(start, end, row.label(column)))
    if not round(last / STEP_S):
        raise StreamerError(f"{path}: no known emotions in this table")
    return Truth(path.stem, round(last / STEP_S), spans)


def read_intervals(path: Path) -> list[Span] | None:
    """The intervals of a table (emotion, start, end, perhaps probability); None: no such table."""
    if not path.exists():
        return None
    return [
        Span(*row.times(), row.label("emotion"), row.probability())
        for row in _rows(path, ("emotion", "start", "end"))
    ]


def read_mismatches(path: Path) -> list[Span] | None:
    """The times at which face and voice are said to differ; None: no such table."""
    if not path.exists():
        return None
    return [Span(*row.times(), 0) for row in _rows(path, ("start", "end"))]


@dataclass(frozen=True, slots=True)
class _Row:
    path: Path
    line: int
    values: dict[str, str]

    def times(self) -> tuple[float, float]:
        start, end = self._number("start"), self._number("end")
        if not 0 <= start <= end <= LONGEST_S:
            raise self.wrong(f"an interval from {start:g} to {end:g} s can't be")
        return start, end

    def label(self, column: str) -> int:
        name = self.values[column].lower()
        if name not in _INDEX:
            known = ", ".join(EMOTIONS)
            raise self.wrong(f"{column} {name[:40]!r} is none of {known}, nor empty")
        return _INDEX[name]

    def probability(self) -> float:
        """NaN where it is empty or not there."""
        text = self.values.get("probability", "")
        value = self._number("probability") if text and text.lower() != "nan" else math.nan
        if not math.isnan(value) and not 0 <= value <= 1:
            raise self.wrong(f"probability {value:g} is not within 0 to 1")
        return value

    def wrong(self, what: str) -> StreamerError:
        return StreamerError(f"{self.path}: line {self.line}: {what}")

    def _number(self, column: str) -> float:
        text = self.values[column]
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.wrong(f"{column} {text[:40]!r} is not a number")
        return value


def _rows(path: Path, needed: tuple[str, ...]) -> Iterator[_Row]:
    line = 0
    if not path.is_file():  # a pipe would be waited for
        raise StreamerError(f"{path}: not a plain file")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(lines(file))
            header = [name.strip().lower() for name in next(reader, [])]
            named = [name for name in header if name]
            if len(set(named)) < len(named):
                raise StreamerError(f"{path}: two columns have the same name")
            if missing := [name for name in needed if name not in header]:
                raise StreamerError(f"{path}: column {missing[0]} is missing")
            for fields in reader:
                line = reader.line_num
                if not fields:
                    continue
                if len(fields) != len(header):
                    what = f"{len(fields)} values, the header has {len(header)}"
                    raise StreamerError(f"{path}: line {line}: {what}")
                values = (field.strip() for field in fields)
                yield _Row(path, line, dict(zip(header, values, strict=True)))
    except UnicodeDecodeError:
        raise StreamerError(f"{path}: not UTF-8 text") from None
    except (csv.Error, OSError) as error:
        raise StreamerError(f"{path}: after line {line}: {error}") from None
