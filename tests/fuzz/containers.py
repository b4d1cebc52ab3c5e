"""Damaged recordings: real clips in many containers, spoiled at random, through the pipeline.

    python tests/fuzz/containers.py [COUNT] [FIRST]

Every file is a function of its number, and analysed in a worker of its own with bounds on memory
and time. It may be analysed, or refused in one line; anything else is a failure: a crash of the
process, a hang, memory that grows, a traceback. Prints each and what came out; exit status 1 if
anything failed. A file that failed is kept in the folder that is named.
"""

import os
import random
import selectors
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from media import Audio, Video, at_rate, make_clip, speaker_clip  # noqa: E402 - found now

LIMIT_S = 60.0
"""Longest time for one file, wall s: some fifty times what a whole one takes."""
ROOM = 1 << 30
"""By how much one file may make a worker grow, bytes of memory (resident)."""
SPACE = 8 << 30
"""Address space of a worker, bytes: the last resort, as an allocation beyond fails."""
PER_WORKER = 200
"""Files until a worker is replaced."""

VIDEO = Video(at_rate(25, 0, 2))
PCM: dict[str, Any] = {"codec": "pcm_s16le", "format": "s16"}
OPUS = Audio([(0, 2)], codec="libopus", rate=48_000, format="flt")
CLIPS: dict[str, Callable[[Path], Path]] = {
    "speaker.mp4": lambda p: speaker_clip(p, 2),
    "speaker.mkv": lambda p: speaker_clip(p, 2),
    "speaker.mov": lambda p: speaker_clip(p, 2, container={"movflags": "faststart"}),
    "pieces.mp4": lambda p: speaker_clip(
        p, 2, container={"movflags": "frag_keyframe+empty_moov", "frag_duration": "300000"}
    ),
    "ffv1.mkv": lambda p: make_clip(
        p, Video(at_rate(10, 0, 1), "ffv1", options={}), Audio([(0, 1)], "flac", format="s16")
    ),
    "mpeg4.avi": lambda p: make_clip(
        p, Video(VIDEO.times, "mpeg4", options={}), Audio([(0, 2)], "libmp3lame", format="fltp")
    ),
    "mjpeg.avi": lambda p: make_clip(
        p, Video(VIDEO.times, "mjpeg", "yuvj420p", options={}), Audio([(0, 2)], **PCM)
    ),
    "mpeg2.ts": lambda p: make_clip(
        p,
        Video(VIDEO.times, "mpeg2video", options={}),
        Audio([(0, 2)], "mp2", format="s16"),
    ),
    "h264.ts": lambda p: make_clip(p, VIDEO, Audio([(0, 2)])),
    "h265.mp4": lambda p: make_clip(
        p, Video(VIDEO.times, "libx265", options={"x265-params": "log-level=none"}), None
    ),
    "vp8.webm": lambda p: make_clip(p, Video(VIDEO.times, "libvpx", options={}), OPUS),
    "vp9.webm": lambda p: make_clip(
        p, Video(VIDEO.times, "libvpx-vp9", options={"deadline": "realtime"}), OPUS
    ),
    "opus.ogg": lambda p: make_clip(p, None, OPUS),
    "flac.ogg": lambda p: make_clip(p, None, Audio([(0, 2)], "flac", format="s16")),
    "sound.flac": lambda p: make_clip(p, None, Audio([(0, 2)], "flac", format="s16")),
    "sound.wav": lambda p: make_clip(p, None, Audio([(0, 2)], **PCM)),
    "sound.mp3": lambda p: make_clip(p, None, Audio([(0, 2)], "libmp3lame")),
    "sound.m4a": lambda p: make_clip(p, None, Audio([(0, 2)])),
    "h264.flv": lambda p: make_clip(p, VIDEO, Audio([(0, 2)], rate=44_100)),
}

EXTREMES = [
    b"\x00" * 4, b"\xff" * 4, b"\x7f" + b"\xff" * 3, b"\x80" + b"\x00" * 3,
    b"\xff" * 3 + b"\x7f", b"\x01\x00\x00\x00", b"\x00\x00\x00\x01", b"\xff" * 8, b"\x00" * 8,
]  # fmt: skip
"""What sizes, counts and times are when they are absurd, in either order of bytes."""


