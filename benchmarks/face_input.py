"""What is done to a face before and after its model: crop, contrast, mirror, roll, averaging.

    python benchmarks/face_input.py FER2013.npz SESSIONS_DIR STREAMS_DIR SCORER.py

FER2013.npz holds images uint8 (n, 48, 48) and labels 0…6. SESSIONS_DIR holds NAME.mp4 and NAME.csv
(the truth); the bundled demo clip is read beside them. STREAMS_DIR as for segmenters.py. Prints,
for each variant, the share of faces (frames) with the right emotion, and macro-F1.
"""

import argparse
import csv
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice, product
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from segmenters import predictions, score

from streamer import config as configuration
from streamer import face as faces
from streamer.face import BlazeFace, FaceEmotion
from streamer.models import Model
from streamer.pipeline import Models
from streamer.resources import demo_clip
from streamer.types import EMOTIONS, Face, Floats, Image

FRAMES_HZ = 5
ANGLES = (-25, -20, -15, -10, 10, 15, 20, 25)
DARK = (0.3, 0.15)
LEAST = (math.inf, 15.0, 10.0, 0.0)
WHOLE = {"side": 1.0, "up": 0.0}


class Tally:
    """Answers of each variant; None counts as wrong."""

    def __init__(self) -> None:
        self._seen: dict[str, list[tuple[int, int]]] = {}

    def add(self, name: str, truth: int, probs: Floats | None) -> None:
        """Take an answer."""
        said = -1 if probs is None else int(np.argmax(probs))
        self._seen.setdefault(name, []).append((truth, said))

    def show(self) -> None:
        """Print a line for each variant."""
        for name, pairs in self._seen.items():
            truth, said = np.array(pairs).T
            both = [((truth == e) & (said == e)).sum() for e in np.unique(truth)]
            all_ = [(truth == e).sum() + (said == e).sum() for e in np.unique(truth)]
            f1 = np.mean([2 * b / a for b, a in zip(both, all_, strict=True)])
            print(f"{name:44} {np.mean(truth == said):.4f}  {f1:.4f}  {len(pairs)}", flush=True)


def stretching(model: Model, dark_std: float) -> Model:
    """The model with another threshold under which a picture is stretched."""
    pre = model.manifest.preprocess | {"dark_std": dark_std}
    return replace(model, manifest=model.manifest.model_copy(update={"preprocess": pre}))


def turned(image: Image, degrees: float) -> Image:
    """The picture turned clockwise around its middle."""
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1.0)
    edge = cv2.BORDER_REPLICATE
    return np.asarray(cv2.warpAffine(image, turn, (width, height), borderMode=edge), np.uint8)


def darker(image: Image, share: float) -> Image:
    """The picture as a camera gives it in little light."""
    return (image * share).astype(np.uint8)


def equalised(image: Image) -> Image:
    """CLAHE (Zuiderveld 1994) of the gray picture."""
    gray = cv2.createCLAHE(2.0, (4, 4)).apply(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    return np.asarray(cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB), np.uint8)


def mirrored(image: Image) -> Image:
    """The picture with left and right exchanged."""
    return np.ascontiguousarray(image[:, ::-1])


class Reader:
    """Reads squares that were cut already."""

    def __init__(self, model: Model) -> None:
        self._emotion = FaceEmotion(model, WHOLE)

    def read(self, cut: Image) -> Floats:
        """Probabilities (7,) of a square uint8 (S, S, 3)."""
        side = float(cut.shape[0])
        return self._emotion.read(cut, Face(0, 0, side, side, 1)).probs

    def both(self, cut: Image, logits: bool) -> Floats:
        """The mean over the square and its mirror image, of p or of log p."""
        rows = np.stack([self.read(cut), self.read(mirrored(cut))])
        if not logits:
            return np.asarray(rows.mean(axis=0))
        return np.asarray(np.log(rows + 1e-7).mean(axis=0))


