"""The commands that use devices: live, devices, calibrate."""

import re
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Annotated

import typer
from rich.console import Console

from streamer import config as configuration
from streamer.text import print_json, printable
from streamer.types import StreamerError

errors = Console(stderr=True, highlight=False, emoji=False)
errors.soft_wrap = not errors.is_terminal  # a log keeps its lines; a screen breaks them at words

Camera = Annotated[
    str, typer.Option(help="An index, a device's path, a URL (RTSP, RTMP, HTTP, UDP…), or none.")
]
Microphone = Annotated[
    str | None,
    typer.Option(
        "--mic",
        help="An index, a part of its name, or none.  [default: the system's; none for a URL]",
    ),
]
NeededCamera = Annotated[
    str, typer.Option(help="An index, a device's path, or a URL (RTSP, RTMP, HTTP, UDP…).")
]
NeededMicrophone = Annotated[
    str | None,
    typer.Option(
        "--mic",
        help="An index, or a part of its name.  [default: the system's; for a URL its own sound]",
    ),
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="A config.yaml of your own.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="One value: section.key=value.")]
Out = Annotated[Path, typer.Option(help="Where sessions go.")]
Dashboard = Annotated[bool | None, typer.Option(help="The live picture.  [default: in a terminal]")]
AsJson = Annotated[bool, typer.Option("--json", help="Print session.json at the end.")]
Save = Annotated[
    bool, typer.Option("--save-predictions", help="Also write what the models said each time.")
]


def local(context: typer.Context, file: Path | None) -> Path | None:
    """Refuse a URL where a file is asked for; it is not repeated, as it may hold a password."""
    # A path has lost one of the two slashes.
    url = re.match(r"([a-z][a-z0-9+.-]+):[/\\]", str(file or ""), re.IGNORECASE)
    if file is None or url is None or file.exists():
        return file
    if url[1].lower() == "file":
        raise StreamerError("this is a URL: write a file's path without file://")
    command = "calibrate" if context.info_name == "calibrate" else "live"
    raise StreamerError(f"this is a URL, not a file: use streamer {command} --camera URL")


def live(
    camera: Camera = "0",
    mic: Microphone = None,
    duration: Annotated[float | None, typer.Option(help="Stop after so many seconds.")] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Everybody recorded has consented: do not ask.")
    ] = False,
    record: Annotated[
        bool, typer.Option("--record", help="Also keep picture and sound: recording.mkv.")
    ] = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Show a small picture in the terminal.")
    ] = False,
    baseline: Annotated[
        float | None,
        typer.Option(help="The person is neutral for so many seconds, and is judged by it."),
    ] = None,
    out: Out = Path("statistics"),
    session: Annotated[
        str | None, typer.Option(help="The session's name.  [default: date and time]")
    ] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    dashboard: Dashboard = None,
    as_json: AsJson = False,
    save_predictions: Save = False,
) -> None:
    """Analyse a camera and a microphone, or a network stream, until stopped (q or Ctrl-C).

    Exit status: 0 all analysed, 1 failed on the way, 2 bad input, 3 analysed but something is wrong
    with the media or their recording, 130 stopped by Ctrl-C.
    """
    from streamer.live import LiveOptions, live_session  # noqa: PLC0415 - slow

    _check_duration(duration)
    chosen = list(settings or [])
    if baseline is not None:
        chosen.append(f"segmenter.baseline_s={baseline!r}")
    options = LiveOptions(
        camera=_chosen(camera),
        microphone=_microphone(camera, mic),
        duration=duration,
        yes=yes,
        record=record,
        preview=preview,
        out=out,
        session=session,
        config=config,
        settings=chosen,
        dashboard=dashboard,
        quiet=as_json,
        predictions=save_predictions,
    )
    outcome = live_session(options, errors)
    if as_json:
        print_json(outcome.summary)
    raise typer.Exit(outcome.status)


def devices(
    meter: Annotated[
        str | None, typer.Option(help="Show the level of this microphone until Ctrl-C.")
    ] = None,
    check: Annotated[
        str | None, typer.Option(help="Take a picture with this camera, and say what it is.")
    ] = None,
    config: ConfigFile = None,
    settings: Settings = None,
) -> None:
    """List cameras with their sizes, and microphones with their rates."""
    from streamer import devices as listing  # noqa: PLC0415 - slow
    from streamer.sources.capture import masked  # noqa: PLC0415 - slow

    wanted = configuration.load(config, settings).live
    console = Console()
    if check is not None:
        typer.echo(printable(f"camera {masked(check)}: {listing.check(check, wanted)}"))
    if meter is not None:
        with suppress(KeyboardInterrupt):
            listing.show_level(console, meter, wanted, Event())
    if check is None and meter is None:
        listing.show_cameras(console, wanted)
        listing.show(console)


def calibrate(
    file: Annotated[
        Path | None,
        typer.Argument(help="A recorded clip instead.", show_default=False, callback=local),
    ] = None,
    camera: NeededCamera = "0",
    mic: NeededMicrophone = None,
    duration: Annotated[float, typer.Option(help="Look and listen for so many seconds.")] = 15.0,
    config: ConfigFile = None,
    settings: Settings = None,
) -> None:
    """Measure how far picture and sound are out of step: clap five times in front of the camera."""
    from streamer.live import measure  # noqa: PLC0415 - slow

    _check_duration(duration)
    loaded = configuration.load(config, settings)
    measure(file, _chosen(camera), _microphone(camera, mic), duration, loaded, errors)


def register(app: typer.Typer) -> None:
    """Make them commands of ``app``."""
    for command in (live, devices, calibrate):
        app.command()(command)


def _chosen(device: str) -> str | None:
    return None if device == "none" else device


def _microphone(camera: str, mic: str | None) -> str | None:
    """A stream brings its own sound: a microphone is taken beside it only if it is named."""
    if mic is None:
        return None if "://" in camera else "default"
    return _chosen(mic)


def _check_duration(duration: float | None) -> None:
    from streamer.run import LONGEST_S  # noqa: PLC0415 - slow

    if duration is not None and not 0.1 <= duration <= LONGEST_S:
        raise StreamerError(
            f"--duration {duration:g}: use 0.1 or more seconds, at most {LONGEST_S}"
        )
