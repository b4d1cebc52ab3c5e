"""Where an ONNX file says that its weights are."""

import mmap
import re
from pathlib import Path

_LOCATION = re.compile(
    rb"(?:\x0a|\x8a\x80*\x00)(?:\x08|\x88\x80*\x00)location(?:\x12([\x00-\x7f]))?", re.DOTALL
)
"""An entry's key, as protobuf may write it, and the length of its value where that comes next."""


def external_files(path: Path) -> set[str]:
    """The files that an ONNX file takes weights from: the entries "location" of its tensors.

    One that is written as no exporter does, to be overlooked, is given as "".
    """
    if not path.stat().st_size:  # can't be mapped, and is no model
        return set()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found, at = [], -1
        # Weights are gigabytes: a plain search, and a look around what it finds, is the quickest.
        while (at := data.find(b"location", at + 1)) >= 0:
            near = _LOCATION.finditer(data, max(at - 32, 0), at + 10)
            found += [(entry[1], entry.end()) for entry in near]
        return {
            data[end : end + length[0]].decode(errors="replace") if length else ""
            for length, end in found
        }
