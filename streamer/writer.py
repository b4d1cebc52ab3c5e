"""A thread of its own writes a session's files: a disk that is full, slow or gone does not hold up
the analysis. The rows wait in memory, up to a bound, and are written when it is possible.
"""

import queue
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from streamer.clock import monotonic
from streamer.journal import (
    AppendFile,
    ChangedError,
    Journal,
    Row,
    TakenError,
    replace,
    sync_folder,
)
from streamer.types import StreamerError

MOST_WAITING = 50_000
"""Rows that may wait in memory: some 30 MB, more than an hour of everything that models say."""
PATIENCE_S = 0.25
"""How long the analysis waits for a write, wall s: then it goes on, and asks again later."""
STALL_S = 2.0
"""A write that takes longer is told of, wall s."""
LAST_WAIT_S = 30.0
"""How long the end of a session waits for a disk that does not answer, wall s."""
CLOSE_WAIT_S = 2.0
"""How long closing the files waits for it, wall s."""
STALLED = "the disk does not answer"
Job = Callable[[], object]


class Store:
    """The journal and the tables of a session. Rows go to the journal first: what is in a table
    is in the journal too, so that it can tell what a crash tore.
    """

    def __init__(
        self, folder: Path, headers: Mapping[str, str], journal: Journal | None = None
    ) -> None:
        self._tables: dict[str, AppendFile] = {}
        self._journal = journal
        self._about = folder / "session.json"
        self._told: bytes | None = None
        """What session.json says while the session runs."""
        self.changed: str | None = None
        """Which table others changed, so that it does not get its rows."""
        try:
            for name, header in headers.items():
                path, known = folder / f"{name}.csv", partial(self._known, name)
                self._tables[name] = AppendFile(path, None if journal else header, known)
            self._journal = journal or Journal(folder)
            # In one line: it is in the journal wholly, or the tables are as they were.
            self._journal.begin({n: t.content().decode() for n, t in self._tables.items()})
        except BaseException:
            self.close(keep=False)
            raise

    @property
    def remade(self) -> bool:
        """Whether a file was deleted or cut meanwhile, and made again."""
        assert self._journal is not None
        return any(file.remade for file in (self._journal, *self._tables.values()))

    def save(self, rows: list[Row]) -> None:
        """Bring rows, and those that could not be written before, to the disk. Raises OSError."""
        assert self._journal is not None
        if rows:
            self._journal.add(rows)
        for name, line in rows:
            self._tables[name].append(line)
        self._journal.sync()
        problem, changed = None, None
        for table in self._tables.values():
            try:
                table.sync()
            except ChangedError as error:
                changed = error.strerror  # its rows are in the journal: the others go on
            except OSError as error:
                problem = error
        self.changed = changed
        if problem:
            raise problem
        self._keep_about()

    def _keep_about(self) -> None:
        """Write session.json again if it vanished with its folder: `resume` needs it."""
        if self._told is None:
            with suppress(FileNotFoundError):
                self._told = self._about.read_bytes()
        elif not self._about.exists():
            replace(self._about, self._told)

    def _known(self, table: str) -> bytes:
        """What the journal knows of a table."""
        assert self._journal is not None
        record = self._journal.read(self._tables)
        return record.text(table).encode() if record else b""

    def close(self, keep: bool) -> None:
        """Close the files; ``keep`` the journal if the tables lack some of its rows."""
        for table in self._tables.values():
            table.close()
        if self._journal is not None:
            if keep:
                self._journal.close()
            else:
                sync_folder(self._journal.path.parent)
                self._journal.remove()


