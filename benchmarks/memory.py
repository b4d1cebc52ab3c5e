"""Peak memory of a whole replay over the length of its file.

    python benchmarks/memory.py [MINUTES …]      default: 2 20

The demo clip is repeated without re-encoding; each file is replayed by a fresh process at
`--speed max`. Prints the peak resident set of each and its ratio to the first.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from inputs import repeat
from rich.console import Console

# A new process starts with the peak of the one that started it: that one must be small itself.
_LAUNCH = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def peak_mb(path: Path, out: Path) -> float:
    """Peak resident set of one replay, MB (POSIX only)."""
    replay = [sys.executable, "-m", "streamer", "replay", str(path), "--speed", "max"]
    done = subprocess.run(
        [sys.executable, "-c", _LAUNCH, *replay, "--no-dashboard", "--out", str(out)],
        check=False,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"replay of {path.name} ended with {done.returncode}")
    return int(done.stdout.splitlines()[-1]) / 1024


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