def contrast(model: Model) -> dict[str, Callable[[Image], Floats]]:
    """What may be done about a flat picture."""
    readers = {std: Reader(stretching(model, std)) for std in (0, 28, 44, 999)}
    ways: dict[str, Callable[[Image], Floats]] = {
        f"stretched under {std}": reader.read for std, reader in readers.items()
    }
    ways["CLAHE"] = lambda cut: readers[0].read(equalised(cut))
    return ways


def fer_images(path: Path) -> Iterator[tuple[Image, int]]:
    """(picture, emotion): FER2013's order of labels is that of EMOTIONS."""
    with np.load(path) as data:
        for gray, label in zip(data["images"], data["labels"], strict=True):
            yield np.repeat(gray[:, :, None], 3, axis=2), int(label)


def fer(path: Path, model: Model) -> None:
    """Faces that are cut already."""
    ways, plain, tally = contrast(model), Reader(model), Tally()
    for image, truth in fer_images(path):
        tally.add("fer as it is", truth, plain.read(image))
        tally.add("fer mirror, mean of p", truth, plain.both(image, logits=False))
        tally.add("fer mirror, mean of log p", truth, plain.both(image, logits=True))
        for name, read in ways.items():
            tally.add(f"fer {name}", truth, read(image))
            for share in DARK:
                tally.add(f"fer dark {share:g} {name}", truth, read(darker(image, share)))
    tally.show()


