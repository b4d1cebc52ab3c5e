"""An RTMP server in small (Adobe's specification 1.0), for tests: plays one stream to who asks.

The messages of picture and sound are FFmpeg's own FLV tags, sent as they fall due.
"""

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import BinaryIO

from live import FPS, Encoded
from serving import serving

from streamer.clock import monotonic

HANDSHAKE, CHUNK, OUR_CHUNK = 1536, 128, 1 << 20
SET_CHUNK_SIZE, COMMAND, STREAM = 1, 20, 1
HEADERS = {0: 11, 1: 7, 2: 3, 3: 0}
"""How long a chunk's header is, by its kind."""


@dataclass
class Rtmp:
    """A server's address, and when the picture of a number was sent, monotonic."""

    port: int = 0
    sent: dict[int, float] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


def message(kind: int, payload: bytes, ms: int = 0, stream: int = 0) -> bytes:
    """A message in one chunk with a full header."""
    head = bytes([3]) + ms.to_bytes(3, "big") + len(payload).to_bytes(3, "big") + bytes([kind])
    return head + stream.to_bytes(4, "little") + payload


def amf(*values: str | float | dict[str, str] | None) -> bytes:
    """AMF 0 of a command's parts."""

    def text(value: str) -> bytes:
        return struct.pack(">H", len(value)) + value.encode()

    parts = []
    for value in values:
        if value is None:
            parts.append(b"\x05")
        elif isinstance(value, str):
            parts.append(b"\x02" + text(value))
        elif isinstance(value, dict):
            inner = b"".join(text(key) + amf(item) for key, item in value.items())
            parts.append(b"\x03" + inner + b"\x00\x00\x09")
        else:
            parts.append(b"\x00" + struct.pack(">d", value))
    return b"".join(parts)


def commands(source: BinaryIO) -> Iterator[tuple[str, float]]:
    """(name, transaction) of each command that a client sends; its chunks may alternate."""
    heads: dict[int, bytes] = {}
    bodies: dict[int, bytes] = {}
    while first := source.read(1):
        kind, channel = first[0] >> 6, first[0] & 63
        head = source.read(HEADERS[kind])
        heads[channel] = head + heads.get(channel, b"")[len(head) :]
        size = int.from_bytes(heads[channel][3:6], "big")
        have = bodies.pop(channel, b"")
        have += source.read(min(CHUNK, size - len(have)))
        if len(have) < size:
            bodies[channel] = have
        elif heads[channel][6] == COMMAND:
            length = int.from_bytes(have[1:3], "big")
            (transaction,) = struct.unpack(">d", have[4 + length : 12 + length])
            yield have[3 : 3 + length].decode(), transaction


class Tags:
    """Takes what FFmpeg's FLV muxer writes; gives each tag's kind, time (ms) and content."""

    def __init__(self) -> None:
        self._data = BytesIO()
        self._taken = 9 + 4  # the file's header

    def write(self, data: bytes) -> int:
        return self._data.write(data)

    def new(self) -> Iterator[tuple[int, int, bytes]]:
        data = self._data.getvalue()
        while len(data) >= self._taken + 11:
            head = data[self._taken : self._taken + 11]
            size = int.from_bytes(head[1:4], "big")
            if len(data) < self._taken + 11 + size + 4:
                return
            at = self._taken + 11
            yield head[0], int.from_bytes(head[4:7], "big"), data[at : at + size]
            self._taken = at + size + 4


@contextmanager
def rtmp() -> Iterator[Rtmp]:
    """Serves until the end of the block, at rtmp://127.0.0.1:PORT/live/x."""
    camera, over = Rtmp(), threading.Event()

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            try:
                hello = self.rfile.read(1 + HANDSHAKE)
                self.wfile.write(b"\x03" + bytes(HANDSHAKE) + hello[1:])
                self.rfile.read(HANDSHAKE)
                for name, transaction in commands(self.rfile):
                    self._answer(name, transaction)
            except OSError:
                pass  # the client went away

        def _answer(self, name: str, transaction: float) -> None:
            camera.asked.append(name)
            if name == "connect":
                self.wfile.write(message(SET_CHUNK_SIZE, struct.pack(">I", OUR_CHUNK)))
                info = {"level": "status", "code": "NetConnection.Connect.Success"}
                self.wfile.write(message(COMMAND, amf("_result", transaction, {}, info)))
            elif name == "createStream":
                result = amf("_result", transaction, None, float(STREAM))
                self.wfile.write(message(COMMAND, result))
            elif name == "play":
                info = {"level": "status", "code": "NetStream.Play.Start"}
                self.wfile.write(message(COMMAND, amf("onStatus", 0.0, None, info), 0, STREAM))
                self._play()

        def _play(self) -> None:
            tags, began, number = Tags(), monotonic(), 0
            encoded = Encoded(tags, "flv")
            while not over.wait(max(began + number / FPS - monotonic(), 0)):
                camera.sent[number] = monotonic()
                encoded.write(number)
                for kind, ms, content in tags.new():
                    self.wfile.write(message(kind, content, ms, STREAM))
                number += 1

    with serving(ThreadingTCPServer(("127.0.0.1", 0), Handler)) as camera.port:
        try:
            yield camera
        finally:
            over.set()
