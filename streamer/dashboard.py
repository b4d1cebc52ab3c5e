"""The live picture: a pure function of a view, for any size of terminal."""

from dataclasses import dataclass, field

import numpy as np
from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from streamer import liveview
from streamer.agreement import Agreement
from streamer.figures import Now
from streamer.pairing import Pair
from streamer.text import counted
from streamer.types import EMOTIONS, UNKNOWN, DeviceState, Floats, Running

COLOURS = {
    "Angry": "red",
    "Disgust": "green",
    "Fear": "magenta",
    "Happy": "yellow",
    "Sad": "blue",
    "Surprise": "cyan",
    "Neutral": "white",
    UNKNOWN: "bright_black",
}


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
    """What only a live session shows: its devices, what waits for the models (frames, s of sound),
    how they were slowed, the bottom line, and a small picture.
    """

    devices: list[DeviceState]
    waiting: tuple[int, float]
    slowed: str
    bottom: Text
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
    """Face intervals that are closed and on the disk; ``rows``: the last of them."""
    rows: list[Pair] = field(default_factory=list)
    figures: Now | None = None
    live: "Live | None" = None
    fused: ModalityView | None = None
    """Face and voice together; None: one of them is missing."""
    trouble: str | None = None
    """Why rows wait that should be on the disk."""


