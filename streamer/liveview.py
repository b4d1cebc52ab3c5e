"""What the dashboard shows of a live session alone: devices, sound level, keys. Pure."""

from rich.text import Text

from streamer.text import printable
from streamer.types import DeviceState

QUIETEST_DB = -60.0
"""A level meter's left end, dBFS."""
HIGH_DB, LOUD_DB = -20.0, -6.0
"""Above them speech is louder than need be; may soon be clipped, dBFS."""

NAME = 28
"""Characters of a device's name that are shown."""
NOTE = 36
"""Characters of a note being typed that are shown: its end."""

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


def keys(active: bool, editing: str | None, markers: int, paused: bool) -> Text:
    """The bottom line: the note being typed, else what the keys do."""
    if editing is not None:
        hint = ("  Enter: keep   Esc: no marker", "dim")
        return Text.assemble(("Note: ", "bold"), editing[-NOTE:], ("▏", "blink"), hint)
    text = Text(no_wrap=True)
    if paused:
        text.append("PAUSED  ", "bold yellow")
    if markers:
        text.append(f"{markers} marker{'s' * (markers != 1)}  ")
    if active:
        return text.append("space: pause   m: marker   q: stop and write everything", "dim")
    return text.append("Ctrl-C: stop, close the open intervals and write everything", "dim")
