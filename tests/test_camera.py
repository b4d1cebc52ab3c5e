"""Cameras that come and go: a real one over loopback by OpenCV, and scripted devices."""

import csv
import re
import socket
import threading
from itertools import pairwise
from pathlib import Path
from queue import Queue
from typing import Any, cast

import cv2
import numpy as np
import pytest
import scripted
from live import PATIENCE_S, Sinks, ended, free_port, mjpeg, report, running, settings
from media import number_of, picture

from streamer import cli_live, devices
from streamer.clock import LiveClock, monotonic
from streamer.config import LiveConfig
from streamer.sources import camera as module
from streamer.sources.camera import Camera, cameras, check
from streamer.types import EMOTIONS, AudioSink, Frame, FrameSink, Image, SourceInfo, StreamerError


class Device:
    """Stands for OpenCV's capture: gives what it is fed (None: unplugged), one item a grab."""

    def __init__(self, granted: tuple[int, int, str, float] = (128, 64, "MJPG", 30.0)) -> None:
        self.feed: Queue[Image | Exception | None] = Queue()
        self.there, self.backend = True, "ANY"
        self.opened = self.released = 0
        self.asked: list[tuple[int, float]] = []
        self._granted = granted
        self._image: Image | Exception | None = None

    def __call__(self, _spec: str, _config: LiveConfig) -> cv2.VideoCapture:
        self.opened += 1
        return cast(cv2.VideoCapture, self)

    def isOpened(self) -> bool:  # noqa: N802
        return self.there

    def getBackendName(self) -> str:  # noqa: N802
        return self.backend

    def set(self, key: int, value: float) -> bool:
        self.asked.append((key, value))
        return True

    def get(self, key: int) -> float:
        width, height, pixels, rate = self._granted
        return {
            cv2.CAP_PROP_FRAME_WIDTH: width,
            cv2.CAP_PROP_FRAME_HEIGHT: height,
            cv2.CAP_PROP_FOURCC: int.from_bytes(pixels.encode(), "little"),
            cv2.CAP_PROP_FPS: rate,
        }[key]

    def grab(self) -> bool:
        self._image = self.feed.get(timeout=PATIENCE_S)
        self.feed.task_done()
        if isinstance(self._image, Exception):
            raise self._image
        return self._image is not None

    def retrieve(self) -> tuple[bool, Any]:
        image = self._image
        return (True, image) if isinstance(image, np.ndarray) and image.size else (False, None)

    def release(self) -> None:
        self.released += 1

    def show(self, *numbers: int) -> None:
        for number in numbers:
            self.feed.put(cv2.cvtColor(picture(number), cv2.COLOR_GRAY2BGR))

    def let_go(self) -> None:
        """End the grab that holds a thread which was left behind."""
        self.feed.put(None)
        for thread in threading.enumerate():
            if thread.name == "streamer-camera":
                thread.join(PATIENCE_S)

    def camera(self, **live: object) -> Camera:
        self.show(0)
        return Camera("0", LiveClock(), settings(**live), opener=self)


@pytest.fixture
def device() -> Device:
    return Device()


def test_real_camera_gives_pictures_in_order_at_the_time_of_their_capture() -> None:
    with mjpeg(size=(1280, 720)) as server:
        clock, sinks = LiveClock(), Sinks()
        camera = Camera(server.url, clock, settings(stall_s=5))
        with running(camera, sinks):
            sinks.until(lambda: len(sinks.seen) >= 60)
            shown = list(sinks.seen)
            sent = dict(server.sent)
            detail = camera.state.detail
        ended(camera)
    assert [b.number - a.number for a, b in pairwise(shown)] == [1] * (len(shown) - 1)
    assert [b.index - a.index for a, b in pairwise(shown)] == [1] * (len(shown) - 1)
    assert all(b.t > a.t for a, b in pairwise(shown))
    report("HTTP MJPEG 1280×720 by OpenCV", clock, shown, sent)
    assert detail.startswith("1280×720 MJPG, ")
    assert 15 < float(detail.split(", ")[1].removesuffix("/s")) < 45
    assert camera.state.status == "ended"
    assert (camera.state.losses, camera.state.dropped) == (0, 0)
    assert sinks.ends == [pytest.approx(sinks.seen[-1].t, abs=1)]