def render(view: View, width: int, height: int) -> RenderableType:
    """The dashboard for a terminal of ``width`` × ``height`` characters."""
    layout = Layout()
    live = view.live
    devices = len(live.devices) + 1 if live else 0
    room = max(height - 2 - 10 - 1 - 2 - devices, 4)
    below: list[Layout] = [Layout(_rows(view, room - 3), size=room)]
    if live is not None and live.picture is not None:
        both = Layout(size=room)
        both.split_row(Layout(_rows(view, room - 3)), Layout(Panel(live.picture), size=room * 2))
        below = [both]
    if live is not None:
        below.append(Layout(_devices(live), size=devices))
    layout.split_column(
        Layout(_header(view), size=2),
        Layout(name="now", size=10),
        Layout(_fused(view.fused), size=1),
        *below,
        Layout(_status(view), size=2),
    )
    bars = max(width // 2 - 22, 8)
    layout["now"].split_row(
        Layout(_modality("Face", view.face, bars, "no picture in this source")),
        Layout(_modality("Voice", view.voice, bars, "no sound in this source")),
    )
    return layout


def plain(view: View) -> str:
    """One progress line, for output that is not a terminal."""
    now = [
        f"{name} {m.running.label if m.running else m.silent}"
        for name, m in (("face", view.face), ("voice", view.voice))
        if m
    ]
    line = (
        f"{clock(view.t)}{_total(view)}  {'  '.join(now)}  rows {view.closed}  "
        f"mismatches {view.agreement.mismatches}  dropped {view.dropped}"
    )
    live = view.live
    if live is not None:
        lost = [device for device in live.devices if device.status == "lost"]
        line += "".join(f"  {liveview.name(device)} lost" for device in lost)
        line += f"  slowed: {live.slowed}" if live.slowed else ""
    return line


def clock(t: float) -> str:
    """Media time as minutes and tenths of a second, with hours when there are any."""
    tenths = round(max(t, 0) * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    prefix = f"{hours}:{minutes:02}" if hours else f"{minutes:02}"
    return f"{prefix}:{rest // 10:02}.{rest % 10}"


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


def _modality(name: str, view: ModalityView | None, bars: int, missing: str) -> Panel:
    if view is None:
        return Panel(Text(missing, style="dim"), title=name, border_style="dim")
    grid = Table.grid(padding=(0, 1))
    for _ in range(3):
        grid.add_column(no_wrap=True)
    for i, emotion in enumerate(EMOTIONS):
        p = float(view.probs[i]) if view.probs is not None else 0.0
        colour = COLOURS[emotion] if view.probs is not None else "dim"
        full = round(p * bars)
        grid.add_row(
            Text(f"{emotion:8}", style=colour),
            Text("█" * full + "·" * (bars - full), style=colour),
            Text(f"{p:4.0%}" if view.probs is not None else "   –"),
        )
    if view.running is None:
        now = Text(view.silent, style="dim")
    else:
        now = Text(view.running.label, style=f"bold {COLOURS[view.running.label]}")
        now.append(f" for {max(view.time - view.running.start, 0):.1f} s", style="default")
        if view.probs is None:
            now.append(f"  ({view.silent})", style="dim")
    if view.affect is not None:
        now.append(f"  valence {view.affect[0]:+.2f} arousal {view.affect[1]:+.2f}", style="dim")
    title = f"{name} · {_changes(view.transitions)}"
    return Panel(
        Group(grid, now),
        title=title,
        title_align="left",
        subtitle_align="right",
        subtitle=f"p95 {milliseconds(view.latency)}",
    )


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
    return line.append(f"  · {_changes(view.transitions)}", style="not bold dim")


def _changes(number: int) -> str:
    return f"{number} transition{'s' * (number != 1)}"


def _rows(view: View, room: int) -> Panel:
    table = Table(box=None, expand=True, padding=(0, 1), header_style="dim")
    for title, right in (("start", 1), ("end", 1), ("s", 1), ("face", 0), ("p", 1)):
        table.add_column(title, justify="right" if right else "left", no_wrap=True)
    table.add_column("voice", no_wrap=True)
    table.add_column("p", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, ratio=1)
    for pair in reversed(view.rows[-room:] if room > 0 else []):
        face, voice = pair.face, pair.voice
        label = voice.label or ""
        table.add_row(
            clock(face.start),
            clock(face.end),
            f"{face.end - face.start:.1f}",
            Text(face.label, style=COLOURS[face.label]),
            f"{face.score:.0%}",
            Text(label or "nobody spoke", style=COLOURS.get(label, "dim")),
            f"{voice.score:.0%}" if label else "",
            Text("mismatch" if pair.mismatch else "", style="bold red"),
        )
    return Panel(
        table,
        title=f"Closed intervals · {view.closed}",
        title_align="left",
        subtitle=Text(_figures(view.figures)) if view.figures else None,
        subtitle_align="left",
    )


def _figures(now: Now) -> str:
    """Agreement, kappa with its interval, the best lag, and how much of the time shows anything."""

    def share(value: float | None) -> str:
        return "–" if value is None else f"{value:.0%}"

    kappa = "–" if now.kappa is None else f"{now.kappa:.2f}"
    if now.kappa is not None and now.kappa_limits:
        kappa += " [{:.2f}, {:.2f}]".format(*now.kappa_limits)
    lag = "–" if now.lag is None else f"{now.lag:+.2f} s"
    return (
        f"agree {share(now.share)}  κ {kappa}  lag {lag}  "
        f"face {share(now.face)}  voice {share(now.voice)}"
    )


def _status(view: View) -> RenderableType:
    together = view.agreement
    parts = [
        f"mismatch in {together.mismatches} of {counted(together.rows, 'row')}",
        f"faces {view.faces_per_s:.1f}/s",
        f"dropped {view.dropped}",
        f"row latency p95 {milliseconds(view.row_latency)}",
    ]
    text = Text("   ".join(parts))
    if view.dropped:
        text.stylize("bold red", text.plain.index("dropped"), text.plain.index("row"))
    hint = Text("Ctrl-C: stop, close the open intervals and write everything", "dim")
    if view.trouble is not None:
        text = Text(view.trouble, "bold red", no_wrap=True, overflow="ellipsis")
    return Group(text, view.live.bottom if view.live else hint)


def _devices(live: Live) -> RenderableType:
    """A line for each device, and one for what waits for the models."""
    frames, sound = live.waiting
    line = Text(no_wrap=True, overflow="ellipsis")
    if live.slowed:
        line.append(f"slowed: {live.slowed}   ", "bold yellow")
    line.append(f"waiting: {frames} pictures, {sound:.1f} s of sound")
    return Group(*map(liveview.device, live.devices), line)
