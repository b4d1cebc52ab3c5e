"""`streamer repair`: makes the tables of a session good that did not end in order.

With a journal the tables are what it says; without one see ``streamer.mending``. No whole row is
thrown away: a table that loses one is kept as NAME.csv.old. Done twice it changes nothing.
"""

import csv
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streamer.agreement_file import pretty
from streamer.figures import document
from streamer.journal import JOURNAL, Journal, Record, sync_folder
from streamer.mending import Mending, Values, as_written, keep, mend_markers, plain, span
from streamer.tables import MODALITIES, TABLES, replace_file, write_summary
from streamer.text import counted
from streamer.timeline import Timeline
from streamer.types import EMOTIONS, Interval, Modality, StreamerError

INTERVALS: dict[Modality, str] = {"face": "video_intervals", "voice": "voice_intervals"}


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
    if any(len(text.encode()) != size for text, size in record.tables.values()):
        return _from_tables(folder)  # an older version went on, and did not note what it had
    done, beyond = [], False
    for name in record.tables:
        path, wanted = folder / f"{name}.csv", record.text(name).encode()
        data = path.read_bytes() if path.exists() else b""
        text, told = plain(data)
        if not record.whole and text.startswith(wanted) and b"\n" in text[len(wanted) :]:
            beyond = True
        elif data != wanted:
            kept = _common(text, wanted)
            if text != wanted:
                if back := wanted[kept:].count(b"\n"):
                    told.append(f"{counted(back, 'row')} put back")
                told += _cut(folder, path, text[kept:])
            done.append(f"{path.name}: {', '.join(told)}")
            replace_file(folder, path.name, wanted)
    # Rows are in the journal first. Where tables go on beyond it, it was damaged in its middle.
    return done + (_from_tables(folder) if beyond else mend_markers(folder))


def _common(data: bytes, wanted: bytes) -> int:
    """How many bytes of whole lines two tables have in common at their beginning."""
    same = next((k for k, (a, b) in enumerate(zip(data, wanted, strict=False)) if a != b), None)
    end = min(len(data), len(wanted)) if same is None else same
    return data.rfind(b"\n", 0, end) + 1


def _cut(folder: Path, path: Path, rest: bytes) -> list[str]:
    """What is cut off, if anything; the file is kept if there are whole rows in it."""
    if rows := rest.count(b"\n"):
        return [f"{counted(rows, 'row')} taken out (kept in {keep(folder, path)})"]
    return [f"{counted(len(rest), 'byte')} of a torn row cut"] if rest else []


def _from_tables(folder: Path) -> list[str]:
    mending = Mending(folder, _has_sound(folder))
    about = session_of(folder)
    replayed = isinstance(about.get("replay"), dict)
    told = []
    if about.get("state") == "complete" and (mending.taken or (mending.made and replayed)):
        # Before it is: whatever ends this here, `resume` is to bring back what is missing. What
        # Ctrl-C did to the last rows it must know, too.
        ended = "interrupted" if about.get("ended_by") == "end" else about.get("ended_by")
        write_summary(folder, about | {"state": "interrupted", "ended_by": ended})
        told = ["session.json: it says now that rows are missing (interrupted)"]
    return mending.write() + told


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
    return Interval(modality, row["emotion"], *span(row), 1, 1, 1, closed, face_id=whose)
