"""The models alone over a recording's frames and windows, then the whole pipeline on the file.

    python benchmarks/throughput.py [FILE] [--rate-hz 10] [--rounds 5] [--set KEY=VALUE ...]

Without FILE the demo clip is used, at its own size and enlarged to 720p. The models alone: frames
and sound are decoded beforehand into memory, then face detection, face emotion, voice activity and
voice emotion run over just what the pipeline runs them over, one after another in one thread. The
pipeline: `--speed max`, everything from the file to the tables. Both in turn, in one process.
"""

import argparse
import statistics
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from inputs import enlarged

from streamer import config as configuration
from streamer.clock import FreeClock, cpu, monotonic
from streamer.config import Config
from streamer.face import FaceReader
from streamer.pipeline import Models, Pipeline
from streamer.resources import demo_clip
from streamer.ring import AudioRing, FrameRing
from streamer.sources.file import FileSource
from streamer.speech import SpeechEmotion, VoiceActivity
from streamer.tables import SessionTables
from streamer.types import Image, Message
from streamer.workers import SpeechWorker


def decoded(path: Path, config: Config) -> tuple[list[tuple[float, Image]], AudioRing]:
    """The pictures that the face's grid wants, each with its time in s, and all the sound."""
    frames = FrameRing(config.face.rate_hz, 100_000, lossless=False)
    audio = AudioRing(3600, lossless=False)
    source = FileSource(path, FreeClock(), max_px=config.face.max_px)
    source.run(frames, audio, threading.Event())
    source.close()
    pictures = []
    while (frame := frames.take()) is not None:
        pictures.append((frame.t, frame.load()))
    return pictures, audio


def models_alone(
    loaded: Models, config: Config, pictures: list[tuple[float, Image]], audio: AudioRing
) -> float:
    """Wall seconds of the models over everything, nothing else."""
    reader, listen = face_and_voice(loaded, config, audio)
    began = monotonic()
    for t, picture in pictures:
        reader.read(picture, t)
    listen()
    return monotonic() - began


def face_and_voice(
    loaded: Models, config: Config, audio: AudioRing
) -> tuple[FaceReader, Callable[[], None]]:
    """What reads a picture, and what hears all of the sound."""
    reader = FaceReader(loaded.detector, loaded.face, config.face)
    vad = VoiceActivity(loaded.vad, config.speech.vad_threshold, audio, 3600)
    emotion = SpeechEmotion(loaded.voice, config.speech)
    heard: list[Message] = []
    worker = SpeechWorker(vad, emotion, audio, FreeClock(), config.speech, 1.0, heard.append)
    worker.dismiss()
    return reader, worker.run


def whole(loaded: Models, config: Config, path: Path) -> tuple[float, float]:
    """Wall and CPU seconds of the pipeline from the file to the tables."""
    with tempfile.TemporaryDirectory() as folder, SessionTables(Path(folder)) as tables:
        clock = FreeClock()
        source = FileSource(path, clock, max_px=config.face.max_px, rate_hz=config.face.rate_hz)
        began, used = monotonic(), cpu()
        Pipeline(source, loaded, config, clock, tables, threading.Event()).run(lambda: None)
        return monotonic() - began, cpu() - used


def measure(name: str, path: Path, config: Config, rounds: int) -> None:
    """Print one line: times real time of the quickest rounds, the rest as medians of all."""
    loaded = Models.load(config)
    pictures, audio = decoded(path, config)
    media = audio.end / 16_000
    alone, wall, used = [], [], []
    for _ in range(rounds + 1):
        alone.append(models_alone(loaded, config, pictures, audio))
        seconds = whole(loaded, config, path)
        wall.append(seconds[0])
        used.append(seconds[1])
    ratios = [a / w for a, w in zip(alone[1:], wall[1:], strict=True)]
    print(
        f"{name}, {config.face.rate_hz:g} faces/s: models alone {media / min(alone[1:]):.1f}x real "
        f"time, pipeline {media / min(wall[1:]):.1f}x; ratio {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}); {statistics.median(used[1:]) / media:.3f} "
        f"CPU s per media s"
    )


def main() -> None:
    """Read the arguments and measure."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("file", nargs="?", type=Path)
    ask.add_argument("--rate-hz", type=float, nargs="*", default=[10.0, 25.0])
    ask.add_argument("--rounds", type=int, default=5)
    ask.add_argument("--set", nargs="*", default=[], help="settings, as of `streamer replay`")
    asked = ask.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = {asked.file.name: asked.file} if asked.file else {}
        if not files:
            files = {"480p": demo_clip(), "720p": enlarged(Path(folder) / "demo720.mp4")}
        for name, path in files.items():
            for rate in asked.rate_hz:
                config = configuration.load(None, [*asked.set, f"face.rate_hz={rate}"])
                measure(name, path, config, asked.rounds)


if __name__ == "__main__":
    main()