class Writer:
    """Hands rows to the thread that saves them. Used by the owner of the tables alone; the thread
    knows nothing but the two queues and what it saves with.
    """

    def __init__(self, folder: Path, store: Store) -> None:
        self._folder, self._store = folder, store
        self._asked: queue.SimpleQueue[tuple[list[Row], Job | None] | None] = queue.SimpleQueue()
        self._told: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._asked_at: float | None = None
        """When the thread was given what it is at; None: it is at nothing."""
        self._rows: list[Row] = []
        self._handed: Counter[str] = Counter()
        self._job: Job | None = None
        self._closed = False
        self.taken = False
        """Whether another run has the session by now: then nothing may be written."""
        self.trouble: str | None = None
        """Why rows wait that should be on the disk, or in a table."""
        self._since = 0.0
        self._past: dict[str, float] = {}
        """For how long there was which trouble, s."""
        self.lost: Counter[str] = Counter()
        """Rows of each table for which there was no room any more: the last ones of all."""

    def add(self, table: str, line: str) -> None:
        """Take a row. What comes after one that was lost is lost too: tables have no holes."""
        if self.lost or self.waiting() >= MOST_WAITING:
            self.lost[table] += 1
        else:
            self._rows.append((table, line))

    def later(self, job: Job) -> None:
        """Have something else written soon; if it can't be, or a newer one comes, it is not."""
        self._job = job

    def waiting(self, table: str | None = None) -> int:
        """How many rows (of a table) are not on the disk yet."""
        if table is None:
            return len(self._rows) + self._handed.total()
        return sum(name == table for name, _ in self._rows) + self._handed[table]

    def sync(self) -> None:
        """Bring all rows to the disk; after PATIENCE_S go on without."""
        self._collect(0.0)  # it was in vain to wait for it before
        if self._asked_at is None and (self._rows or self._handed or self._job):
            self._hand()
            self._collect(PATIENCE_S)

    def finish(self) -> None:
        """Bring all rows to the disk at last. Raises StreamerError that says what is missing."""
        self._collect(LAST_WAIT_S)
        if self._asked_at is None:
            self._hand()  # also without a row: whether the files are still there
            self._collect(LAST_WAIT_S)
        missing = self.waiting() + self.lost.total()
        if missing or (self.trouble and self._asked_at is None):
            reason = self.trouble or next(iter(self._past), STALLED)
            lack = f"{missing} rows are missing from the tables"
            if not missing:
                lack = "the tables are not what was written"
            raise StreamerError(
                f"can't write to {self._folder}: {reason}: {lack} "
                "(streamer repair puts in what the journal has)",
                status=1,
            )

    def notes(self) -> list[str]:
        """What went wrong with the disk and was mended, a line each."""
        told = [
            f"{reason}, for {seconds:.1f} s: the rows waited in memory"
            for reason, seconds in self._past.items()
        ]
        if self._store.remade:
            what = "the session's files were deleted or cut while it ran"
            told.append(f"{what}: made again with all rows")
        return told

    def close(self) -> None:
        """Save what waits, if that takes no time, and close the files; may be called twice."""
        if self._closed:
            return
        self._closed = True
        if not self.taken and (self._asked_at is not None or self._rows or self._handed):
            self.sync()
        if self._thread is not None:
            self._asked.put(None)
            self._thread.join(CLOSE_WAIT_S)
            if self._thread.is_alive():
                return  # it hangs in a write, and may not lose its files
            self._collect(0.0)
        self._store.close(keep=bool(self.taken or self.waiting() or self.trouble))

    def _hand(self) -> None:
        if self._thread is None:
            # A daemon: a program must be able to end though its disk hangs.
            self._thread = threading.Thread(target=self._run, name="streamer-writer", daemon=True)
            self._thread.start()
        self._handed.update(name for name, _ in self._rows)
        self._asked_at = monotonic()
        self._asked.put((self._rows, self._job))
        self._rows, self._job = [], None

    def _collect(self, patience: float) -> None:
        """Wait for the thread's answer, if one is due."""
        if self._asked_at is None:
            return
        try:
            problem = self._told.get(timeout=patience) if patience else self._told.get_nowait()
        except queue.Empty:
            if monotonic() - self._asked_at >= STALL_S:
                self._notice(STALLED)
            return
        self._asked_at = None
        if problem is None:
            self._handed.clear()
            self._notice(self._store.changed)
        elif isinstance(problem, OSError):
            self._notice(problem.strerror or str(problem))
        elif isinstance(problem, TakenError):
            self.taken = True
            raise StreamerError(f"{problem}: this one's folder was deleted", status=1)
        else:
            raise problem

    def _notice(self, trouble: str | None) -> None:
        now = monotonic()
        if self.trouble is not None:
            self._past[self.trouble] = self._past.get(self.trouble, 0.0) + now - self._since
        self.trouble, self._since = trouble, now

    def _run(self) -> None:
        while (work := self._asked.get()) is not None:
            rows, job = work
            problem: Exception | None = None
            try:
                self._store.save(rows)
                if job is not None:
                    with suppress(StreamerError):
                        job()
            except Exception as error:  # the owner's to judge
                problem = error
            self._told.put(problem)