def flip(data: bytearray, rng: random.Random) -> None:
    """Some bits turned, anywhere."""
    for _ in range(rng.choice([1, 3, 10, 100])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flip_header(data: bytearray, rng: random.Random) -> None:
    """Some bytes at the beginning or end, where containers say what they hold."""
    for _ in range(rng.choice([1, 2, 5, 20])):
        at = rng.randrange(min(len(data), 2000))
        data[at if rng.random() < 0.6 else -1 - at] = rng.randrange(256)


def cut(data: bytearray, rng: random.Random) -> None:
    """Nothing from some place on."""
    del data[rng.randrange(1, len(data)) :]


def swap(data: bytearray, rng: random.Random) -> None:
    """Two pieces in each other's place."""
    size = rng.choice([16, 188, 1024, 10_000])
    a, b = sorted(rng.randrange(len(data)) for _ in range(2))
    first, second = bytes(data[a : a + size]), bytes(data[b : b + size])
    data[b : b + len(second)], data[a : a + len(first)] = first, second


def inflate(data: bytearray, rng: random.Random) -> None:
    """Sizes, counts or times that are absurd."""
    for _ in range(rng.choice([1, 1, 2, 4])):
        value = rng.choice([*EXTREMES, struct.pack(">I", rng.getrandbits(32))])
        at = rng.randrange(min(len(data), rng.choice([400, 4000, len(data)])))
        at = at if rng.random() < 0.5 else len(data) - 1 - at
        data[at : at + len(value)] = value


def remove(data: bytearray, rng: random.Random) -> None:
    """A piece missing: all that follows is shifted."""
    at = rng.randrange(len(data))
    del data[at : at + rng.choice([1, 7, 500, 20_000])]


def repeat(data: bytearray, rng: random.Random) -> None:
    """A piece twice, or often."""
    at, size = rng.randrange(len(data)), rng.choice([1, 64, 3000])
    data[at:at] = data[at : at + size] * rng.choice([1, 1, 50])


def blank(data: bytearray, rng: random.Random) -> None:
    """A piece lost, as on a bad disk."""
    at = rng.randrange(len(data))
    data[at : at + 4096] = bytes(len(data[at : at + 4096]))


SPOILERS = [flip, flip_header, flip_header, cut, swap, inflate, inflate, remove, repeat, blank]


def make_clips(folder: Path) -> list[Path]:
    """The whole clips, one of each kind."""
    folder.mkdir(exist_ok=True)
    return [make(folder / name) for name, make in CLIPS.items()]


def spoiled(number: int, clips: list[Path], folder: Path) -> Path:
    """File ``number``: a clip spoiled in one to three ways."""
    rng = random.Random(number)
    clip = clips[number % len(clips)]
    data = bytearray(clip.read_bytes())
    for _ in range(rng.choice([1, 1, 2, 3])):
        if data:
            rng.choice(SPOILERS)(data, rng)
    path = folder / f"{number:05}-{clip.name}"
    path.write_bytes(data)
    return path


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file: ``kind`` is "analysed" or "refused", else it failed."""

    path: Path
    kind: str
    detail: str

    @property
    def failed(self) -> bool:
        """Whether it is none of what may be."""
        return self.kind not in ("analysed", "refused")


class Worker:
    """A process that analyses files, one after another."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("worker.py")), str(SPACE)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path[:2])},
        )
        self.done = 0
        self._ready = self._answer()

    def analyse(self, path: Path) -> Outcome:
        """Hand it a file, and wait within the bounds."""
        self.done += 1
        stdin: IO[bytes] | None = self._process.stdin
        assert stdin is not None
        stdin.write(f"{path}\n".encode())
        stdin.flush()
        answer = self._answer()
        if answer is None:
            return Outcome(path, "hang", f"no answer in {LIMIT_S:g} s")
        if not answer:
            return Outcome(path, "crash", f"exit status {self._process.wait()}")
        kind, grown, detail = answer.rstrip("\n").split("\t", 2)
        if int(grown) > ROOM:
            return Outcome(path, "memory", f"grew by {int(grown) >> 20} MiB; {kind} {detail}")
        return Outcome(path, kind, detail)

    def close(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> str | None:
        """The next line; empty: it died; None: it takes too long."""
        stdout: IO[bytes] | None = self._process.stdout
        assert stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            return stdout.readline().decode() if selector.select(LIMIT_S) else None


def analysed(paths: Iterator[Path]) -> Iterator[Outcome]:
    """What becomes of the files; a worker that failed, or is old, is replaced."""
    worker = Worker()
    try:
        for path in paths:
            outcome = worker.analyse(path)
            if outcome.failed or worker.done >= PER_WORKER:
                worker.close()
                worker = Worker()
            yield outcome
    finally:
        worker.close()


def main() -> int:
    """Spoil and analyse as many files as asked for; the exit status."""
    count, first = (*map(int, sys.argv[1:]), *(2000, 0)[len(sys.argv) - 1 :])
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    clips = make_clips(folder / "whole")
    kinds: Counter[str] = Counter()
    for outcome in analysed(spoiled(n, clips, folder) for n in range(first, first + count)):
        kinds[outcome.kind] += 1
        if outcome.failed:
            print(f"{outcome.kind}: {outcome.path}: {outcome.detail}", flush=True)
        else:
            outcome.path.unlink()
        if sum(kinds.values()) % 100 == 0:
            print(dict(kinds), flush=True)
    print(f"{count} files: {dict(kinds)}")
    return int(any(kind not in ("analysed", "refused") for kind in kinds))


if __name__ == "__main__":
    sys.exit(main())
