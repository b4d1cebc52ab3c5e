"""What the dashboard shows of a live session alone: devices, sound level, keys. Pure."""

from rich.cells import cell_len
from rich.text import Text

from streamer.text import counted, printable
from streamer.types import DeviceState

QUIETEST_DB = -60.0
"""A level meter's left end, dBFS."""
HIGH_DB, LOUD_DB = -20.0, -6.0
"""Above them speech is louder than need be; may soon be clipped, dBFS."""

NAME = 28
"""Characters of a device's name that are shown."""
NOTE = 36
"""Columns of a note being typed that are shown: its end."""
NOTE_LEAST = 27
"""Columns that a note being typed has at least, with what stands around it."""

NOTE_HINTS = ("  Enter: keep   Esc: no marker", "  Enter: keep", "")
KEY_HINTS = (
    "space: pause   m: marker   q: stop and write everything",
    "space: pause  m: mark  q: stop",
    "space  m  q: stop",
)
STOP_HINTS = (
    "Ctrl-C: stop, close the open intervals and write everything",
    "Ctrl-C: stop and write everything",
    "Ctrl-C: stop",
)

STYLES = {"opening": "yellow", "running": "green", "lost": "bold red", "ended": "dim"}


def device(state: DeviceState) -> Text:
    """One line of a device: status, losses, its sound's level and drift, and what it gives. A
    narrow terminal cuts its end.
    """
    text = Text.assemble(("● ", STYLES[state.status]), (name(state), "bold"), overflow="ellipsis")
    text.no_wrap = True
    if state.status != "running":
        text.append(f"  {state.status}", STYLES[state.status])
    if state.losses:
        times = "once" if state.losses == 1 else f"{state.losses} times"
        text.append(f"  lost {times}, {state.lost_s:.1f} s", "red")
    if state.dropped:
        text.append(f"  dropped {state.dropped}", "bold red")
    if state.level is not None:
        text.append("  ").append_text(level(state.level))
    if state.drift_ppm is not None:
        text.append(f"  drift {state.drift_ppm:+.0f} ppm")
        if state.drift_ms is not None:
            text.append(f" ({state.drift_ms:+.1f} ms)")
    if state.detail:
        text.append(f"  {printable(state.detail)}")
    return text


def name(state: DeviceState) -> str:
    """A device's name in few characters, none of which could upset the terminal."""
    plain = printable(state.name)
    return plain if len(plain) <= NAME else f"{plain[: NAME - 1]}…"


def level(dbfs: float, width: int = 10) -> Text:
    """A level meter ``width`` cells long, from QUIETEST_DB to 0 dBFS."""
    full = round(min(max(1 - dbfs / QUIETEST_DB, 0.0), 1.0) * width)
    style = "bold red" if dbfs > LOUD_DB else "yellow" if dbfs > HIGH_DB else "green"
    return Text.assemble(("█" * full, style), ("·" * (width - full), "dim"), f" {dbfs:4.0f} dBFS")


def alerts(devices: list[DeviceState], slowed: str) -> str:
    """What must be known where there is no room for the devices: which are lost; what is slowed."""
    told = [f"{name(state)} lost" for state in devices if state.status == "lost"]
    return "  ".join([*told, f"slowed: {slowed}"] if slowed else told)


def keys(active: bool, editing: str | None, markers: int, paused: bool, width: int = 80) -> Text:
    """The bottom line of ``width`` columns: the note being typed, else what the keys do."""
    if editing is not None:
        hint = _longest(NOTE_HINTS, width - NOTE_LEAST)
        room = min(width - len("Note: ▏") - len(hint), NOTE)
        while editing and cell_len(editing) > room:
            editing = editing[1:]
        parts = ("Note: ", "bold"), editing, ("▏", "blink"), (hint, "dim")
        return Text.assemble(*parts, no_wrap=True, overflow="crop")
    text = Text(no_wrap=True, overflow="crop")
    if paused:
        text.append("PAUSED  ", "bold yellow")
    if markers:
        text.append(f"{counted(markers, 'marker')}  ")
    hints = KEY_HINTS if active else STOP_HINTS
    return text.append(_longest(hints, width - text.cell_len), "dim")


def _longest(hints: tuple[str, ...], room: int) -> str:
    """The first of ``hints`` that fits, the longest stands first; else the last."""
    return next((hint for hint in hints if len(hint) <= room), hints[-1])
