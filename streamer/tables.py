"""Append-only CSV tables of one session, and its session.json."""

import csv
import io
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from streamer.agreement import Transition
from streamer.catchup import Known
from streamer.journal import AppendFile, Journal, replace
from streamer.pairing import Pair
from streamer.predictions import columns, row
from streamer.text import to_json
from streamer.types import (
    Interval,
    Modality,
    Prediction,
    StreamerError,
    Vocabulary,
)
from streamer.writer import MOST_WAITING, Job, Store, Writer

MODALITIES: tuple[Modality, ...] = ("face", "voice")
_DETAILS = "native_label,valence,arousal"
HEADERS = {
    "video_intervals": "emotion,start,end,probability,intensity,frames,closed_by,"
    + _DETAILS
    + ",face_id",
    "audio_intervals": "emotion,start,end,probability,intensity,voiced," + _DETAILS,
    "modality_mismatch": "start,end,video_emotion,audio_emotion,"
    "video_probability,audio_probability",
    "modality_duration": "duration,start,end,video_emotion,audio_emotion",
    "voice_intervals": "emotion,start,end,probability,intensity,windows,closed_by," + _DETAILS,
    "fused_intervals": "emotion,start,end,probability,intensity,samples,closed_by,"
    "face_weight,voice_weight",
    "transitions": "time,modality,from,to,gap",
}
TABLES = (*HEADERS, *(f"{modality}_predictions" for modality in MODALITIES))
"""All that a session's journal may have."""


class Table:
    """One CSV file. A row is one unbuffered write, so that no reader sees half a one."""

    def __init__(self, path: Path, header: Sequence[str]) -> None:
        self._file = path.open("xb", buffering=0)
        self._length = 0
        self._dirty = False
        self._write(line_of(header))

    def append(self, *row: str) -> None:
        """Write one row."""
        self._write(line_of(row))

    def sync(self) -> None:
        """Bring what was written to the disk."""
        if self._dirty:
            os.fsync(self._file.fileno())
            self._dirty = False

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()

    def _write(self, text: str) -> None:
        data = text.encode()
        try:
            if (written := self._file.write(data)) != len(data):
                written += self._file.write(data[written:])  # a full disk says why only now
        except OSError:
            self._file.truncate(self._length)  # rather no row than half a one
            raise
        self._length += written
        self._dirty = True


