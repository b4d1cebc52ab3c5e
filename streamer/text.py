"""Text from strangers (names of files and devices, metadata, labels), made harmless to show; and
numbers with what they count.
"""

import json
import math
import re
import sys
from collections.abc import Iterator
from io import TextIOWrapper
from typing import TextIO

LONGEST_LINE = 1 << 16
_CONTROL = re.compile(r"[^\n\x20-\x7e]")


def printable(text: str) -> str:
    """No control characters, and one line. To be printed without markup."""
    return "".join(c if c.isprintable() else "?" for c in text)


def lines(file: TextIO) -> Iterator[str]:
    """The lines of a file. One that is longer than LONGEST_LINE comes in pieces: nothing is read
    beyond any bound.
    """
    return iter(lambda: file.readline(LONGEST_LINE), "")


def counted(number: int, word: str) -> str:
    """A number and what it counts, in the plural unless it is 1."""
    return f"{number} {word}{'s' * (number != 1)}"


def to_json(value: object) -> str:
    """JSON in lines, legible; what would steer a terminal, or is no UTF-8, is escaped. JSON has no
    NaN and nothing infinite: null stands there.
    """
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False)
    return _CONTROL.sub(lambda c: c[0] if c[0].isprintable() else json.dumps(c[0])[1:-1], text)


def print_json(value: object) -> None:
    """To the standard output, in UTF-8 whatever else is printed there (RFC 8259)."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    print(to_json(value))


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
