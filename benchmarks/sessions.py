"""Replays sessions with known emotions with each segmenter and scores the tables.

    python benchmarks/sessions.py TRUTH_DIR SCORER.py [--set section.key=value …]

TRUTH_DIR holds NAME.mp4 beside NAME.csv; SCORER.py TRUTH_DIR OUTPUT_DIR prints the figures.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.progress import track

POLICIES = ("argmax", "hysteresis", "changepoint")


def main() -> None:
    """Read the arguments, replay, score."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("truth", type=Path)
    ask.add_argument("scorer", type=Path)
    ask.add_argument("--set", action="append", default=[], dest="settings")
    asked = ask.parse_args()
    clips = sorted(p for p in asked.truth.glob("*.mp4") if p.with_suffix(".csv").exists())
    for policy in POLICIES:
        with tempfile.TemporaryDirectory() as out:
            for clip in track(clips, f"{policy:10}", transient=True):
                settings = [f"segmenter.policy={policy}", *asked.settings]
                command = [sys.executable, "-m", "streamer", "replay", str(clip)]
                command += ["--speed", "max", "--out", out, "--session", clip.stem]
                command += [word for s in settings for word in ("--set", s)]
                subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
            print(f"\n{policy} {' '.join(asked.settings)}", flush=True)
            subprocess.run([sys.executable, asked.scorer, asked.truth, out], check=True)


if __name__ == "__main__":
    main()
