"""`streamer repair`: makes the tables of a session good that did not end in order.

With a journal the tables are what it says. Without one (older sessions) each keeps its whole rows,
and those of the four paired tables that have their partners. No whole row is thrown away: a table
that loses one is kept as NAME.csv.old. Done twice it changes nothing.
"""

import csv
import json
import math
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from streamer.agreement_file import pretty
from streamer.figures import document
from streamer.journal import JOURNAL, Journal, Record, sync_folder
from streamer.tables import (
    HEADERS,
    MODALITIES,
    TABLES,
    line_of,
    replace_file,
    seconds,
    write_summary,
)
from streamer.timeline import Timeline
from streamer.types import EMOTIONS, Interval, Modality, StreamerError

INTERVALS: dict[Modality, str] = {"face": "video_intervals", "voice": "voice_intervals"}
NOTHING = {"", "Unknown"}
"""What stands in a row where no emotion is known."""
Values = dict[str, str]


def repair(folder: Path) -> list[str]:
    """Make a session good; a line for each thing that was done. Raises StreamerError if another
    run writes the session, if it is none, if others wrote into it, or if it can't be written.
    """
    with repaired(folder) as (journal, done):
        journal.remove()
    return done


@contextmanager
def repaired(folder: Path) -> Iterator[tuple[Journal, list[str]]]:
    """The session made good, its journal empty and locked; and a line for each thing done."""
    if not (folder / "session.json").is_file() and not (folder / "video_intervals.csv").is_file():
        raise StreamerError(f"{folder} is no session: name a folder with session.json in it")
    try:
        _refuse_links(folder)
        journal = Journal(folder)
        try:
            record = journal.read(TABLES)
            done = _from_journal(folder, record) if record else _from_tables(folder)
            done += _conclude(folder)
            sync_folder(folder)
            journal.clear()
            yield journal, done
        finally:
            # What could not be repaired needs it again.
            journal.close() if journal.length else journal.remove()
    except OSError as error:
        raise StreamerError(f"can't repair {folder}: {error.strerror or error}", status=1) from None


def _refuse_links(folder: Path) -> None:
    """A session from a stranger may not have files elsewhere read or written; nor a pipe, which
    would be waited for. Raises StreamerError.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            ours = entry.name == JOURNAL or entry.name.endswith((".csv", ".json", ".part"))
            if ours and not entry.is_file(follow_symlinks=False):
                raise StreamerError(f"{folder / entry.name} is no plain file, as a session's are")


def _from_journal(folder: Path, record: Record) -> list[str]:
    done = []
    for name, (header, size) in record.tables.items():
        path = folder / f"{name}.csv"
        data = path.read_bytes() if path.exists() else b""
        before = header.encode() if size == len(header.encode()) else data[:size]
        if len(before) < size:
            raise StreamerError(f"{path.name} of {folder} lacks rows that nothing else has", 1)
        wanted = before + "".join(record.rows[name]).encode()
        if data != wanted:
            kept = _common(data, wanted)
            back = wanted[kept:].count(b"\n")
            done.append(f"{path.name}: {_count(back)} put back{_cut(folder, path, data[kept:])}")
            replace_file(folder, path.name, wanted)
    return done


def _common(data: bytes, wanted: bytes) -> int:
    """How many bytes of whole lines two tables have in common at their beginning."""
    same = next((k for k, (a, b) in enumerate(zip(data, wanted, strict=False)) if a != b), None)
    end = min(len(data), len(wanted)) if same is None else same
    return data.rfind(b"\n", 0, end) + 1


def _cut(folder: Path, path: Path, rest: bytes) -> str:
    """Say what is cut off; keep the file if there are whole rows in it."""
    if rows := rest.count(b"\n"):
        return f", {_count(rows)} taken out (kept in {_keep(folder, path)})"
    return f", {len(rest)} bytes of a torn row cut" if rest else ""


def _keep(folder: Path, path: Path) -> str:
    number = 0
    while True:
        beside = folder / f"{path.name}.old{number or ''}"
        with suppress(FileExistsError), beside.open("xb") as file:
            file.write(path.read_bytes())
            return beside.name
        number += 1


def _count(rows: int) -> str:
    return f"{rows} row{'s' * (rows != 1)}"


# Without a journal


def _from_tables(folder: Path) -> list[str]:
    done = []
    headers = dict.fromkeys(p.stem for p in sorted(folder.glob("*.csv"))) | HEADERS
    tables: dict[str, tuple[list[str], list[str]]] = {}
    for name, header in headers.items():
        path = folder / f"{name}.csv"
        data = path.read_bytes() if path.exists() else b""
        first, lines, torn = _whole(data)
        if not first and header:
            first = header.split(",")
            replace_file(folder, path.name, f"{header}\n")
            done.append(f"{path.name}: made again, with its header")
        elif torn:
            text = "".join([line_of(first), *lines]) if first else ""
            told = f"{torn} bytes of torn rows cut"
            replace_file(folder, path.name, text)
            done.append(f"{path.name}: {told}")
        tables[name] = first, lines
    return done + _pairs(folder, tables)


def _whole(data: bytes) -> tuple[list[str], list[str], int]:
    """The header's columns and the whole lines of a table; how many bytes are neither."""
    first: list[str] = []
    lines, torn = [], 0
    for raw in data.split(b"\n")[:-1]:
        text = raw.decode("utf-8", "replace")
        try:
            row = next(csv.reader([text.removesuffix("\r")]), [])
        except csv.Error:
            row = []
        if not row or "\0" in text or "\ufffd" in text or (first and len(row) != len(first)):
            torn += len(raw) + 1
        elif not first:
            first = row
        else:
            lines.append(f"{text}\n")
    return first, lines, torn + len(data) - data.rfind(b"\n") - 1