def rolls(
    pictures: Iterable[tuple[Image, int]], loaded: Models, name: str, size: int | None = None
) -> None:
    """Whole pictures turned by known angles; heads turned back from several least angles on.

    size: small pictures of faces alone are made so large, pixels, and given a margin; those in
    which no face is found are left out.
    """
    detector, tally = BlazeFace(loaded.detector, 0.5), Tally()
    emotion = FaceEmotion(loaded.face, loaded.detector.manifest.preprocess["crop"])
    usual = faces.LEAST_ROLL
    for small, truth in pictures:
        image = small
        if size is not None:
            large = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
            margin = [size // 2] * 4
            image = np.asarray(cv2.copyMakeBorder(large, *margin, cv2.BORDER_REPLICATE), np.uint8)
        if largest(detector, image) is None:
            continue
        for angle in (0, *ANGLES):
            tilted = turned(image, angle)
            seen = largest(detector, tilted)
            for faces.LEAST_ROLL in LEAST:
                probs = emotion.read(tilted, seen).probs if seen else None
                what = f"{name} turned {abs(angle)} undone from {faces.LEAST_ROLL:g}"
                tally.add(what, truth, probs)
    faces.LEAST_ROLL = usual
    tally.show()


def largest(detector: BlazeFace, image: Image) -> Face | None:
    """The largest face."""
    return max(detector.detect(image), key=lambda f: f.width * f.height, default=None)


def frames(folder: Path) -> Iterator[tuple[Image, int]]:
    """(picture, emotion) of every session and the demo clip, FRAMES_HZ a second."""
    clips = [(path, path.with_suffix(".csv")) for path in sorted(folder.glob("*.mp4"))]
    demo = Path(str(demo_clip()))
    for clip, truth in [*clips, (demo, demo.with_suffix(".csv"))]:
        with truth.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        due = 0.0
        with av.open(str(clip)) as media:
            for frame in media.decode(video=0):
                t = float(frame.time or 0)
                if t < due:
                    continue
                due += 1 / FRAMES_HZ
                for row in rows:
                    if float(row["start"]) <= t < float(row["end"]):
                        emotion = EMOTIONS.index(row["face_emotion"].capitalize())
                        yield frame.to_ndarray(format="rgb24"), emotion


def sessions(folder: Path, loaded: Models) -> None:
    """Whole pictures, from the detector on."""
    detector, model = BlazeFace(loaded.detector, 0.5), loaded.face
    crop = loaded.detector.manifest.preprocess["crop"]
    emotion, plain, ways, tally = FaceEmotion(model, crop), Reader(model), contrast(model), Tally()
    crops = {
        f"crop {side:g} up {up:g}": FaceEmotion(model, {"side": side, "up": up})
        for side, up in product((1.0, 1.1, 1.18, 1.26, 1.35, 1.5), (0.0, 0.04, 0.086, 0.13))
    }

    for image, truth in frames(folder):
        found = largest(detector, image)
        if found is None:
            tally.add("sessions no face", truth, None)
            continue
        for name, other in crops.items():
            tally.add(f"sessions {name}", truth, other.read(image, found).probs)
        cut = emotion.cut(image, found)
        tally.add("sessions mirror, mean of p", truth, plain.both(cut, logits=False))
        tally.add("sessions mirror, mean of log p", truth, plain.both(cut, logits=True))
        for share in (1.0, *DARK):
            dark = darker(image, share)
            seen = largest(detector, dark)
            for name, read in ways.items():
                said = read(emotion.cut(dark, seen)) if seen else None
                tally.add(f"sessions dark {share:g} {name}", truth, said)
    tally.show()


def averaged(rows: NDArray[np.float64], width: int, logits: bool) -> NDArray[np.float64]:
    """The centred mean over ``width`` frames on each side (n, 7), where there is a face."""
    out = rows.copy()
    known = ~np.isnan(rows[:, 0])
    values = np.log(rows + 1e-7) if logits else rows
    for k in np.flatnonzero(known):
        near = values[max(k - width, 0) : k + width + 1]
        mean = near[~np.isnan(near[:, 0])].mean(axis=0)
        out[k] = np.exp(mean) / np.exp(mean).sum() if logits else mean
    return out


def rewrite(streams: Path, out: Path, width: int, logits: bool) -> None:
    """The face's streams, averaged, with their truths."""
    for path in sorted(streams.glob("*_face.csv")):
        name = path.stem.removesuffix("_face")
        (out / f"{name}.csv").write_bytes((streams / f"{name}.csv").read_bytes())
        told = predictions(path, "face")
        none = np.full(len(EMOTIONS), np.nan)
        rows = np.array([none if p.probs is None else p.probs for p in told], np.float64)
        with (out / path.name).open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["time", *(e.lower() for e in EMOTIONS)])
            for said, row in zip(told, averaged(rows, width, logits), strict=True):
                values = [""] * 7 if said.probs is None else [f"{p:.6f}" for p in row]
                table.writerow([said.time, *values])


def averaging(streams: Path, scorer: Path) -> None:
    """Averages over time before the segmenter, 25 predictions a second."""
    for width, logits in [(0, False), *product((1, 2, 5), (False, True))]:
        with tempfile.TemporaryDirectory() as folder:
            rewrite(streams, Path(folder), width, logits)
            for policy in ("argmax", "changepoint"):
                got = score(Path(folder), scorer, "face", [f"policy={policy}"])
                line = "  ".join(f"{k} {got[k]:.3f}" for k in ("time_acc", "eder", "boundary_f1"))
                what = "log p" if logits else "p"
                print(
                    f"streams mean of {what} over ±{width} frames, {policy:12} {line}", flush=True
                )


def main() -> None:
    """Read the arguments and print a line for each variant."""
    ask = argparse.ArgumentParser(description=__doc__)
    for name in ("fer", "sessions", "streams", "scorer"):
        ask.add_argument(name, type=Path)
    asked = ask.parse_args()
    loaded = Models.load(configuration.load())
    fer(asked.fer, loaded.face)
    rolls(islice(fer_images(asked.fer), 0, None, 3), loaded, "fer", 144)
    sessions(asked.sessions, loaded)
    rolls(frames(asked.sessions), loaded, "sessions")
    averaging(asked.streams, asked.scorer)


if __name__ == "__main__":
    main()
