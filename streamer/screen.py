"""What is shown of a running session: the dashboard in a terminal, else a line now and then."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live

from streamer.clock import monotonic
from streamer.dashboard import ModalityView, View, plain, render
from streamer.figures import Now
from streamer.pipeline import Pipeline
from streamer.text import printable
from streamer.types import Modality

PLAIN_S = 5.0
"""Between two progress lines where there is no dashboard, wall s."""


@contextmanager
def display(
    console: Console,
    now: Callable[[], View],
    before: Callable[[], None],
    rate_hz: float,
    dashboard: bool,
) -> Iterator[Callable[[], None]]:
    """The tick of a session: calls ``before`` each time, and shows ``now()`` when it is due."""
    if not dashboard:
        last = monotonic()

        def line() -> None:
            nonlocal last
            before()
            if monotonic() - last >= PLAIN_S:
                last = monotonic()
                console.print(plain(now()), markup=False, soft_wrap=True)  # one line in a log

        yield line
        return
    with Live(
        console=console, screen=console.is_terminal, auto_refresh=False, transient=True
    ) as live:
        shown = 0.0

        def redraw() -> None:
            nonlocal shown
            before()
            if (at := monotonic()) - shown >= 1 / rate_hz - 0.01:
                shown = at
                live.update(render(now(), console.width, console.height), refresh=True)

        yield redraw


def view(pipeline: Pipeline, title: str, speed: str, provider: str, figures: Now) -> View:
    """What the dashboard shows of a running pipeline."""
    analysis, info = pipeline.analysis, pipeline.source.info

    def modality(name: Modality, silent: str) -> ModalityView | None:
        fused = name == "fused"
        track = analysis.fused if fused else analysis.tracks.get(name)
        if track is None:
            return None
        return ModalityView(
            track.probs,
            track.running,
            track.time,
            (analysis.fused_changes if fused else analysis.transitions).counts.get(name, 0),
            silent,
            track.prediction_latency.percentile(95),
            track.affect,
        )

    why = trouble(pipeline)
    rows = "modality_duration" if info.has_video else "voice_intervals"
    unsaved = pipeline.tables.unsaved_of(rows)
    face = analysis.tracks.get("face") or analysis.tracks["voice"]
    return View(
        title=printable(title),
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
        closed=analysis.closed - unsaved,
        rows=list(analysis.recent)[: max(len(analysis.recent) - unsaved, 0)],
        fused=modality("fused", "no face, nobody speaks"),
        figures=figures,
        trouble=why and printable(why),
    )


def trouble(pipeline: Pipeline) -> str | None:
    """Why closed intervals are not shown yet."""
    writer = pipeline.tables.writer
    if writer.trouble is None:
        return None
    lost = f", {writer.lost.total()} more are lost" if writer.lost else ""
    rows = f"{writer.waiting()} rows wait in memory{lost}"
    return f"can't write to {pipeline.tables.folder}: {writer.trouble}: {rows}"