def _pairs(folder: Path, tables: dict[str, tuple[list[str], list[str]]]) -> list[str]:
    """Make the four paired tables agree: the rows of face and voice that both are there, then what
    follows from them.
    """
    video, audio = (_values(folder, n, tables[n]) for n in ("video_intervals", "audio_intervals"))
    duration = tables["modality_duration"][1]
    has_sound = bool(audio) or (not duration and _has_sound(folder))
    paired = set(_keyed(video))
    if has_sound:
        paired &= _keyed(audio).keys()
    done = []
    for name, rows in (("video_intervals", video), ("audio_intervals", audio)):
        kept = [k for k, key in enumerate(_keyed(rows)) if key in paired]
        done += _set(folder, name, tables[name], [tables[name][1][k] for k in kept])
    faces = [row for key, row in _keyed(video).items() if key in paired]
    voices = [row for key, row in _keyed(audio).items() if key in paired] or [{} for _ in faces]
    derived: dict[str, list[Values]] = {"modality_duration": [], "modality_mismatch": []}
    for face, voice in zip(faces, voices, strict=False):
        said = voice.get("emotion", "")
        start, end = _span(face)
        length = seconds(end - start)
        values = face | {"duration": length, "video_emotion": face["emotion"]}
        values |= {"audio_emotion": said, "video_probability": face["probability"]}
        values["audio_probability"] = voice.get("probability", "")
        derived["modality_duration"].append(values)
        if not NOTHING & {said, face["emotion"]} and said != face["emotion"]:
            derived["modality_mismatch"].append(values)
    for name, all_values in derived.items():
        columns = tables[name][0]
        lines = [line_of([v.get(column, "") for column in columns]) for v in all_values]
        done += _set(folder, name, tables[name], lines)
    return done


def _set(
    folder: Path, name: str, table: tuple[list[str], list[str]], lines: list[str]
) -> list[str]:
    """Give a table these rows, if it has others."""
    columns, had = table
    if had == lines:
        return []
    out, back = len([x for x in had if x not in lines]), len([x for x in lines if x not in had])
    path, told = folder / f"{name}.csv", []
    if out:
        told.append(f"{_count(out)} without a partner taken out (kept in {_keep(folder, path)})")
    if back or not out:
        told.append(f"{_count(back)} put back from the intervals")
    replace_file(folder, path.name, "".join([line_of(columns), *lines]))
    return [f"{path.name}: {', '.join(told)}"]


def _values(folder: Path, name: str, table: tuple[list[str], list[str]]) -> list[Values]:
    rows = list(csv.DictReader(table[1], table[0]))
    with as_written(folder / f"{name}.csv"):
        for row in rows:
            _span(row)
            row["emotion"], row["probability"]
    return rows


@contextmanager
def as_written(path: Path) -> Iterator[None]:
    """Tell in a line that somebody else wrote into a file, whatever came of it."""
    try:
        yield
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError, csv.Error):
        text = f"{path} says what no session says: put back or take out what was changed in it"
        raise StreamerError(text, status=1) from None


def _span(row: Values) -> tuple[float, float]:
    start, end = float(row["start"]), float(row["end"])
    if not -math.inf < start <= end < math.inf:
        raise ValueError
    return start, end


def _keyed(rows: list[Values]) -> dict[tuple[float, float, int], Values]:
    """Rows by when they are, and which of those that are then: partners have the same key."""
    seen = Counter[tuple[float, float]]()
    keyed = {}
    for row in rows:
        span = _span(row)
        seen[span] += 1
        keyed[*span, seen[span]] = row
    return keyed


# What else a session has


def session_of(folder: Path) -> dict[str, Any]:
    """What session.json says; nothing where it can't be read."""
    try:
        said = json.loads((folder / "session.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _has_sound(folder: Path) -> bool:
    source = _source(session_of(folder))
    return bool(source.get("has_audio", "audio" in source))


def _source(about: dict[str, Any]) -> dict[str, Any]:
    source = about.get("source")
    return source if isinstance(source, dict) else {}


def _conclude(folder: Path) -> list[str]:
    """Have session.json and agreement.json say how the session ended."""
    about = session_of(folder)
    if about.get("state") != "running":
        return []
    done = ["session.json: it says now that the session was interrupted"]
    source = _source(about)
    if "has_video" in source:
        with as_written(folder / "session.json"):
            there = {"face": source["has_video"], "voice": source["has_audio"]}
            tolerance = about["config"]["agreement"]["tolerance_s"]
            timeline = Timeline([m for m in MODALITIES if there[m]], source["start_s"], tolerance)
        for modality in MODALITIES:
            if there[modality]:
                _play(folder, modality, timeline)
        replace_file(folder, "agreement.json", pretty(document(timeline)) + "\n")
        done.append("agreement.json: made of the tables")
    write_summary(folder, about | {"state": "interrupted", "ended_by": "interrupted"})
    return done


def _play(folder: Path, modality: Modality, timeline: Timeline) -> None:
    name, last = INTERVALS[modality], 0.0
    path = folder / f"{name}.csv"
    with as_written(path), path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            interval = _interval(modality, row)
            last = interval.end
            if interval.label in EMOTIONS:
                timeline.update(modality, [interval], last)
    timeline.finish(modality, last)


def _interval(modality: Modality, row: Values) -> Interval:
    """What agreement.json is made of."""
    closed: Any = row["closed_by"]
    whose = int(row.get("face_id") or 0)
    return Interval(modality, row["emotion"], *_span(row), 1, 1, 1, closed, face_id=whose)
