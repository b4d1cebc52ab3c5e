"""What `streamer devices` shows: cameras, microphones, and the level of one of these."""

from collections.abc import Callable
from threading import Event, Thread

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from streamer.clock import LiveClock
from streamer.config import LiveConfig
from streamer.liveview import level
from streamer.sources.camera import cameras, check
from streamer.sources.live import Deaf
from streamer.sources.microphone import Microphone
from streamer.sources.portaudio import Device, PortAudio, System
from streamer.text import printable
from streamer.types import DeviceState, StreamerError

__all__ = ["check", "microphones", "show", "show_cameras", "show_level"]

REDRAWS_S = 0.1


def microphones(system: Callable[[], System] = PortAudio) -> list[Device]:
    """All that there are. Raises StreamerError without PyAudio."""
    opened = system()
    try:
        return opened.devices()
    finally:
        opened.close()


def microphone_table(devices: list[Device]) -> Table:
    """Index, name, system interface, channels and usual rate; ● is the system's default."""
    table = Table(title="Microphones", title_justify="left", box=None, pad_edge=False)
    for heading in ("", "index", "name", "by", "channels", "rate"):
        numeric = heading in {"index", "channels", "rate"}
        table.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for device in devices:
        table.add_row(
            "●" if device.is_default else "",
            str(device.index),
            Text(printable(device.name)),
            Text(printable(device.api)),
            str(device.channels),
            f"{device.rate_hz / 1000:g} kHz",
        )
    return table


def show_cameras(console: Console, config: LiveConfig) -> None:
    """Print the cameras with the sizes that they agreed to; each is opened for a moment."""
    found = cameras(config)
    if not found:
        console.print("Cameras: none is here")
        return
    table = Table(title="Cameras", title_justify="left", box=None, pad_edge=False)
    for heading in ("index", "name", "gives"):
        table.add_column(heading, overflow="fold")
    for camera in found:
        gives = camera.problem or "\n".join(camera.modes)
        table.add_row(camera.spec, Text(printable(camera.name)), Text(gives))
    console.print(table)


def show(console: Console, system: Callable[[], System] = PortAudio) -> None:
    """Print the microphones, or in one line why there are none."""
    try:
        devices = microphones(system)
    except StreamerError as error:
        console.print(Text(str(error)), soft_wrap=True)
        return
    if devices:
        console.print(microphone_table(devices))
    else:
        console.print("Microphones: none is here")


def show_level(
    console: Console,
    spec: str | int,
    config: LiveConfig,
    stop: Event,
    system: Callable[[], System] = PortAudio,
) -> DeviceState:
    """Show the level of a microphone until ``stop``; return its state at the end.

    Without a terminal only the last level is printed. Raises StreamerError as Microphone does.
    """
    microphone = Microphone(spec, LiveClock(), config, system)
    state = microphone.state

    def picture() -> Text:
        line = Text(f"{printable(state.name)}  {state.status}  ")
        if state.level is None:
            return line.append("no sound", style="dim")
        return line.append_text(level(state.level, max(console.width - len(line) - 12, 10)))

    thread = Thread(target=microphone.run, args=(Deaf(), stop), name="streamer-microphone")
    thread.start()
    try:
        with Live(console=console, auto_refresh=False, get_renderable=picture) as live:
            while not stop.wait(REDRAWS_S):
                live.refresh()
    finally:
        stop.set()
        thread.join()
    return state