def test_real_camera_that_stalls_dies_and_returns_goes_on(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with mjpeg() as server:
        sinks = Sinks()
        camera = Camera(server.url, LiveClock(), settings())
        with running(camera, sinks):
            for away in (server.silent, server.cut):
                before = len(sinks.seen)
                sinks.until(lambda b=before: len(sinks.seen) > b + 5)
                away.set()
                passed = len(sinks.happened("nothing seen"))
                sinks.until(lambda p=passed: len(sinks.happened("nothing seen")) > p + 5)
                assert camera.state.status == "lost"
                away.clear()
            before = len(sinks.seen)
            sinks.until(lambda: len(sinks.seen) > before + 5)
            assert camera.state.status == "running"
        ended(camera)
    assert camera.state.losses == 2
    assert camera.state.lost_s > 1
    times = [t for _, t in sinks.order]
    assert times == sorted(times)
    assert capfd.readouterr() == ("", ""), "something was written over the dashboard"


def test_time_goes_on_without_pictures_and_a_loss_is_counted(device: Device) -> None:
    camera, sinks = device.camera(stall_s=0.2), Sinks()
    with running(camera, sinks):
        device.show(1)
        sinks.until(lambda: sinks.seen)
        sinks.until(lambda: len(sinks.happened("nothing seen")) >= 3)
        state = camera.state
        assert (state.status, state.losses) == ("lost", 1)
        assert "nothing came for 0.2 s" in state.detail
        assert state.lost_s > 0.2
        device.show(2)
        sinks.until(lambda: len(sinks.seen) == 2)
        sinks.until(lambda: camera.state.losses == 2)  # it was silent again
        device.feed.put(None)
    ended(camera)
    quiet = sinks.happened("nothing seen")
    assert all(0.099 < b - a < 2 for a, b in pairwise(quiet[:3]))
    assert [s.number for s in sinks.seen] == [1, 2]
    times = [t for _, t in sinks.order]
    assert times == sorted(times)


def test_unplugged_camera_is_opened_again(device: Device) -> None:
    camera, sinks = device.camera(stall_s=60), Sinks()
    with running(camera, sinks):
        device.show(1)
        sinks.until(lambda: sinks.seen)
        device.there = False
        device.feed.put(None)
        sinks.until(lambda: sinks.happened("nothing seen"))  # at once, long before the stall
        assert camera.state.status == "lost"
        sinks.until(lambda: device.opened >= 4)
        assert camera.state.detail in ("it went away", "camera 0 can't be opened")
        device.there = True
        device.show(2)
        sinks.until(lambda: len(sinks.seen) == 2)
        assert camera.state.losses == 1
        device.feed.put(None)
    ended(camera)
    assert device.released == device.opened


def test_stop_ends_it_while_the_driver_holds_a_grab(device: Device) -> None:
    camera, sinks = device.camera(), Sinks()
    began = monotonic()
    with running(camera, sinks) as stop:
        stop.set()
    assert monotonic() - began < 1.5
    assert len(sinks.ends) == 1
    assert camera._capture._thread.is_alive()
    assert camera._capture._thread.daemon
    device.feed.put(None)  # the driver lets go
    ended(camera)
    assert device.released == 1


def test_a_death_in_the_camera_thread_is_raised(device: Device) -> None:
    camera = device.camera()
    device.feed.put(MemoryError("no room"))
    ended(camera)
    with pytest.raises(MemoryError, match="no room"), running(camera, Sinks()):
        pass


def test_pictures_before_the_session_are_left_out(device: Device) -> None:
    camera, sinks = device.camera(), Sinks()
    device.show(*range(1, 100))
    device.feed.join()
    with running(camera, sinks):
        device.show(200)
        sinks.until(lambda: any(s.number == 200 for s in sinks.seen))
        device.feed.put(None)
    ended(camera)
    assert len(sinks.seen) <= 2  # the last one may still be on its way when the session begins


def test_what_is_asked_for_and_what_is_given(device: Device) -> None:
    wanted = {"width_px": 1920, "height_px": 1080, "rate_hz": 60, "pixel_format": "YUYV"}
    camera = device.camera(**wanted)
    device.feed.put(None)
    camera.close()
    ended(camera)
    assert device.asked[:4] == [
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"YUYV")),
        (cv2.CAP_PROP_FRAME_WIDTH, 1920),
        (cv2.CAP_PROP_FRAME_HEIGHT, 1080),
        (cv2.CAP_PROP_FPS, 60),
    ]
    assert camera.state.detail == "128×64 MJPG (asked for 1920×1080 YUYV 60/s)"


