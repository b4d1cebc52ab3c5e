"""One session from options to exit status: everything around the pipeline that a user meets."""

import math
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from streamer import config as configuration
from streamer import screen, summary
from streamer.agreement_file import AgreementFile
from streamer.clock import Clock, FreeClock, PacedClock, today
from streamer.config import Config
from streamer.dashboard import Live, View
from streamer.pipeline import Models, Pipeline
from streamer.resources import user_dir
from streamer.sources.file import FileSource
from streamer.tables import SessionTables, new_session, write_summary
from streamer.text import printable
from streamer.types import Source, StreamerError

LONGEST_S = 1_000_000
"""What may be asked of a recording, s: times of eleven days have all their milliseconds."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked of a replay. ``speed`` None: as fast as possible, lossless."""

    file: Path
    speed: float | None
    out: Path
    session: str | None
    config: Path | None
    settings: list[str]
    dashboard: bool | None
    start: float
    duration: float | None
    quiet: bool
    predictions: bool = False


def asked_part(start: float, duration: float | None) -> tuple[float, float | None]:
    """The part of a recording that was asked for, s: None is up to its end, as infinite is. Raises
    StreamerError.
    """
    if not 0 <= start <= LONGEST_S:
        raise StreamerError(f"--start {start:g}: use 0 or more seconds, at most {LONGEST_S}")
    if duration is None or duration == math.inf:
        return start, None
    if not 0.1 <= duration <= LONGEST_S:
        raise StreamerError(
            f"--duration {duration:g}: use 0.1 or more seconds, at most {LONGEST_S}"
        )
    return start, duration


@dataclass(frozen=True, slots=True)
class Outcome:
    """The exit status, and session.json's content."""

    status: int
    summary: dict[str, object]


class Aside(Protocol):
    """What goes on beside the analysis of a live session."""

    def tick(self) -> None:
        """Called a few times a second."""

    def view(self, pipeline: Pipeline) -> Live:
        """What the dashboard shows of it."""

    def summary(self) -> dict[str, object]:
        """What session.json says of it at the end."""


@dataclass(frozen=True, slots=True)
class Job:
    """A session that is ready to run. ``about`` is what session.json says of it besides, ``aside``
    what a live session does and shows besides.
    """

    source: Source
    loaded: Models
    config: Config
    clock: Clock
    stop: threading.Event
    started: datetime
    title: str
    speed: str
    dashboard: bool
    tables: Callable[[], SessionTables]
    about: dict[str, object]
    aside: Aside | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """A session to go on with: how it was configured, and what opens its tables again."""

    config: Config
    reopen: Callable[[Models], SessionTables]


def replay_file(options: Options, console: Console, cut: Cut | None = None) -> Outcome:
    """Replay a file into a new session, or on into the one that was ``cut``. Raises StreamerError
    for what the user can mend.
    """
    config = cut.config if cut else configuration.load(options.config, options.settings)
    stop = threading.Event()
    clock: Clock = FreeClock() if options.speed is None else PacedClock(options.speed, stop)
    part, face = (options.start, options.duration), config.face
    source = FileSource(options.file, clock, *part, face.max_px, face.rate_hz)
    try:
        with busy(console, "Loading the models…"):
            loaded = Models.load(config)
        tell_once(loaded, console)
        now = today()
        speed = "max" if options.speed is None else f"×{options.speed:g}"
        shown = console.is_terminal and not options.quiet

        def tables() -> SessionTables:
            if cut is not None:
                return cut.reopen(loaded)
            folder = new_session(options.out, options.session, options.file.stem, now)
            return first_tables(folder, loaded, options.predictions)

        asked = options.start, options.duration, options.predictions
        job = Job(
            *(source, loaded, config, clock, stop, now, options.file.name, speed),
            shown if options.dashboard is None else options.dashboard,
            tables,
            {"replay": summary.replayed(options.file, *asked)},
        )
        _warn_missing(source, console)
        return run_job(job, console, str(options.file))
    finally:
        source.close()


