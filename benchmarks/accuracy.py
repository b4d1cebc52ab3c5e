"""How right the default face model is on FER2013, run by the program's own code.

    python benchmarks/accuracy.py FER2013_DIR [--picture PICTURE.png]

FER2013_DIR holds public_test.npz and private_test.npz: images uint8 (n, 48, 48) and labels 0…6 =
angry, disgust, fear, happy, sad, surprise, neutral. Choices are made on the public half; the
private one is reported.
"""

import argparse
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from streamer import config as configuration
from streamer import models
from streamer.face import FaceEmotion, FaceReader
from streamer.types import EMOTIONS, Face, Floats, Image

BINS = 15
SHADES = {
    "as they are": 1.0,
    "half as bright": 0.5,
    "a fifth as bright": 0.2,
    "a tenth as bright": 0.1,
}
MARGIN = 0.5
"""What is added on each side of a picture for the detector, as a share of it."""
SCALE = 4
"""By how much a picture is enlarged for the detector."""


@dataclass(frozen=True, slots=True)
class Said:
    """True labels int64 (n,) and probabilities float64 (n, 7); rows of NaN: no face was found."""

    true: NDArray[np.int64]
    probs: NDArray[np.float64]

    @property
    def found(self) -> NDArray[np.bool_]:
        """Where anything was said, (n,)."""
        return ~np.isnan(self.probs[:, 0])

    def at(self, mask: NDArray[np.bool_]) -> "Said":
        """A part of it."""
        return Said(self.true[mask], self.probs[mask])

    @property
    def confusion(self) -> NDArray[np.int64]:
        """How often row is true and column was said, (7, 7)."""
        counts = np.zeros((len(EMOTIONS), len(EMOTIONS)), np.int64)
        np.add.at(counts, (self.true, self.probs.argmax(1)), 1)
        return counts


def accuracy(said: Said) -> float:
    """Share of what is right."""
    return float((said.probs.argmax(1) == said.true).mean())


def per_class(said: Said) -> tuple[Floats, Floats, Floats]:
    """Precision, recall and F1 of each emotion, (7,) each."""
    counts = said.confusion
    hits, said_of, true_of = np.diag(counts), counts.sum(0), counts.sum(1)
    return hits / said_of, hits / true_of, 2 * hits / (said_of + true_of)


def ece(said: Said) -> float:
    """Expected calibration error of the most probable emotion in BINS equally wide bins."""
    counts, probability, right = reliability(said)
    return float(np.abs(right - probability).sum() / counts.sum())


def reliability(said: Said) -> tuple[Floats, Floats, Floats]:
    """Per bin: how many, their summed probability, how many of them are right."""
    p, right = said.probs.max(1), said.probs.argmax(1) == said.true
    at = np.minimum((p * BINS).astype(int), BINS - 1)
    parts = (np.bincount(at, weights, BINS) for weights in (None, p, right.astype(float)))
    counts, probability, rights = parts
    return counts, probability, rights


def tempered(said: Said, temperature: float) -> Said:
    """The same with each probability to the power of 1 / temperature."""
    powers = np.maximum(said.probs, 1e-9) ** (1 / temperature)
    return Said(said.true, powers / powers.sum(1, keepdims=True))


def fit_temperature(said: Said) -> float:
    """The temperature with the least mean −log p of what is true."""

    def loss(temperature: float) -> float:
        probs = tempered(said, temperature).probs
        return float(-np.log(probs[np.arange(len(said.true)), said.true]).mean())

    return float(min(np.arange(0.5, 2.005, 0.01), key=loss))


def frames(emotion: FaceEmotion, images: Image, labels: NDArray[np.int64], what: str) -> Said:
    """What the model says of whole 48 × 48 pictures, taken for the crop of a face."""
    rows = []
    for picture in track(images, what, console=Console(stderr=True), transient=True):
        colour = np.repeat(picture[:, :, None], 3, axis=2)
        height, width = picture.shape
        rows.append(emotion.read(colour, Face(0.0, 0.0, width, height, 1.0)).probs)
    return Said(labels, np.array(rows, np.float64))


def detected(reader: FaceReader, images: Image, labels: NDArray[np.int64], what: str) -> Said:
    """What the program says: the pictures enlarged, with room around them, as if from a camera."""
    rows = []
    for picture in track(images, what, console=Console(stderr=True), transient=True):
        size = picture.shape[0] * SCALE
        large = cv2.resize(picture, (size, size), interpolation=cv2.INTER_CUBIC)
        edge = round(size * MARGIN)
        placed = cv2.copyMakeBorder(large, edge, edge, edge, edge, cv2.BORDER_REPLICATE)
        reading = reader.read(np.repeat(placed[:, :, None], 3, axis=2))[1]
        rows.append(reading.probs if reading else np.full(len(EMOTIONS), np.nan))
    return Said(labels, np.array(rows, np.float64))


def summary(said: Said) -> str:
    """Accuracy, macro-F1, UAR and calibration in a row of a table."""
    _, recall, f1 = per_class(said)
    figures = (accuracy(said), f1.mean(), recall.mean(), ece(said))
    return " | ".join([*(_short(f) for f in figures[:3]), f"{figures[3]:.3f}".lstrip("0")])


