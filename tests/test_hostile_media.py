"""Damaged and absurd recordings: analysed or refused in a line, in bounded memory and time.

All of them go through the whole pipeline in a process of their own: it may neither crash nor hang.
"""

import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from av.packet import Packet
from commands import run_module
from media import Audio, Video, at_rate, make_clip

sys.path.append(str(Path(__file__).parent / "fuzz"))

from containers import CLIPS, Outcome, Worker, analysed, make_clips, spoiled

PCM: dict[str, Any] = {"codec": "pcm_s16le", "format": "s16"}
SHORT = at_rate(25, 0, 2)
YEARS = 1e8
"""A time, s."""


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_clips(tmp_path_factory.mktemp("whole"))


def test_whole_clips_are_analysed_without_complaint(worker: Worker, clips: list[Path]) -> None:
    for clip in clips:
        assert worker.analyse(clip) == Outcome(clip, "analysed", "")


HUNG = [1215]
"""One picture is stamped far ahead, the sound less far: each once waited for the other."""


def test_a_hundred_spoiled_clips_are_analysed_or_refused(clips: list[Path], tmp_path: Path) -> None:
    outcomes = list(analysed(spoiled(n, clips, tmp_path) for n in [*range(100), *HUNG]))
    assert [o for o in outcomes if o.failed] == []
    assert {o.kind for o in outcomes} == {"analysed", "refused"}
    assert len({o.detail for o in outcomes}) > 20


@pytest.mark.parametrize("number", [19, 20, 40, 60])
def test_spoiled_clips_with_the_real_models(number: int, clips: list[Path], tmp_path: Path) -> None:
    """Of a real speaker, in four containers."""
    path = spoiled(number, clips, tmp_path)
    done = run_module("streamer", "replay", str(path), "--speed", "max", "--out", str(tmp_path))
    assert done.returncode in (0, 2, 3)
    assert "Traceback" not in done.stderr
    assert done.stderr


# --- absurd media


def png_chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png(side: int) -> bytes:
    """A black picture, two colours, ``side`` × ``side``: well compressed."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(((side + 7) // 8 + 1) * side), 1)
    start = b"\x89PNG\r\n\x1a\n"
    parts = (b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")
    return start + b"".join(png_chunk(kind, data) for kind, data in parts)


def deep_png(side: int) -> bytes:
    """The same with four times 16 bits a pixel."""
    packer = zlib.compressobj(1)
    row = bytes(1 + 8 * side)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    plain = png(8)
    header = struct.pack(">IIBBBBB", side, side, 16, 6, 0, 0, 0)
    return plain[:8] + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + plain[-12:]


def bomb(path: Path, codec: str, pictures: list[bytes]) -> Path:
    """A film of these pictures, which calls itself 64 × 64."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width = stream.height = 64
        stream.pix_fmt = "rgb24" if codec == "png" else "yuvj420p"
        stream.codec_context.open()
        for n, picture in enumerate(pictures):
            packet = Packet(picture)
            packet.stream, packet.is_keyframe = stream, True
            packet.pts = packet.dts = n
            packet.time_base = Fraction(1, 25)
            out.mux_one(packet)
    return path


def jpegs(path: Path) -> list[bytes]:
    """Small pictures."""
    clip = make_clip(path, Video(SHORT, "mjpeg", "yuvj420p", options={}))
    with av.open(str(clip)) as whole:
        return [bytes(packet) for packet in whole.demux() if packet.size]


def claims(jpeg: bytes, side: int) -> bytes:
    """The same picture, whose header says that it is ``side`` × ``side``."""
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", side, side) + jpeg[at + 4 :]


def alone(path: Path) -> Path:
    """A picture by itself."""
    path.write_bytes(png(20_000))
    return path


def grown(path: Path) -> Path:
    """Small pictures, and one in between that is huge."""
    small = jpegs(path.with_name("small.avi"))
    return bomb(path, "mjpeg", [*small[:20], claims(small[20], 16_000), *small[21:]])


def changing(path: Path) -> Path:
    """Pictures of three sizes."""
    parts = [
        make_clip(path.with_name(f"{n}.ts"), Video(at_rate(25, n, n + 1), size=size))
        for n, size in enumerate([(128, 64), (640, 480), (64, 128)])
    ]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def again(path: Path) -> Path:
    """One recording behind the other, each from zero, as programs join transport streams."""
    data = make_clip(path, Video(SHORT), Audio([(0, 2)])).read_bytes()
    path.write_bytes(data * 2)
    return path


def rate_of(path: Path, hertz: int) -> Path:
    """A WAV file that says another rate."""
    data = bytearray(make_clip(path, audio=Audio([(0, 2)], **PCM)).read_bytes())
    data[24:28] = struct.pack("<I", hertz)
    path.write_bytes(data)
    return path


def many_streams(path: Path, count: int) -> Path:
    with av.open(str(path), "w") as out:
        streams = [out.add_stream("pcm_s16le", rate=8000, layout="mono") for _ in range(count)]
        for stream in streams:
            packet = Packet(bytes(16_000))
            packet.stream, packet.pts, packet.dts = stream, 0, 0
            packet.time_base = Fraction(1, 8000)
            out.mux_one(packet)
    return path


def much_metadata(path: Path) -> Path:
    with av.open(str(path), "w") as out:
        out.metadata["title"] = "\x1b]0;owned\x07" + "x" * 30_000_000
        out.metadata["STREAMER_RECORDING"] = "1"
        stream = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        stream.metadata["DURATION"] = "9" * 12 + ":00:00.0"
        packet = Packet(bytes(16_000))
        packet.stream, packet.pts, packet.dts = stream, 0, 0
        packet.time_base = Fraction(1, 8000)
        out.mux_one(packet)
    return path