class SessionTables:
    """The seven tables of a session in a new folder of its own, and those of ``predictions``.

    Rows are on the disk after ``sync``; where that is not possible they wait in memory (``writer``
    says which and why) and ``finish`` raises. Rows between two syncs are written together, or none.

    vocabularies: the models' own labels, for the column native_label. journal: of a session to go
    on with, whose tables are good: the rows that they have, or the first ``keep`` of each, must
    come again, and are not written; only then is anything changed, and ``caught_up`` called.
    Raises StreamerError if the folder can't be made or written, or the session exists already.
    """

    def __init__(
        self,
        folder: Path,
        vocabularies: Mapping[Modality, Vocabulary] | None = None,
        predictions: bool = False,
        journal: Journal | None = None,
        keep: Mapping[str, int] | None = None,
    ) -> None:
        self.folder = folder
        self.rows = Counter[str]()
        """How many rows each table was given."""
        self.caught_up: Callable[[], None] = lambda: None
        self._vocabularies = vocabularies or {}
        self._predictions = predictions
        headers = {name: f"{header}\n" for name, header in HEADERS.items()}
        if predictions:
            for m in MODALITIES:
                headers[f"{m}_predictions"] = line_of(columns(m, self._vocabularies.get(m)))
        self._headers, self._journal = headers, journal
        self._known = Known(folder, headers, keep) if journal else None
        try:
            if self._known and not self._known.missing:
                self._go_on(self._known)
            else:  # without any table while rows must come again
                self.writer = Writer(folder, Store(folder, {} if journal else headers, journal))
        except OSError as error:
            raise _unwritable(folder, error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def pair(self, pair: Pair) -> None:
        """A closed face interval with its voice: the video, audio, duration and mismatch tables."""
        face, voice = pair.face, pair.voice
        start, end = seconds(face.start), seconds(face.end)
        spoken = voice.label is not None
        heard = [share(voice.score), share(voice.intensity)] if spoken else ["", ""]
        self._append("video_intervals", *face_row(face, self._vocabularies.get("face")))
        if pair.sound:
            told = _details(self._vocabularies.get("voice"), voice.label or "", voice.details)
            values = [voice.label or "", start, end, *heard, share(voice.voiced)]
            self._append("audio_intervals", *values, *told)
        length = seconds(float(end) - float(start))
        self._append("modality_duration", length, start, end, face.label, voice.label or "")
        if pair.mismatch:
            self._append(
                "modality_mismatch",
                *(start, end, face.label, voice.label or "", share(face.score), share(voice.score)),
            )

    def voice(self, interval: Interval) -> None:
        """A closed interval of the voice itself."""
        vocabulary = self._vocabularies.get("voice")
        self._append("voice_intervals", *interval_row(interval, vocabulary))

    def fused(self, interval: Interval) -> None:
        """A closed interval of both together; its details are the modalities' mean weights."""
        weights = [share(weight) for weight in interval.details] or ["", ""]
        self._append("fused_intervals", *_interval(interval), *weights)

    def transition(self, change: Transition) -> None:
        """A change of emotion."""
        time, gap = seconds(change.time), seconds(change.gap)
        self._append("transitions", time, change.modality, change.source, change.target, gap)

    def prediction(self, said: Prediction, closed_by: str = "") -> None:
        """What a model says; with ``closed_by``: at which time its stream ended, and why."""
        if self._predictions:
            values = row(said, self._vocabularies.get(said.modality), closed_by)
            self._append(f"{said.modality}_predictions", *values)

    def later(self, job: Job) -> None:
        """Have something else written soon."""
        self.writer.later(job)

    def sync(self) -> None:
        """Bring all rows to the disk, if it takes them soon."""
        self.writer.sync()

    def finish(self) -> None:
        """Bring all rows to the disk at last. Raises StreamerError if some can't be."""
        self.writer.finish()
        if self._known:
            raise StreamerError(
                f"{self.folder} has {self._known.missing} rows that did not come again: was data "
                "dropped, or is this another machine?",
                status=1,
            )

    def close(self) -> None:
        """Close the files; may be called twice."""
        self.writer.close()

    @property
    def catching_up(self) -> bool:
        """Whether rows that were there must still come again. Until then nothing is written."""
        return self._known is not None

    @property
    def writable(self) -> bool:
        """Whether the session's files may be written now."""
        return self._known is None and not self.writer.taken

    @property
    def unsaved(self) -> int:
        """How many of the last pairs are not on the disk yet, or never will be."""
        return self.unsaved_of("modality_duration")

    def unsaved_of(self, table: str) -> int:
        """How many of the last rows of a table are not on the disk yet, or never will be."""
        held = sum(name == table for name, _ in self._known.held) if self._known else 0
        return held + self.writer.waiting(table) + self.writer.lost[table]

    def _append(self, table: str, *row: str) -> None:
        line = line_of(row)
        if self._known is None:
            self.writer.add(table, line)
        elif self._known.take(table, line):
            self._go_on(self._known)
        self.rows[table] += 1

    def _go_on(self, known: Known) -> None:
        """All rows came again: write what comes from here on. Raises StreamerError."""
        assert self._journal is not None
        try:
            known.cut(self._journal)
            self.writer = Writer(self.folder, Store(self.folder, self._headers, self._journal))
        except OSError as error:
            raise _unwritable(self.folder, error) from None
        self._known = None
        for name, line in known.held:
            # Before a prediction: what belongs together is not parted.
            if self.writer.waiting() >= MOST_WAITING // 2 and name.endswith("_predictions"):
                self.writer.finish()
            self.writer.add(name, line)
        self.caught_up()


class Markers:
    """markers.csv of a session: it is there from the first marker on. What the disk does not take
    waits, and is tried again with each ``save``.
    """

    HEADER = ("time", "note")

    def __init__(self, folder: Path) -> None:
        self._path = folder / "markers.csv"
        self._file: AppendFile | None = None
        self._lines: list[str] = []
        self._closed = False
        self.count = self.unsaved = 0
        """How many there are, and how many of them are not on the disk."""

    def add(self, t: float, note: str) -> None:
        """Set a marker at ``t`` s."""
        self.count, self.unsaved = self.count + 1, self.unsaved + 1
        self._lines.append(line_of((seconds(t), harmless(note))))
        self.save()

    def save(self) -> None:
        """Bring what waits to the disk, as far as it takes it."""
        if not self.unsaved or self._closed:
            return
        with suppress(OSError):
            if self._file is None:
                self._path.touch()
                self._file = AppendFile(self._path)
                self._file.append(line_of(self.HEADER))
            while self._lines:
                self._file.append(self._lines.pop(0))
            self._file.sync()
            self.unsaved = 0

    def close(self) -> None:
        """Save and close the file; may be called twice."""
        self.save()
        self._closed = True
        if self._file is not None:
            self._file.close()


def harmless(text: str) -> str:
    """One line that no spreadsheet takes for a formula: those get an apostrophe before them."""
    line = "".join(c if c.isprintable() else " " for c in text)
    risky = text.startswith(("\t", "\r")) or line.lstrip().startswith(("=", "+", "-", "@"))
    return f"'{line}" if risky else line


def seconds(t: float) -> str:
    """Seconds with millisecond precision, never −0.000."""
    return f"{round(t, 3) + 0.0:.3f}"


def share(p: float) -> str:
    """A probability, a share, a valence or arousal with four digits, never −0.0000."""
    return f"{round(p, 4) + 0.0:.4f}"


def new_session(out: Path, name: str | None, stem: str, now: datetime) -> Path:
    """Make the session's folder: ``out``/``name``, or a dated one after ``stem``.

    An earlier session is never touched. Raises StreamerError.
    """
    if name is not None and not re.fullmatch(r"[\w-][\w.-]{0,127}", name):
        raise StreamerError(f"--session {name!r}: use letters, digits, '.', '_' and '-' only")
    clean = re.sub(r"[^\w.-]+", "_", stem).strip("._")[:80]
    # File systems bound a name's bytes, of which a letter may have four.
    clean = clean.encode(errors="ignore")[:200].decode(errors="ignore") or "session"
    wanted = name or f"{now:%Y%m%d-%H%M%S}_{clean}"
    folder, number = out / wanted, 1
    try:
        out.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                if name is not None:
                    raise StreamerError(
                        f"session {folder} exists already; name another one"
                    ) from None
                number += 1
                folder = out / f"{wanted}-{number}"
    except OSError as error:
        raise _unwritable(out, error, status=2) from None


def new_folder(folder: Path) -> Path:
    """Make ``folder``, or take an empty one: never one with files in it. Raises StreamerError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise StreamerError(f"{folder} is not empty; name a new folder")
    except FileExistsError:
        raise StreamerError(f"{folder} is a file; name a new folder") from None
    except OSError as error:
        raise _unwritable(folder, error) from None
    return folder


def write_summary(folder: Path, summary: dict[str, object]) -> None:
    """Replace session.json. Raises StreamerError."""
    replace_file(folder, "session.json", to_json(summary) + "\n")


def replace_file(folder: Path, name: str, content: str | bytes) -> None:
    """Replace a file in one step: a reader sees the old or the new one. Raises StreamerError."""
    try:
        replace(folder / name, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise _unwritable(folder, error) from None


def interval_row(interval: Interval, vocabulary: Vocabulary | None) -> list[str]:
    """The row of an interval of one modality, whose model has these labels of its own."""
    return [*_interval(interval), *_details(vocabulary, interval.label, interval.details)]


def _interval(interval: Interval) -> list[str]:
    return [
        interval.label,
        seconds(interval.start),
        seconds(interval.end),
        share(interval.score),
        share(interval.intensity),
        str(interval.samples),
        interval.closed_by,
    ]


def face_row(interval: Interval, vocabulary: Vocabulary | None) -> list[str]:
    """The row of an interval of the face."""
    return [*interval_row(interval, vocabulary), str(interval.face_id or "")]


def _details(vocabulary: Vocabulary | None, label: str, details: tuple[float, ...]) -> list[str]:
    """Native label, valence and arousal; each empty where it is not known."""
    if vocabulary is None or not details:
        return ["", "", ""]
    affect = ["" if math.isnan(value) else share(value) for value in details[-2:]]
    return [harmless(vocabulary.native(label, details)), *affect]


def line_of(row: Sequence[str]) -> str:
    """A row as it stands in a table, with its newline."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(row)
    return line.getvalue()


def _unwritable(folder: Path, error: OSError, status: int = 1) -> StreamerError:
    return StreamerError(f"can't write to {folder}: {error.strerror or error}", status=status)
