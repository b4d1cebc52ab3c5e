"""One measurement of benchmarks/growth.py, in a process of its own so that its peak is its own.

python benchmarks/growth_run.py JOB     JOB and what is printed: JSON objects (Linux only)
"""

import json
import re
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from streamer import config as configuration
from streamer.clock import Clock, FreeClock, PacedClock, cpu, monotonic
from streamer.config import Config
from streamer.latency import Latency
from streamer.pipeline import Models, Pipeline
from streamer.sources.file import FileSource
from streamer.tables import HEADERS, SessionTables
from streamer.types import Modality

APART_S = 2.61
"""Each camera shows the clip from so much later on, s: no two of them show the same."""
HALVES: tuple[Modality, ...] = ("face", "voice")


class Bench:
    """A configuration, its models, loaded once, and a folder for the tables."""

    def __init__(self, path: Path, config: Config, folder: Path) -> None:
        self._path, self._config, self._folder = path, config, folder
        self._loaded = Models.load(config)

    def analyse(
        self, name: str, clock: Clock, start: float = 0.0, duration: float | None = None
    ) -> Pipeline:
        """One pipeline from the file to the tables in the folder ``name``."""
        source = FileSource(self._path, clock, start, duration, self._config.face.max_px)
        with SessionTables(self._new(name), self._loaded.vocabularies()) as tables:
            done = Pipeline(source, self._loaded, self._config, clock, tables, threading.Event())
            done.run(lambda: None)
        return done

    def tables(self, name: str) -> list[bytes]:
        """What ``analyse`` wrote."""
        return [(self._folder / name / f"{table}.csv").read_bytes() for table in HEADERS]

    def _new(self, name: str) -> Path:
        (self._folder / name).mkdir()
        return self._folder / name


def cameras(bench: Bench, count: int, seconds: float) -> dict[str, object]:
    """``count`` pipelines at once, each at the speed of life."""
    stop, used = threading.Event(), cpu()

    def camera(k: int) -> Pipeline:
        stop.wait(0.5 * k / count)  # their voice windows do not fall due together
        return bench.analyse(f"{k}", PacedClock(1.0, stop), APART_S * k, seconds)

    with ThreadPoolExecutor(count) as pool:
        done = list(pool.map(camera, range(count)))
    return {
        "cpu_s": cpu() - used,
        "faces": sum(p.face.analysed + p.frames.dropped for p in done),
        "faces_dropped": sum(p.frames.dropped for p in done),
        "windows": sum(p.speech.windows + p.speech.skipped for p in done),
        "windows_skipped": sum(p.speech.skipped for p in done),
        **{m: worst([p.analysis.tracks[m].prediction_latency for p in done]) for m in HALVES},
    }


def worst(latencies: list[Latency]) -> list[float]:
    """The median and the 95th percentile of the camera where they are the longest, s."""
    return [max(latency.percentile(p) or 0.0 for latency in latencies) for p in (50, 95)]


def together(bench: Bench, count: int) -> dict[str, object]:
    """``count`` lossless pipelines at once over the whole file, after one alone."""
    alone = bench.analyse("alone", FreeClock())
    began = monotonic()
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(lambda k: bench.analyse(f"{k}", FreeClock()), range(count)))
    wall, expected = monotonic() - began, bench.tables("alone")
    return {
        "times_real": count * alone.frames.end / wall,
        "same": all(bench.tables(f"{k}") == expected for k in range(count)),
    }


def replay(bench: Bench) -> dict[str, object]:
    """One lossless pipeline."""
    used = cpu()
    done = bench.analyse("replay", FreeClock())
    return {"cpu_share": (cpu() - used) / done.frames.end}


def peak_mb() -> float:
    """The most memory that was resident since this program began, MB."""
    # ru_maxrss would begin with the peak of the process that started this one.
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


def main() -> None:
    """Do the job, print what came of it."""
    job = json.loads(sys.argv[1])
    config = configuration.load(None, job.get("settings", []))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(job["path"]), config, Path(folder))
        match job["kind"]:
            case "cameras":
                result = cameras(bench, job["count"], job["seconds"])
            case "together":
                result = together(bench, job["count"])
            case _:
                result = replay(bench)
    print(json.dumps(result | {"peak_mb": peak_mb()}))


if __name__ == "__main__":
    main()
