"""`streamer resume`: an interrupted replay goes on from where its tables end.

What the models and segmenters had in mind when it was cut is in no table. So the file is replayed
from its beginning, lossless; the rows that are there already must come again byte for byte, and
only what follows is written: the tables end as if nothing had happened.
"""

import csv
import io
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from streamer.config import Config
from streamer.journal import Journal
from streamer.mending import as_written
from streamer.pipeline import Models
from streamer.repair import INTERVALS, repaired, session_of
from streamer.run import Cut, Options, Outcome, asked_part, replay_file
from streamer.summary import fingerprint
from streamer.tables import TABLES, SessionTables, replace_file
from streamer.text import printable
from streamer.types import StreamerError

MARGIN_S = 5.0
"""What stopping may have changed before the end, beyond the voice's windows, s."""


def resume(
    folder: Path, file: Path | None, dashboard: bool | None, quiet: bool, console: Console
) -> Outcome:
    """Go on with an interrupted replay; ``file``: its recording, where it is not in its old place.

    Raises StreamerError if the session is no replay or is being written, and if the recording, the
    models or the rows are not those that it was made of: then nothing has changed.
    """
    with repaired(folder) as (journal, done):
        for line in done:
            console.print(printable(line), markup=False)
        cut = Interrupted(folder, file)
        if cut.complete:
            complete = f"{folder} is complete: nothing is left to do"
            console.print(printable(complete), markup=False)
            return Outcome(0, cut.about)
        options = Options(
            *(cut.file, None, folder.parent, folder.name, None, [], dashboard),
            *(cut.start, cut.duration, quiet, cut.predictions),
        )
        before = _contents(folder, "session.json", "agreement.json")
        opened: list[SessionTables] = []
        try:
            return replay_file(options, console, Cut(cut.config, cut.opener(journal, opened)))
        except BaseException:
            if not opened or opened[0].catching_up:
                for name, content in before.items():
                    with suppress(StreamerError):  # the error on its way matters more
                        replace_file(folder, name, content)
            raise


class Interrupted:
    """An interrupted replay: what it was asked for. Raises StreamerError if ``folder`` is none, or
    ``file`` (None: where session.json says) is not its recording.
    """

    def __init__(self, folder: Path, file: Path | None) -> None:
        self.folder, about = folder, session_of(folder)
        self.about: dict[str, object] = about
        self.complete = about.get("state") == "complete" and about.get("ended_by") == "end"
        replay: Any = about.get("replay")
        if not isinstance(replay, dict):
            raise StreamerError(
                f"{folder} is no replay that can go on: streamer repair makes its tables good, "
                "and a recording of it can be replayed"
            )
        try:
            self.file = file or Path(about["source"]["name"])
            length = replay["duration_s"]
            length = None if length is None else float(length)
            self.start, self.duration = asked_part(float(replay["start_s"]), length)
            self.predictions = bool(replay["predictions"])
            self.config = Config.model_validate(about["config"])
            self._models = [model["sha256"] for model in about["models"]]
            in_order = about.get("ended_by") not in ("interrupted", None)
            self._ended = self.start + float(about["media_s"]) if in_order else None
            if self._ended is not None and not math.isfinite(self._ended):
                raise ValueError(self._ended)
            wanted = replay["fingerprint"]
        except (KeyError, OverflowError, TypeError, ValueError, StreamerError):
            raise StreamerError(f"{folder / 'session.json'} is damaged: replay the file") from None
        if not self.complete and not self.file.is_file():
            raise StreamerError(f"{self.file}: no such file; name the recording with --file")
        if not self.complete and fingerprint(self.file) != wanted:
            raise StreamerError(f"{self.file} is not the file that {folder} was made of")

    def opener(
        self, journal: Journal, opened: list[SessionTables]
    ) -> Callable[[Models], SessionTables]:
        """What opens the tables to go on with them, and notes them in ``opened``."""

        def reopen(loaded: Models) -> SessionTables:
            if [model.manifest.sha256 for model in loaded.all()] != self._models:
                raise StreamerError(f"{self.folder} was made with other models: replay the file")
            if self._ended is not None:
                speech = self.config.speech
                self._take_out(self._ended - speech.window_s - 2 * speech.hop_s - MARGIN_S)
            vocabularies = loaded.vocabularies()
            tables = SessionTables(self.folder, vocabularies, self.predictions, journal)
            opened.append(tables)
            return tables

        return reopen

    def _take_out(self, until: float) -> None:
        """Stopping in order (Ctrl-C, an error) made rows of data that ends there: take out those
        that end shortly before, s. They come again.
        """
        cut: set[tuple[str, ...]] = set()
        kept: dict[str, str] = {}
        for name, content in _contents(self.folder, *(f"{name}.csv" for name in TABLES)).items():
            with as_written(self.folder / name):
                text = content.decode()
                rows, keep = list(csv.DictReader(io.StringIO(text))), 0
                for row in rows:
                    late = float(row["time" if "time" in row else "end"]) > until
                    if late or (row.get("modality", ""), row.get("time", "")) in cut:
                        break
                    keep += 1
                # A change stands in its table when what it leads to has closed.
                modality = {f"{table}.csv": m for m, table in INTERVALS.items()}.get(name)
                if modality:
                    cut |= {(modality, row["start"]) for row in rows[keep:]}
            kept[name] = "".join(text.splitlines(keepends=True)[: keep + 1])
        for name, text in kept.items():
            replace_file(self.folder, name, text)


def _contents(folder: Path, *names: str) -> dict[str, bytes]:
    """Those files that are there."""
    return {n: (folder / n).read_bytes() for n in names if (folder / n).is_file()}
