"""`streamer segment`: saved predictions in, intervals out, without running a model."""

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TextIO

import numpy as np
from rich import progress
from rich.console import Console

from streamer import __version__
from streamer.agreement import Transitions
from streamer.clock import today
from streamer.config import Config, SegmenterConfig
from streamer.pipeline import segmenter
from streamer.predictions import AFFECT, FACE_ID, PROBS, vocabulary_of
from streamer.tables import HEADERS, Table, face_row, interval_row, new_folder, write_summary
from streamer.text import lines, printable
from streamer.types import (
    EMOTIONS,
    UNKNOWN,
    ClosedBy,
    Floats,
    Modality,
    Prediction,
    StreamEnd,
    StreamerError,
    Vocabulary,
)

TABLES: dict[Modality, str] = {"face": "video_intervals", "voice": "voice_intervals"}
TOLERANCE = 0.01
"""By how much seven rounded probabilities may miss 1."""
LAST_S = 1.0
"""Where a table doesn't say its end, the last prediction stands for one step, at most this, s."""
_ENDS: dict[str, ClosedBy] = {"end": "end", "stopped": "stopped", "error": "error"}


@dataclass(slots=True)
class PredictionTable:
    """A table of predictions, read row by row.

    Columns, in any order: ``time``, s, from which on a row speaks, and the seven emotions' names;
    all seven empty: no face, or nobody speaks. Optional: ``start``, ``end``, s, and ``voiced``, of
    the window; ``closed_by`` in the last row, whose time is the stream's end; the shares of the
    model's own labels, valence and arousal; ``face_id``. Others are passed over. Each error is a
    StreamerError that names the line.

    modality: None: the voice's if there is a column ``voiced`` or ``rms_db``, else the face's.
    shift: added to all times, s; what comes to lie before 0 lies at 0.
    """

    file: TextIO
    name: str
    modality: Modality | None = None
    shift: float = 0.0
    closed_by: ClosedBy = "end"
    """What closed the open intervals at the end; known when everything was read."""
    vocabulary: Vocabulary | None = None
    """The model's own labels; known when the first row was read."""
    _at: dict[str, int] = field(default_factory=dict)
    _details: list[str] = field(default_factory=list)
    _line: int = 0

    def __iter__(self) -> Iterator[Prediction | StreamEnd]:
        rows = self._rows()
        modality = self._header(next(rows, []))
        last, step, end = -math.inf, 0.0, None
        for row in rows:
            if end is not None:
                raise self._wrong("a row after the end of the stream")
            if len(row) != len(self._at):
                raise self._wrong(f"{len(row)} values, the header has {len(self._at)}")
            t = self._number(row, "time")
            if not 0 <= t < math.inf:
                raise self._wrong(f"time {t:g}: use 0 or more seconds")
            if t < last:
                raise self._wrong(f"time {t:g} comes after {last:g}: times must increase")
            if closed_by := self._text(row, "closed_by"):
                if closed_by not in _ENDS:
                    raise self._wrong(f"closed_by {closed_by!r}: use {', '.join(_ENDS)}")
                self.closed_by, end = _ENDS[closed_by], t
                continue
            step = t - last if last > -math.inf else 0.0
            last = t
            yield self._prediction(modality, row, t)
        if last == -math.inf and end is None:
            raise StreamerError(f"{self.name}: no predictions in this table")
        yield StreamEnd(modality, self._moved(last + min(step, LAST_S) if end is None else end))

    def _prediction(self, modality: Modality, row: list[str], t: float) -> Prediction:
        window = [
            self._number(row, name) if self._text(row, name) else default
            for name, default in (("start", t), ("end", t), ("voiced", 0.0))
        ]
        start, end, voiced = window
        times = self._moved(t), self._moved(start), self._moved(end)
        probs = self._probs(row)
        details = None
        if probs is not None and self._details:
            told = [self._number(row, n) if self._text(row, n) else math.nan for n in self._details]
            details = np.array(told, np.float32)
        face_id = self._face_id(row) if probs is not None else 0
        return Prediction(modality, *times, probs, voiced, details=details, face_id=face_id)

    def _face_id(self, row: list[str]) -> int:
        text = self._text(row, FACE_ID)
        if not text:
            return 0
        if not re.fullmatch(r"[1-9][0-9]{0,17}", text):
            raise self._wrong(
                f"{FACE_ID} {text[:40]!r}: use whole numbers from 1, or leave it empty"
            )
        return int(text)

    def _probs(self, row: list[str]) -> Floats | None:
        given = [bool(self._text(row, name)) for name in PROBS]
        if not any(given):
            return None
        if not all(given):
            raise self._wrong(f"{PROBS[given.index(False)]} is empty, others are not")
        values = [self._number(row, name) for name in PROBS]
        for name, p in zip(PROBS, values, strict=True):
            if not 0 <= p <= 1 + TOLERANCE:
                raise self._wrong(f"{name} {p:g} is not a probability")
        if abs(sum(values) - 1) > TOLERANCE:
            raise self._wrong(f"the probabilities add up to {sum(values):g}, not 1")
        return np.array(values, np.float32)

    def _moved(self, t: float) -> float:
        return max(t + self.shift, 0.0) if self.shift else t

    def _header(self, names: list[str]) -> Modality:
        # A model's own labels keep their capitals.
        columns = [n.strip() if "/" in n else n.strip().lower() for n in names]
        self._at = {name: k for k, name in enumerate(columns)}
        if missing := [name for name in ("time", *PROBS) if name not in self._at]:
            raise StreamerError(f"{self.name}: column {missing[0]} is missing: not predictions")
        if len(self._at) < len(columns):
            raise StreamerError(f"{self.name}: two columns have the same name")
        self.vocabulary = vocabulary_of(columns)
        if self.vocabulary and set(AFFECT) <= set(columns):
            self._details = [name for name in columns if "/" in name] + AFFECT
        is_voice = "voiced" in self._at or "rms_db" in self._at
        self.modality = self.modality or ("voice" if is_voice else "face")
        return self.modality

    def _rows(self) -> Iterator[list[str]]:
        """The fields of each line that is not empty; no line is read beyond any bound."""
        reader = csv.reader(lines(self.file))
        try:
            for row in reader:
                self._line = reader.line_num
                if row:
                    yield row
        except UnicodeDecodeError:
            raise StreamerError(f"{self.name}: not UTF-8 text") from None
        except (csv.Error, OSError) as error:
            raise StreamerError(f"{self.name}: after line {self._line}: {error}") from None

    def _text(self, row: list[str], name: str) -> str:
        return row[self._at[name]].strip() if name in self._at else ""

    def _number(self, row: list[str], name: str) -> float:
        text = self._text(row, name)
        try:
            value = float(text)
        except ValueError:
            raise self._wrong(f"{name} {text[:40]!r} is not a number") from None
        if not math.isfinite(value):
            raise self._wrong(f"{name} {text!r} is not a number")
        return value

    def _wrong(self, what: str) -> StreamerError:
        return StreamerError(f"{self.name}: line {self._line}: {what}")