def silent_alac(samples: int) -> bytes:
    """A packet of eight channels, each a count of zeros."""

    def channel() -> Iterator[tuple[int, int]]:
        """(value, bits)"""
        yield from ((0, 3), (0, 4), (0, 12), (1, 1), (0, 2), (0, 1), (samples, 32))
        yield from ((0, 8), (0, 8), (0, 4), (1, 4), (0, 3), (0, 5), (0, 1))
        left = samples - 1
        while left > 0:
            run = min(65_535, left)
            yield from ((0x1FF, 9), (run, 16))
            left -= run
            if left > 0:
                yield 0, 1
                left -= 1

    bits = "".join(format(value, f"0{n}b") for _ in range(8) for value, n in channel()) + "111"
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def alac(path: Path, samples: int) -> Path:
    """A Matroska file of two packets with so many samples for each of eight channels."""
    small = make_clip(path.with_name("a.m4a"), None, Audio([(0, 1)], "alac", format="s16p"))
    with av.open(str(small)) as whole, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(whole.streams.audio[0])
        header = stream.codec_context.extradata
        assert header is not None
        for k in range(2):
            packet = Packet(silent_alac(samples))
            packet.stream, packet.pts, packet.dts = stream, k * 1000, k * 1000
            packet.time_base = Fraction(1, 1000)
            out.mux_one(packet)
    data = bytearray(path.read_bytes())
    at = data.index(header[12:])  # the size of a packet; then come the bits and channels
    data[at : at + 4], data[at + 5], data[at + 9] = samples.to_bytes(4, "big"), 32, 8
    data[data.index(b"\x9f\x81\x01") + 2] = 8
    path.write_bytes(data)
    return path


def sound(**changes: Any) -> Callable[[Path], Path]:
    return lambda p: make_clip(p, audio=Audio([(0, 2)], **PCM | changes))


ABSURD: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "20000 × 20000, png.mp4": (lambda p: bomb(p, "png", [png(20_000)] * 3), "analysed", "damaged"),
    "16000 × 16000, png.mov": (lambda p: bomb(p, "png", [png(16_000)] * 3), "analysed", "damaged"),
    "8192 × 8192 of 16 bits, png.mov": (
        lambda p: bomb(p, "png", [deep_png(8192)] * 4),
        "analysed",
        "damaged: 4 packets",
    ),
    "8 × 16 million samples, alac.mkv": (lambda p: alac(p, 1 << 24), "analysed", "damaged"),
    "8 × 4096 samples, alac.mkv": (lambda p: alac(p, 4096), "analysed", "silent"),
    "20000 × 20000.png": (alone, "analysed", "not one picture"),
    "16000 × 16000, mjpeg.mkv": (
        lambda p: bomb(p, "mjpeg", [claims(j, 16_000) for j in jpegs(p.with_name("small.avi"))]),
        "analysed",
        "not one picture",
    ),
    "grows on the way.avi": (grown, "analysed", "damaged: 1 packets"),
    "changes its size.ts": (changing, "analysed", ""),
    "384 kHz.wav": (sound(rate=384_000), "analysed", ""),
    "9 channels.wav": (sound(layout="9C"), "analysed", ""),
    "64 channels.wav": (sound(layout="64C", rate=48_000), "analysed", ""),
    "64 channels, 384 kHz.mkv": (sound(layout="64C", rate=384_000), "analysed", ""),
    "128 channels.wav": (sound(layout="128C"), "refused", "can't be decoded here"),
    "1 Hz.wav": (lambda p: rate_of(p, 1), "refused", "can't be decoded here"),
    "2 GHz.wav": (lambda p: rate_of(p, 2_000_000_000), "refused", "can't be decoded here"),
    "sound for half of it.mp4": (
        lambda p: make_clip(p, Video(at_rate(25, 0, 6)), Audio([(0, 3)])),
        "analysed",
        "",
    ),
    "jumps by years.mkv": (
        lambda p: make_clip(
            p, Video([*SHORT, *at_rate(25, YEARS, YEARS + 2)]), Audio([(0, 2), (YEARS, YEARS + 2)])
        ),
        "analysed",
        "time stamps jump",
    ),
    "the picture alone jumps.mkv": (
        lambda p: make_clip(p, Video([*SHORT, *at_rate(25, YEARS, YEARS + 2)]), Audio([(0, 4)])),
        "analysed",
        "time stamps jump: 50 packets",
    ),
    "goes back.ts": (again, "analysed", "time stamps jump"),
    "goes back.mkv": (again, "analysed", "time stamps jump"),
    "begins after years.mkv": (
        lambda p: make_clip(p, Video(at_rate(25, YEARS, YEARS + 2)), Audio([(YEARS, YEARS + 2)])),
        "analysed",
        "",
    ),
    "1000 streams.mkv": (lambda p: many_streams(p, 1000), "analysed", "silent"),
    "30 MB of title.mkv": (much_metadata, "analysed", "silent"),
}


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_recording(name: str, worker: Worker, tmp_path: Path) -> None:
    make, kind, words = ABSURD[name]
    outcome = worker.analyse(make(tmp_path / name))
    assert outcome.kind == kind, outcome
    assert words in outcome.detail
    assert words or not outcome.detail


def test_clips_cover_the_containers() -> None:
    endings = {Path(name).suffix for name in CLIPS}
    assert endings >= {".mp4", ".mkv", ".avi", ".ts", ".ogg", ".wav", ".mp3", ".webm", ".mov"}