def test_a_rate_that_changes_and_a_picture_that_freezes_are_shown() -> None:
    with mjpeg() as server:
        sinks = Sinks()
        camera = Camera(server.url, LiveClock(), settings(stall_s=1))

        def rate() -> float:
            parts = camera.state.detail.split(", ")
            return float(parts[1].removesuffix("/s")) if len(parts) > 1 else 0

        with running(camera, sinks):
            sinks.until(lambda: rate() > 18, "the full rate")
            server.rate = 10  # as auto-exposure does in the dark
            sinks.until(lambda: 5 < rate() < 12, "the halved rate")
            server.frozen = True
            sinks.until(lambda: camera.state.detail.endswith("the same picture for 1 s"), "frozen")
            server.frozen = False
            sinks.until(lambda: "same" not in camera.state.detail)
        ended(camera)
    assert camera.state.losses == 0


def test_damaged_pictures_are_left_out_and_counted(device: Device) -> None:
    camera, sinks = device.camera(), Sinks()
    with running(camera, sinks):
        device.show(1)
        device.feed.put(np.empty((0, 0, 3), np.uint8))
        device.show(2)
        sinks.until(lambda: camera.state.dropped and sinks.seen and sinks.seen[-1].number == 2)
        assert camera.state.dropped >= 1
        for _ in range(module.BAD):  # nothing but damage: opened anew
            device.feed.put(np.empty((0, 0, 3), np.uint8))
        sinks.until(lambda: device.opened == 2)
        device.feed.put(None)
    ended(camera)
    assert camera.state.losses == 1


def test_the_offset_moves_the_pictures(device: Device) -> None:
    clock, sinks = LiveClock(), Sinks()
    device.show(0)
    camera = Camera("0", clock, settings(av_offset_s=3.0), opener=device)
    with running(camera, sinks):
        device.show(1)
        sinks.until(lambda: sinks.seen)
        (seen,) = sinks.seen
        assert clock.origin + seen.t - seen.at == pytest.approx(3, abs=1)
        assert seen.t == round(seen.t, 3)
        device.feed.put(None)
    ended(camera)


def test_pictures_become_red_green_blue_and_are_scaled(device: Device) -> None:
    taken: list[Frame] = []

    class Keep(Sinks):
        def put(self, frame: Frame) -> bool:
            taken.append(frame)
            with self._changed:
                return self._note("frame", frame.t)

    blue_green_red = np.full((64, 128, 3), (20, 60, 200), np.uint8)
    device.feed.put(blue_green_red)
    camera, sinks = Camera("0", LiveClock(), settings(), max_px=32, opener=device), Keep()
    with running(camera, sinks):
        device.feed.put(blue_green_red)
        sinks.until(lambda: taken)
        device.feed.put(None)
    ended(camera)
    image = taken[0].load()
    assert image.shape == (16, 32, 3)
    assert tuple(image[8, 16]) == (200, 60, 20)
    assert image.flags["C_CONTIGUOUS"]


def jpeg(number: int) -> Image:
    """What V4L2 gives for Motion JPEG when told not to convert."""
    return np.asarray(cv2.imencode(".jpg", picture(number))[1], np.uint8).reshape(1, -1)


