"""Segments streams of stored predictions with each policy and scores the intervals.

    python benchmarks/segmenters.py STREAMS_DIR SCORER.py

STREAMS_DIR holds NAME.csv (the truth), NAME_face.csv and NAME_voice.csv: what `streamer replay
--save-predictions` writes, or time and seven probabilities, empty where there is no face (the
voice's windows last 3 s and end at their time). No model runs: this is for the segmenters alone.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from hmm import Chain, HmmSegmenter

from streamer import config as configuration
from streamer.pipeline import segmenter
from streamer.types import EMOTIONS, Modality, Prediction, Segmenter

LAGS = (0.2, 0.5, 1.0, 1.5, 2.0, 3.0)
SETTINGS = [
    ["policy=argmax"],
    # Its look-ahead is how long the other emotion must lead.
    *(["policy=hysteresis", f"min_duration_s={lag}"] for lag in (0.2, 0.5, 0.6, *LAGS[2:])),
    *(["policy=hmm", f"lag_s={lag}"] for lag in LAGS),
    *(["policy=changepoint", f"lag_s={lag}"] for lag in LAGS),
]
CHAINS: dict[Modality, Chain] = {"face": Chain(), "voice": Chain(look_s=0.5)}
"""The hidden Markov model with what suits it best on these very streams, of some dozens tried."""
SILENT_DB = -50.0
WINDOW_S = 3.0


def predictions(path: Path, modality: Modality) -> list[Prediction]:
    """The stored stream; a voice window speaks for its middle, and not at all if it is silent."""
    out = []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row.get("closed_by"):
                continue  # the end of the stream
            values = [row[e.lower()] for e in EMOTIONS]
            silent = float(row.get("rms_db", "inf")) < SILENT_DB
            probs = np.array(values, np.float32) if all(values) and not silent else None
            time = start = end = float(row["time"])
            if "start" in row:
                start, end = float(row["start"]), float(row["end"])
            elif modality == "voice":
                time, start = max(end - WINDOW_S / 2, 0.0), max(end - WINDOW_S, 0.0)
            out.append(Prediction(modality, time, start, end, probs))
    return out


def make(modality: Modality, settings: list[str]) -> Segmenter:
    """The segmenter of ``settings``."""
    if settings[0] == "policy=hmm":
        return HmmSegmenter(modality, float(settings[1].partition("=")[2]), CHAINS[modality])
    config = configuration.load(None, [f"segmenter.{s}" for s in settings])
    return segmenter(modality, config.segmenter)


def score(folder: Path, scorer: Path, modality: Modality, settings: list[str]) -> dict[str, object]:
    """The scorer's figures of one modality over all sessions."""
    table = {"face": "video_intervals.csv", "voice": "audio_intervals.csv"}
    with tempfile.TemporaryDirectory() as out, tempfile.TemporaryDirectory() as truths:
        for stream in sorted(folder.glob(f"*_{modality}.csv")):
            name = stream.stem.removesuffix(f"_{modality}")
            truth = (folder / f"{name}.csv").read_text(encoding="utf-8")
            (Path(truths) / f"{name}.csv").write_text(truth, encoding="utf-8")
            end = max(float(row["end"]) for row in csv.DictReader(truth.splitlines()))
            machine = make(modality, settings)
            rows = [i for p in predictions(stream, modality) for i in machine.push(p)]
            rows += machine.finish(end, "end")
            session = Path(out) / name
            session.mkdir()
            for file in (*table.values(), "modality_mismatch.csv"):
                (session / file).write_text("emotion,start,end\n", encoding="utf-8")
            with (session / table[modality]).open("a", newline="", encoding="utf-8") as target:
                csv.writer(target).writerows((i.label, i.start, i.end) for i in rows)
        command = [sys.executable, str(scorer), truths, out, "--json"]
        figures = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return dict(figures[modality])


def main() -> None:
    """Read the arguments and print one line for each setting."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("streams", type=Path)
    ask.add_argument("scorer", type=Path)
    asked = ask.parse_args()
    modalities: list[Modality] = ["face", "voice"]
    for modality in modalities:
        for settings in SETTINGS:
            figures = score(asked.streams, asked.scorer, modality, settings)
            line = "  ".join(
                f"{key} {figures[key]:.3f}"
                for key in ("time_acc", "macro_f1", "eder", "boundary_f1")
            )
            print(f"{modality:6}{' '.join(settings):40}{line}  {figures['switches_per_min']}")


if __name__ == "__main__":
    main()
