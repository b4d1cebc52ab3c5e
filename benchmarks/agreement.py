"""What agreement.json costs: a row, a look of the dashboard, a refresh, the last word; memory.

python benchmarks/agreement.py [HOURS] [MEAN_INTERVAL_S]
"""

import argparse
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from sessions import simulated  # the tests' own

from streamer.clock import cpu, monotonic
from streamer.figures import QUICK, document, now
from streamer.timeline import Timeline


def main() -> None:
    """Simulate a session and time everything that is done with it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("hours", nargs="?", type=float, default=8.0)
    parser.add_argument("mean_s", nargs="?", type=float, default=8.6)
    options = parser.parse_args()
    length = options.hours * 3600
    face, voice = simulated(length, options.mean_s, 0.4, np.random.default_rng(1))
    rows = sorted([*face, *voice], key=lambda i: i.end)
    timeline = Timeline(["face", "voice"], 0.0, 1.0)

    def take() -> None:
        for row in rows:
            timeline.update(row.modality, [row], row.end)

    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    take()
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    timeline = Timeline(["face", "voice"], 0.0, 1.0)
    print(f"{options.hours:g} h, {len(rows)} intervals, {kept / 1e6:.1f} MB kept")
    show("a row", take, len(rows))
    show("the dashboard's line", lambda: now(timeline))
    show("a refresh", lambda: document(timeline, QUICK, chance=False))
    timeline.finish("face", length)
    timeline.finish("voice", length)
    show("the last word", lambda: document(timeline))


def show(what: str, work: Callable[[], object], times: int = 1) -> None:
    """Print wall and CPU milliseconds of one of ``times``."""
    wall, used = monotonic(), cpu()
    work()
    wall, used = monotonic() - wall, cpu() - used
    print(f"{what:22} {wall / times * 1e3:9.3f} ms, {used / times * 1e3:9.3f} ms of CPU")


if __name__ == "__main__":
    main()