def test_motion_jpeg_is_decoded_only_where_it_is_wanted(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    decode = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda *a: (decoded.append(1), decode(*a))[1])
    device.backend = "V4L2"
    device.feed.put(jpeg(0))
    camera = Camera("0", LiveClock(), settings(), opener=device)
    assert (cv2.CAP_PROP_CONVERT_RGB, 0) in device.asked
    frames: list[Frame] = []

    class Keep(Sinks):
        def put(self, frame: Frame) -> bool:
            frames.append(frame)
            return True

    with running(camera, sinks := Keep()):
        device.feed.put(jpeg(1))
        device.feed.put(jpeg(2))
        device.feed.put(jpeg(3)[:, :20])  # cut
        sinks.until(lambda: len(frames) == 3)
        device.feed.put(None)
    ended(camera)
    assert decoded == []
    assert number_of(frames[1].load()) == 2
    assert not frames[2].load().any()
    assert len(decoded) == 2


def test_a_backend_that_converts_all_the_same_is_taken_as_it_is(device: Device) -> None:
    device.backend = "V4L2"
    device.show(0)
    device.show(1)
    camera = Camera("0", LiveClock(), settings(), opener=device)
    assert device.asked[-1] == (cv2.CAP_PROP_CONVERT_RGB, 1)
    with running(camera, sinks := Sinks()):
        device.show(2)
        sinks.until(lambda: [s.number for s in sinks.seen] == [2])
        device.feed.put(None)
    ended(camera)


def test_a_camera_that_is_not_there_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module.sys, "platform", "linux")
    monkeypatch.setattr(module, "SYSFS", tmp_path / "none")
    with pytest.raises(StreamerError, match=r"^camera 97 can't be opened; no camera was found$"):
        Camera("97", LiveClock(), settings())
    node(tmp_path, "video2", "Desk camera", "0")
    monkeypatch.setattr(module, "SYSFS", tmp_path)
    with pytest.raises(StreamerError, match=r"can't be opened; there are: 2 \(Desk camera\)$"):
        Camera("/dev/video97", LiveClock(), settings())
    with pytest.raises(StreamerError, match=r"give its index \(0\), its device"):
        Camera("movie.mp4", LiveClock(), settings())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("path", ["missing", "refused"])
