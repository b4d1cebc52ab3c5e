"""What the dashboard shows of closed intervals. Pure."""

from collections.abc import Sequence

from rich.console import RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from streamer.pairing import Pair
from streamer.types import UNKNOWN, Interval

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
WIDE = 76
"""Columns below which rows leave out their ends and probabilities."""
FEWEST = 5
"""Lines of the closed intervals below which the frames and the devices' lines give way to them."""


def closed_rows(
    rows: Sequence[Pair | Interval], closed: int, figures: str | None, width: int, room: int
) -> RenderableType:
    """The last of ``rows`` in ``room`` lines, with a frame where there is room for it, which says
    how many are ``closed``, and the ``figures``.
    """
    framed, wide = room >= FEWEST, width >= WIDE
    table = Table(
        box=None,
        expand=True,
        padding=(0, 1),
        header_style="dim",
        show_header=framed,
        pad_edge=framed and wide,
        collapse_padding=not wide,
    )
    for title in ("start", "end", "s") if wide else ("start", "s"):
        table.add_column(title, justify="right", no_wrap=True)
    for title in ("face", "voice"):
        table.add_column(title, no_wrap=True)
        if wide:
            table.add_column("p", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, ratio=1)
    fit = room - 3 if framed else room
    for row in reversed(rows[-fit:] if fit > 0 else []):
        table.add_row(*_row(row, wide))
    if not framed:
        return table
    return Panel(
        table,
        title=f"Closed intervals · {closed}",
        title_align="left",
        subtitle=Text(figures, overflow="ellipsis") if figures else None,
        subtitle_align="left",
    )


def _row(row: Pair | Interval, wide: bool) -> list[RenderableType]:
    """The cells of a closed interval: of the face with its voice, or of the voice alone."""
    span, mismatch = row if isinstance(row, Interval) else row.face, False
    said: list[tuple[str, float | None]] = [("–", None), (span.label, span.score)]
    if isinstance(row, Pair):
        mismatch, voice = row.mismatch, row.voice
        silence = "nobody spoke" if row.sound else "–"
        heard = (voice.label, voice.score) if voice.label else (silence, None)
        said = [(span.label, span.score), heard]
    cells: list[RenderableType] = [clock(span.start)]
    if wide:
        cells.append(clock(span.end))
    cells.append(f"{span.end - span.start:.1f}")
    for label, score in said:
        cells.append(Text(label, style=COLOURS.get(label, "dim")))
        if wide:
            cells.append("" if score is None else f"{score:.0%}")
    mark = "mismatch" if wide else "≠"
    return [*cells, Text(mark if mismatch else "", style="bold red")]


def clock(t: float) -> str:
    """Media time as minutes and tenths of a second, with hours when there are any."""
    tenths = round(max(t, 0) * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    prefix = f"{hours}:{minutes:02}" if hours else f"{minutes:02}"
    return f"{prefix}:{rest // 10:02}.{rest % 10}"
