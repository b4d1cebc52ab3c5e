"""The command line."""

import errno
import json
import math
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from streamer import __version__, cli_live
from streamer import config as configuration
from streamer.cli_live import AsJson, Dashboard, Out, Save
from streamer.config import Config
from streamer.resources import demo_clip, user_config
from streamer.text import print_json, printable
from streamer.types import Modality, StreamerError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Emotions of a speaker's face and voice, streamed to tables and a live dashboard.",
)
errors = cli_live.errors


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"streamer {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def replay(
    file: Annotated[
        Path,
        typer.Argument(help="A video or sound file.", show_default=False, callback=cli_live.local),
    ],
    speed: Annotated[
        str, typer.Option(help="1: as it was recorded; N: N times as fast; max: lossless.")
    ] = "1",
    out: Out = Path("statistics"),
    session: Annotated[
        str | None, typer.Option(help="The session's name.  [default: date, time and file]")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A config.yaml over the defaults.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="One value: section.key=value.")
    ] = None,
    dashboard: Dashboard = None,
    as_json: AsJson = False,
    start: Annotated[float, typer.Option(help="Begin at this second of the file.")] = 0.0,
    duration: Annotated[float | None, typer.Option(help="Stop after so many seconds.")] = None,
    save_predictions: Save = False,
) -> None:
    """Replay a recording through the models into tables.

    Exit status: 0 all analysed, 1 failed on the way, 2 bad input, 3 analysed but something is wrong
    with the recording, 130 stopped by Ctrl-C.
    """
    # Imported late: --help and a wrong option must not wait for the models' libraries.
    from streamer.run import Options, asked_part, replay_file  # noqa: PLC0415

    factor = None if speed == "max" else _factor(speed)
    start, duration = asked_part(start, duration)
    options = Options(
        file,
        factor,
        out,
        session,
        config,
        settings or [],
        dashboard,
        start,
        duration,
        as_json,
        save_predictions,
    )
    outcome = replay_file(options, errors)
    if as_json:
        print_json(outcome.summary)
    raise typer.Exit(outcome.status)


@app.command()
def resume(
    session: Annotated[Path, typer.Argument(help="The session's folder.", show_default=False)],
    file: Annotated[
        Path | None, typer.Option(help="The recording, if it is not in its old place.")
    ] = None,
    dashboard: Annotated[
        bool | None, typer.Option(help="The live picture.  [default: in a terminal]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print session.json at the end.")] = False,
) -> None:
    """Go on with a replay that was interrupted: its tables end as if nothing had happened.

    The file is analysed again from its beginning, as fast as possible; the rows that are there must
    come again. Exit status as of replay.
    """
    from streamer.resume import resume as go_on  # noqa: PLC0415

    outcome = go_on(session, file, dashboard, as_json, errors)
    if as_json:
        print_json(outcome.summary)
    raise typer.Exit(outcome.status)


@app.command()
def repair(
    session: Annotated[Path, typer.Argument(help="The session's folder.", show_default=False)],
) -> None:
    """Make the tables of a session good that did not end in order, and say what was done."""
    from streamer.repair import repair as mend  # noqa: PLC0415

    done = mend(session)
    for line in done:
        typer.echo(printable(line))
    if not done:
        typer.echo("all tables are good")


