"""The command line: `python -m export_onnx MODEL`."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from export_onnx.catalog import MODELS
from export_onnx.errors import ExportError
from export_onnx.face_models import FACE_MODELS, Request
from export_onnx.fetch import Fetcher, default_cache
from export_onnx.manifest import write_files
from export_onnx.speech_models import SPEECH_MODELS


class Precision(StrEnum):
    """Of the weights in the file."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


MODELS_DIR = Path("models")
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@contextmanager
def _spinner(message: str) -> Iterator[None]:
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    console = Console(stderr=True)
    # Logs get no half-drawn lines: whoever reads them sees the result, or the one-line error.
    disable = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=disable) as progress:
        progress.add_task(message)
        yield


_LINES = {
    **{name: exporter.card.description for name, exporter in MODELS.items()},
    **{name: model.line for name, model in FACE_MODELS.items()},
    **{name: model.line for name, model in SPEECH_MODELS.items()},
}
_HELP = "Make an ONNX model and its manifest. MODEL is one of\n\n\b\n" + "\n".join(
    f"{name:<16} {line}" for name, line in _LINES.items()
)


@app.command(help=_HELP)
def export(
    model: Annotated[str, typer.Argument(help="the model's name", metavar="MODEL")],
    out: Annotated[Path, typer.Option(help="folder for the model and its manifest")] = MODELS_DIR,
    cache: Annotated[Path | None, typer.Option(help="folder that keeps fetched packages")] = None,
    source: Annotated[
        str | None,
        typer.Option(
            help="checkpoint: a file (face) or folder (speech), or what the hub has: "
            "owner/name[@revision][/file]"
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="name of the files; default: source's")] = None,
    precision: Annotated[Precision, typer.Option(help="of the weights")] = Precision.FP32,
    verify: Annotated[bool, typer.Option(help="compare the result with the checkpoint")] = True,
    ten_crop: Annotated[
        bool, typer.Option("--ten-crop", help="fer2013 models: average over ten crops")
    ] = False,
    split: Annotated[
        bool,
        typer.Option("--split", help="speech: what overlapping windows share in a file apart"),
    ] = False,
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="you may use a non-commercial model")
    ] = False,
    allow_disagreement: Annotated[
        bool, typer.Option("--allow-disagreement", help="take int8 models that often differ")
    ] = False,
) -> None:
    """Build `model` and write it, its licence's text where known, and its manifest to `out`."""
    try:
        if model in SPEECH_MODELS:
            checkpoint = _checkpoint(model, source, ten_crop)
            from export_onnx.speech import Wishes, export_speech  # noqa: PLC0415 - torch is slow

            wishes = Wishes(
                *(checkpoint, out, precision.value, verify),
                *(accept_license, allow_disagreement, name, split),
            )
            files = export_speech(SPEECH_MODELS[model], wishes, _spinner)
        elif split:
            raise ExportError(f"{model} does not hear: --split is for speech models")
        elif model in FACE_MODELS:
            request = Request(
                *(model, _file(source), ten_crop, name),
                *(precision.value, verify, allow_disagreement),
            )
            files = write_files(out, _face(request))
        else:
            own = source or name or ten_crop or precision is not Precision.FP32 or not verify
            files = write_files(out, _packaged(model, cache, changed=bool(own)))
    except ImportError as error:
        _fail(f"{error}: pip install '.[export]' in the clone brings what {model} needs")
    except (ExportError, OSError) as error:
        _fail(str(error))
    _report(files)


def _checkpoint(model: str, source: str | None, ten_crop: bool) -> str:
    """Return where a speech model's checkpoint is."""
    if ten_crop:
        raise ExportError(f"{model} hears: --ten-crop is for faces")
    if not (found := source or SPEECH_MODELS[model].source):
        raise ExportError(f"{model} needs --source: a checkpoint's folder or a hub id")
    return found


def _file(source: str | None) -> Path | None:
    """Return where a face model's checkpoint is."""
    from export_onnx.hub import find_file  # noqa: PLC0415 - slow

    return find_file(source) if source else None


def _face(request: Request) -> dict[str, bytes]:
    """Return the files of a face model that is made from the user's checkpoint, by name."""
    # torch takes seconds to import: only what needs it waits for it.
    with _spinner(f"exporting {request.model}"):
        made: dict[str, bytes] = import_module(FACE_MODELS[request.model].module).export(request)
        return made


def _packaged(model: str, cache: Path | None, *, changed: bool) -> dict[str, bytes]:
    """Return the files of a model that the program comes with, by name."""
    if model not in MODELS:
        raise ExportError(f"no model {model!r}: choose one of {', '.join(_LINES)}")
    if changed:
        raise ExportError(
            f"{model} is made from pinned packages, byte for byte as it is in models/: it takes "
            "no checkpoint, name, precision or the like (docs/models.md says why)"
        )
    return MODELS[model].export(Fetcher(cache or default_cache(), _spinner))


def _report(files: list[Path]) -> None:
    """Print what was written, and how near it comes to its checkpoint."""
    for file in files:
        typer.echo(f"{file}  {file.stat().st_size:,} bytes")
        manifest = json.loads(file.read_bytes()) if file.suffix == ".json" else {}
        for figure in manifest.get("accuracy", []):
            if figure["metric"] in ("largest difference", "agreement"):
                typer.echo(f"{figure['metric']} {figure['value']:.3g}: {figure['data']}")


def _fail(message: str) -> NoReturn:
    typer.echo(f"export_onnx: {' '.join(message.split())}", err=True)
    raise typer.Exit(2) from None


def main() -> None:
    """Run the command line. SIGTERM ends it as Ctrl-C does: nothing half-written stays."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    app(prog_name="python -m export_onnx")
