"""The live picture: a pure function of a view, for any size of terminal."""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from streamer import liveview
from streamer.agreement import Agreement
from streamer.figures import Now
from streamer.pairing import Pair
from streamer.rowview import COLOURS, FEWEST, clock, closed_rows
from streamer.text import counted
from streamer.types import EMOTIONS, DeviceState, Floats, Interval, Running

NARROW = 50
"""Columns below which there are no bars: labels and percentages need the room."""
PANELS, PLAIN_PANELS = 10, 8
"""Lines of face and voice: with a frame, and without."""


@dataclass(frozen=True, slots=True)
class ModalityView:
    """One modality now. ``silent`` says why there are no probabilities, latency is p95 in s,
    affect valence and arousal, −1…1, if a model gives them.
    """

    probs: Floats | None
    running: Running | None
    time: float
    transitions: int
    silent: str
    latency: float | None
    affect: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Live:
    """What only a live session shows: its devices, what waits for the models (frames, s of sound;
    None: there are none), how they were slowed, the bottom line of so many columns, whether it is
    paused, and a small picture.
    """

    devices: list[DeviceState]
    waiting: tuple[int | None, float | None]
    slowed: str
    bottom: Callable[[int], Text]
    paused: bool = False
    picture: RenderableType | None = None


@dataclass(frozen=True, slots=True)
class View:
    """Everything that the dashboard shows. Times in media seconds."""

    title: str
    t: float
    start: float
    duration: float | None
    speed: str
    provider: str
    faces_per_s: float
    dropped: int
    row_latency: float | None
    face: ModalityView | None
    voice: ModalityView | None
    agreement: Agreement
    closed: int
    """Face intervals (without a picture the voice's) that are closed and on the disk; ``rows``:
    the last of them.
    """
    rows: list[Pair | Interval] = field(default_factory=list)
    figures: Now | None = None
    live: "Live | None" = None
    fused: ModalityView | None = None
    """Face and voice together; None: one of them is missing."""
    trouble: str | None = None
    """Why rows wait that should be on the disk."""


def render(view: View, width: int, height: int) -> RenderableType:
    """The dashboard for a terminal of ``width`` × ``height`` characters. What does not fit is left
    out from below, but never the footer.
    """
    view, live = _told_paused(view), view.live
    footer = _footer(view, width)
    devices = len(live.devices) + 1 if live else 0
    room = height - 2 - PANELS - 1 - devices - len(footer)
    if room < FEWEST and live is not None:
        room, devices = room + devices, 0
        if told := liveview.alerts(live.devices, live.slowed):
            alert = Text(told, "bold yellow", no_wrap=True, overflow="ellipsis")
            room, footer = room - 1, [alert, *footer]
    if room < FEWEST:
        parts = _small(view, width, height - len(footer))
    else:
        parts = [
            (_header(view), 2),
            (_now(view, width, framed=True), PANELS),
            (_fused(view.fused), 1),
            (_below(view, width, room), room),
        ]
        if devices and live is not None:
            parts.append((_devices(live), devices))
    footer = footer[-height:]
    layout = Layout()
    layout.split_column(
        *(Layout(part, size=lines) for part, lines in parts if lines > 0),
        Layout(Group(*footer), size=len(footer)),
    )
    return layout


def _small(view: View, width: int, height: int) -> list[tuple[RenderableType, int]]:
    """What stands above the footer of a low terminal, and in how many lines: no frames."""
    now = min(height - 1, PLAIN_PANELS)
    rest = max(height - 1 - now, 0)
    fused = int(rest > 1)
    return [
        (_header(view), min(height, 1)),
        (_now(view, width, framed=False), now),
        (_fused(view.fused), fused),
        (_rows(view, width, rest - fused), rest - fused),
    ]


def _now(view: View, width: int, *, framed: bool) -> Layout:
    """Face and voice side by side."""
    bars = width // 2 - 18 if width >= NARROW else 0
    both = Layout()
    both.split_row(
        Layout(_modality("Face", view.face, bars, "no picture in this source", framed=framed)),
        Layout(_modality("Voice", view.voice, bars, "no sound in this source", framed=framed)),
    )
    return both


