"""Draws docs/dashboard.svg: the dashboard as it stands 15 s into the demo.

python docs/draw_dashboard.py
"""

import io
import re
import tempfile
import threading
from pathlib import Path

from rich.console import Console

from streamer import config as configuration
from streamer.clock import PacedClock
from streamer.dashboard import render
from streamer.figures import now as figures
from streamer.pipeline import Models, Pipeline
from streamer.resources import demo_clip
from streamer.run import view
from streamer.sources.file import FileSource
from streamer.tables import SessionTables

WIDTH, HEIGHT, AT_S = 100, 24, 15.0


def main() -> None:
    """Replay the demo at its own speed and stop for the picture."""
    config = configuration.load()
    loaded, stop = Models.load(config), threading.Event()
    clock = PacedClock(1, stop)
    source = FileSource(demo_clip(), clock)
    console = Console(record=True, width=WIDTH, height=HEIGHT, file=io.StringIO())
    with tempfile.TemporaryDirectory() as folder, SessionTables(Path(folder)) as tables:
        pipeline = Pipeline(source, loaded, config, clock, tables, stop)

        def tick() -> None:
            shown = figures(pipeline.analysis.timeline)
            now = view(pipeline, "demo.mp4", "×1", "CPU", shown)
            if now.t >= AT_S and not stop.is_set():
                console.print(render(now, WIDTH, HEIGHT), height=HEIGHT)
                stop.set()

        pipeline.run(tick)
    svg = console.export_svg(title="streamer")
    # The picture must not fetch a font from anywhere.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    Path(__file__).with_name("dashboard.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
