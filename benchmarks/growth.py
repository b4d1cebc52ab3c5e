"""How the cost grows: cameras at once in one process, length, face rate, resolution (Linux only).

    python benchmarks/growth.py [--quick] [--write]

Cameras: 1 to 16 pipelines at once on one set of models, each at the speed of life on its own part
of the demo clip (H.264 with sound); then as many lossless ones as fast as possible, whose tables
are compared with those of one alone. Length, rate and resolution: one pipeline at `--speed max`,
medians of three rounds in turn. CPU seconds are without start; every measurement is a process of
its own, whose peak is its own. --quick takes about a minute; --write puts tables and picture into
growth.md and growth.png, for which the machine must be quiet.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from growth_page import Cameras, Cost, Page, machine, show, write
from inputs import enlarged, repeat
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn

from streamer.resources import demo_clip

HEIGHTS = {240: 320, 480: 640, 720: 1280, 1080: 1920}
"""Heights of pictures, and their widths."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured."""

    cameras: tuple[int, ...] = (1, 2, 4, 8, 16)
    camera_s: float = 24.0
    minutes: tuple[float, ...] = (1, 2, 5, 10)
    rates_hz: tuple[float, ...] = (2, 5, 10, 25)
    heights: tuple[int, ...] = tuple(HEIGHTS)
    rounds: int = 3

    @property
    def steps(self) -> int:
        """How many inputs are made and measurements taken."""
        costs = len(self.minutes) + len(self.rates_hz) + len(self.heights)
        inputs = 1 + len(self.minutes) + len(self.heights)
        return inputs + 2 * len(self.cameras) + self.rounds * costs


QUICK = Plan((1, 2, 4), 6.0, (0.5, 1), (2, 25), (240, 720), 1)


class Bench:
    """Makes inputs in ``folder`` and measures, showing how far it is."""

    def __init__(self, folder: Path, progress: Progress, steps: int) -> None:
        self._folder, self._progress = folder, progress
        self._task = progress.add_task("", total=steps)

    def make(self, name: str, how: Callable[..., Path], *more: float) -> Path:
        """An input by the function that writes it, given the path and ``more``."""
        self._progress.update(self._task, description=f"making {name}")
        path = how(self._folder / name, *more)
        self._progress.advance(self._task)
        return path

    def run(self, what: str, kind: str, path: Path, **job: object) -> dict[str, float]:
        """One measurement by growth_run.py."""
        self._progress.update(self._task, description=what)
        told = json.dumps({"kind": kind, "path": str(path), **job})
        script = Path(__file__).with_name("growth_run.py")
        done = subprocess.run(
            [sys.executable, str(script), told], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{what} failed:\n{done.stderr}")
        self._progress.advance(self._task)
        return json.loads(done.stdout)

    def costs(
        self, rounds: int, cases: list[tuple[str, float, Path, list[str]]], what: str
    ) -> list[Cost]:
        """Each case (its name, its number, its file, settings) once a round."""
        found = [Cost(name, at) for name, at, _, _ in cases]
        for k in range(rounds):
            for cost, (name, _, path, settings) in zip(found, cases, strict=True):
                said = f"{what}: {name}, round {k + 1} of {rounds}"
                cost.add(self.run(said, "replay", path, settings=settings))
        return found


def measure(plan: Plan, bench: Bench) -> Page:
    """Everything, one after another."""
    about, demo = machine(), demo_clip()
    long = plan.camera_s + 3 * max(plan.cameras)
    shown = bench.make("cameras.mkv", repeat, long)
    cameras = []
    for n in plan.cameras:
        live = bench.run(f"cameras: {n}", "cameras", shown, count=n, seconds=plan.camera_s)
        free = bench.run(f"cameras: {n} at full speed", "together", demo, count=n)
        cameras.append(Cameras.of(n, plan.camera_s, live, free))
    lengths, sizes = [], []
    for minutes in plan.minutes:
        path = bench.make(f"{minutes:g}min.mkv", repeat, minutes * 60)
        lengths.append((f"{minutes:g} min", minutes, path, []))
    for height in plan.heights:
        path = bench.make(f"{height}.mkv", resized, height, plan.minutes[0] * 60)
        width = HEIGHTS[height]
        sizes.append((f"{width}×{height}", width * height / 1e6, path, []))
    clip = lengths[0][2]
    rates = [(f"{hz:g} Hz", hz, clip, [f"face.rate_hz={hz}"]) for hz in plan.rates_hz]
    return Page(
        about,
        cameras,
        bench.costs(plan.rounds, lengths, "length"),
        bench.costs(plan.rounds, rates, "faces a second"),
        bench.costs(plan.rounds, sizes, "picture"),
    )


def resized(path: Path, height: int, seconds: float) -> Path:
    """The demo at another size, again and again for ``seconds``."""
    once = enlarged(path.with_suffix(".mp4"), HEIGHTS[height], height)
    return repeat(path, seconds, once)


def main() -> None:
    """Read the arguments, measure, print and write."""
    ask = argparse.ArgumentParser(description="How the cost grows; see the file's beginning.")
    ask.add_argument("--quick", action="store_true", help="about a minute; nothing is written")
    ask.add_argument("--write", action="store_true", help="into growth.md and growth.png")
    asked = ask.parse_args()
    if asked.quick and asked.write:
        ask.error("--quick is too rough to be written")
    console, plan = Console(), QUICK if asked.quick else Plan()
    columns = SpinnerColumn(), "{task.description}", BarColumn(), MofNCompleteColumn()
    with (
        tempfile.TemporaryDirectory() as folder,
        Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress,
    ):
        page = measure(plan, Bench(Path(folder), progress, plan.steps))
    show(page, console)
    if asked.write:
        write(page, Path(__file__).parent)
    sys.exit(not all(n.same for n in page.cameras))


if __name__ == "__main__":
    main()