def refuse_idle(settings: list[str]) -> None:
    """Raise StreamerError for a setting (``section.key=value``) that changes nothing here."""
    # What was saved is judged by the baseline already.
    keys = [key for key in SegmenterConfig.model_fields if key != "baseline_s"]
    for setting in settings:
        section, _, key = setting.partition("=")[0].strip().partition(".")
        if section != "segmenter" or key not in keys:
            raise StreamerError(
                f"--set {setting}: changes nothing in saved predictions; what can be set is "
                f"segmenter.KEY, with KEY one of {', '.join(keys)}"
            )


def segment_file(
    stream: Path,
    out: Path,
    config: Config,
    modality: Modality | None,
    shift: float,
    console: Console,
) -> dict[str, object]:
    """Segment the predictions in ``stream`` into the new folder ``out``: the table of intervals
    and session.json, whose content is returned. Memory does not grow. Raises StreamerError.
    """
    label = f"Segmenting {stream.name}"
    try:
        opened = progress.open(
            stream,
            "r",
            encoding="utf-8-sig",
            newline="",
            description=printable(label),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
    except OSError as error:
        raise StreamerError(f"can't read {stream}: {error.strerror or error}") from None
    with opened as file:
        table = PredictionTable(file, str(stream), modality, shift)
        said = iter(table)
        first = next(said)  # what is not a table at all leaves no folder behind
        new_folder(out)
        about = _segment(table, first, said, config, out)
    found = f"{about['intervals']} interval{'s' * (about['intervals'] != 1)}"
    found += f" from {about['predictions']} predictions: {out}"
    console.print(printable(found), markup=False)
    return about


def _segment(
    table: PredictionTable,
    first: Prediction | StreamEnd,
    said: Iterator[Prediction | StreamEnd],
    config: Config,
    out: Path,
) -> dict[str, object]:
    modality = first.modality
    about: dict[str, object] = {
        "streamer": __version__,
        "state": "running",
        "started": today().isoformat(timespec="seconds"),
        "source": {"name": Path(table.name).name, "modality": modality, "shift_s": table.shift},
        "config": {"segmenter": config.segmenter.model_dump()},
    }
    write_summary(out, about)
    predictions = without = rows = 0
    end, seconds, ended, error = 0.0, dict.fromkeys((*EMOTIONS, UNKNOWN), 0.0), "error", None
    machine, changes = segmenter(modality, config.segmenter), Transitions([modality])
    as_row = face_row if modality == "face" else interval_row
    written = Table(out / f"{TABLES[modality]}.csv", HEADERS[TABLES[modality]].split(","))
    try:
        for message in chain([first], said):
            if isinstance(message, Prediction):
                predictions, without = predictions + 1, without + (message.probs is None)
                end, closed, settled = message.time, machine.push(message), machine.settled
            else:
                end, settled = message.t, math.inf
                closed = machine.finish(end, table.closed_by)
            changes.update(modality, closed, settled)
            for interval in closed:
                rows += 1
                seconds[interval.label] += interval.end - interval.start
                written.append(*as_row(interval, table.vocabulary))
        ended = table.closed_by
    except BaseException as failure:
        error = str(failure) or type(failure).__name__
        raise
    finally:
        written.close()
        about |= {
            "state": "complete" if error is None else "error",
            "ended_by": ended,
            "error": error,
            "end_s": round(end, 3),
            "predictions": predictions,
            "without_emotion": without,
            "intervals": rows,
            "transitions": {modality: changes.counts[modality]},
            "seconds": {modality: {e: round(s, 3) for e, s in seconds.items() if s}},
        }
        write_summary(out, about)
    return about
