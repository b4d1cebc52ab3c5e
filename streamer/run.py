"""One session from options to exit status: everything around the pipeline that a user meets."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from streamer import config as configuration
from streamer import summary
from streamer.agreement_file import AgreementFile
from streamer.clock import Clock, FreeClock, PacedClock, monotonic, today
from streamer.config import Config
from streamer.dashboard import ModalityView, View, plain, render
from streamer.figures import Now
from streamer.pipeline import Models, Pipeline
from streamer.resources import user_dir
from streamer.sources.file import FileSource
from streamer.tables import SessionTables, new_session, write_summary
from streamer.types import Modality, StreamerError

PLAIN_S = 5.0
"""Between two progress lines where there is no dashboard, wall s."""


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """The exit status, and session.json's content."""

    status: int
    summary: dict[str, object]


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
    source = FileSource(options.file, clock, options.start, options.duration, config.face.max_px)
    try:
        with _busy(console, "Loading the models…"):
            loaded = Models.load(config)
        tell_once(loaded, console)
        now = today()
        with _tables(options, loaded, now, cut) as tables, signals(stop) as caught:
            folder = tables.folder
            pipeline = Pipeline(source, loaded, config, clock, tables, stop)
            speed = "max" if options.speed is None else f"×{options.speed:g}"
            report = AgreementFile(
                folder,
                pipeline.analysis.timeline,
                config.agreement.refresh_s,
                tables.writer.later,
            )
            _warn_missing(source, console)
            display = _display(pipeline, options, config, console, speed, loaded, report)
            about = summary.opening(pipeline, loaded, config, speed, now)
            asked = options.start, options.duration, options.predictions
            about["replay"] = summary.replayed(options.file, *asked)
            try:
                run_session(pipeline, folder, about, display, caught)
            except BaseException:
                with suppress(StreamerError):  # that one matters more
                    report.finish()
                if caught and tables.catching_up:
                    raise StreamerError(
                        f"stopped before it came to where {folder} ends: nothing has changed",
                        status=128 + caught[0],
                    ) from None
                raise
            with _busy(console, "Working out the agreement of face and voice…"):
                report.finish()
    finally:
        source.close()
    for problem in source.problems:
        warn(console, f"{options.file}: {problem}")
    console.print(summary.report(pipeline))
    provider = _provider(loaded)
    console.print(f"Tables: {_clean(str(folder))}  (models on {provider})", markup=False)
    status = 128 + caught[0] if caught else 3 if source.problems else 0
    return Outcome(status, about)


def _tables(options: Options, loaded: Models, now: datetime, cut: Cut | None) -> SessionTables:
    if cut is not None:
        return cut.reopen(loaded)
    folder = new_session(options.out, options.session, options.file.stem, now)
    return SessionTables(folder, loaded.vocabularies(), options.predictions)


def _busy(console: Console, what: str) -> AbstractContextManager[object]:
    """Show that it works; its thread outlives it a little: none where nobody would see it."""
    return console.status(what) if console.is_terminal else nullcontext()


def run_session(
    pipeline: Pipeline,
    folder: Path,
    about: dict[str, object],
    display: AbstractContextManager[Callable[[], None]],
    caught: list[int],
) -> None:
    """Run to the end, shown by ``display``'s tick, with session.json before and after: ``about``
    becomes what it says. ``caught`` holds the signal that stopped it.
    """
    write_summary(folder, about)
    ended, error = "end", None
    try:
        with display as tick:
            pipeline.run(tick)
    except BaseException as failure:
        ended, error = "error", str(failure) or type(failure).__name__
        raise
    finally:
        if caught:
            ended = signal.Signals(caught[0]).name
        about |= summary.closing(pipeline, ended, error)
        with suppress(StreamerError) if error else nullcontext():  # that one matters more
            write_summary(folder, about)


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


