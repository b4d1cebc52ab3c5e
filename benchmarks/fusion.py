"""Scores face, voice and both together where they are meant to show the same emotion.

    python benchmarks/fusion.py TRUTH_DIR OUTPUT_DIR

TRUTH_DIR/NAME.csv is the truth, OUTPUT_DIR/NAME/ the session that `streamer replay` made of NAME.
Counted is the time in which the truth says that face and voice match, and of it the time that is
not dubbed (kind native): the share with the right emotion, and the share without any.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamer.types import EMOTIONS

STEP_S = 0.01
NOTHING, UNCOUNTED = -1, -2
TABLES = {"face": "video_intervals", "voice": "voice_intervals", "both": "fused_intervals"}


def track(rows: list[dict[str, str]], length: int, column: str) -> NDArray[np.int64]:
    """The emotion at each step, NOTHING where there is none."""
    out = np.full(length, NOTHING)
    for row in rows:
        start, end = (round(float(row[key]) / STEP_S) for key in ("start", "end"))
        name = row[column].capitalize()
        out[start:end] = EMOTIONS.index(name) if name in EMOTIONS else NOTHING
    return out


def truth(rows: list[dict[str, str]], native: bool) -> NDArray[np.int64]:
    """The one emotion of face and voice at each step, UNCOUNTED where it does not count."""
    length = round(max(float(row["end"]) for row in rows) / STEP_S)
    counted = [r for r in rows if r["match"] == "1" and (not native or r["kind"] == "native")]
    out = track(counted, length, "face_emotion")
    out[out == NOTHING] = UNCOUNTED
    return out


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a table."""
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def main() -> None:
    """Read the arguments and print a line for each modality and kind of time."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("truth", type=Path)
    ask.add_argument("output", type=Path)
    asked = ask.parse_args()
    sessions = [p for p in sorted(asked.truth.glob("*.csv")) if (asked.output / p.stem).is_dir()]
    for native in (False, True):
        for name, table in TABLES.items():
            true, found = list[NDArray[np.int64]](), list[NDArray[np.int64]]()
            for path in sessions:
                known = truth(read(path), native)
                rows = read(asked.output / path.stem / f"{table}.csv")
                counts = known != UNCOUNTED
                true.append(known[counts])
                found.append(track(rows, len(known), "emotion")[counts])
            right = np.concatenate(true) == np.concatenate(found)
            silent = np.concatenate(found) == NOTHING
            line = f"time_acc {right.mean():.3f}  without emotion {silent.mean():.3f}"
            line += f"  of {len(right) * STEP_S:.1f} s"
            print(f"{'not dubbed' if native else 'matching':12}{name:8}{line}")


if __name__ == "__main__":
    main()