def test_an_address_without_a_camera_is_one_clear_line(
    path: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with mjpeg() as server:
        port = free_port(socket.SOCK_STREAM) if path == "refused" else server.port
        url = f"http://me:secret@127.0.0.1:{port}/{path}"
        shown = rf"^camera http://\*\*\*@127.0.0.1:{port}/{path} can't be opened; is the address "
        with pytest.raises(StreamerError, match=shown):
            Camera(url, LiveClock(), settings())
    assert capfd.readouterr() == ("", "")


def test_a_camera_that_gives_nothing_is_refused_in_time(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OPEN_S", 0.2)
    with pytest.raises(StreamerError, match=r"camera 0: nothing came within 0\.2 s"):
        Camera("0", LiveClock(), settings(), opener=device)
    device.let_go()


def node(sysfs: Path, name: str, camera: str, index: str) -> None:
    folder = sysfs / name
    folder.mkdir()
    (folder / "name").write_text(f"{camera}\n")
    (folder / "index").write_text(f"{index}\n")


def test_cameras_are_listed_with_what_they_agree_to(tmp_path: Path) -> None:
    node(tmp_path, "video10", "Second", "0")
    node(tmp_path, "video0", "First: UVC", "0")
    node(tmp_path, "video1", "First: UVC", "1")  # its metadata
    device = Device((1280, 720, "MJPG", 30.0))

    def opener(spec: str, config: LiveConfig) -> cv2.VideoCapture:
        device.there = spec == "0"
        return device(spec, config)

    first, second = cameras(settings(), opener, tmp_path)
    assert (first.spec, first.name, first.problem) == ("0", "First: UVC", None)
    assert first.modes == ["1280×720 MJPG, 30/s"]
    assert (second.spec, second.modes) == ("10", [])
    assert "in use" in (second.problem or "")
    assert device.opened == device.released == 2
    assert cameras(settings(), opener, tmp_path / "nothing") == []


def test_where_cameras_are_not_listed_a_few_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "platform", "win32")
    device = Device()

    def opener(spec: str, config: LiveConfig) -> cv2.VideoCapture:
        device.there = spec == "1"
        return device(spec, config)

    assert [info.spec for info in cameras(settings(), opener)] == ["1"]
    assert device.opened == device.released == module.PROBED


def test_check_looks_through_a_camera() -> None:
    with mjpeg() as server:
        text = check(server.url, settings())
        assert re.fullmatch(r"128×64 mjpeg, [1-9]\d(\.\d)?/s, first picture after \d\.\d s", text)
        server.blank = True
        assert "black: is the lens covered?, first picture" in check(server.url, settings())
    with pytest.raises(StreamerError, match="connection refused"):
        check(server.url, settings())


def test_check_shows_no_password() -> None:
    for spec in (f"rtsp://me:secret@127.0.0.1:{free_port(socket.SOCK_STREAM)}/x", "me:secret@x"):
        with pytest.raises(StreamerError, match=r"refused|give its index") as caught:
            check(spec, settings())
        assert "secret" not in str(caught.value)


def test_devices_check_shows_no_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(devices, "check", lambda *_: "well")
    cli_live.devices(check="rtsp://me:secret@host/x")
    assert capsys.readouterr().out == "camera rtsp://***@host/x: well\n"


def test_check_says_when_a_camera_stalls(device: Device) -> None:
    device.show(0)
    assert "128×64 MJPG (asked for 1280×720), but it stalled" in check("0", settings(), device)
    device.let_go()


class Alone:
    """A session's source that is a camera and no more."""

    def __init__(self, camera: Camera) -> None:
        self.camera, self.info = camera, SourceInfo("camera", has_video=True, has_audio=False)
        self.problems: list[str] = []
        self.close = camera.close

    def run(self, frames: FrameSink, audio: AudioSink, stop: threading.Event) -> None:
        self.camera.run(frames, stop)
        audio.close()


def test_a_loss_ends_the_row_by_a_gap_and_the_session_goes_on(
    device: Device, tmp_path: Path
) -> None:
    faces = ("segmenter.policy=argmax", "segmenter.max_gap_s=0.2", "face.stale_s=0.3")
    config = scripted.config(*faces, "live.stall_s=0.5", "live.retry_s=0.1")
    clock, stop = LiveClock(), threading.Event()
    device.feed.put(np.zeros((8, 8, 3), np.uint8))
    camera = Camera("0", clock, config.live, opener=device)
    made, tables = scripted.pipeline(tmp_path, Alone(camera), config, clock, stop)
    made.face._reader = scripted.ScriptedReader()  # type: ignore[assignment]
    rows = tmp_path / "video_intervals.csv"

    def feel(emotion: str, seconds: float) -> None:
        began = monotonic()
        while monotonic() - began < seconds:
            device.feed.put(np.full((8, 8, 3), EMOTIONS.index(emotion), np.uint8))
            assert not stop.wait(0.05)

    def direct() -> None:
        feel("Happy", 1.0)
        device.there = False
        device.feed.put(None)
        deadline = monotonic() + PATIENCE_S
        while "gap" not in rows.read_text() and monotonic() < deadline:
            assert not stop.wait(0.02)
        device.there = True
        feel("Sad", 1.0)
        stop.set()

    director = threading.Thread(target=direct)
    director.start()
    with tables:
        made.run(lambda: None)
    director.join()
    device.feed.put(None)
    ended(camera)
    (happy, sad) = csv.DictReader(rows.read_text().splitlines())
    assert (happy["emotion"], happy["closed_by"]) == ("Happy", "gap")
    assert (sad["emotion"], sad["closed_by"]) == ("Sad", "stopped")
    assert 0.5 < float(happy["end"]) - float(happy["start"]) < 2
    assert float(sad["start"]) > float(happy["end"]) + 0.2
    assert camera.state.losses == 1