def _below(view: View, width: int, room: int) -> RenderableType:
    """The closed intervals, and the small picture beside them."""
    picture = view.live.picture if view.live else None
    if picture is None:
        return _rows(view, width, room)
    beside = min(room * 2, width // 2)
    both = Layout()
    rows = Layout(_rows(view, width - beside, room))
    both.split_row(rows, Layout(Panel(picture), size=beside))
    return both


def _told_paused(view: View) -> View:
    """During a pause it is no news that there is no face and nobody speaks."""
    if view.live is None or not view.live.paused:
        return view
    face, voice, fused = (m and replace(m, silent="paused") for m in _modalities(view))
    return replace(view, face=face, voice=voice, fused=fused)


def _modalities(view: View) -> tuple[ModalityView | None, ...]:
    return view.face, view.voice, view.fused


def plain(view: View) -> str:
    """One progress line, for output that is not a terminal."""
    view = _told_paused(view)
    now = [
        f"{name} {m.running.label if m.running else m.silent}"
        for name, m in (("face", view.face), ("voice", view.voice))
        if m
    ]
    parts = [f"{clock(view.t)}{_total(view)}", *now, f"rows {view.closed}"]
    if view.face and view.voice:
        parts.append(f"mismatches {view.agreement.mismatches}")
    parts.append(f"dropped {view.dropped}")
    if view.live and (told := liveview.alerts(view.live.devices, view.live.slowed)):
        parts.append(told)
    return "  ".join(parts)


def milliseconds(seconds: float | None) -> str:
    """A latency for people."""
    if seconds is None:
        return "–"
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.0f} s"


def _header(view: View) -> RenderableType:
    line = Table.grid(expand=True, padding=(0, 1))
    line.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    line.add_column(justify="right", no_wrap=True)
    line.add_row(
        Text(view.title, style="bold", overflow="ellipsis"),
        Text(f"{clock(view.t)}{_total(view)}  {view.speed}  {view.provider}"),
    )
    done = (view.t - view.start) / view.duration if view.duration else None
    bar = ProgressBar(total=1.0, completed=min(done or 0.0, 1.0), pulse=done is None)
    return Group(line, bar)


def _total(view: View) -> str:
    return f" / {clock(view.start + view.duration)}" if view.duration is not None else ""


def _modality(
    name: str, view: ModalityView | None, bars: int, missing: str, *, framed: bool
) -> RenderableType:
    """One modality with ``bars`` so long (0: none); without a frame its name stands beside what it
    shows.
    """
    if view is None:
        if framed:
            return Panel(Text(missing, style="dim"), title=name, border_style="dim")
        return _beside(_cut(Text.assemble((name, "bold"), "  ", (missing, "dim"))))
    now = _shown(view, short=not bars)
    if not framed:
        both = _cut(Text.assemble((name, "bold"), "  ", now)), _emotions(view, bars)
        return _beside(Group(*both))
    return Panel(
        Group(_emotions(view, bars), _cut(now)),
        title=f"{name} · {counted(view.transitions, 'transition')}" if bars else name,
        title_align="left",
        subtitle_align="right",
        subtitle=f"p95 {milliseconds(view.latency)}",
    )


def _beside(shown: RenderableType) -> Padding:
    """Apart from what stands on the right, without a frame between them."""
    return Padding(shown, (0, 1, 0, 0))


def _cut(text: Text) -> Text:
    """On one line, whatever the width."""
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _emotions(view: ModalityView, bars: int) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    if bars:
        grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, min_width=4)
    for i, emotion in enumerate(EMOTIONS):
        p = float(view.probs[i]) if view.probs is not None else 0.0
        colour = COLOURS[emotion] if view.probs is not None else "dim"
        full = round(p * bars)
        bar = [Text("█" * full + "·" * (bars - full), style=colour)] if bars else []
        share = Text(f"{p:4.0%}" if view.probs is not None else "   –")
        grid.add_row(Text(f"{emotion:8}", style=colour), *bar, share)
    return grid


