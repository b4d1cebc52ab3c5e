"""Compares the figures of `streamer evaluate` with those of an independent scorer.

    python benchmarks/scorer.py SCORER.py [TRUTH_DIR]

SCORER.py TRUTH_DIR OUTPUT_DIR --json prints its figures. Without TRUTH_DIR, on random truths and
tables: gaps, near and far boundaries, sessions without tables. With it, on its replays.
Fails at the first figure that differs by more than 1e-12.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np

from streamer.types import EMOTIONS

TRUTH = "start,end,face_emotion,voice_emotion"
TABLES = {
    "video_intervals": "emotion,start,end,probability",
    "audio_intervals": "emotion,start,end,probability",
    "modality_mismatch": "start,end",
}


def spans(random: np.random.Generator, length: float, step: float) -> list[tuple[float, float]]:
    """Consecutive spans of ``step`` s on average, to the millisecond."""
    cuts = np.unique(np.round(random.uniform(0, length, round(length / step)), 3))
    edges = [0.0, *cuts.tolist(), length]
    return list(pairwise(edges))


def imagine(random: np.random.Generator, truths: Path, sessions: Path, name: str) -> None:
    """One random truth, and tables that are partly right; some sessions have none."""
    length = float(np.round(random.uniform(20, 90), 2))
    labels = [*EMOTIONS, ""]
    lines, true = [TRUTH], []
    for start, end in spans(random, length, 6.0):
        face, voice = random.choice(labels, 2).tolist()
        lines.append(f"{start:.3f},{end:.3f},{face.lower()},{voice.lower()}")
        true.append((start, end, face, voice))
    (truths / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if random.uniform() < 0.1:
        return
    folder = sessions / name
    folder.mkdir()
    rows: dict[str, list[str]] = {table: [header] for table, header in TABLES.items()}
    for at, table in enumerate(("video_intervals", "audio_intervals")):
        for start, end in spans(random, length, random.uniform(0.3, 6)):
            kind, middle = random.uniform(), (start + end) / 2
            right = next(row[2 + at] for row in true if row[0] <= middle <= row[1])
            said = right if kind < 0.6 else str(random.choice(labels))
            if kind < 0.95:
                rows[table].append(f"{said},{start:.3f},{end:.3f},{random.uniform():.4f}")
        # Some boundaries lie exactly at, or just beside, the tolerance.
        for _, end, face, _ in true:
            shift = random.choice([-0.51, -0.5, -0.49, 0, 0.49, 0.5, 0.51])
            start = min(max(end + shift, 0), length)
            rows[table].append(f"{face},{start:.3f},{min(start + 0.2, length):.3f},0.5")
    chosen = [s for s in spans(random, length, 2.0) if random.uniform() < 0.4]
    rows["modality_mismatch"] += [f"{start:.3f},{end:.3f}" for start, end in chosen]
    for table, content in rows.items():
        (folder / f"{table}.csv").write_text("\n".join(content) + "\n", encoding="utf-8")


def compare(ours: dict[str, object], theirs: dict[str, object], where: str = "") -> int:
    """How many figures are the same; exits at one that is not."""
    count = 0
    for key, expected in theirs.items():
        got = ours[key]
        if isinstance(expected, dict):
            assert isinstance(got, dict)
            count += compare(got, expected, f"{where}{key}.")
            continue
        same = got == expected
        if isinstance(expected, float):
            assert isinstance(got, float)
            same = abs(got - expected) <= 1e-12
        if not same:
            sys.exit(f"{where}{key}: {got} instead of {expected}")
        count += 1
    return count


def check(scorer: Path, truths: Path, sessions: Path | None, out: Path) -> int:
    """Judge the sessions with both; how many figures are the same."""
    command = [sys.executable, "-m", "streamer", "evaluate", str(truths), "--out", str(out)]
    command += ["--json", *(["--sessions", str(sessions)] if sessions else [])]
    ours = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    command = [sys.executable, str(scorer), str(truths), str(sessions or out / "sessions")]
    theirs = subprocess.run([*command, "--json"], check=True, stdout=subprocess.PIPE).stdout
    return compare(ours, json.loads(theirs))


def main() -> None:
    """Read the arguments, judge, compare."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("scorer", type=Path)
    ask.add_argument("truth", type=Path, nargs="?")
    ask.add_argument("--rounds", type=int, default=5)
    asked = ask.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        if asked.truth:
            count = check(asked.scorer, asked.truth, None, here / "out")
            print(f"{count} figures are the same on {asked.truth}")
            return
        for seed in range(asked.rounds):
            random = np.random.default_rng(seed)
            truths, sessions = here / f"{seed}" / "truths", here / f"{seed}" / "sessions"
            truths.mkdir(parents=True)
            sessions.mkdir()
            for number in range(20):
                imagine(random, truths, sessions, f"random{number:02}")
            count = check(asked.scorer, truths, sessions, here / f"{seed}" / "out")
            print(f"{count} figures are the same on 20 random sessions (seed {seed})")


if __name__ == "__main__":
    main()
