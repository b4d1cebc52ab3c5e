"""What live sources are tested with: sinks that wait, and servers on loopback that come and go."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import av
import cv2
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from media import chirp, number_of, picture
from serving import serving

from streamer import config as configuration
from streamer.clock import LiveClock, monotonic
from streamer.config import LiveConfig
from streamer.types import SAMPLE_RATE, AudioChunk, Frame

PATIENCE_S = 20.0


def settings(**values: object) -> LiveConfig:
    """The `live` section: losses are noticed soon and devices tried again at once."""
    wanted = {"stall_s": 0.5, "retry_s": 0.2, **values}
    return configuration.load(settings=[f"live.{k}={v}" for k, v in wanted.items()]).live


@dataclass(frozen=True)
class Seen:
    """A frame as it came: its time and number, and when, monotonic."""

    t: float
    index: int
    number: int
    at: float


def report(what: str, clock: LiveClock, shown: list[Seen], sent: dict[int, float]) -> None:
    """Hold, and print, how long after they were sent pictures are stamped and handed over."""
    stamped = [clock.origin + s.t - sent[s.number] for s in shown]
    handed = [s.at - sent[s.number] for s in shown]
    for name, values in (("stamped", stamped), ("handed over", handed)):
        p50, p95 = np.percentile(values, [50, 95]) * 1000
        print(f"{what}: sent to {name}: p50 {p50:.1f} ms, p95 {p95:.1f} ms")
        assert -20 < p50 < 250


class Sinks:
    """Both sinks of a source: keep what comes, in order, and let a test wait for it."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.chunks: list[AudioChunk] = []
        self.order: list[tuple[str, float]] = []
        self.ends: list[float | None] = []
        self.sound_closed = 0
        self._changed = threading.Condition()

    def put(self, frame: Frame) -> bool:
        at = monotonic()
        with self._changed:
            self.seen.append(Seen(frame.t, frame.index, number_of(frame.load()), at))
            return self._note("frame", frame.t)

    def advance(self, t: float) -> bool:
        with self._changed:
            return self._note("nothing seen", t)

    def close(self, end: float | None = None) -> None:
        with self._changed:
            self.ends.append(end)
            self._note("end", end or 0.0)

    def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Wait until ``condition`` holds: looked at whenever something comes, and now and then, as
        a device's state changes without."""
        deadline = monotonic() + PATIENCE_S
        with self._changed:
            while not condition():
                assert monotonic() < deadline, f"never came: {what}; last {self.order[-3:]}"
                self._changed.wait(0.02)

    def happened(self, kind: str) -> list[float]:
        return [t for event, t in self.order if event == kind]

    @property
    def sound(self) -> "SoundSink":
        return SoundSink(self)

    def _note(self, kind: str, t: float) -> bool:
        self.order.append((kind, t))
        self._changed.notify_all()
        return True


class SoundSink:
    """The sound's side of Sinks."""

    def __init__(self, sinks: Sinks) -> None:
        self._sinks = sinks

    def write(self, chunk: AudioChunk) -> bool:
        with self._sinks._changed:
            self._sinks.chunks.append(chunk)
            return self._sinks._note("sound", (chunk.start + len(chunk.pcm)) / SAMPLE_RATE)

    def advance(self, sample: int) -> bool:
        with self._sinks._changed:
            return self._sinks._note("nothing heard", sample / SAMPLE_RATE)

    def close(self) -> None:
        with self._sinks._changed:
            self._sinks.sound_closed += 1
            self._sinks._note("sound's end", 0.0)


@contextmanager
def running(source: Any, *sinks: Any) -> Iterator[threading.Event]:
    """The source's `run` in a thread; at the end it is stopped, joined and closed, twice."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def body() -> None:
        try:
            source.run(*sinks, stop)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    try:
        deadline = monotonic() + PATIENCE_S
        while source.state.status == "opening" and thread.is_alive():
            assert monotonic() < deadline
            thread.join(0.002)
        yield stop
    finally:
        stop.set()
        thread.join(PATIENCE_S)
        source.close()
        source.close()
    assert not thread.is_alive()
    if errors:
        raise errors[0]


def ended(source: Any) -> None:
    """Wait for the source's own thread, once what held it is gone."""
    source._capture._thread.join(PATIENCE_S)
    assert not source._capture._thread.is_alive()


