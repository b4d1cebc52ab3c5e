"""Append-only CSV tables of one session, and its session.json."""

import csv
import io
import json
import os
import re
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from streamer.agreement import Transition
from streamer.pairing import Pair
from streamer.types import EMOTIONS, ClosedBy, Interval, Modality, Prediction, StreamerError

HEADERS = {
    "video_intervals": "emotion,start,end,probability,intensity,frames,closed_by",
    "audio_intervals": "emotion,start,end,probability,intensity,voiced",
    "modality_mismatch": "start,end,video_emotion,audio_emotion,"
    "video_probability,audio_probability",
    "modality_duration": "duration,start,end,video_emotion,audio_emotion",
    "voice_intervals": "emotion,start,end,probability,intensity,windows,closed_by",
    "transitions": "time,modality,from,to,gap",
}
_PROBS = ",".join(EMOTIONS).lower()
PREDICTIONS: dict[Modality, str] = {
    "face": f"time,{_PROBS},closed_by",
    "voice": f"time,start,end,voiced,{_PROBS},closed_by",
}
"""The tables of all predictions, made where they are asked for. Their last row says at which time
the stream ended and what closed the intervals that were open then.
"""


class Table:
    """One CSV file. A row is one unbuffered write, so that no reader sees half a one."""

    def __init__(self, path: Path, header: str) -> None:
        self._file = path.open("xb", buffering=0)
        self._length = 0
        self._dirty = False
        self._write(header + "\n")

    def append(self, *row: str) -> None:
        """Write one row."""
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(row)
        self._write(line.getvalue())

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
    """The six tables of a session in a new folder of its own, and those of ``predictions``.

    Raises StreamerError if the folder can't be made or written, or the session exists already.
    """

    def __init__(self, folder: Path, predictions: bool = False) -> None:
        self.folder = folder
        self._tables: dict[str, Table] = {}
        self._predictions = predictions
        headers = dict(HEADERS)
        if predictions:
            headers |= {f"{m}_predictions": header for m, header in PREDICTIONS.items()}
        try:
            for name, header in headers.items():
                self._tables[name] = Table(folder / f"{name}.csv", header)
        except OSError as error:
            self.close()
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
        self._append("video_intervals", *interval_row(face))
        if pair.sound:
            voiced = share(voice.voiced)
            self._append("audio_intervals", voice.label or "", start, end, *heard, voiced)
        length = seconds(float(end) - float(start))
        self._append("modality_duration", length, start, end, face.label, voice.label or "")
        if pair.mismatch:
            self._append(
                "modality_mismatch",
                *(start, end, face.label, voice.label or "", share(face.score), share(voice.score)),
            )

    def voice(self, interval: Interval) -> None:
        """A closed interval of the voice itself."""
        self._append("voice_intervals", *interval_row(interval))

    def transition(self, change: Transition) -> None:
        """A change of emotion."""
        time, gap = seconds(change.time), seconds(change.gap)
        self._append("transitions", time, change.modality, change.source, change.target, gap)

    def prediction(self, said: Prediction) -> None:
        """What a model says: enough digits to get the very same numbers back."""
        if self._predictions:
            probs = [""] * len(EMOTIONS) if said.probs is None else [f"{p:.9g}" for p in said.probs]
            self._say(said.modality, said.time, [said.start, said.end, said.voiced], probs, "")

    def stream_end(self, modality: Modality, t: float, closed_by: ClosedBy) -> None:
        """The stream of a modality ended at ``t`` s."""
        if self._predictions:
            self._say(modality, t, [t, t, 0.0], [""] * len(EMOTIONS), closed_by)

    def sync(self) -> None:
        """Bring all rows to the disk."""
        try:
            for table in self._tables.values():
                table.sync()
        except OSError as error:
            raise _unwritable(self.folder, error) from None

    def close(self) -> None:
        """Close the files; may be called twice."""
        for table in self._tables.values():
            table.close()

    def _say(
        self, modality: Modality, t: float, window: list[float], probs: list[str], closed_by: str
    ) -> None:
        about = [repr(float(x)) for x in window] if modality == "voice" else []
        self._append(f"{modality}_predictions", repr(float(t)), *about, *probs, closed_by)

    def _append(self, table: str, *row: str) -> None:
        try:
            self._tables[table].append(*row)
        except OSError as error:
            raise _unwritable(self.folder, error) from None


def seconds(t: float) -> str:
    """Seconds with millisecond precision, never −0.000."""
    return f"{round(t, 3) + 0.0:.3f}"


def share(p: float) -> str:
    """A probability or share with four digits, never −0.0000."""
    return f"{round(p, 4) + 0.0:.4f}"


def new_session(out: Path, name: str | None, stem: str, now: datetime) -> Path:
    """Make the session's folder: ``out``/``name``, or a dated one after ``stem``.

    An earlier session is never touched. Raises StreamerError.
    """
    if name is not None and not re.fullmatch(r"[\w-][\w.-]{0,127}", name):
        raise StreamerError(f"--session {name!r}: use letters, digits, '.', '_' and '-' only")
    clean = re.sub(r"[^\w.-]+", "_", stem).strip("._")[:80] or "session"
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
        raise _unwritable(out, error) from None


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
    """Replace session.json in one step: a reader sees the old or the new one."""
    path, beside = folder / "session.json", folder / ".session.json.part"
    try:
        with beside.open("w", encoding="utf-8") as file:
            json.dump(summary, file, indent=2, ensure_ascii=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise _unwritable(folder, error) from None


def interval_row(interval: Interval) -> list[str]:
    """The row of an interval of one modality."""
    return [
        interval.label,
        seconds(interval.start),
        seconds(interval.end),
        share(interval.score),
        share(interval.intensity),
        str(interval.samples),
        interval.closed_by,
    ]


def _unwritable(folder: Path, error: OSError) -> StreamerError:
    return StreamerError(f"can't write to {folder}: {error.strerror or error}", status=1)
