"""Pictures that nobody looks at are not decoded, and nothing else changes."""

import hashlib
import random
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from streamer.clock import FreeClock
from streamer.ring import FrameRing
from streamer.sources import file
from streamer.sources.file import FileSource
from streamer.types import AudioChunk, Frame

STEADY = list(range(0, 4000, 40))
UNEVEN = [t + (t * 7919) % 23 for t in STEADY]


class Deaf:
    def write(self, chunk: AudioChunk) -> bool:
        return True

    def advance(self, sample: int) -> bool:
        return True

    def close(self) -> None:
        pass


class Listing(FrameRing):
    """Notes every frame that is put."""

    def __init__(self, rate_hz: float) -> None:
        super().__init__(rate_hz, 10_000, lossless=False)
        self.put_times: list[tuple[float, int]] = []

    def put(self, frame: Frame) -> bool:
        self.put_times.append((frame.t, frame.index))
        return super().put(frame)


def clip(path: Path, times_ms: list[int], options: dict[str, str]) -> Path:
    """A moving gradient in H.264 at ``times_ms``."""
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for t in times_ms:
            rows, columns = np.mgrid[:64, :96]
            picture = np.stack([rows * 2, columns + t // 40, rows + columns + t // 20], 2) % 256
            frame = av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = t, Fraction(1, 1000)
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return path


def seen(path: Path, rate_hz: float, told: float | None) -> tuple[object, ...]:
    """All that a run gives: the frames put, the pictures that the grid takes, end and problems."""
    source, ring = FileSource(path, FreeClock(), rate_hz=told), Listing(rate_hz)
    source.run(ring, Deaf(), threading.Event())
    source.close()
    pictures = []
    while isinstance(frame := ring.take(), Frame):
        pictures.append((frame.t, hashlib.sha256(frame.load().tobytes()).hexdigest()))
    return ring.put_times, pictures, ring.end, source.problems


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many pictures the decoder gave since it was asked last."""
    count, plain = [0], file.Demuxer.decode

    def counting(demuxer: file.Demuxer, *args: object) -> list[object]:
        frames = plain(demuxer, *args)  # type: ignore[arg-type]
        count[0] += len(frames)
        return frames

    def asked() -> int:
        number, count[0] = count[0], 0
        return number

    monkeypatch.setattr(file.Demuxer, "decode", counting)
    return asked


@pytest.mark.parametrize("rate_hz", [1.0, 7.3, 10.0])
@pytest.mark.parametrize("times", [STEADY, UNEVEN], ids=["steady", "uneven"])
@pytest.mark.parametrize("b", ["bframes=1", "bframes=3:b-pyramid=none", "bframes=3", "bframes=8"])
def test_the_grid_gets_the_same_pictures(
    tmp_path: Path, b: str, times: list[int], rate_hz: float, decoded: Callable[[], int]
) -> None:
    path = clip(tmp_path / "b.mkv", times, {"x264-params": f"{b}:b-adapt=0:keyint=40"})
    whole, all_pictures = seen(path, rate_hz, None), decoded()
    assert seen(path, rate_hz, rate_hz) == whole
    assert all_pictures == len(times)
    assert decoded() < all_pictures


@pytest.mark.parametrize("options", ["bframes=0", "bframes=3:interlaced=1"])
def test_what_others_need_and_interlaced_video_is_decoded_whole(
    tmp_path: Path, options: str, decoded: Callable[[], int]
) -> None:
    path = clip(tmp_path / "all.mkv", STEADY, {"x264-params": options})
    seen(path, 2.0, 2.0)
    assert decoded() == len(STEADY)


def test_damage_never_asks_for_a_picture_that_was_left_out(tmp_path: Path) -> None:
    path = clip(tmp_path / "b.mkv", STEADY, {"x264-params": "bframes=3:keyint=20"})
    content = path.read_bytes()
    for seed in range(40):
        chance, spoiled = random.Random(seed), bytearray(content)
        for _ in range(30):
            spoiled[chance.randrange(len(content) // 8, len(content))] = chance.randrange(256)
        path.write_bytes(spoiled)
        _, pictures, _, problems = seen(path, 10.0, 10.0)
        assert pictures
        assert isinstance(problems, list)


@pytest.mark.parametrize("last", range(1, 30))
def test_a_stop_never_asks_for_a_picture_that_was_left_out(tmp_path: Path, last: int) -> None:
    path = clip(tmp_path / "b.mkv", STEADY[:40], {"x264-params": "bframes=3"})
    stop = threading.Event()

    class Stopping(Listing):
        def put(self, frame: Frame) -> bool:
            if len(self.put_times) == last:
                stop.set()
            return super().put(frame)

    source, ring = FileSource(path, FreeClock(), rate_hz=10.0), Stopping(10.0)
    source.run(ring, Deaf(), stop)
    source.close()
    while isinstance(frame := ring.take(), Frame):
        assert frame.load().shape == (64, 96, 3)
