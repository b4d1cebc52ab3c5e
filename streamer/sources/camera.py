"""A camera: read by OpenCV, each picture stamped right after it was grabbed."""

import math
import os
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event

import cv2
import numpy as np
from cv2.utils import logging as cv2_logging

from streamer.clock import LiveClock, monotonic
from streamer.config import LiveConfig
from streamer.sources.capture import Capture, masked
from streamer.sources.live import Deaf
from streamer.sources.network import NetworkStream
from streamer.types import DeviceState, Frame, FrameSink, Image, StreamerError

OPEN_S = 15.0
"""How long a camera may take to its first picture; some need many seconds, s."""

BAD = 30
"""So many pictures in a row that can't be decoded are a loss."""

BLACK = 8
"""A picture whose brightest part is darker than this, 0…255, shows nothing."""

LOOK = 10
"""Pictures taken for a check."""

SIZES = ((640, 480), (1280, 720), (1920, 1080))
"""The sizes that a camera is tried with to see what it offers, px."""

SYSFS = Path("/sys/class/video4linux")
PROBED = 4
"""How many indices are tried where the system can't be asked what there is."""

BACKENDS = {"linux": cv2.CAP_V4L2, "darwin": cv2.CAP_AVFOUNDATION, "win32": cv2.CAP_DSHOW}

Opener = Callable[[str, LiveConfig], cv2.VideoCapture]


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """A camera of this computer: ``spec`` is what --camera takes, ``modes`` the sizes it agreed to
    ("1280×720 MJPG, 30/s"), ``problem`` why it can't be used.
    """

    spec: str
    name: str
    modes: list[str]
    problem: str | None = None


