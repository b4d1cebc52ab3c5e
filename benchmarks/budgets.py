"""What the program may cost: a minute's measurements, held to the last row of history.csv.

    python benchmarks/budgets.py [--record]

All are ratios of CPU seconds, counts, media seconds, or memory. What is compared is measured in
turn on one and the same CPU (what two threads cost each other there is the machine's, and changes
by the hour), and the least of several rounds counts: what else it does only ever adds to it. Where
10 rounds say too much, up to 30 are waited for. Exit status 1 if one is over 15 % worse than in the
last row of the same Python and processor; without such a row those that hardly differ between
machines are held to the last row. --record appends one.
"""

import argparse
import csv
import os
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
from throughput import face_and_voice

from streamer import config as configuration
from streamer.clock import Clock, FreeClock, cpu, today
from streamer.config import Config
from streamer.pipeline import Models, Pipeline
from streamer.resources import demo_clip
from streamer.ring import AudioRing, FrameRing
from streamer.sources.file import FileSource
from streamer.tables import SessionTables
from streamer.types import Frame, Image, Interval, Prediction, Segmenter

HISTORY = Path(__file__).with_name("history.csv")
WORST = 0.15
ROUNDS, MOST_ROUNDS = 10, 30
REFERENCE = 50
"""Runs of the reference network in a round: half a second."""
Figures = dict[str, float]
Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class Budget:
    """A figure, the less the better, and whether other machines have much the same."""

    name: str
    says: str
    anywhere: bool = True

    def worse(self, now: float, before: float) -> float:
        """By what share ``now`` is worse than ``before``."""
        return now / before - 1


BUDGETS = [
    Budget("pipeline_cost", "pipeline's CPU time, in that of a reference network", anywhere=False),
    Budget("over_plain", "the same, in that of a plain loop"),
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


class Reader:
    """Takes a source's frames and reads those that the face's grid wants, there and then."""

    def __init__(self, read: Callable[[Image], object], rate_hz: float) -> None:
        self._read, self._rate = read, rate_hz
        self._newest: Frame | None = None

    def put(self, frame: Frame) -> bool:
        """Whether the one before is wanted shows now."""
        self.advance(frame.t)
        self._newest = frame
        return True

    def advance(self, t: float) -> bool:
        """As the ring's."""
        if self._newest and FrameRing.wanted(self._newest.t, t, self._rate):
            self._read(self._newest.load())
            self._newest = None
        return True

    def close(self, end: float | None = None) -> None:
        """The last one."""
        self.advance(end or 0)


def plain(loaded: Models, config: Config, path: Path) -> None:
    """What the pipeline is held to: one loop that decodes and infers, and keeps nothing."""
    audio = AudioRing(3600, lossless=False)
    reader, listen = face_and_voice(loaded, config, audio)
    frames = Reader(lambda picture: reader.read(picture, 0.0), config.face.rate_hz)
    clip(path, FreeClock(), config).run(frames, audio, threading.Event())
    listen()


def clip(path: Path, clock: Clock, config: Config) -> FileSource:
    """The source that a replay has."""
    return FileSource(path, clock, max_px=config.face.max_px, rate_hz=config.face.rate_hz)


def replayed(loaded: Models, config: Config, path: Path) -> tuple[float, Figures]:
    """CPU seconds of the whole pipeline, lossless, and 95 % of the delays of the intervals."""
    with tempfile.TemporaryDirectory() as folder, SessionTables(Path(folder)) as tables:
        clock = FreeClock()
        began = cpu()
        pipeline = Pipeline(
            clip(path, clock, config), loaded, config, clock, tables, threading.Event()
        )
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


def pipeline_figures(is_enough: Callable[[Figures], bool]) -> Figures:
    """Reference network, plain loop and pipeline in turn, over the demo clip."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    config = configuration.load()
    loaded, network, path = Models.load(config), reference(), demo_clip()
    taken: list[tuple[float, float, float]] = []
    figures: Figures = {}
    while not taken or (len(taken) < MOST_ROUNDS and not is_enough(figures)):
        for _ in range(ROUNDS):
            fixed = spent(network)
            bare = spent(lambda: plain(loaded, config, path))
            whole, delays = replayed(loaded, config, path)
            taken.append((fixed, bare, whole))
        fixed, bare, whole = (min(seconds) for seconds in zip(*taken, strict=True))
        figures = {"pipeline_cost": whole / fixed, "over_plain": whole / bare, **delays}
    return figures


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


def last_row(here: Row, rows: list[Row]) -> tuple[Row, bool]:
    """What is held to: the last row of such a machine, or of any; and whether it is of such one."""
    same = [row for row in rows if {key: row[key] for key in here} == here]
    return (same or rows or [{}])[-1], bool(same)


def too_much(now: Figures, last: Row, same: bool) -> list[str]:
    """Which of the figures are over what they are held to."""
    held = [b for b in BUDGETS if last and b.name in now and (same or b.anywhere)]
    return [b.name for b in held if b.worse(now[b.name], float(last[b.name])) > WORST]


def show(now: Figures, last: Row, same: bool) -> None:
    """Print the figures beside those that they are held to."""
    over = too_much(now, last, same)
    print(f"budgets, held to {last.get('date', 'nothing')} {last.get('commit', '')}")
    for budget in BUDGETS:
        line = f"{budget.name:15}{now[budget.name]:9.3f}"
        if last:
            before = float(last[budget.name])
            said = "" if same or budget.anywhere else "(another machine: not held)  "
            said = "TOO MUCH  " if budget.name in over else said
            worse = budget.worse(now[budget.name], before)
            line += f"  was {before:8.3f}, {worse:+6.1%} worse  {said}"
        print(f"{line}  {budget.says}")


def main() -> None:
    """Measure, print, compare."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--record", action="store_true")
    asked = ask.parse_args()
    here = {"python": ".".join(platform.python_version_tuple()[:2]), "processor": machine()}
    rows = list(csv.DictReader(HISTORY.open(newline=""))) if HISTORY.exists() else []
    last, same = last_row(here, rows)
    now = {
        **pipeline_figures(lambda figures: not too_much(figures, last, same)),
        "help_modules": loaded_modules(HELP),
        "replay_modules": loaded_modules(REPLAY),
        "peak_mb": peak(),
    }
    show(now, last, same)
    if asked.record:
        record(now, here)
    sys.exit(bool(too_much(now, last, same)))


def record(now: Figures, here: Row) -> None:
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