@contextmanager
def _display(
    pipeline: Pipeline,
    options: Options,
    config: Config,
    console: Console,
    speed: str,
    loaded: Models,
    report: AgreementFile,
) -> Iterator[Callable[[], None]]:
    """The tick that shows the session: the dashboard in a terminal, else a line now and then."""

    def now() -> View:
        return view(pipeline, options.file.name, speed, _provider(loaded), report.now())

    wanted = console.is_terminal and not options.quiet
    if options.dashboard if options.dashboard is not None else wanted:
        with Live(
            console=console, screen=console.is_terminal, auto_refresh=False, transient=True
        ) as live:
            shown = 0.0

            def redraw() -> None:
                nonlocal shown
                report.tick()
                if (at := monotonic()) - shown >= 1 / config.dashboard.rate_hz - 0.01:
                    shown = at
                    live.update(render(now(), console.width, console.height), refresh=True)

            yield redraw
        return
    last, told = monotonic(), False

    def line() -> None:
        nonlocal last, told
        report.tick()
        if (trouble := _trouble(pipeline)) and not told:
            told = True
            warn(console, trouble)
        if monotonic() - last >= PLAIN_S:
            last = monotonic()
            console.print(plain(now()), markup=False)

    yield line


def _trouble(pipeline: Pipeline) -> str | None:
    """Why closed intervals are not shown yet."""
    writer = pipeline.tables.writer
    if writer.trouble is None:
        return None
    lost = f", {writer.lost} more are lost" if writer.lost else ""
    rows = f"{writer.waiting()} rows wait in memory{lost}"
    return f"can't write to {pipeline.tables.folder}: {writer.trouble}: {rows}"


def view(pipeline: Pipeline, title: str, speed: str, provider: str, figures: Now) -> View:
    """What the dashboard shows of a running pipeline."""
    analysis, info = pipeline.analysis, pipeline.source.info

    def modality(name: Modality, silent: str) -> ModalityView | None:
        track = analysis.tracks.get(name)
        if track is None:
            return None
        return ModalityView(
            track.probs,
            track.running,
            track.time,
            analysis.transitions.counts[name],
            silent,
            track.prediction_latency.percentile(95),
            track.affect,
        )

    face = analysis.tracks.get("face") or analysis.tracks["voice"]
    trouble = _trouble(pipeline)
    saved = len(analysis.recent) - pipeline.tables.unsaved
    return View(
        title=_clean(title),
        t=max(t.time for t in analysis.tracks.values()),
        start=info.start,
        duration=info.duration,
        speed=speed,
        provider=provider,
        faces_per_s=pipeline.face.analysed / max(pipeline.wall_s, 1e-9),
        dropped=pipeline.frames.dropped + pipeline.speech.skipped,
        row_latency=face.row_latency.percentile(95),
        face=modality("face", "no face, or more than one"),
        voice=modality("voice", "nobody speaks"),
        agreement=analysis.agreement,
        rows=list(analysis.recent)[: max(saved, 0)],
        figures=figures,
        trouble=trouble and _clean(trouble),
    )


def _provider(loaded: Models) -> str:
    """What runs the models, as short as it can be said."""
    return "+".join(sorted({m.provider.removesuffix("ExecutionProvider") for m in loaded.all()}))


def _warn_missing(source: FileSource, console: Console) -> None:
    if not source.info.has_video:
        warn(console, "no picture in this file: the face's tables stay empty")
    if not source.info.has_audio:
        warn(console, "no sound in this file: the voice's tables stay empty")


def warn(console: Console, text: str) -> None:
    """Say what is wrong, but stops nothing, in one line."""
    console.print(Text.assemble(("streamer:", "bold yellow"), " ", _clean(text)))


def _clean(text: str) -> str:
    """No control characters: file names may have them. To be printed without markup."""
    return "".join(c if c.isprintable() else "?" for c in text)


def tell_once(loaded: Models, console: Console) -> None:
    """Say what a model's licence asks to be said, at the first start with it."""
    seen = user_dir() / "notices"
    try:
        told = set(seen.read_text(encoding="utf-8").split())
    except OSError:
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
