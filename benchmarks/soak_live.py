"""A live session in real time: do memory, descriptors, threads and latency stay flat?

python benchmarks/soak_live.py [MINUTES] [--warm MINUTES] [--png FILE]      default: 15, 20

Two sessions side by side hear and see the clip that benchmarks/live.py sends, each in a process of
its own. One is as a user's: its resident memory, threads, file descriptors and latencies are
sampled every 5 s. The other runs under tracemalloc, which says where live Python memory (NumPy's
too) grew between the end of the warm-up and the end. Prints a line a minute and the slopes after
the warm-up with their 95 % intervals; the exit status is 1 if a bound is broken. The warm-up is as
long as the clocks' memory (streamer/drift.py), the last thing to fill up. Linux only: it reads
/proc.
"""

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

from trend import Trend

ROOT = Path(__file__).parents[1]
EVERY_S = 5.0
MB = 1 << 20
MOST_MB_H = 1.0
"""Growth of resident memory after warm-up, MB an hour."""
MOST_RISE = 0.2
"""By what share of itself latency may rise over the run, if that is no chance."""
Sample = dict[str, float]


# In the session's process


def status() -> Sample:
    """Memory in MB, threads and descriptors of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    about = dict(line.split(":", 1) for line in lines)
    rss, anonymous = (int(about[k].split()[0]) / 1024 for k in ("VmRSS", "RssAnon"))
    fds = len(os.listdir("/proc/self/fd")) - 1  # noqa: PTH208 # its own; no Path for each
    sample = {"rss": rss, "anonymous": anonymous, "threads": float(about["Threads"]), "fds": fds}
    if (heap := in_use()) is not None:
        sample["heap"] = heap
    return sample


class MallInfo(ctypes.Structure):
    """glibc's struct mallinfo2."""

    _fields_: ClassVar = [
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")),
        *((name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks")),
        ("keepcost", ctypes.c_size_t),
    ]


_mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
if _mallinfo is not None:
    _mallinfo.restype = MallInfo


def in_use() -> float | None:
    """What malloc has given out, all threads together, MB; None: this is no glibc."""
    if _mallinfo is None:
        return None
    told = _mallinfo()
    return float(told.uordblks + told.hblkhd) / MB


class Sampler:
    """Writes a sample every 5 s of a pipeline's ticks, keeps none."""

    def __init__(self, out: Path, warm: float, end: float) -> None:
        self._out, self._warm, self._end = out, warm, end
        self._last, self._bins = 0.0, dict[str, list[int]]()
        self._sites: dict[str, int] | None = None

    def tick(self, pipeline: Any) -> None:
        """Sample if it is time."""
        if pipeline.wall_s - self._last < EVERY_S:
            return
        self._last = pipeline.wall_s
        sample = {"t": pipeline.wall_s, **status()}
        for name, track in pipeline.analysis.tracks.items():
            if (latency := self._latest(name, track.prediction_latency)) is not None:
                sample[name] = 1000 * latency
        if tracemalloc.is_tracing():
            sample["traced"] = tracemalloc.get_traced_memory()[0] / MB
            self._weigh(pipeline.wall_s)
        with (self._out / "samples.jsonl").open("a") as file:
            print(json.dumps(sample), file=file)

    def _latest(self, name: str, latency: Any) -> float | None:
        """p95 since the last sample, s."""
        from streamer.latency import Latency

        bins, since = list(latency._bins), Latency()
        before = self._bins.get(name, [0] * len(bins))
        since._bins = [now - then for now, then in zip(bins, before, strict=True)]
        since.count = sum(since._bins)
        self._bins[name] = bins
        return since.percentile(95)

    def _weigh(self, t: float) -> None:
        """Once after the warm-up, and once at the end: where live memory was allocated."""
        if self._sites is None and t >= self._warm:
            self._sites = sites()
        elif self._sites and t >= self._end - 2 * EVERY_S:
            now = sites()
            grown = {k: v - self._sites.get(k, 0) for k, v in now.items()}
            largest = sorted(grown.items(), key=lambda item: -abs(item[1]))[:12]
            (self._out / "sites.json").write_text(json.dumps(largest))
            self._sites = {}


def sites() -> dict[str, int]:
    """Bytes that are live, by the line that allocated them."""
    gc.collect()
    own = [tracemalloc.Filter(False, file) for file in (__file__, tracemalloc.__file__)]
    found = tracemalloc.take_snapshot().filter_traces(own).statistics("lineno")
    return {str(s.traceback): s.size for s in found}


def fill() -> None:
    """Fill what fills up once and then stays, over the first hours: what else grows is growth.

    NumPy keeps up to seven freed blocks of each size under 1 kB, 3.7 MB in all; OpenBLAS touches
    its work memory as the matrices behind agreement.json grow, to MAX_CELLS; the widest are those
    of the lags.
    """
    import numpy as np

    from streamer.figures import QUICK
    from streamer.resampling import MAX_CELLS
    from streamer.timeline import LAGS_MS, NIL

    blocks = [np.empty(size, np.uint8) for size in range(1024) for _ in range(7)]
    del blocks
    widest = len(LAGS_MS) * (1 + 2 * NIL)  # for each lag what kappa needs
    np.ones((QUICK, MAX_CELLS)) @ np.ones((MAX_CELLS, widest))


def session(out: Path, url: str, warm: float, seconds: float, traced: bool) -> None:
    """`streamer live`, sampled; ends the process."""
    from streamer import run
    from streamer.cli import main as streamer
    from streamer.pipeline import Pipeline

    sampler = Sampler(out, warm, seconds)

    class Sampled(Pipeline):
        def run(self, tick: Callable[[], None], *others: Any) -> None:
            def both() -> None:
                tick()
                sampler.tick(self)

            super().run(both, *others)

    vars(run)["Pipeline"] = Sampled
    fill()
    if traced:
        tracemalloc.start()
    sys.argv = ["streamer", "live", "--yes", "--camera", url, "--mic", "default", "--json"]
    sys.argv += ["--duration", str(seconds), "--out", str(out), "--session", "soak"]
    streamer()


# Beside it


def samples(out: Path) -> list[Sample]:
    """What a session has written so far."""
    path = out / "samples.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def judge(taken: list[Sample], warm: float) -> list[str]:
    """Print the slopes after the warm-up; what is wrong."""
    steady = [s for s in taken if s["t"] >= warm]
    hours = [s["t"] / 3600 for s in steady]
    length = hours[-1] - hours[0]
    wrong = []

    def hold(what: str, right: bool) -> None:
        print(("" if right else "WRONG: ") + what)
        wrong.extend([] if right else [what])

    names = ("rss", "resident memory"), ("anonymous", "of it no file's"), ("heap", "given out")
    for key, name in names:
        if key not in steady[0]:
            continue
        trend = Trend.of(hours, [s[key] for s in steady])
        sure = trend.high < MOST_MB_H
        said = "proved" if sure else "within it, but not proved" if trend.slope < 1 else "over it"
        text = f"{name}: {trend} MB an hour over {60 * length:.0f} min; bound {MOST_MB_H:g}: {said}"
        hold(text, key != "rss" or trend.slope < MOST_MB_H)
    third = max(len(steady) // 3, 1)
    for key, name in (("threads", "threads"), ("fds", "file descriptors")):
        early, late = (max(s[key] for s in part) for part in (steady[:third], steady[-third:]))
        hold(f"{name}: at most {early:.0f} early, {late:.0f} late", late <= early)
    for key in ("face", "voice"):
        there = [(s["t"] / 3600, s[key]) for s in steady if key in s]
        trend, mean = Trend.of(*zip(*there, strict=True)), sum(v for _, v in there) / len(there)
        text = f"{key}'s latency, p95 of each 5 s: {mean:.0f} ms on average, {trend} ms an hour"
        hold(text, trend.low * length < MOST_RISE * mean)
    return wrong


def table(taken: list[Sample]) -> None:
    """Print a line a minute."""
    columns = ("rss", "anonymous", "heap", "threads", "fds", "face", "voice")
    head = "min", "RSS, MB", "of it no file's", "given out by malloc", "threads", "descriptors"
    print(f"| {' | '.join(head)} | face p95, ms | voice p95 |")
    print("| --- " * 8 + "|")
    for minute in range(1, int(taken[-1]["t"] // 60) + 1):
        at = min(taken, key=lambda s: abs(s["t"] - 60 * minute))
        print(f"| {minute} | " + " | ".join(f"{at.get(k, 0):.5g}" for k in columns) + " |")


def tell_traced(out: Path, warm: float) -> list[Sample]:
    """Print where live Python memory grew."""
    taken = samples(out)
    steady = [s for s in taken if s["t"] >= warm]
    trend = Trend.of([s["t"] / 3600 for s in steady], [s["traced"] for s in steady])
    print(f"live Python memory: {steady[-1]['traced']:.1f} MB, {trend} MB an hour; by line, kB:")
    for site, grown in json.loads((out / "sites.json").read_text()):
        print(f"  {grown / 1024:+8.1f}  {site.replace(str(ROOT), '.')}")
    return taken


def draw(path: Path, taken: list[Sample], traced: list[Sample], warm: float) -> None:
    """Memory, descriptors, threads and latency over time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 8), layout="constrained")
    rows = figure.subplots(4, 1, sharex=True)

    def lines(axes: Any, of: list[Sample], label: str, *keys: tuple[str, str]) -> None:
        for key, name in keys:
            there = [s for s in of if key in s]
            axes.plot([s["t"] / 60 for s in there], [s[key] for s in there], label=name)
        axes.set_ylabel(label)
        axes.axvspan(0, warm / 60, color="0.93")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)  # beside the lines
        axes.grid(alpha=0.3)

    lines(rows[0], taken, "MB", ("rss", "resident"), ("anonymous", "of it no file's"))
    lines(rows[0], taken, "MB", ("heap", "given out by malloc"))
    lines(rows[1], traced, "MB", ("traced", "live Python memory\n(second session, traced)"))
    lines(rows[2], taken, "number", ("threads", "threads"), ("fds", "file descriptors"))
    lines(rows[3], taken, "ms", ("face", "face, p95 of 5 s"), ("voice", "voice, p95 of 5 s"))
    for axes in rows:
        axes.set_ylim(0)
    rows[3].set_xlabel("minutes (grey: warm-up)")
    figure.savefig(path, dpi=100)


def main() -> None:
    """Run both sessions, then print, draw and judge."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("minutes", nargs="?", type=float, default=15.0)
    ask.add_argument("--warm", type=float, default=20.0)
    ask.add_argument("--png", type=Path)
    ask.add_argument("--session", nargs=3, metavar=("OUT", "URL", "TRACED"), help=argparse.SUPPRESS)
    asked = ask.parse_args()
    warm, seconds = asked.warm * 60, (asked.warm + asked.minutes) * 60
    from live import speaker  # not at the top: for tests this name is another module

    if asked.session:
        out, url, traced = asked.session
        session(Path(out), url, warm, seconds, traced == "1")
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url, env = stack.enter_context(speaker(place))
        outs, running = [place / "plain", place / "traced"], []
        for k, out in enumerate(outs):
            out.mkdir()
            command = [sys.executable, __file__, str(asked.minutes), "--warm", str(asked.warm)]
            command += ["--session", str(out), url]
            env = env | {"OPENBLAS_NUM_THREADS": "1"}  # as the program's way in sets it
            with (out / "log").open("w") as log:
                child = subprocess.Popen([*command, str(k)], env=env, cwd=ROOT, stdout=log)
            stack.callback(child.kill)
            running.append(child)
        for child, out in zip(running, outs, strict=True):
            if child.wait():
                raise SystemExit(f"a session failed: {(out / 'log').read_text()}")
        taken = samples(outs[0])
        table(taken)
        traced = tell_traced(outs[1], warm)
        if asked.png:
            draw(asked.png, taken, traced, warm)
        sys.exit(bool(judge(taken, warm)))


if __name__ == "__main__":
    main()
