"""How far the models' probabilities can be trusted on streams of people they never saw.

    python benchmarks/calibration.py STREAMS_DIR

STREAMS_DIR: as for segmenters.py. For each modality: accuracy, negative log-likelihood and expected
calibration error (15 bins) of single predictions as they are; with a temperature fitted on the
other people; and with a temperature and a bias for each emotion (a prior correction) fitted on
them. A voice window counts only where it lies inside one emotion.

Source: Guo et al., "On Calibration of Modern Neural Networks", 2017.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from segmenters import predictions

from streamer.types import EMOTIONS, Modality

Reals = NDArray[np.float64]
Labels = NDArray[np.int64]
BINS = 15
TEMPERATURES = np.geomspace(0.5, 4, 61)
SHRINKAGE = 0.03  # per squared bias
SAME_FACES = "montage"  # people with a few seconds each are held out together


def labelled(folder: Path, modality: Modality) -> tuple[Reals, Labels, list[str]]:
    """Log p (N, 7), true emotions (N,) and people of all predictions inside one emotion."""
    logs, truths, people = [], [], []
    for stream in sorted(folder.glob(f"*_{modality}.csv")):
        path = folder / f"{stream.stem.removesuffix(f'_{modality}')}.csv"
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        for p in predictions(stream, modality):
            for row in rows:
                emotion = row[f"{modality}_emotion"].capitalize()
                inside = p.start >= float(row["start"]) and p.end < float(row["end"])
                if inside and p.probs is not None and emotion in EMOTIONS:
                    logs.append(np.log(np.maximum(p.probs, 1e-6), dtype=np.float64))
                    truths.append(EMOTIONS.index(emotion))
                    one = SAME_FACES if SAME_FACES in path.stem else row[f"{modality}_actor"]
                    people.append(one)
    return np.array(logs), np.array(truths), people


def softmax(logits: Reals) -> Reals:
    """Probabilities (N, 7)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def loss(probs: Reals, truths: Labels) -> float:
    """Mean negative log-likelihood."""
    return float(-np.log(probs[np.arange(len(truths)), truths] + 1e-12).mean())


def calibration_error(probs: Reals, truths: Labels) -> float:
    """Expected calibration error of the most probable emotion."""
    sure, right = probs.max(axis=1), probs.argmax(axis=1) == truths
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    return float(
        sum(abs(sure[bins == b].sum() - right[bins == b].sum()) for b in range(BINS)) / len(sure)
    )


def temperature(logs: Reals, truths: Labels) -> float:
    """The most likely one."""
    return float(min(TEMPERATURES, key=lambda t: loss(softmax(logs / t), truths)))


def bias(logs: Reals, truths: Labels) -> Reals:
    """The most likely one (7,), shrunk towards none, by gradient descent."""
    hot, found = np.eye(7)[truths], np.zeros(7)
    for _ in range(300):
        found -= (softmax(logs + found) - hot).mean(axis=0) + 2 * SHRINKAGE * found
    return found


def main() -> None:
    """Read the arguments and print three lines for each modality."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("streams", type=Path)
    asked = ask.parse_args()
    modalities: list[Modality] = ["face", "voice"]
    for modality in modalities:
        logs, truths, people = labelled(asked.streams, modality)
        softened, corrected, fitted = logs.copy(), logs.copy(), []
        for one in sorted(set(people)):
            out = np.array([p == one for p in people])
            fitted.append(temperature(logs[~out], truths[~out]))
            softened[out] = logs[out] / fitted[-1]
            rest = logs[~out] / fitted[-1]
            corrected[out] = softened[out] + bias(rest, truths[~out])
        print(f"{modality}: {len(truths)} predictions, {len(fitted)} folds, ", end="")
        print(f"temperatures {min(fitted):.2f} to {max(fitted):.2f}")
        ways = {"as it is": logs, "temperature": softened, "and bias": corrected}
        for name, logits in ways.items():
            probs = softmax(logits)
            accuracy = (probs.argmax(axis=1) == truths).mean()
            error = calibration_error(probs, truths)
            line = f"accuracy {accuracy:.3f}  log-loss {loss(probs, truths):.3f}  ECE {error:.3f}"
            print(f"  {name:12}{line}  mean confidence {probs.max(axis=1).mean():.3f}")


if __name__ == "__main__":
    main()