@dataclass
class Mjpeg:
    """A web camera: numbered pictures to whoever asks for /video, ``rate`` a second."""

    rate: float = 30.0
    silent: threading.Event = field(default_factory=threading.Event)
    """While set, nothing is sent though the connection stays."""
    cut: threading.Event = field(default_factory=threading.Event)
    """While set, connections are closed and new ones refused (status 503)."""
    sent: dict[int, float] = field(default_factory=dict)
    """When the picture of a number was last sent, monotonic."""
    asked: list[str] = field(default_factory=list)
    number: int = 0
    frozen: bool = False
    blank: bool = False
    size: tuple[int, int] = (128, 64)
    shows: list[bytes] = field(default_factory=list)
    """JPEG pictures, shown again and again instead of the numbers."""
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/video"


@contextmanager
def mjpeg(**about: Any) -> Iterator[Mjpeg]:
    """Serves until the end of the block."""
    camera = Mjpeg(**about)
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            camera.asked.append(self.path)
            if camera.cut.is_set():
                return self.send_error(503)
            if self.path != "/video":
                return self.send_error(404)
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
            self.end_headers()
            try:
                while not (over.is_set() or camera.cut.is_set()):
                    if not camera.silent.is_set():
                        self.show()
                    over.wait(1 / camera.rate)
            except OSError:
                pass  # the reader went away

        def show(self) -> None:
            camera.number = (camera.number + (not camera.frozen)) % 256
            if camera.shows:
                data = camera.shows[camera.number % len(camera.shows)]
            else:
                shown = picture(camera.number, camera.size) * np.uint8(not camera.blank)
                data = cv2.imencode(".jpg", shown)[1].tobytes()
            head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            camera.sent[camera.number] = monotonic()
            self.wfile.write(head.encode() + data + b"\r\n")

        def log_message(self, *_: object) -> None:
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as camera.port:
        try:
            yield camera
        finally:
            over.set()


FPS, SOUND_HZ, AAC_FRAME = 25, 48_000, 1024


class Encoded:
    """Pictures that show their number, k / FPS s each, and a chirp of the same time, muxed.

    The encoders hold nothing back, as those of live senders do.
    """

    def __init__(self, target: Any, format_: str) -> None:
        self.out = av.open(target, "w", format=format_, options={"flush_packets": "1"})
        options = {"preset": "ultrafast", "tune": "zerolatency", "g": "10"}
        video = self.out.add_stream("libx264", rate=FPS, options=options)
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = 128, 64, "yuv420p"
        self._video = video
        self._audio = self.out.add_stream("aac", rate=SOUND_HZ, layout="mono")
        self._heard = 0

    def write(self, number: int) -> None:
        """The picture of ``number``, and the sound that is complete by its end."""
        frame = VideoFrame.from_ndarray(picture(number % 256), format="gray")
        frame = frame.reformat(format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, FPS)
        self.out.mux(self._video.encode(frame))
        while (self._heard + AAC_FRAME) * FPS <= (number + 1) * SOUND_HZ:
            samples = np.arange(self._heard, self._heard + AAC_FRAME)
            wave = (0.5 * chirp(samples / SOUND_HZ)).astype(np.float32)
            sound = AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
            sound.pts, sound.rate = self._heard, SOUND_HZ
            sound.time_base = Fraction(1, SOUND_HZ)
            self.out.mux(self._audio.encode(sound))
            self._heard += AAC_FRAME

    def close(self) -> None:
        self.out.mux(self._video.encode(None))
        self.out.mux(self._audio.encode(None))
        self.out.close()


@contextmanager
def sender(port: int, sent: dict[int, float] | None = None) -> Iterator[None]:
    """Sends numbered pictures and the chirp as MPEG-TS by UDP, in real time, from zero on."""
    over = threading.Event()
    sent = {} if sent is None else sent

    def body() -> None:
        encoded = Encoded(f"udp://127.0.0.1:{port}?pkt_size=1316", "mpegts")
        began, number = monotonic(), 0
        while not over.wait(max(began + number / FPS - monotonic(), 0)):
            sent[number] = monotonic()
            encoded.write(number)
            number += 1
        encoded.close()

    thread = threading.Thread(target=body)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(PATIENCE_S)


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """A port of this machine that nobody uses now."""
    with socket.socket(socket.AF_INET, kind) as asked:
        asked.bind(("127.0.0.1", 0))
        port: int = asked.getsockname()[1]
        return port
