"""ONNX Runtime's options, and batches of faces: what they cost, in turn.

    python benchmarks/runtime.py [--rounds 5] [--faces MODEL.onnx …]

Options: a fresh process each runs the four default models as the pipeline does, faces in one
thread and the voice in another, over 20 s of media at 10 faces a second, with one option changed.
Medians of the wall and CPU seconds, with the peak resident set.
Batches: the same 16 faces through a face-emotion model one by one and 2, 4, 8 and 16 at a time, in
turn, one thread: CPU milliseconds a face, and whether every output is the same to the last bit.
``--faces``: only the batches, of other models with a free batch dimension. POSIX only (resource).
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # as `streamer` does, before it is loaded
import onnxruntime as ort

from streamer.clock import cpu, monotonic
from streamer.resources import models_dir

MEDIA_S, FACES_HZ = 20, 10

CHANGES: dict[str, dict[str, object]] = {
    "as the program sets it": {},
    "2 threads": {"threads": 2},
    "2 threads that spin": {"threads": 2, "spin": True},
    "ONNX Runtime's own threads, spinning": {"threads": 0, "spin": True},
    "arena off": {"arena": False},
    "memory pattern off": {"pattern": False},
    "arena and memory pattern off": {"arena": False, "pattern": False},
    "parallel execution": {"parallel": True},
    "graph optimisation: extended": {"level": "ORT_ENABLE_EXTENDED"},
    "graph optimisation: basic": {"level": "ORT_ENABLE_BASIC"},
    "graph optimisation: none": {"level": "ORT_DISABLE_ALL"},
}


def session(path: Path, change: dict[str, object]) -> ort.InferenceSession:
    """A session as streamer.models makes it, but for ``change``."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = change.get("threads", 1)
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    spin = "1" if change.get("spin") else "0"
    options.add_session_config_entry("session.intra_op.allow_spinning", spin)
    options.enable_cpu_mem_arena = change.get("arena", True)
    options.enable_mem_pattern = change.get("pattern", True)
    if change.get("parallel"):
        options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
        options.inter_op_num_threads = 2
    if level := change.get("level"):
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, str(level))
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def work(change: dict[str, object]) -> dict[str, float]:
    """Seconds and peak MB of the default models over MEDIA_S of media, in this process."""
    names = ("blazeface", "face_emotion_mini_big", "silero_vad", "speech_emotion_moonshine")
    detector, face, vad, voice = (session(models_dir() / f"{name}.onnx", change) for name in names)
    random = np.random.default_rng(0)
    picture = random.random((1, 128, 128, 3), np.float32)
    cut = random.random((1, 1, 64, 64), np.float32)
    steps = random.standard_normal((8, 576), np.float32) / 10
    window = random.standard_normal((1, 48_000), np.float32) / 10
    state = np.zeros((1, 1, 128), np.float32)
    name = voice.get_inputs()[0].name

    def faces(seconds: float) -> None:
        for _ in range(round(seconds * FACES_HZ)):
            detector.run(None, {"input": picture})
            face.run(None, {"face": cut})

    def voices(seconds: float) -> None:
        for _ in range(round(seconds * 2)):
            for _ in range(2):
                vad.run(None, {"input": steps, "h": state, "c": state})
            voice.run(None, {name: window})

    def both(seconds: float) -> None:
        threads = [threading.Thread(target=f, args=(seconds,)) for f in (faces, voices)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    both(2)  # the first runs allocate
    began, used = monotonic(), cpu()
    both(MEDIA_S)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"wall": monotonic() - began, "cpu": cpu() - used, "peak": peak}


def options(rounds: int) -> None:
    """Print a line for each change."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in CHANGES}
    for _ in range(rounds):
        for name, change in CHANGES.items():
            child = [sys.executable, __file__, "--child", json.dumps(change)]
            done = subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True)
            found[name].append(json.loads(done.stdout))
    for name, runs in found.items():
        wall, used, peak = (statistics.median(r[k] for r in runs) for k in ("wall", "cpu", "peak"))
        least = min(r["cpu"] for r in runs)
        print(
            f"{name:38} wall {wall:5.2f} s, CPU {used:5.2f} s (least {least:.2f}), "
            f"peak {peak:4.0f} MB"
        )


def batches(path: Path, rounds: int) -> None:
    """Print a line for each size of batch."""
    model = session(path, {})
    given = model.get_inputs()[0]
    faces = np.random.default_rng(0).random((16, *given.shape[1:]), np.float32)

    def run(size: int) -> list[np.ndarray]:
        parts = [model.run(None, {given.name: faces[k : k + size]}) for k in range(0, 16, size)]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    alone, times = run(1), {size: [] for size in (1, 2, 4, 8, 16)}
    for _ in range(rounds + 1):
        for size, taken in times.items():
            began = cpu()
            run(size)
            taken.append((cpu() - began) / 16 * 1e3)
    for size, taken in times.items():
        apart = max(float(np.abs(a - b).max()) for a, b in zip(run(size), alone, strict=True))
        same = "the same bits" if apart == 0 else f"apart by up to {apart:.1e}"
        middle, least = statistics.median(taken[1:]), min(taken[1:])
        print(
            f"{path.stem}, {size:2} at a time: {middle:.2f} ms of CPU a face (least {least:.2f}), "
            f"{same}"
        )


def main() -> None:
    """Read the arguments and measure."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--rounds", type=int, default=5)
    ask.add_argument("--faces", type=Path, nargs="*", default=[])
    ask.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    asked = ask.parse_args()
    if asked.child is not None:
        print(json.dumps(work(asked.child)))
        return
    for path in asked.faces or [models_dir() / "face_emotion_mini_big.onnx"]:
        batches(path, asked.rounds)
    if not asked.faces:
        options(asked.rounds)
    print(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