def first_tables(folder: Path, loaded: Models, predictions: bool) -> SessionTables:
    """The tables of a new session. Its folder is removed again if there is no room for them."""
    try:
        return SessionTables(folder, loaded.vocabularies(), predictions)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def run_job(job: Job, console: Console, name: str) -> Outcome:
    """Run a session to its end and say what it came to; ``name`` is what its problems are of."""
    aside, provider = job.aside, provider_of(job.loaded)
    with job.tables() as tables, signals(job.stop) as caught:
        pipeline = Pipeline(job.source, job.loaded, job.config, job.clock, tables, job.stop)
        timeline, refresh_s = pipeline.analysis.timeline, job.config.agreement.refresh_s
        report = AgreementFile(tables.folder, timeline, refresh_s, tables.later)

        told = False

        def before() -> None:
            nonlocal told
            if not tables.catching_up:
                report.tick()
            if not told and not job.dashboard and (why := screen.trouble(pipeline)):
                told = True
                warn(console, why)
            if aside is not None:
                aside.tick()

        def now() -> View:
            shown = screen.view(pipeline, job.title, job.speed, provider, report.now())
            return shown if aside is None else replace(shown, live=aside.view(pipeline))

        rate = job.config.dashboard.rate_hz
        display = screen.display(console, now, before, rate, job.dashboard)
        about = summary.opening(pipeline, job.loaded, job.config, job.speed, job.started)
        about |= job.about

        def conclude() -> None:
            with busy(console, "Working out the agreement of face and voice…"):
                report.finish()

        try:
            run_session(pipeline, tables.folder, about, display, caught, aside, conclude)
        except BaseException:
            if caught and tables.catching_up:
                raise StreamerError(
                    f"stopped before it came to where {tables.folder} ends: nothing has changed",
                    status=128 + caught[0],
                ) from None
            raise
    for problem in job.source.problems:
        warn(console, f"{name}: {problem}")
    for modality, baseline in pipeline.baselines.items():
        if baseline.mean is None:
            warn(console, f"{modality}: too little was seen or heard of it for a baseline")
    console.print(summary.report(pipeline))
    console.print(f"Tables: {printable(str(tables.folder))}  (models on {provider})", markup=False)
    status = 128 + caught[0] if caught else 3 if job.source.problems else 0
    return Outcome(status, about)


def busy(console: Console, what: str) -> AbstractContextManager[object]:
    """Show that it works; its thread outlives it a little: none where nobody would see it."""
    return console.status(what) if console.is_terminal else nullcontext()


def run_session(
    pipeline: Pipeline,
    folder: Path,
    about: dict[str, object],
    display: AbstractContextManager[Callable[[], None]],
    caught: list[int],
    aside: Aside | None = None,
    conclude: Callable[[], None] = lambda: None,
) -> None:
    """Run to the end, shown by ``display``'s tick, with session.json before and after: ``about``
    becomes what it says. ``caught`` holds the signal that stopped it. ``conclude`` writes what
    must be there when session.json says that the session is complete.

    A session that is gone on with is left as it was until all its rows came again.
    """
    tables, save = pipeline.tables, partial(write_summary, folder, about)

    def closing() -> None:
        if isinstance(replay := about.get("replay"), dict) and "rows" not in replay:
            noted = replay | {"rows": dict(tables.rows)}
            if tables.writable:
                # first: nothing that ends the program now may leave rows that never come
                write_summary(folder, about | {"replay": noted})
            about["replay"] = noted

    if not tables.catching_up:
        try:
            save()
        except StreamerError:
            if not (folder / "session.json").exists():  # none has begun: leave its name free
                tables.close()
                shutil.rmtree(folder, ignore_errors=True)
            raise
    tables.caught_up = save
    ended, error = "end", None
    try:
        with display as tick:
            pipeline.run(tick, closing)
    except BaseException as failure:
        ended, error = "error", str(failure) or type(failure).__name__
        raise
    finally:
        if caught:
            ended = signal.Signals(caught[0]).name
        about |= summary.closing(pipeline, ended, error)
        if ended != "end":  # it may have been stopped when all rows were there
            with suppress(StreamerError):
                closing()
        if aside is not None:
            about |= aside.summary() | ({"ended_by": ended} if error else {})
        for last in (conclude, save) if tables.writable else ():
            with suppress(StreamerError) if error else nullcontext():  # that one matters more
                last()


@contextmanager
def signals(stop: threading.Event) -> Iterator[list[int]]:
    """Let Ctrl-C and SIGTERM end the session in order; a second one ends it at once."""
    caught: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)
        stop.set()

    before = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def provider_of(loaded: Models) -> str:
    """What runs the models, as short as it can be said."""
    return "+".join(sorted({m.provider.removesuffix("ExecutionProvider") for m in loaded.all()}))


def _warn_missing(source: FileSource, console: Console) -> None:
    if not source.info.has_video:
        warn(console, "no picture in this file: the face's tables stay empty")
    if not source.info.has_audio:
        warn(console, "no sound in this file: the voice's tables stay empty")


def warn(console: Console, text: str) -> None:
    """Say what is wrong, but stops nothing, in one line."""
    console.print(Text.assemble(("streamer:", "bold yellow"), " ", printable(text)))


def tell_once(loaded: Models, console: Console) -> None:
    """Say what a model's licence asks to be said, at the first start with it."""
    seen = user_dir() / "notices"
    try:
        told = set(seen.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError):
        told = set()
    fresh = [m for m in loaded.all() if m.manifest.licence.notice and m.manifest.sha256 not in told]
    for model in fresh:
        console.print(
            f"[bold]{escape(model.manifest.name)}:[/] {escape(model.manifest.licence.notice or '')}"
        )
    try:
        seen.parent.mkdir(parents=True, exist_ok=True)
        told |= {model.manifest.sha256 for model in fresh}
        seen.write_text("\n".join(sorted(told)) + "\n", encoding="utf-8")
    except OSError:
        return  # then it is said again
