"""`streamer resume`: an interrupted replay goes on from where its tables end.

What the models and segmenters had in mind when it was cut is in no table. So the file is replayed
from its beginning, lossless; the rows that are there already must come again byte for byte, and
only what follows is written: the tables end as if nothing had happened.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from streamer.config import Config
from streamer.journal import Journal
from streamer.pipeline import Models
from streamer.repair import repaired, session_of
from streamer.run import Cut, Options, Outcome, asked_part, replay_file
from streamer.summary import fingerprint
from streamer.tables import SessionTables
from streamer.text import printable
from streamer.types import StreamerError


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
        return replay_file(options, console, Cut(cut.config, cut.opener(journal)))


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
            # Older versions say only what was typed.
            self.file = file or Path(replay.get("file", about["source"]["name"]))
            length = replay["duration_s"]
            length = None if length is None else float(length)
            self.start, self.duration = asked_part(float(replay["start_s"]), length)
            self.predictions = bool(replay["predictions"])
            self.config = Config.model_validate(about["config"])
            self._models = [model["sha256"] for model in about["models"]]
            rows: Any = replay.get("rows")
            self._keep = None if rows is None else {n: max(int(k), 0) for n, k in rows.items()}
            wanted = replay["fingerprint"]
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError, StreamerError):
            raise StreamerError(f"{folder / 'session.json'} is damaged: replay the file") from None
        if rows is None and about.get("ended_by") not in ("interrupted", "end", None):
            raise StreamerError(
                f"{folder} was stopped by an older version, which did not note the rows that come "
                "again: replay the file"
            )
        if not self.complete and not self.file.is_file():
            raise StreamerError(f"{self.file}: no such file; name the recording with --file")
        if not self.complete and fingerprint(self.file) != wanted:
            raise StreamerError(f"{self.file} is not the file that {folder} was made of")

    def opener(self, journal: Journal) -> Callable[[Models], SessionTables]:
        """What opens the tables to go on with them."""

        def reopen(loaded: Models) -> SessionTables:
            if [model.manifest.sha256 for model in loaded.all()] != self._models:
                raise StreamerError(f"{self.folder} was made with other models: replay the file")
            vocabularies = loaded.vocabularies()
            return SessionTables(self.folder, vocabularies, self.predictions, journal, self._keep)

        return reopen
