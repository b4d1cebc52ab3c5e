"""An RTSP server in small (RFC 2326), for tests: H.264 and 16-bit PCM by RTP within its connection.

Pictures show their number and the sound is the chirp of the same time, sent as they fall due.
"""

import re
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from socketserver import StreamRequestHandler, ThreadingTCPServer

import av
import numpy as np
from av.video.frame import VideoFrame
from live import FPS
from media import chirp, picture
from serving import serving

from streamer.clock import monotonic

SOUND_HZ, BLOCK = 16_000, 320
PACKET = 1400
BASE = {"video": 123_456, "audio": 654_321}
"""Each stream's stamps begin somewhere, as RFC 3550 wants; RTP-Info says where."""
SDP = f"""v=0
o=- 0 0 IN IP4 127.0.0.1
s=camera
c=IN IP4 127.0.0.1
t=0 0
m=video 0 RTP/AVP 96
a=rtpmap:96 H264/90000
a=fmtp:96 packetization-mode=1
a=control:video
m=audio 0 RTP/AVP 97
a=rtpmap:97 L16/{SOUND_HZ}/1
a=control:audio
"""


@dataclass
class Rtsp:
    """A server's address and state; ``cut`` ends its connections and refuses new ones."""

    port: int = 0
    cut: threading.Event = field(default_factory=threading.Event)
    sent: dict[int, float] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


class Session:
    """What one client is sent: packets of RTP (RFC 3550), framed as RFC 2326, 10.12 says."""

    def __init__(self, write: "StreamRequestHandler") -> None:
        self._out = write.wfile
        self._sequence = {"video": 0, "audio": 0}
        video = av.CodecContext.create("libx264", "w")
        assert isinstance(video, av.VideoCodecContext)
        video.width, video.height, video.pix_fmt = 128, 64, "yuv420p"
        video.time_base = Fraction(1, FPS)
        video.options = {"preset": "ultrafast", "tune": "zerolatency", "g": "10"}
        self._video = video
        self._heard = 0

    def send(self, number: int) -> None:
        """The picture of ``number``, and the sound that is complete by its end."""
        frame = VideoFrame.from_ndarray(picture(number % 256), format="gray")
        frame = frame.reformat(format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, FPS)
        for packet in self._video.encode(frame):
            units = [u for u in re.split(b"\x00?\x00\x00\x01", bytes(packet)) if u]
            parts = [part for unit in units for part in _fragments(unit)]
            for part in parts:
                self._packet("video", number * 90_000 // FPS, part, part is parts[-1])
        while (self._heard + BLOCK) * FPS <= (number + 1) * SOUND_HZ:
            samples = np.arange(self._heard, self._heard + BLOCK) / SOUND_HZ
            pcm = (0.5 * 32767 * chirp(samples)).astype(">i2").tobytes()
            self._packet("audio", self._heard, pcm, last=False)
            self._heard += BLOCK

    def _packet(self, kind: str, stamp: int, payload: bytes, last: bool) -> None:
        channel, number = (0, 96) if kind == "video" else (2, 97)
        at = (stamp + BASE[kind]) & 0xFFFFFFFF
        head = struct.pack(">BBHII", 0x80, number | last << 7, self._sequence[kind], at, channel)
        self._sequence[kind] = (self._sequence[kind] + 1) & 0xFFFF
        size = len(head) + len(payload)
        self._out.write(struct.pack(">cBH", b"$", channel, size) + head + payload)


def _fragments(unit: bytes) -> list[bytes]:
    """One H.264 unit as RTP payloads: itself, or in parts (FU-A, RFC 6184, 5.8)."""
    if len(unit) <= PACKET:
        return [unit]
    indicator, kind, body = unit[0] & 0xE0 | 28, unit[0] & 0x1F, unit[1:]
    starts = range(0, len(body), PACKET)
    return [
        bytes([indicator, kind | (at == 0) << 7 | (at + PACKET >= len(body)) << 6])
        + body[at : at + PACKET]
        for at in starts
    ]


@contextmanager
def rtsp() -> Iterator[Rtsp]:
    """Serves until the end of the block, at rtsp://127.0.0.1:PORT/live."""
    camera, over = Rtsp(), threading.Event()

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            try:
                while not camera.cut.is_set() and (request := self._request()):
                    self._answer(*request)
            except OSError:
                pass  # the client went away

        def _request(self) -> tuple[str, str, dict[str, str]] | None:
            line = self.rfile.readline().decode().split()
            if not line:
                return None
            headers = {}
            while (text := self.rfile.readline().decode().strip()) != "":
                key, _, value = text.partition(":")
                headers[key.lower()] = value.strip()
            return line[0], line[1], headers

        def _answer(self, method: str, url: str, headers: dict[str, str]) -> None:
            camera.asked.append(method)
            more, body = {"Session": "1"}, ""
            if method == "OPTIONS":
                more = {"Public": "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"}
            elif method == "DESCRIBE":
                body = SDP.replace("\n", "\r\n")
                more = {"Content-Type": "application/sdp", "Content-Base": f"{url}/"}
            elif method == "SETUP":
                more["Transport"] = headers["transport"]
            elif method == "PLAY":
                infos = [f"url={url}{kind};seq=0;rtptime={at}" for kind, at in BASE.items()]
                more |= {"Range": "npt=0.000-", "RTP-Info": ",".join(infos)}
            lines = [f"{key}: {value}" for key, value in more.items()]
            head = ["RTSP/1.0 200 OK", f"CSeq: {headers['cseq']}", *lines]
            head.append(f"Content-Length: {len(body)}")
            self.wfile.write(("\r\n".join(head) + "\r\n\r\n" + body).encode())
            if method == "PLAY":
                self._play()

        def _play(self) -> None:
            session, began, number = Session(self), monotonic(), 0
            while not camera.cut.is_set():
                if over.wait(max(began + number / FPS - monotonic(), 0)):
                    camera.cut.set()
                    return
                camera.sent[number] = monotonic()
                session.send(number)
                number += 1

    with serving(ThreadingTCPServer(("127.0.0.1", 0), Handler)) as camera.port:
        try:
            yield camera
        finally:
            over.set()