def _shown(view: ModalityView, short: bool) -> Text:
    """The open interval and for how long, or why there is none; valence and arousal."""
    if view.running is None:
        now = Text(view.silent, style="dim")
    else:
        now = Text(view.running.label, style=f"bold {COLOURS[view.running.label]}")
        lasts = max(view.time - view.running.start, 0)
        now.append(f" {lasts:.0f} s" if short else f" for {lasts:.1f} s", style="not bold default")
        if view.probs is None:
            now.append(f"  ({view.silent})", style="not bold dim")
    if view.affect is not None and not short:
        affect = "  valence {:+.2f} arousal {:+.2f}".format(*view.affect)
        now.append(affect, style="not bold dim")
    return now


def _fused(view: ModalityView | None) -> RenderableType:
    """Both together in one line: what is open, and the most probable emotions now."""
    line = Text("  Both   ", style="bold", no_wrap=True, overflow="ellipsis")
    if view is None:
        return line.append("needs a picture and sound", style="not bold dim")
    if view.running is not None:
        line.append(view.running.label, style=COLOURS[view.running.label])
        line.append(f" for {max(view.time - view.running.start, 0):.1f} s", style="not bold")
    if view.probs is None:
        return line.append(f"  ({view.silent})", style="not bold dim")
    for i in np.argsort(-view.probs, kind="stable")[:3]:
        shown = f"  {EMOTIONS[i]} {view.probs[i]:.0%}"
        line.append(shown, style=f"not bold {COLOURS[EMOTIONS[i]]}")
    return line.append(f"  · {counted(view.transitions, 'transition')}", style="not bold dim")


def _rows(view: View, width: int, room: int) -> RenderableType:
    figures = _figures(view, view.figures) if view.figures else None
    return closed_rows(view.rows, view.closed, figures, width, room)


def _figures(view: View, now: Now) -> str:
    """Agreement, kappa with its interval, the best lag, and how much of the time shows anything."""

    def share(value: float | None) -> str:
        return "–" if value is None else f"{value:.0%}"

    parts = []
    if view.face and view.voice:
        kappa = "–" if now.kappa is None else f"{now.kappa:.2f}"
        if now.kappa is not None and now.kappa_limits:
            kappa += " [{:.2f}, {:.2f}]".format(*now.kappa_limits)
        lag = "–" if now.lag is None else f"{now.lag:+.2f} s"
        parts = [f"agree {share(now.share)}", f"κ {kappa}", f"lag {lag}"]
    if view.face:
        parts.append(f"face {share(now.face)}")
    if view.voice:
        parts.append(f"voice {share(now.voice)}")
    return "  ".join(parts)


def _footer(view: View, width: int) -> list[Text]:
    """The lines that no terminal is too small for: what is wrong with the disk, the state, the
    keys.
    """
    trouble = textwrap.wrap(view.trouble or "", max(width, 1), max_lines=3, placeholder="…")
    lines = [_cut(Text(line, "bold red")) for line in trouble]
    bottom = view.live.bottom(width) if view.live else liveview.keys(False, None, 0, False, width)
    return [*lines, _status(view), bottom]


def _status(view: View) -> Text:
    """What matters most comes first: a narrow terminal cuts the end."""
    text = Text(f"dropped {view.dropped}", "bold red" if view.dropped else "")
    parts = [f"row latency p95 {milliseconds(view.row_latency)}"]
    if view.face:
        parts.insert(0, f"faces {view.faces_per_s:.1f}/s")
    if view.face and view.voice:
        together = view.agreement
        parts.insert(0, f"mismatch in {together.mismatches} of {counted(together.rows, 'row')}")
    return _cut(Text.assemble(text, *(f"  {part}" for part in parts)))


def _devices(live: Live) -> RenderableType:
    """A line for each device, and one for what waits for the models."""
    frames, sound = live.waiting
    line = Text(no_wrap=True, overflow="ellipsis")
    if live.slowed:
        line.append(f"slowed: {live.slowed}   ", "bold yellow")
    waiting = [] if frames is None else [counted(frames, "picture")]
    waiting += [] if sound is None else [f"{sound:.1f} s of sound"]
    line.append(f"waiting: {', '.join(waiting)}")
    return Group(*map(liveview.device, live.devices), line)
