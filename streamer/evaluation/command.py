"""`streamer evaluate`: replays recordings with known emotions and judges the tables."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    track,
)

from streamer import config as configuration
from streamer import summary
from streamer.clock import FreeClock, today
from streamer.config import Config
from streamer.evaluation import report
from streamer.evaluation.judge import Evaluation, judge
from streamer.evaluation.sessions import find_truths, read_truth, recording_of
from streamer.journal import JOURNAL
from streamer.pipeline import Models, Pipeline
from streamer.run import Outcome, run_session, signals, tell_once, warn
from streamer.sources.file import FileSource
from streamer.tables import SessionTables, new_folder, new_session
from streamer.text import printable, to_json
from streamer.types import StreamerError


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user asked of an evaluation. ``sessions``: tables that are there already, by the
    truths' names; None: the recordings are replayed. ``out`` None: a dated folder.
    """

    truths: Path
    sessions: Path | None
    out: Path | None
    config: Path | None
    settings: list[str]


def evaluate(asked: Asked, console: Console, output: Console | None) -> Outcome:
    """Judge all sessions; write evaluation.json, evaluation.html and PNGs; print to ``output``.

    Returns evaluation.json's content; status 3 where something is wrong with a recording. Raises
    StreamerError, for a truth that can't be read before anything is replayed.
    """
    paths = find_truths(asked.truths)
    truths = [read_truth(path) for path in paths]
    config = configuration.load(asked.config, asked.settings)
    folders, out, status = asked.sessions, None, 0
    if folders is None:
        clips = [recording_of(path) for path in paths]
        out = _folder(asked.out)
        folders = new_folder(out / "sessions")
        status = 3 if _replay(clips, config, folders, console) else 0
    else:
        _check(folders, [truth.name for truth in truths], console)
    result = Evaluation.of([judge(truth, folders / truth.name) for truth in truths])
    if not result.lanes:
        raise StreamerError(f"{folders}: no table speaks of what {asked.truths} knows")
    out = out or _folder(asked.out)
    about = result.as_json()
    _write(out / "evaluation.json", to_json(about) + "\n")
    _draw(result, out, f"Evaluation: {asked.truths.resolve().name}", console)
    if output is not None:
        _show(result, output)
    written = f"Written to {out}: evaluation.html, evaluation.json and pictures"
    console.print(printable(written), markup=False)
    return Outcome(status, about)


def _folder(out: Path | None) -> Path:
    if out is not None:
        return new_folder(out)
    return new_session(Path("statistics"), None, "evaluation", today())


def _check(folders: Path, names: list[str], console: Console) -> None:
    """Raise StreamerError if none of the sessions is there; warn of those that lack rows."""
    there = [folders / name for name in names if (folders / name).is_dir()]
    if not there:
        raise StreamerError(f"no session of these in {folders}: {folders / names[0]} …")
    for folder in there:
        if (folder / JOURNAL).exists():
            warn(console, f"{folder} was interrupted, or still runs: streamer repair, or resume")


def _replay(clips: list[Path], config: Config, folders: Path, console: Console) -> int:
    """Make the sessions, lossless, one after another; how many recordings have a problem."""
    loaded, troubled = Models.load(config), 0
    tell_once(loaded, console)
    stop = threading.Event()
    with _progress(console) as progress, signals(stop) as caught:
        every = progress.add_task("all", total=len(clips), visible=len(clips) > 1)
        for number, clip in enumerate(clips, 1):
            if not console.is_terminal:
                replaying = f"Replaying {clip.name} ({number} of {len(clips)})"
                console.print(printable(replaying), markup=False)
            clock = FreeClock()
            face = config.face
            source = FileSource(clip, clock, max_px=face.max_px, rate_hz=face.rate_hz)
            folder = new_folder(folders / clip.stem)
            with closing(source), SessionTables(folder, loaded.vocabularies()) as tables:
                pipeline = Pipeline(source, loaded, config, clock, tables, stop)
                about = summary.opening(pipeline, loaded, config, "max", today())
                shown = _task(progress, pipeline, printable(clip.name))
                run_session(pipeline, folder, about, shown, caught)
            troubled += bool(source.problems)
            for problem in source.problems:
                warn(console, f"{clip}: {problem}")
            if caught:
                raise StreamerError(
                    f"stopped; the sessions so far are in {folders}", 128 + caught[0]
                )
            progress.advance(every)
    return troubled


def _progress(console: Console) -> Progress:
    bar = [TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn()]
    quiet = not console.is_terminal
    return Progress(*bar, TimeRemainingColumn(), console=console, transient=True, disable=quiet)


@contextmanager
def _task(progress: Progress, pipeline: Pipeline, name: str) -> Iterator[Callable[[], None]]:
    """A bar for one recording; the tick that moves it on."""
    info = pipeline.source.info
    task = progress.add_task(name, total=info.duration)

    def tick() -> None:
        done = max(track.time for track in pipeline.analysis.tracks.values()) - info.start
        progress.update(task, completed=done)

    yield tick
    progress.remove_task(task)


def _draw(result: Evaluation, out: Path, title: str, console: Console) -> None:
    from streamer.evaluation import figures  # noqa: PLC0415 # matplotlib takes a second to load

    pictures = {
        "Confusions: share of each true emotion's time": figures.confusions(result),
        "Reliability: is what is said with 70 % right 70 % of the time?": figures.reliability(
            result
        ),
    }
    for name, png in zip(("confusion", "reliability"), pictures.values(), strict=True):
        _write(out / f"{name}.png", png)
    folder = new_folder(out / "timelines")
    judged = {lane.truth for lane in result.lanes}
    there = [s for s in result.sessions if not s.missing and judged & s.truth.spans.keys()]
    quiet = not console.is_terminal
    for session in track(there, "Drawing", console=console, transient=True, disable=quiet):
        png = figures.timeline(result, session)
        _write(folder / f"{session.truth.name}.png", png)
        pictures[f"Timeline: {session.truth.name}"] = png
    _write(out / "evaluation.html", report.page(result, title, pictures))


def _show(result: Evaluation, output: Console) -> None:
    output.print(printable(report.heading(result)), markup=False)
    for table in report.listing(result):
        output.print()
        output.print(table)


def _write(path: Path, content: str | bytes) -> None:
    data = content.encode(errors="replace") if isinstance(content, str) else content
    try:
        path.write_bytes(data)
    except OSError as error:
        raise StreamerError(f"can't write {path}: {error.strerror or error}", status=1) from None
