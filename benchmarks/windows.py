"""Replays sessions with other voice windows and scores the voice's own intervals.

    python benchmarks/windows.py TRUTH_DIR SCORER.py

TRUTH_DIR and SCORER.py: as for sessions.py. One line for each length of window and hop, and for
each least share of speech (`speech.min_voiced`): time_acc, eder, boundary_f1, switches a minute.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

WINDOWS_S = (1.5, 2.0, 3.0, 4.0)
HOPS_S = (0.25, 0.5, 1.0)
MIN_VOICED = (0.1, 0.3, 0.5)
FACES = "face.rate_hz=0.5"  # they are not looked at


def score(truth: Path, scorer: Path, settings: dict[str, float]) -> dict[str, object]:
    """The scorer's figures of ``voice_intervals.csv`` over all sessions."""
    words = [word for key, value in settings.items() for word in ("--set", f"speech.{key}={value}")]
    with tempfile.TemporaryDirectory() as out:
        for clip in sorted(p for p in truth.glob("*.mp4") if p.with_suffix(".csv").exists()):
            command = [sys.executable, "-m", "streamer", "replay", str(clip), "--speed", "max"]
            command += ["--out", out, "--session", clip.stem, "--set", FACES, *words]
            subprocess.run(command, check=True, capture_output=True)
            folder = Path(out) / clip.stem
            shutil.copy(folder / "voice_intervals.csv", folder / "audio_intervals.csv")
        command = [sys.executable, str(scorer), str(truth), out, "--json"]
        figures = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return dict(figures["voice"])


def main() -> None:
    """Read the arguments, print the table."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("truth", type=Path)
    ask.add_argument("scorer", type=Path)
    asked = ask.parse_args()
    for window, hop, voiced in product(WINDOWS_S, HOPS_S, MIN_VOICED):
        settings = {"window_s": window, "hop_s": hop, "min_voiced": voiced}
        figures = score(asked.truth, asked.scorer, settings)
        line = "  ".join(f"{figures[key]:.3f}" for key in ("time_acc", "eder", "boundary_f1"))
        print(f"{window:4} s  {hop:4} s  {voiced:3}  {line}  {figures['switches_per_min']}")


if __name__ == "__main__":
    main()