def open_device(spec: str, config: LiveConfig) -> cv2.VideoCapture:
    """OpenCV's capture of an index, a /dev path or an http URL; not open if it failed.

    Raises StreamerError where ``spec`` is none of these.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # nothing on the dashboard
    cv2_logging.setLogLevel(cv2_logging.LOG_LEVEL_SILENT)
    backend = BACKENDS.get(sys.platform, cv2.CAP_ANY)
    if spec.isascii() and spec.isdigit() and len(spec) < 4:
        return cv2.VideoCapture(int(spec), backend)
    if spec.startswith("/dev/"):
        return cv2.VideoCapture(spec, backend)
    if spec.startswith(("http://", "https://")):
        milliseconds = round(config.stall_s * 1000)
        limits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
        asked = [value for limit in limits for value in (limit, milliseconds)]
        return cv2.VideoCapture(spec, cv2.CAP_FFMPEG, asked)
    raise StreamerError(
        f"camera {masked(spec)}: give its index (0), its device (/dev/video0) or a URL"
    )


class Camera:
    """Reads a camera until told to stop; picks it up again when it was away.

    It is open, and gave its first picture, when the constructor returns; StreamerError if not.
    Pictures are scaled to at most ``max_px`` on their longer side when they are needed.
    """

    def __init__(
        self,
        spec: str,
        clock: LiveClock,
        config: LiveConfig,
        max_px: int = 1280,
        opener: Opener = open_device,
    ) -> None:
        self._spec, self._clock, self._config = spec, clock, config
        self._max_px, self._opener = max_px, opener
        self._index = 0
        self.state = DeviceState(f"camera {masked(spec)}", "camera")
        self._capture = Capture(self.state, clock, config, self._read, room=8)
        try:
            self._capture.begin(OPEN_S)
        except StreamerError as error:
            raise StreamerError(f"{error}; {_hint(spec)}") from None
        self.state.detail = self._capture.format

    def run(self, frames: FrameSink, stop: Event) -> None:
        """Push the pictures until ``stop``, then close the sink; time goes on without pictures."""
        self._capture.run(frames, None, stop)

    def close(self) -> None:
        """Let the camera go; may be called twice."""
        self._capture.close()

    def _read(self) -> Generator[Frame, None, None]:
        device = self._opener(self._spec, self._config)
        try:
            if not device.isOpened():
                raise StreamerError(f"{self.state.name} can't be opened")
            asked = "" if "://" in self._spec else _ask(device, self._config)
            raw = _leave_compressed(device)
            self._capture.format = _offer(device) + asked
            bad, last, still = 0, -math.inf, _Still(self._config.stall_s)
            origin = self._clock.origin
            while bad < BAD and device.grab():
                wall = monotonic()
                # Each is retrieved, wanted or not: only the next grab tells, and overwrites it.
                there, taken = device.retrieve()
                image = np.asarray(taken if there and taken is not None else (), np.uint8)
                if raw and image.size and not _is_jpeg(image):
                    device.set(cv2.CAP_PROP_CONVERT_RGB, 1)
                    raw, image = False, image[:0]
                if not image.size:
                    bad += 1
                    self._capture.damaged += 1
                    continue
                bad = 0
                self._capture.note = still.note(image, wall)
                # To the millisecond, as a recording stores it; each a later one, also in a burst.
                if (begun := self._clock.origin) != origin:  # the session begins only now
                    origin, last = begun, -math.inf
                t = wall - begun + self._config.av_offset_s
                last = round(max(t, last + 0.001), 3)
                yield Frame(last, self._index, partial(_rgb, image, self._max_px))
                self._index += 1
        finally:
            device.release()


class _Still:
    """Notices a picture that no longer changes.

    A sensor's noise changes every picture, so the camera or its driver may hang; a test picture
    may stand still rightly. So it is said, not taken for a loss.
    """

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._seen: Image | None = None
        self._since = 0.0

    def note(self, image: Image, now: float) -> str:
        seen = image[::8, ::8].copy()  # no reference to the whole
        if self._seen is None or not np.array_equal(seen, self._seen):
            self._seen, self._since = seen, now
        still_s = now - self._since
        return f"the same picture for {still_s:.0f} s" if still_s >= self._after_s else ""


def cameras(
    config: LiveConfig, opener: Opener = open_device, sysfs: Path | None = None
) -> list[CameraInfo]:
    """The cameras of this computer, each opened for a moment and asked for its sizes.

    ``sysfs`` is where Linux lists them; elsewhere a few indices are tried.
    """
    if sysfs is None and sys.platform == "linux":
        sysfs = SYSFS
    found = _listed(sysfs) if sysfs else [(str(k), f"camera {k}") for k in range(PROBED)]
    infos = []
    for spec, name in found:
        device = opener(spec, config)
        try:
            if device.isOpened():
                infos.append(CameraInfo(spec, name, _modes(device, config)))
            elif sysfs:
                problem = "can't be opened: in use by another program, or not permitted"
                infos.append(CameraInfo(spec, name, [], problem))
        finally:
            device.release()
    return infos


class _Look:
    """A sink that takes LOOK pictures, so that the exposure has settled, and keeps the last."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.last: Frame | None = None

    def put(self, frame: Frame) -> bool:
        self.last = frame
        self.times.append(frame.t)
        return len(self.times) < LOOK

    def advance(self, _t: float) -> bool:
        return False  # it has stalled

    def close(self, end: float | None = None) -> None:
        """Nothing to close."""


def check(spec: str, config: LiveConfig, opener: Opener = open_device) -> str:
    """Look through a camera or at a stream for a moment; what it gives, for people ("1280×720 MJPG,
    29.9/s, first picture after 0.4 s"). Raises StreamerError where it gives nothing.
    """
    began, look = monotonic(), _Look()
    device: Camera | NetworkStream
    if "://" in spec:
        device = stream = NetworkStream(spec, LiveClock(), config)
        run = partial(stream.run, look, Deaf(), Event())
    else:
        device = camera = Camera(spec, LiveClock(), config, opener=opener)
        run = partial(camera.run, look, Event())
    about, taken = device.state.detail, monotonic() - began
    try:
        run()
    finally:
        device.close()
    if len(look.times) > 1:
        about += f", {(len(look.times) - 1) / (look.times[-1] - look.times[0]):.3g}/s"
    if len(look.times) < LOOK:
        about += ", but it stalled"
    elif look.last and look.last.load().max() < BLACK:
        about += ", but it is black: is the lens covered?"
    return f"{about}, first picture after {taken:.1f} s"


def _listed(sysfs: Path) -> list[tuple[str, str]]:
    """(index, name) of Linux's capture devices; one camera may have further nodes for metadata."""
    found = []
    for node in sysfs.glob("video*"):
        number = node.name.removeprefix("video")
        try:
            first = (node / "index").read_text().strip() == "0"
            name = (node / "name").read_text(errors="replace").strip()
        except OSError:
            continue
        if first and number.isdigit():
            found.append((number, name))
    return sorted(found, key=lambda item: int(item[0]))