def tables(said: Said) -> None:
    """Print each emotion's figures and the confusions."""
    print("\n| | precision | recall | F1 | pictures |\n| --- | --- | --- | --- | --- |")
    counts = said.confusion
    for row in zip(EMOTIONS, *per_class(said), counts.sum(1), strict=True):
        print(f"| {row[0]} | {' | '.join(_short(v) for v in row[1:4])} | {row[4]} |")
    print(f"\n| true \\ said | {' | '.join(EMOTIONS)} |\n{'| --- ' * 8}|")
    for name, row in zip(EMOTIONS, counts / counts.sum(1, keepdims=True), strict=True):
        print(f"| {name} | {' | '.join(_short(v) for v in row)} |")


def brightness(emotion: FaceEmotion, plain: FaceEmotion, images: Image, said: Said) -> None:
    """Print accuracy by the pictures' own brightness and contrast, and with pictures darkened."""
    mean, deviation = images.mean((1, 2)), images.std((1, 2))
    print("\n| pictures | n | accuracy |\n| --- | --- | --- |")
    for name, values, edges in (
        ("mean brightness", mean, (0, 80, 120, 160, 256)),
        ("standard deviation", deviation, (0, 28, 45, 60, 256)),
    ):
        for low, high in pairwise(edges):
            part = said.at((values >= low) & (values < high))
            print(f"| {name} {low} to {high} | {len(part.true)} | {_short(accuracy(part))} |")
    print("\n| all made | stretched where flat, as in the program | never |\n| --- | --- | --- |")
    for name, factor in SHADES.items():
        dark = np.round(images * factor).astype(np.uint8)
        both = [accuracy(frames(e, dark, said.true, name)) for e in (emotion, plain)]
        print(f"| {name} | {' | '.join(_short(v) for v in both)} |")


def draw(said: Said, path: Path) -> None:
    """Confusions and reliability in one picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    counts = said.confusion
    shares = counts / counts.sum(1, keepdims=True)
    left.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(shares.shape):
        colour = "white" if shares[i, j] > 0.5 else "black"
        left.text(j, i, f"{shares[i, j] * 100:.0f}", ha="center", va="center", color=colour)
    left.set_xticks(range(len(EMOTIONS)), EMOTIONS, rotation=40, ha="right")
    left.set_yticks(range(len(EMOTIONS)), EMOTIONS)
    left.set(xlabel="said", ylabel="true", title="% of the pictures of each emotion")
    n, probability, rights = reliability(said)
    there = n >= 10
    right.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
    at = probability[there] / n[there]
    right.plot(at, rights[there] / n[there], marker="o", color="tab:blue")
    right.bar(at, n[there] / n.sum(), width=0.03, color="0.8", label="share of the pictures")
    right.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability said", ylabel="share that is right")
    right.set_title(f"Reliability, ECE {ece(said):.3f}")
    right.legend(loc="upper left", frameon=False)
    figure.savefig(path, dpi=90)


def _short(value: float) -> str:
    return f"{value:.3f}".lstrip("0")


def main() -> None:
    """Read the arguments, run the model, print the tables."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("folder", type=Path)
    ask.add_argument("--picture", type=Path)
    asked = ask.parse_args()
    config = configuration.load()
    detector = models.load(config.face.detector, "face-detection", config.models)
    model = models.load(config.face.emotion, "face-emotion", config.models)
    whole = {"side": 1.0, "up": 0.0}
    emotion, reader = FaceEmotion(model, whole), FaceReader(detector, model, config.face)
    manifest = model.manifest
    unstretched = manifest.model_copy(update={"preprocess": manifest.preprocess | {"dark_std": 0}})
    plain = FaceEmotion(
        models.Model(unstretched, model.session, model.provider, model.parts), whole
    )
    halves = {}
    print("| half, how | found | accuracy | macro-F1 | UAR | ECE |")
    print("| --- | --- | --- | --- | --- | --- |")
    for half in ("public", "private"):
        data = np.load(asked.folder / f"{half}_test.npz")
        images, labels = data["images"], data["labels"].astype(np.int64)
        halves[half] = images, frames(emotion, images, labels, half)
        print(f"| {half}, the picture is the crop | 1 | {summary(halves[half][1])} |")
        seen = detected(reader, images, labels, half)
        found = seen.at(seen.found)
        print(f"| {half}, face detected | {_short(seen.found.mean())} | {summary(found)} |")
        print(f"| {half}, the same, crop | | {summary(halves[half][1].at(seen.found))} |")
    images, private = halves["private"]
    temperature = fit_temperature(halves["public"][1])
    print(
        f"\nmanifest's temperature {manifest.temperature:g}: private ECE {ece(private):.4f}; ",
        end="",
    )
    print(f"fitted on public {temperature:.2f}: {ece(tempered(private, temperature)):.4f}")
    tables(private)
    brightness(emotion, plain, images, private)
    if asked.picture:
        draw(private, asked.picture)


if __name__ == "__main__":
    main()
