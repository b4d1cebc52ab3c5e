"""What the file system and a file's own bytes tell before FFmpeg opens it."""

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

MOST_TAGS = 64 << 20
"""The ID3 tags of a file, as stored and unpacked, bytes: FFmpeg unpacks all of them at once."""

MOST_CHUNKS = 1000
"""Of a WAV or AIFF file; a recording has a dozen."""

_PART = re.compile(rb"(?:APIC|GEOB|PRIV).{5}(.)(.{4})", re.DOTALL)
"""What FFmpeg keeps of an ID3 tag: the second byte of its flags, and its length unpacked."""

_ORDERS: dict[bytes, Literal["little", "big"]] = {
    b"RIFF": "little", b"RF64": "little", b"FORM": "big"
}  # fmt: skip


def refusal(path: Path) -> str | None:
    """Why no recording can be read from there; None: FFmpeg may try."""
    try:
        return _unfit(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last: a null in its name
        return "no such file"
    except PermissionError:
        return "no permission to read it"
    except OSError as error:
        return f"can't be opened: {error.strerror}"


def is_cut_riff(path: Path) -> bool:
    """Whether a WAV or AVI file is shorter than it says: FFmpeg takes that for its end.

    Programs that write to a pipe say a size near 2 or 4 GB.
    """
    with path.open("rb") as file:
        head = file.read(8)
    size = int.from_bytes(head[4:], "little")
    return head[:4] == b"RIFF" and size < 0x7FFFF000 and size + 8 > path.stat().st_size


def _unfit(path: Path) -> str | None:
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        return "is a folder; name a video or sound file in it"
    if not stat.S_ISREG(found.st_mode):  # to open a pipe may take for ever
        return "is a pipe or a device: store what comes from it in a file first"
    if found.st_size == 0:
        return "is empty"
    with path.open("rb") as file:
        return _absurd(file)


def _absurd(file: BinaryIO) -> str | None:
    head = file.read(21)
    if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and head[20:] and head[20] & 2:
        return "is an animated WebP, which FFmpeg can't decode: store it as a video first"
    size = 0
    for tag in _tags(file, head):
        size += len(tag)
        size += sum(int.from_bytes(n, "big") for flags, n in _PART.findall(tag) if flags[0] & 8)
        if size > MOST_TAGS:
            return f"its tags take more than {MOST_TAGS >> 20} MiB: remove them first"
    return None


def _tags(file: BinaryIO, head: bytes) -> Iterator[bytes]:
    """The ID3 tags at the beginning, one behind the other, or in chunks; cut beyond the bound."""
    order = _ORDERS.get(head[:4])
    at = 12 if order else 0
    for _ in range(MOST_CHUNKS):
        file.seek(at)
        start = file.read(10)
        if order and len(start) > 8:
            length = int.from_bytes(start[4:8], order)
            at += 8 + length + length % 2
            if start[:3].upper() != b"ID3":
                continue
            file.seek(-2, 1)
        elif start[:3] == b"ID3" and len(start) == 10:
            length = sum((byte & 127) << 7 * k for k, byte in enumerate(reversed(start[6:])))
            at += 10 + length
        else:
            return
        yield file.read(min(length, MOST_TAGS + 1))
    yield bytes(MOST_TAGS + 1)
