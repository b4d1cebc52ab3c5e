"""Peak memory of a whole replay over the length of its file.

    python benchmarks/memory.py [MINUTES …]      default: 2 20

The demo clip is repeated without re-encoding; each file is replayed by a fresh process at
`--speed max`. Prints the peak resident set of each and its ratio to the first.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from inputs import repeat
from rich.console import Console


def peak_mb(path: Path, out: Path) -> float:
    """Peak resident set of one replay, MB (POSIX only)."""
    command = [sys.executable, "-m", "streamer", "replay", str(path), "--speed", "max"]
    process = subprocess.Popen(
        [*command, "--no-dashboard", "--out", str(out)], stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"replay of {path.name} ended with {process.returncode}")
    return usage.ru_maxrss / 1024


def main() -> None:
    """Read the arguments and measure."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("minutes", nargs="*", type=float, default=[2, 20])
    first, console = None, Console()
    with tempfile.TemporaryDirectory() as folder:
        for minutes in ask.parse_args().minutes:
            with console.status(f"{minutes:g} minutes…"):
                path = repeat(Path(folder) / f"{minutes:g}.mkv", minutes * 60)
                peak = peak_mb(path, Path(folder))
            first = first or peak
            console.print(f"{minutes:g} min: {peak:.0f} MB, ratio {peak / first:.3f}")


if __name__ == "__main__":
    main()
