"""Scores stored predictions as they are, and rested on the person's own neutral stretch.

    python benchmarks/baseline.py STREAMS_DIR SCORER.py

STREAMS_DIR as for segmenters.py. Of each session, the first stretch that is neutral in truth is the
baseline; it is not scored, nor is anybody else than the person it was taken from.
"""

import argparse
import csv
import shutil
import tempfile
from pathlib import Path

import numpy as np
from segmenters import predictions, score

from streamer.baseline import Baseline
from streamer.types import EMOTIONS, Modality

POLICY = ["policy=changepoint"]
KEYS = ("time_acc", "macro_f1", "boundary_f1")


def prepare(folder: Path, name: str, modality: Modality, plain: Path, rested: Path) -> bool:
    """Write the session into both folders; False: nothing in it is neutral."""
    stream = f"{name}_{modality}.csv"
    truth = list(csv.DictReader((folder / f"{name}.csv").open(encoding="utf-8")))
    neutral = next((r for r in truth if r[f"{modality}_emotion"] == "neutral"), None)
    if neutral is None:
        return False
    start, end = float(neutral["start"]), float(neutral["end"])
    around = 1.0 * (modality == "voice")  # of a window of 3 s, two thirds lie inside
    baseline = Baseline(end - around)
    for p in predictions(folder / stream, modality):
        if start + around <= p.time < end - around:
            baseline.apply(p)
    for row in truth:
        if row is neutral or row[f"{modality}_actor"] != neutral[f"{modality}_actor"]:
            row[f"{modality}_emotion"] = "none"
    for target in (plain, rested):
        with (target / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(truth[0]))
            writer.writeheader()
            writer.writerows(truth)
    shutil.copy(folder / stream, plain)
    rows = list(csv.DictReader((folder / stream).open(encoding="utf-8")))
    columns = [e.lower() for e in EMOTIONS]
    for row in rows:
        if all(row[c] for c in columns):
            probs = baseline.rest(np.array([row[c] for c in columns], np.float32))
            row.update(dict(zip(columns, (f"{p:.6f}" for p in probs), strict=True)))
    with (rested / stream).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return True


def main() -> None:
    """Read the arguments and print two lines for each modality, and how the sessions fared."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("streams", type=Path)
    ask.add_argument("scorer", type=Path)
    asked = ask.parse_args()
    modalities: list[Modality] = ["face", "voice"]
    for modality in modalities:
        streams = sorted(asked.streams.glob(f"*_{modality}.csv"))
        names = [s.stem.removesuffix(f"_{modality}") for s in streams]
        changes = []
        with tempfile.TemporaryDirectory() as room:
            whole = [Path(room) / "plain", Path(room) / "rested"]
            for folder in whole:
                folder.mkdir()
            for name in names:
                single = [Path(room) / f"{name}-{kind}" for kind in ("plain", "rested")]
                for folder in single:
                    folder.mkdir()
                if prepare(asked.streams, name, modality, *single):
                    prepare(asked.streams, name, modality, *whole)
                    before, after = (score(f, asked.scorer, modality, POLICY) for f in single)
                    changes.append(float(str(after["time_acc"])) - float(str(before["time_acc"])))
            for kind, folder in zip(("as it is", "rested"), whole, strict=True):
                figures = score(folder, asked.scorer, modality, POLICY)
                line = "  ".join(f"{key} {figures[key]:.3f}" for key in KEYS)
                print(f"{modality:6}{kind:10}{line}  {figures['switches_per_min']}")
        print(f"{modality:6}time_acc by session: {'  '.join(f'{c:+.2f}' for c in changes)}")


if __name__ == "__main__":
    main()