@app.command()
def segment(
    stream: Annotated[
        Path, typer.Argument(help="A table of time and seven probabilities.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option(help="The folder to write: a new or empty one.", show_default=False)
    ],
    config: Annotated[Path | None, typer.Option(help="A config.yaml over the defaults.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="One value: segmenter.key=value.")
    ] = None,
    modality: Annotated[
        str | None, typer.Option(help="face or voice.  [default: by the table's columns]")
    ] = None,
    shift: Annotated[float, typer.Option(help="Add so many seconds to every time.")] = 0.0,
) -> None:
    """Segment saved predictions again, with other settings: no model runs.

    Takes what --save-predictions wrote, or any table with the columns time, angry, disgust, fear,
    happy, sad, surprise and neutral; probabilities are left empty where there is no face or voice.
    """
    from streamer.resegment import refuse_idle, segment_file  # noqa: PLC0415

    known: dict[str | None, Modality | None] = {None: None, "face": "face", "voice": "voice"}
    if modality not in known:
        raise StreamerError(f"--modality {modality}: use face or voice")
    if not math.isfinite(shift):
        raise StreamerError(f"--shift {shift:g}: use a number of seconds")
    loaded = configuration.load(config, settings)
    refuse_idle(settings or [])
    segment_file(stream, out, loaded, known[modality], shift, errors)


@app.command()
def evaluate(
    truth_dir: Annotated[
        Path, typer.Argument(help="Recordings NAME.mp4 with NAME.csv.", show_default=False)
    ],
    sessions: Annotated[
        Path | None, typer.Option(help="Judge the tables in DIR/NAME/ instead of replaying.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write: a new or empty one.  [default: dated]")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A config.yaml over the defaults.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="One value: section.key=value.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print evaluation.json.")] = False,
) -> None:
    """Measure how right the tables are, on recordings with known emotions.

    NAME.csv has the columns start and end, in seconds, and face_emotion, voice_emotion or both.
    Exit status as of replay.
    """
    from streamer.evaluation.command import Asked  # noqa: PLC0415
    from streamer.evaluation.command import evaluate as judge  # noqa: PLC0415

    if sessions is not None and (config or settings):
        raise StreamerError("--sessions judges tables as they are: leave out --set and --config")
    asked = Asked(truth_dir, sessions, out, config, settings or [])
    outcome = judge(asked, errors, None if as_json else Console())
    if as_json:
        print_json(outcome.summary)
    raise typer.Exit(outcome.status)


@app.command()
def demo(
    out: Out = Path("statistics"),
) -> None:
    """Replay the bundled recording: 21 s of an actor, four emotions, one mismatch."""
    replay(demo_clip(), out=out)


cli_live.register(app)
models_app = typer.Typer(no_args_is_help=True, help="The models: what is there, which is used.")
app.add_typer(models_app, name="models")
ConfigFile = Annotated[Path | None, typer.Option("--config", help="A config.yaml of your own.")]
Folder = Annotated[Path | None, typer.Option("--dir", help="A folder with models of your own.")]


@models_app.command("list")
def models_list(config: ConfigFile = None, folder: Folder = None) -> None:
    """Show all models: task, size, licence, measured accuracy; ● is in use."""
    from streamer import catalog  # noqa: PLC0415

    console = Console()
    table, wrong = catalog.listing(_with_folder(config, folder), console.width)
    console.print(table)
    if wrong:
        raise StreamerError("; ".join(wrong))


@models_app.command("info")
def models_info(
    name: Annotated[str, typer.Argument(help="The model's name.", show_default=False)],
    config: ConfigFile = None,
    folder: Folder = None,
) -> None:
    """Show everything that a model's manifest says."""
    from streamer import catalog  # noqa: PLC0415

    Console().print(catalog.details(name, _with_folder(config, folder)))


@models_app.command("verify")
def models_verify(
    names: Annotated[list[str] | None, typer.Argument(help="[default: all]")] = None,
    config: ConfigFile = None,
    folder: Folder = None,
) -> None:
    """Check the models' files against the hashes in their manifests."""
    from streamer import catalog  # noqa: PLC0415

    wrong = catalog.verify(names or [], _with_folder(config, folder), errors)
    if wrong:
        raise StreamerError("; ".join(wrong))
    typer.echo("all as their manifests say")


@models_app.command("use")
def models_use(
    name: Annotated[str, typer.Argument(help="The model's name.", show_default=False)],
    config: ConfigFile = None,
    folder: Folder = None,
) -> None:
    """Use a model from now on: written to your own configuration, or to --config FILE."""
    from streamer import catalog  # noqa: PLC0415

    file = config or user_config()
    existing = config if config and config.exists() else None
    written = catalog.use(name, file, _with_folder(existing, folder))
    typer.echo(printable(f"{file}: {written}"))


def _with_folder(config: Path | None, folder: Path | None) -> Config:
    return configuration.load(config, [f"models.dir={json.dumps(str(folder))}"] if folder else [])


def _factor(speed: str) -> float:
    try:
        factor = float(speed)
    except ValueError:
        factor = 0.0
    if not 0.01 <= factor <= 1000:
        raise StreamerError(f"--speed {speed}: use max, or a number from 0.01 to 1000")
    return factor


def main() -> None:
    """Run the program: an error that the user can mend is one line, never a traceback."""
    try:
        asked = sys.argv[1:]
        if asked in ([], ["models"]):  # Typer takes a bare group for a wrong option
            asked = [*asked, "--help"]
        sys.exit(app(asked, standalone_mode=False))
    except StreamerError as error:
        _refuse(str(error), error.status)
    except typer.Abort:
        sys.exit(130)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        # What can't be a name, or may not be reached, was said by the user; all else went wrong.
        named = error.errno in (errno.ENAMETOOLONG, errno.EACCES)
        _refuse(f"{where}{error.strerror or error}", 2 if named else 1)
    except Exception as error:
        # A wrong option: of its class, only the name of this method is the same in every Typer.
        explain = getattr(error, "format_message", None)
        if explain is None:
            raise
        _refuse(f"{explain()} (--help shows what there is)", 2)


def _refuse(message: str, status: int) -> NoReturn:
    """Say why in one line: no control characters, no markup, as file names may have both."""
    errors.print(Text.assemble(("streamer:", "bold red"), " ", printable(message)))
    sys.exit(status)


if __name__ == "__main__":
    main()
