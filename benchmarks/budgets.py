"""What the program may cost: a minute's measurements, held to the last row of history.csv.

    python benchmarks/budgets.py [--record]

All are ratios of CPU seconds, counts, media seconds, or memory. What is compared is measured in
turn, and the least of several rounds counts: what else the machine does only ever adds to it. Exit
status 1 if one is over 15 % worse than in the last row of the same Python and processor; without
such a row those that hardly differ between machines are held to the last row. --record appends one.
"""

import argparse
import csv
import platform
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from inputs import repeat
from memory import peak_mb
from throughput import decoded, models_alone

from streamer import config as configuration
from streamer.clock import FreeClock, cpu, today
from streamer.config import Config
from streamer.pipeline import Models, Pipeline
from streamer.resources import demo_clip
from streamer.sources.file import FileSource
from streamer.tables import SessionTables
from streamer.types import Interval, Prediction, Segmenter

HISTORY = Path(__file__).with_name("history.csv")
WORST = 0.15
ROUNDS = 6
REFERENCE = 50
"""Runs of the reference network in a round: half a second."""
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Budget:
    """A figure: whether more of it is better, and whether other machines have much the same."""

    name: str
    says: str
    more: bool = False
    anywhere: bool = True

    def worse(self, now: float, before: float) -> float:
        """By what share ``now`` is worse than ``before``."""
        return before / now - 1 if self.more else now / before - 1


BUDGETS = [
    Budget("models_share", "models' part of the pipeline's CPU time", more=True, anywhere=False),
    Budget("models_cost", "models' CPU time, in that of a reference network", anywhere=False),
    Budget("help_modules", "modules that `streamer --help` loads"),
    Budget("replay_modules", "modules that a replay loads before its models"),
    Budget("peak_mb", "peak memory of a replay of 2 minutes, MB"),
    Budget("face_delay_s", "from an interval's end to its closing, face, p95, media s"),
    Budget("voice_delay_s", "the same, voice"),
]


class Timed:
    """A segmenter that notes how long after its end, in media seconds, each interval is closed."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self.delays: list[float] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._segmenter, name)

    def push(self, said: Prediction) -> list[Interval]:
        """As the segmenter."""
        closed = self._segmenter.push(said)
        self.delays += [said.end - interval.end for interval in closed]
        return closed


def replayed(loaded: Models, config: Config, path: Path) -> tuple[float, Figures]:
    """CPU seconds of the whole pipeline, lossless, and 95 % of the delays of the intervals."""
    with tempfile.TemporaryDirectory() as folder, SessionTables(Path(folder)) as tables:
        clock = FreeClock()
        source = FileSource(path, clock, max_px=config.face.max_px)
        began = cpu()
        pipeline = Pipeline(source, loaded, config, clock, tables, threading.Event())
        timed = {}
        for name, track in pipeline.analysis.tracks.items():
            track.segmenter = timed[name] = Timed(track.segmenter)
        pipeline.run(lambda: None)
        delays = {f"{n}_delay_s": float(np.percentile(t.delays, 95)) for n, t in timed.items()}
        return cpu() - began, delays


def reference() -> Callable[[], object]:
    """A network of seven 3×3 convolutions that never changes, on one thread."""
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(1)
    kernel = random.normal(0, 0.03, (64, 64, 3, 3)).astype(np.float32)
    shape = [1, 64, 64, 64]
    nodes = [
        helper.make_node("Conv", [f"x{k}", "kernel"], [f"x{k + 1}"], pads=[1, 1, 1, 1])
        for k in range(7)
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("x0", "x7")]
    graph = helper.make_graph(
        nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(kernel, "kernel")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = {"x0": random.normal(0, 1, shape).astype(np.float32)}
    return lambda: [session.run(None, given) for _ in range(REFERENCE)]


def spent(work: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    began = cpu()
    work()
    return cpu() - began


def pipeline_figures(rounds: int) -> Figures:
    """Reference, models alone and pipeline in turn, over the demo clip."""
    config = configuration.load()
    loaded, network, path = Models.load(config), reference(), demo_clip()
    pictures, audio = decoded(path, config)
    taken = []
    for _ in range(rounds):
        fixed = spent(network)
        alone = spent(lambda: models_alone(loaded, config, pictures, audio))
        whole, delays = replayed(loaded, config, path)
        taken.append((fixed, alone, whole))
    fixed, alone, whole = (min(seconds) for seconds in zip(*taken, strict=True))
    return {"models_share": alone / whole, "models_cost": alone / fixed, **delays}


HELP = "import sys; sys.argv = ['streamer', '--help']; from streamer.cli import main; main()"
REPLAY = "import streamer.cli, streamer.run"
COUNT = "import atexit, sys; atexit.register(lambda: print(len(sys.modules), file=sys.stderr)); "


def loaded_modules(code: str) -> int:
    """How many modules a process that runs ``code`` has loaded in the end."""
    command = [sys.executable, "-c", COUNT + code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stderr.split()[-1])


def peak() -> float:
    """Peak resident memory of a replay of two minutes, MB."""
    with tempfile.TemporaryDirectory() as folder:
        return peak_mb(repeat(Path(folder) / "clip.mkv", 120), Path(folder))


def machine() -> str:
    """Python's version and the processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def compare(now: Figures, here: dict[str, str], rows: list[dict[str, str]]) -> list[str]:
    """Print the figures beside those of the row that they are held to; which are too much."""
    same = [row for row in rows if {key: row[key] for key in here} == here]
    last = (same or rows or [{}])[-1]
    print(f"budgets, held to {last.get('date', 'nothing')} {last.get('commit', '')}")
    over = []
    for budget in BUDGETS:
        line = f"{budget.name:15}{now[budget.name]:9.3f}"
        if last:
            before = float(last[budget.name])
            worse = budget.worse(now[budget.name], before)
            held = bool(same) or budget.anywhere
            if held and worse > WORST:
                over.append(budget.name)
            said = "" if held else "(another machine: not held)  "
            said = "TOO MUCH  " if budget.name in over else said
            line += f"  was {before:8.3f}, {worse:+6.1%} worse  {said}"
        print(f"{line}  {budget.says}")
    return over


def main() -> None:
    """Measure, print, compare."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--record", action="store_true")
    asked = ask.parse_args()
    now = {
        **pipeline_figures(ROUNDS),
        "help_modules": loaded_modules(HELP),
        "replay_modules": loaded_modules(REPLAY),
        "peak_mb": peak(),
    }
    here = {"python": ".".join(platform.python_version_tuple()[:2]), "processor": machine()}
    rows = list(csv.DictReader(HISTORY.open(newline=""))) if HISTORY.exists() else []
    over = compare(now, here, rows)
    if asked.record:
        record(now, here)
    sys.exit(bool(over))


def record(now: Figures, here: dict[str, str]) -> None:
    """Append a row."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    row = {"date": f"{today():%Y-%m-%d}", "commit": commit, **here}
    row |= {budget.name: f"{now[budget.name]:.4g}" for budget in BUDGETS}
    new = not HISTORY.exists()
    with HISTORY.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    main()