def _hint(spec: str) -> str:
    """What a user may have meant or may do, without opening anything."""
    if "://" in spec:
        return "is the address right, and the server running?"
    if sys.platform == "darwin":
        return "the terminal may need leave: System Settings, Privacy & Security, Camera"
    if sys.platform != "linux":
        return "`streamer devices` lists the cameras"
    names = [f"{number} ({name})" for number, name in _listed(SYSFS)]
    return f"there are: {', '.join(names)}" if names else "no camera was found"


def _ask(device: cv2.VideoCapture, config: LiveConfig) -> str:
    """Ask for format, size and rate, in the order that V4L2 wants; say what was not granted."""
    _set_format(device, config)
    wanted = (config.width_px, config.height_px)
    device.set(cv2.CAP_PROP_FRAME_WIDTH, wanted[0])
    device.set(cv2.CAP_PROP_FRAME_HEIGHT, wanted[1])
    device.set(cv2.CAP_PROP_FPS, config.rate_hz)
    missed = []
    if _granted(device) != wanted:
        missed.append(f"{wanted[0]}×{wanted[1]}")
    if config.pixel_format and _pixels(device) not in ("", config.pixel_format.strip()):
        missed.append(config.pixel_format)
    rate = device.get(cv2.CAP_PROP_FPS)
    if rate > 0 and not math.isclose(rate, config.rate_hz, abs_tol=0.5):
        missed.append(f"{config.rate_hz:g}/s")
    return f" (asked for {' '.join(missed)})" if missed else ""


def _modes(device: cv2.VideoCapture, config: LiveConfig) -> list[str]:
    """What the device agrees to when asked for the usual sizes and the configured one."""
    _set_format(device, config)
    modes: dict[str, None] = {}
    for width, height in sorted({*SIZES, (config.width_px, config.height_px)}):
        device.set(cv2.CAP_PROP_FRAME_WIDTH, width)
        device.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
        device.set(cv2.CAP_PROP_FPS, config.rate_hz)
        about, rate = _offer(device), device.get(cv2.CAP_PROP_FPS)
        modes[f"{about}, {rate:g}/s" if rate > 0 else about] = None
    return list(modes)


def _set_format(device: cv2.VideoCapture, config: LiveConfig) -> None:
    if config.pixel_format:
        code = int.from_bytes(config.pixel_format.encode(), "little")
        device.set(cv2.CAP_PROP_FOURCC, code)


def _granted(device: cv2.VideoCapture) -> tuple[int, int]:
    width, height = cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT
    return int(device.get(width)), int(device.get(height))


def _offer(device: cv2.VideoCapture) -> str:
    """The size and pixel format that the device says it gives."""
    width, height = _granted(device)
    return f"{width}×{height} {_pixels(device)}".strip()


def _leave_compressed(device: cv2.VideoCapture) -> bool:
    """Ask for Motion JPEG as it comes, so that only the pictures that are wanted are decoded: 8 ms
    each at 1280×720. Only V4L2 can; whether it does shows in the first picture.
    """
    if device.getBackendName() != "V4L2" or _pixels(device) != "MJPG":
        return False
    return bool(device.set(cv2.CAP_PROP_CONVERT_RGB, 0))


def _is_jpeg(image: Image) -> bool:
    return image.shape[0] == 1 and image[0, :2].tobytes() == b"\xff\xd8"


def _pixels(device: cv2.VideoCapture) -> str:
    """The pixel format's four characters; empty where the device doesn't say."""
    code = int(device.get(cv2.CAP_PROP_FOURCC))
    text = code.to_bytes(4, "little").decode("ascii", "replace") if code > 0 else ""
    return text.strip() if text.isprintable() else ""


def _rgb(image: Image, max_px: int) -> Image:
    """OpenCV's BGR or gray picture, or one JPEG, as RGB scaled to ``max_px``.

    A JPEG that can't be decoded is black: nobody is in it.
    """
    if _is_jpeg(image):
        decoded = cv2.imdecode(image, cv2.IMREAD_COLOR)
        image = (
            np.zeros((64, 64, 3), np.uint8) if decoded is None else np.asarray(decoded, np.uint8)
        )
    scale = max_px / max(image.shape[:2])
    if scale < 1:
        size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    code = cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB
    return np.ascontiguousarray(cv2.cvtColor(image, code), np.uint8)
