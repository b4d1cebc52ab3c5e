"""What is refused before FFmpeg opens it: what is no file, and tags that unpack to too much."""

import os
import struct
import zlib
from pathlib import Path

import pytest
from media import Audio, Video, at_rate, make_clip

from streamer.sources import head
from streamer.sources.head import refusal

LARGE = 5 << 20
"""Of a tag's picture, bytes."""


def tag(size: int, packed: bool = True, version: int = 4) -> bytes:
    """An ID3 tag with a picture of ``size`` bytes."""
    data = b"\0image/png\0\x03\0" + bytes(size)
    flags = b"\0\x09" if packed else b"\0\0"
    stored = struct.pack(">I", len(data)) + zlib.compress(data) if packed else data
    part = b"APIC" + seven_bits(len(stored)) + flags + stored
    return b"ID3" + bytes([version, 0, 0]) + seven_bits(len(part)) + part


def seven_bits(n: int) -> bytes:
    return bytes(n >> 7 * k & 127 for k in (3, 2, 1, 0))


def chunks(order: str, *parts: tuple[bytes, bytes]) -> bytes:
    padded = ((name, data, data + bytes(len(data) % 2)) for name, data in parts)
    return b"".join(n + struct.pack(f"{order}I", len(d)) + p for n, d, p in padded)


TAGGED = {
    "in front": lambda t: t + bytes(100),
    "behind another": lambda t: tag(10, packed=False) + t,
    "in a WAV": lambda t: b"RIFF\0\0\0\0WAVE" + chunks("<", (b"fmt ", bytes(17)), (b"id3 ", t)),
    "in an AIFF": lambda t: b"FORM\0\0\0\0AIFF" + chunks(">", (b"COMM", bytes(18)), (b"ID3 ", t)),
}


@pytest.mark.parametrize("where", TAGGED)
def test_tags_that_unpack_to_what_fills_the_memory(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "MOST_TAGS", 4 << 20)
    path = tmp_path / "a.mp3"
    for small in (tag(100), tag(1 << 20), tag(1 << 20, packed=False), tag(9, version=3)):
        path.write_bytes(TAGGED[where](small))
        assert refusal(path) is None
    path.write_bytes(TAGGED[where](tag(LARGE)))
    assert refusal(path) == "its tags take more than 4 MiB: remove them first"
    path.write_bytes(TAGGED[where](tag(LARGE, packed=False)))
    assert refusal(path) == "its tags take more than 4 MiB: remove them first"


def test_tags_are_not_looked_for_in_endless_chunks(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF\0\0\0\0WAVE" + bytes(8) * (head.MOST_CHUNKS + 1))
    assert refusal(path)
    path.write_bytes(b"RIFF\0\0\0\0WAVE" + bytes(8) * (head.MOST_CHUNKS - 1))
    assert refusal(path) is None


def test_ordinary_recordings_are_not_refused(tmp_path: Path) -> None:
    video, audio = Video(at_rate(25, 0, 0.2)), Audio([(0, 0.2)], "pcm_s16le", format="s16")
    for name in ("a.mkv", "a.avi", "a.mov"):
        assert refusal(make_clip(tmp_path / name, video, audio)) is None
    assert refusal(make_clip(tmp_path / "a.wav", None, audio)) is None


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert str(refusal(tmp_path / "pipe")).startswith("is a pipe or a device")
    assert str(refusal(Path("/dev/null"))).startswith("is a pipe or a device")


def test_what_the_system_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(tmp_path / ("x" * 300)) == "can't be opened: File name too long"
    assert refusal(tmp_path / "a\0b") == "no such file"
    (tmp_path / "file").write_text("no folder")
    assert refusal(tmp_path / "file" / "a.wav") == "no such file"

    def shut(_: Path) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", shut)  # of a folder that may not be searched
    assert refusal(tmp_path / "a.wav") == "no permission to read it"


def test_animated_webp_is_told_from_a_still_one(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    for flags, words in ((0x10, None), (0x12, "is an animated WebP")):
        path.write_bytes(b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0" + bytes([flags]) + bytes(30))
        assert refusal(path) is None if words is None else words in str(refusal(path))
