"""Which files an ONNX file takes its weights from."""

import mmap
from collections.abc import Iterator
from pathlib import Path

from streamer.types import StreamerError

_LOCATION = b"location"
_KEY, _VALUE = 1, 2
_MOST_DEPTH = 100
"""Of messages in messages; protobuf takes no more."""

INNER: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "TrainingInfo", 25: "Function"},
    "TrainingInfo": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {
        5: "Tensor",
        6: "Graph",
        10: "Tensor",
        11: "Graph",
        22: "SparseTensor",
        23: "SparseTensor",
    },
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "StringStringEntry"},
    "StringStringEntry": {},
}
"""ONNX's messages that can hold a tensor (in full they end in "Proto"): what holds it in turn."""

PLAIN: dict[str, set[int]] = {
    "Model": {1, 2, 3, 4, 5, 6, 8, 14, 26},
    "TrainingInfo": {3, 4},
    "Function": {1, 4, 5, 6, 8, 9, 10, 12, 13, 14},
    "Graph": {2, 10, 11, 12, 13, 14, 16},
    "Node": {1, 2, 3, 4, 6, 7, 8, 9, 10},
    "Attribute": {1, 2, 3, 4, 7, 8, 9, 13, 14, 15, 20, 21},
    "SparseTensor": {3},
    "Tensor": {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16},
    "StringStringEntry": {_KEY, _VALUE},
}
"""Their other fields."""


class _UnclearError(Exception):
    """It is written as no exporter writes it: readers may differ about what it says."""


def external(path: Path) -> set[str]:
    """The files that an ONNX file takes weights from: the entries "location" of its tensors.

    Raises StreamerError: it may hide some.
    """
    if not path.stat().st_size:  # can't be mapped, and is no model
        return set()
    found = set[str]()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        # The key has no other spelling. Most files don't hold it, and are not walked through.
        if data.find(_LOCATION) >= 0:
            try:
                _walk(data, "Model", 0, len(data), found, 0)
            except _UnclearError:
                raise StreamerError(
                    f"model file {path} is not written as exporters do: it may hide what it reads"
                ) from None
    return found


def _walk(data: mmap.mmap, message: str, start: int, end: int, found: set[str], depth: int) -> None:
    """Add what stands beside the keys "location" of all tensors in a message."""
    if depth > _MOST_DEPTH:
        raise _UnclearError
    inner = INNER[message]
    for number, begin, stop in _fields(data, message, start, end):
        match inner.get(number):
            case None:
                continue
            case "StringStringEntry":
                found |= _location(data, begin, stop)
            case name:
                _walk(data, name, begin, stop, found, depth + 1)


def _location(data: mmap.mmap, start: int, end: int) -> set[str]:
    """The values of an entry whose key is "location". Of several keys or values protobuf takes the
    last, here each counts.
    """
    texts: dict[int, set[bytes]] = {_KEY: set(), _VALUE: set()}
    for number, begin, stop in _fields(data, "StringStringEntry", start, end):
        texts[number].add(data[begin:stop])
    if _LOCATION not in texts[_KEY]:
        return set()
    return {text.decode(errors="replace") for text in texts[_VALUE] or {b""}}


def _fields(data: mmap.mmap, message: str, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(number, begin, end) of the fields of a message that are bytes, texts or messages.

    Raises _UnclearError for what protobuf may take, but no exporter writes: tags and lengths that
    could be shorter, groups, fields that ONNX does not have.
    """
    known = INNER[message].keys() | PLAIN[message]
    while at < end:
        tag, at = _number(data, at)
        number, kind = tag >> 3, tag & 7
        begin = at
        match kind:
            case 0:
                at = _end_of_number(data, at)
            case 1:
                at += 8
            case 2:
                length, begin = _number(data, at)
                at = begin + length
            case 5:
                at += 4
        if number not in known or kind not in (0, 1, 2, 5) or at > end:
            raise _UnclearError
        if kind == 2:
            yield number, begin, at


def _number(data: mmap.mmap, at: int) -> tuple[int, int]:
    """A tag or a length, written as short as can be, and where it ends."""
    end = _end_of_number(data, at)
    value = 0
    for place in range(at, end):
        value |= (data[place] & 0x7F) << 7 * (place - at)
    if value >> 32 or (end - at > 1 and not data[end - 1]):
        raise _UnclearError
    return value, end


def _end_of_number(data: mmap.mmap, at: int) -> int:
    for end in range(at, min(at + 10, len(data))):
        if data[end] < 0x80:
            return end + 1
    raise _UnclearError
