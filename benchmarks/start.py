"""From the start of the program to the first row on the disk.

    python benchmarks/start.py [--rounds 5]

Each round starts `streamer replay` of the demo clip as a fresh process, files warm: at
`--speed max` until a table holds its first row, and at `--speed 1` with `--save-predictions` until
the first prediction is on the disk, which is when the dashboard has something to show. Then what
the start is made of, as wall and CPU milliseconds, in one more fresh process each. Medians.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from streamer.clock import monotonic
from streamer.resources import demo_clip

LIMIT_S = 60.0

_STEPS = """
import json, sys, threading
from streamer.clock import cpu, monotonic
steps, wall, used = {}, monotonic(), cpu()
def done(name):
    global wall, used
    steps[name] = (monotonic() - wall, cpu() - used)
    wall, used = monotonic(), cpu()
steps["Python and its first modules"] = (0.0, used)
import streamer.cli
done("command line, rich, pydantic")
import streamer.run
done("numpy, OpenCV, PyAV, ONNX Runtime")
from streamer import config, models
from streamer.clock import FreeClock
from streamer.pipeline import Models
from streamer.resources import demo_clip
from streamer.sources.file import FileSource
settings = config.load()
done("configuration")
FileSource(demo_clip(), FreeClock()).close()
done("opening the file")
for name in (settings.face.detector, settings.face.emotion, settings.speech.vad,
             settings.speech.emotion):
    models.check(*models.find(name, settings.models))
done("checking the models' files")
Models.load(settings)
done("checking again and loading the models")
print(json.dumps(steps))
"""


def first_row(speed: str, table: str) -> float:
    """Seconds until the file ``table`` of a new session holds a row below its header."""
    replay = [sys.executable, "-m", "streamer", "replay", str(demo_clip()), "--speed", speed]
    with tempfile.TemporaryDirectory() as folder:
        began = monotonic()
        child = subprocess.Popen(
            [*replay, "--no-dashboard", "--save-predictions", "--out", folder, "--session", "s"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            path = Path(folder) / "s" / table
            while monotonic() - began < LIMIT_S:
                if path.exists() and path.read_bytes().count(b"\n") > 1:
                    return monotonic() - began
                time.sleep(0.005)
        finally:
            child.terminate()
            child.wait()
    raise SystemExit(f"no row in {table} after {LIMIT_S:g} s")


def steps() -> dict[str, tuple[float, float]]:
    """Wall and CPU seconds of what the start is made of."""
    done = subprocess.run(
        [sys.executable, "-c", _STEPS], check=True, stdout=subprocess.PIPE, text=True
    )
    return {name: (wall, cpu) for name, (wall, cpu) in json.loads(done.stdout).items()}


def main() -> None:
    """Read the arguments and measure."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--rounds", type=int, default=5)
    rounds = ask.parse_args().rounds
    first_row("max", "video_intervals.csv")  # files warm from here on
    for speed, table in (("max", "video_intervals.csv"), ("1", "face_predictions.csv")):
        times = [first_row(speed, table) for _ in range(rounds)]
        middle, spread = statistics.median(times), f"{min(times):.2f} to {max(times):.2f}"
        print(f"--speed {speed}: first row of {table} after {middle:.2f} s ({spread})")
    taken = [steps() for _ in range(rounds)]
    for name in taken[0]:
        wall, cpu = (statistics.median(t[name][k] for t in taken) * 1e3 for k in (0, 1))
        print(f"{name:40} {wall:6.0f} ms, {cpu:5.0f} ms of CPU")
    print(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
