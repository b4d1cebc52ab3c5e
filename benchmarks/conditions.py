"""What head tilt, covered faces, small pictures, noise, telephone and echo cost the default models.

    python benchmarks/conditions.py FER2013_DIR RECORDING… --sessions DIR

FER2013_DIR as for accuracy.py, RECORDING and DIR as for voices.py. The conditions are made by
computation, from pictures and sound without them: real ones differ.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from accuracy import accuracy, frames, per_class
from voice_windows import Recording, hear
from voice_windows import read as read_recording
from voices import clips, gather, inside

from streamer import config as configuration
from streamer import models
from streamer.face import FaceEmotion
from streamer.types import SAMPLE_RATE, Floats, Image

SEED = 0


def turned(images: Image, degrees: float) -> Image:
    """Each picture turned in its plane, the edge repeated."""
    middle = (images.shape[2] - 1) / 2, (images.shape[1] - 1) / 2
    matrix = cv2.getRotationMatrix2D(middle, degrees, 1.0)
    size = images.shape[2], images.shape[1]
    rows = [cv2.warpAffine(i, matrix, size, borderMode=cv2.BORDER_REPLICATE) for i in images]
    return np.array(rows, np.uint8)


def covered(images: Image, top: int, bottom: int) -> Image:
    """Rows ``top`` to ``bottom`` of 48 filled with the picture's own mean."""
    out = images.copy()
    out[:, top:bottom] = images.mean((1, 2)).astype(np.uint8)[:, None, None]
    return out


def small(images: Image, pixels: int) -> Image:
    """As if the face had been so many pixels wide."""
    rows = [cv2.resize(i, (pixels, pixels), interpolation=cv2.INTER_AREA) for i in images]
    return np.array([cv2.resize(i, (48, 48), interpolation=cv2.INTER_LINEAR) for i in rows])


def grainy(images: Image, deviation: float) -> Image:
    """With a sensor's noise of so many gray levels."""
    noise = np.random.default_rng(SEED).normal(0, deviation, images.shape)
    return np.clip(images + noise, 0, 255).astype(np.uint8)


PICTURES: dict[str, Callable[[Image], Image]] = {
    "as they are": np.asarray,
    **{f"turned by {d}°": partial(turned, degrees=d) for d in (10, 20, 30, 45)},
    "lower half covered, as by a mask": partial(covered, top=26, bottom=48),
    "eyes covered, as by dark glasses": partial(covered, top=12, bottom=22),
    "face 24 pixels wide": partial(small, pixels=24),
    "face 16 pixels wide": partial(small, pixels=16),
    "noise of 10 gray levels": partial(grainy, deviation=10),
    "noise of 25 gray levels": partial(grainy, deviation=25),
}


def noisy(pcm: Floats, decibels: float) -> Floats:
    """With white noise so many dB under the speech's mean power."""
    power = float(np.mean(pcm**2)) / 10 ** (decibels / 10)
    noise = np.random.default_rng(SEED).normal(0, power**0.5, len(pcm))
    return (pcm + noise).astype(np.float32)


def telephone(pcm: Floats) -> Floats:
    """Nothing but 300 to 3,400 Hz."""
    spectrum = np.fft.rfft(pcm)
    hertz = np.fft.rfftfreq(len(pcm), 1 / SAMPLE_RATE)
    spectrum[(hertz < 300) | (hertz > 3400)] = 0
    return np.fft.irfft(spectrum, len(pcm)).astype(np.float32)


def echoing(pcm: Floats, decay_s: float, direct_db: float) -> Floats:
    """In a room whose echo falls by 60 dB in ``decay_s``; the direct sound is ``direct_db`` above
    the whole echo (far from the microphone: below 0).
    """
    t = np.arange(round(decay_s * SAMPLE_RATE)) / SAMPLE_RATE
    tail = np.random.default_rng(SEED).normal(0, 1, len(t)) * 10 ** (-3 * t / decay_s)
    tail *= (10 ** (-direct_db / 10) / (tail**2).sum()) ** 0.5
    tail[0] = 1.0
    size = len(pcm) + len(tail)
    mixed = np.fft.irfft(np.fft.rfft(pcm, size) * np.fft.rfft(tail, size), size)
    return mixed[: len(pcm)].astype(np.float32)


SOUNDS: dict[str, Callable[[Floats], Floats]] = {
    "as it is": np.asarray,
    **{f"white noise, {db} dB below the speech": partial(noisy, decibels=db) for db in (20, 10, 0)},
    "telephone band": telephone,
    "room of 0.4 s, near": partial(echoing, decay_s=0.4, direct_db=6),
    "room of 0.8 s, far": partial(echoing, decay_s=0.8, direct_db=-6),
}


def faces(folder: Path) -> None:
    """Print accuracy and UAR of the private half in each condition."""
    config = configuration.load()
    model = models.load(config.face.emotion, "face-emotion", config.models)
    emotion = FaceEmotion(model, {"side": 1.0, "up": 0.0})
    data = np.load(folder / "private_test.npz")
    print("| faces | accuracy | UAR |\n| --- | --- | --- |")
    for name, change in PICTURES.items():
        said = frames(emotion, change(data["images"]), data["labels"].astype(np.int64), name)
        print(f"| {name} | {accuracy(said):.3f} | {per_class(said)[1].mean():.3f} |")


def voices(recordings: list[Recording], paths: list[Path]) -> None:
    """Print accuracy of the windows in each condition, and how many voice activity lets through."""
    config = configuration.load(None, ["speech.hop_s=0.25"])
    vad = models.load(config.speech.vad, "voice-activity", config.models)
    voice = models.load(config.speech.emotion, "speech-emotion", config.models)
    print("\n| voices | windows | accuracy |\n| --- | --- | --- |")
    for name, change in SOUNDS.items():
        pairs = []
        for recording, path in zip(recordings, paths, strict=True):
            said, _ = hear(replace(recording, pcm=change(recording.pcm)), config, vad, voice)
            for found in inside(said, clips(path.with_suffix(".csv"))).values():
                pairs += found
        print(f"| {name} | {len(pairs)} | {accuracy(gather(pairs)):.3f} |")


def main() -> None:
    """Read the arguments, print the tables."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("folder", type=Path)
    ask.add_argument("recordings", type=Path, nargs="+")
    ask.add_argument("--sessions", type=Path, required=True)
    asked = ask.parse_args()
    faces(asked.folder)
    voices([read_recording(p, asked.sessions) for p in asked.recordings], asked.recordings)


if __name__ == "__main__":
    main()
