"""A live session's parts: devices on one clock, keys, markers, what is shown and said of it."""

import json
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live import Sinks, mjpeg
from room import Mic, Room
from scripted import ScriptedReader, config, hear_emotion, models, picture, pipeline
from test_dashboard import drawn, view
from typer.testing import CliRunner

from streamer import devices, workers
from streamer import live as module
from streamer.cli import app
from streamer.clock import LiveClock, monotonic
from streamer.dashboard import plain
from streamer.live import Desk, open_devices
from streamer.pipeline import Pipeline
from streamer.sources.live import Deaf, LiveSource, Part
from streamer.sources.microphone import Microphone
from streamer.types import (
    SAMPLE_RATE,
    AudioChunk,
    AudioSink,
    DeviceState,
    Frame,
    FrameSink,
    StreamerError,
)

WAIT_S = 20.0


def frame(t: float, label: str = "Happy") -> Frame:
    return Frame(t, round(30 * t), lambda: picture(label))


@dataclass
class Gadget:
    """A device that does what its script says, then waits to be told to stop."""

    kind: Any
    script: Callable[[FrameSink, AudioSink], object] = lambda frames, audio: None
    ends: bool = False
    closed: int = 0
    running: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.state = DeviceState(f"a {self.kind}", self.kind, "running", "as scripted")

    @property
    def part(self) -> Part:
        return Part(self, self.kind != "microphone", self.kind != "camera", self.run)

    def run(self, frames: FrameSink, audio: AudioSink, stop: threading.Event) -> None:
        try:
            self.script(frames, audio)
            self.running.set()
            assert self.ends or stop.wait(WAIT_S)
        finally:
            if self.kind != "microphone":
                frames.close()
            if self.kind != "camera":
                audio.close()

    def close(self) -> None:
        self.closed += 1


class Kept:
    """Both sinks: what came, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, float]] = []

    def put(self, frame: Frame) -> bool:
        self.events.append(("frame", frame.t))
        return True

    def write(self, chunk: AudioChunk) -> bool:
        self.events.append(("sound", chunk.start / SAMPLE_RATE))
        return True

    def advance(self, t: float) -> bool:
        self.events.append(("nothing", float(t)))
        return True

    def close(self, end: float | None = None) -> None:
        self.events.append(("closed", 0.0))


def test_devices_run_until_they_are_stopped_and_are_released() -> None:
    camera = Gadget("camera", lambda frames, _: frames.put(frame(0.1)))
    mic = Gadget("microphone", lambda _, audio: audio.write(AudioChunk(0, np.zeros(8, np.float32))))
    source = LiveSource(LiveClock(), [mic.part, camera.part])
    assert source.info.name == "a microphone + a camera"
    assert source.info.description["camera"] == "a camera: as scripted"
    pictures, sounds, stop = Kept(), Kept(), threading.Event()
    thread = threading.Thread(target=source.run, args=(pictures, sounds, stop))
    thread.start()
    assert camera.running.wait(WAIT_S)
    assert mic.running.wait(WAIT_S)
    assert thread.is_alive()
    stop.set()
    thread.join(WAIT_S)
    source.close()
    source.close()
    assert pictures.events == [("frame", 0.1), ("closed", 0.0)]
    assert sounds.events == [("sound", 0.0), ("closed", 0.0)]
    assert (camera.closed, mic.closed) == (2, 2)


@pytest.mark.parametrize("kind", ["camera", "microphone"])
def test_what_no_device_gives_is_closed_too(kind: str) -> None:
    pictures, sounds = Kept(), Kept()
    LiveSource(LiveClock(), [Gadget(kind, ends=True).part]).run(pictures, sounds, threading.Event())
    assert pictures.events == sounds.events == [("closed", 0.0)]


def test_an_error_of_one_part_ends_all_and_is_raised() -> None:
    def die(_frames: FrameSink, _audio: AudioSink) -> None:
        assert mic.running.wait(WAIT_S)
        raise RuntimeError("the camera died")

    mic, camera = Gadget("microphone"), Gadget("camera", die)
    sounds = Kept()
    with pytest.raises(RuntimeError, match="the camera died"):
        LiveSource(LiveClock(), [mic.part, camera.part]).run(Kept(), sounds, threading.Event())
    assert sounds.events == [("closed", 0.0)]


def test_a_session_ends_after_its_duration() -> None:
    clock = LiveClock()
    clock.origin -= 100  # preparations do not count
    source = LiveSource(clock, [Gadget("camera").part], duration=0.2)
    began = monotonic()
    source.run(Kept(), Kept(), threading.Event())
    assert 0.2 <= monotonic() - began < 5
    assert 0.2 <= clock.media(monotonic()) < 5


def test_problems_of_the_devices_are_told_at_the_end() -> None:
    camera = Gadget("camera", ends=True)
    camera.problems = ["3 packets could not be decoded"]  # type: ignore[attr-defined]
    source = LiveSource(LiveClock(), [camera.part])
    source.run(Kept(), Kept(), threading.Event())
    assert source.problems == ["3 packets could not be decoded"]


def test_a_pause_lets_nothing_through_but_time() -> None:
    def script(frames: FrameSink, audio: AudioSink) -> None:
        for second in range(3):
            (source.paused.set if second == 1 else source.paused.clear)()
            frames.put(frame(second))
            audio.write(AudioChunk(second * SAMPLE_RATE, np.ones(SAMPLE_RATE, np.float32)))

    source = LiveSource(LiveClock(), [Gadget("stream", script, ends=True).part])
    pictures, sounds = Kept(), Kept()
    source.run(pictures, sounds, threading.Event())
    assert pictures.events == [("frame", 0), ("nothing", 1), ("frame", 2), ("closed", 0)]
    assert sounds.events[:3] == [("sound", 0), ("nothing", 2.0 * SAMPLE_RATE), ("sound", 2)]


def test_a_pause_ends_the_rows_by_a_gap(tmp_path: Path) -> None:
    pcm = np.full(SAMPLE_RATE // 10, (3 + 1) / 10, np.float32)  # Happy

    def script(frames: FrameSink, audio: AudioSink) -> None:
        for tenth in range(180):
            t = tenth / 10
            (source.paused.set if 6 <= t < 12 else source.paused.clear)()
            assert frames.put(frame(t))
            assert audio.write(AudioChunk(tenth * len(pcm), pcm))

    source = LiveSource(LiveClock(), [Gadget("stream", script, ends=True).part])
    made, tables = pipeline(tmp_path, source)  # lossless: nothing depends on the pace
    made.face._reader = ScriptedReader()  # type: ignore[assignment]
    with tables:
        made.run(lambda: None)
    for table in ("video_intervals", "voice_intervals"):
        text = (tmp_path / f"{table}.csv").read_text().splitlines()[1:]
        cells = [line.split(",") for line in text]
        assert [c[0] for c in cells] == ["Happy", "Happy"], text
        assert cells[0][6] == "gap"
        assert float(cells[0][2]) == pytest.approx(6.5, abs=1)
        assert float(cells[1][1]) == pytest.approx(12, abs=0.5)


def test_sound_that_is_not_wanted_goes_by() -> None:
    deaf = Deaf()
    assert deaf.write(AudioChunk(0, np.zeros(1, np.float32)))
    assert deaf.advance(5)
    deaf.close()


def test_time_begins_with_the_session_not_with_its_preparations() -> None:
    """What was captured while the models were loaded is neither kept nor stamped anew."""
    clock, sinks, stop = LiveClock(), Sinks(), threading.Event()
    with mjpeg() as camera:
        source = open_devices(camera.url, None, FAST, clock)
        opened = len(camera.asked)
        before = monotonic()
        while camera.number < 30:  # a second of pictures that nobody takes
            assert monotonic() < before + WAIT_S
            stop.wait(0.02)
        thread = threading.Thread(target=source.run, args=(sinks, sinks.sound, stop))
        thread.start()
        sinks.until(lambda: len(sinks.seen) >= 15)
        stop.set()
        thread.join(WAIT_S)
        source.close()
    assert opened == len(camera.asked)
    times = [seen.t for seen in sinks.seen]
    assert times == sorted(times)
    assert -0.05 < times[0] < 1
    for seen in sinks.seen:
        assert -0.05 < clock.origin + seen.t - camera.sent[seen.number] < 0.5


# The devices that are asked for


def in_room(monkeypatch: pytest.MonkeyPatch, room: Room) -> list[Any]:
    """Microphones are the room's; the systems that were opened."""
    systems: list[Any] = []

    def system() -> Any:
        systems.append(room.system())
        return systems[-1]

    def microphone(spec: str, *rest: Any) -> Microphone:
        return Microphone(spec, *rest, system)

    monkeypatch.setattr(module, "Microphone", microphone)
    return systems


FAST = config("live.stall_s=0.5", "live.retry_s=0.2")


def test_a_stream_alone_and_beside_a_microphone(monkeypatch: pytest.MonkeyPatch) -> None:
    in_room(monkeypatch, Room(Mic("Desk mic"), until=1))
    with mjpeg() as camera:
        source = open_devices(camera.url, None, FAST, LiveClock())
        assert (source.info.has_video, source.info.has_audio) == (True, False)
        assert [state.kind for state in source.devices] == ["stream"]
        source.close()
        source = open_devices(camera.url, "desk", FAST, LiveClock(), 5.0)
        assert (source.info.has_video, source.info.has_audio) == (True, True)
        assert [state.kind for state in source.devices] == ["microphone", "stream"]
        assert source.info.duration == 5.0
        source.close()


@pytest.mark.parametrize("camera", ["nonsense", "http://127.0.0.1:1/", "gopher://here/"])
def test_a_device_that_fails_to_open_leaves_none_open(
    monkeypatch: pytest.MonkeyPatch, camera: str
) -> None:
    systems = in_room(monkeypatch, Room(Mic(), until=1))
    with pytest.raises(StreamerError, match=r"camera nonsense|127\.0\.0\.1|gopher"):
        open_devices(camera, "default", FAST, LiveClock())
    assert len(systems) == 1
    assert all(system._closed for system in systems)


def refused(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*arguments], catch_exceptions=True)
    error = result.exception
    assert isinstance(error, StreamerError), result.output
    return error.status, str(error)


def test_without_any_device_there_is_nothing_to_do(tmp_path: Path) -> None:
    none = ["--camera", "none", "--mic", "none"]
    assert refused("live", "--out", str(tmp_path), *none)[1].endswith("nothing to analyse")
    assert "nothing" in refused("calibrate", *none)[1]
    assert list(tmp_path.iterdir()) == []


def test_only_live_can_do_without_a_microphone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    in_room(monkeypatch, Room(until=1))
    monkeypatch.setattr(devices, "Microphone", lambda *args: module.Microphone(*args[:3]))
    live = ["live", "--yes", "--out", str(tmp_path / "out")]
    missing = "no microphone is here: plug one in"
    assert refused(*live) == (2, f"{missing}, or use --mic none")
    assert refused(*live, "--camera", "none") == (2, missing)
    assert refused("calibrate") == (2, missing)
    assert refused("devices", "--meter", "default") == (2, missing)
    assert not (tmp_path / "out").exists()


def test_calibrate_offers_no_way_without_a_device() -> None:
    shown = {}
    for command in ("live", "calibrate"):
        result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [command, "--help"])
        shown[command] = " ".join(result.output.split())
    assert "UDP…), or none." in shown["live"]
    assert "a part of its name, or none." in shown["live"]
    assert "none" not in shown["calibrate"]


def test_without_consent_no_device_is_opened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def opened(*_: object) -> None:
        raise AssertionError("a device was opened")

    monkeypatch.setattr(module, "open_devices", opened)
    status, said = refused("live", "--out", str(tmp_path / "out"))
    assert (status, said) == (2, "nobody can be asked for consent here: confirm it with --yes")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("duration", ["0", "nan", "inf", "-1", "1000001"])
@pytest.mark.parametrize("command", [("live", "--yes"), ("calibrate",)])
def test_a_duration_must_be_one(command: tuple[str, ...], duration: str) -> None:
    said = f"--duration {float(duration):g}: use 0.1 or more seconds, at most 1000000"
    assert refused(*command, "--duration", duration) == (2, said)


# The desk: keys, markers, what is shown


class Typist:
    """Stands for the keyboard."""

    active = True

    def __init__(self) -> None:
        self.typed = ""

    def __enter__(self) -> "Typist":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self) -> str:
        typed, self.typed = self.typed, ""
        return typed


@dataclass
class Session:
    desk: Desk
    source: LiveSource
    stop: threading.Event
    typist: Typist
    made: Pipeline
    folder: Path

    def press(self, keys: str) -> None:
        self.typist.typed = keys
        self.desk.tick()


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    typist = Typist()
    monkeypatch.setattr(module, "Keyboard", lambda: typist)
    clock, stop = LiveClock(), threading.Event()
    source = LiveSource(clock, [Gadget("microphone").part, Gadget("camera").part])
    made, tables = pipeline(tmp_path, source, clock=clock, stop=stop)
    with tables, ExitStack() as stack:
        desk = Desk(source, clock, stop, tmp_path, True, stack)
        yield Session(desk, source, stop, typist, made, tmp_path)


def test_a_note_being_typed_when_the_session_ends_is_kept(session: Session) -> None:
    session.press("mlooks away")
    assert session.desk.summary()["markers"] == 1
    assert (session.folder / "markers.csv").read_text().endswith(",looks away\n")


def test_keys_pause_mark_and_quit(session: Session) -> None:
    session.press(" ")
    assert session.source.paused.is_set()
    assert "PAUSED" in session.desk.view(session.made).bottom(80).plain
    session.press("p")
    assert not session.source.paused.is_set()
    assert not (session.folder / "markers.csv").exists()
    session.press("mlaughs")
    assert session.desk.view(session.made).bottom(80).plain.startswith("Note: laughs")
    session.press(", =1\r")
    session.press("m\x1b")
    assert "1 marker " in session.desk.view(session.made).bottom(80).plain
    header, row = (session.folder / "markers.csv").read_text().splitlines()
    assert header == "time,note"
    assert row.endswith(',"laughs, =1"')
    assert 0 <= float(row.partition(",")[0]) < 60
    assert not session.stop.is_set()
    session.press("q")
    assert session.stop.is_set()
    told = session.desk.summary()
    assert (told["ended_by"], told["markers"]) == ("quit", 1)
    assert [d["name"] for d in told["devices"]] == ["a microphone", "a camera"]  # type: ignore[attr-defined]
    json.dumps(told)


def test_without_keys_nothing_is_said_of_them(session: Session) -> None:
    assert set(session.desk.summary()) == {"devices", "markers"}


def test_what_the_recording_lost_is_shown_and_told(session: Session) -> None:
    class Disk:
        lost = 12

    session.desk.recorder = Disk()  # type: ignore[assignment]
    assert session.desk.view(session.made).slowed == "12 not recorded"
    assert session.desk.summary()["recording"] == {"file": "recording.mkv", "lost": 12}


def busy(session: Session) -> Any:
    """The dashboard's view of a session in which everything happens at once."""
    mic, camera = session.source.devices
    mic.name, mic.detail = "HD Pro Webcam C920: USB Audio (hw:1,0)", "32 kHz, 2 ch, ALSA"
    mic.level, mic.drift_ppm, mic.drift_ms, mic.dropped = -31.0, 42.3, -3.3, 3
    camera.status, camera.losses, camera.lost_s = "lost", 2, 12.5
    camera.name, camera.detail = "camera /dev/video0", "nothing came for 2 s"
    session.press("  mwell said\r")
    session.press(" ")
    session.made.face.pace.stride = session.made.speech.pace.stride = 2
    session.made.face.picture = np.zeros((480, 640, 3), np.uint8)
    return replace(view(), live=session.desk.view(session.made))


@pytest.mark.parametrize(("width", "height"), [(80, 24), (110, 36)])
@pytest.mark.parametrize("preview", [False, True])
def test_the_dashboard_of_a_live_session_fits(
    session: Session, width: int, height: int, preview: bool
) -> None:
    shown = busy(session)
    if not preview:
        shown = replace(shown, live=replace(shown.live, picture=None))
    lines = drawn(shown, width, height)
    assert len(lines) == height
    text = "\n".join(lines)
    for needed in (
        "Closed intervals · 3",
        "● HD Pro Webcam C920: USB Aud…  dropped 3  █",
        "-31 dBFS  drift +42 ppm",
        "● camera /dev/video0  lost  lost 2 times, 12.5 s  nothing came for 2 s",
        "slowed: 5 faces/s, voice every 1 s",
        "waiting: 0 pictures, 0.0 s of sound",
        "dropped 3  mismatch in 1 of 3 rows  faces 10.0/s  row latency p95 750 ms",
        "PAUSED  1 marker  space: pause   m: marker   q: stop and write everything",
    ):
        assert needed in text, (needed, text)


def test_a_small_terminal_shows_what_is_wrong_and_the_note_being_typed(session: Session) -> None:
    shown = busy(session)
    alert, state, keys = drawn(shown, 40, 12)[-3:]
    assert alert == "camera /dev/video0 lost  slowed: 5 face…"
    assert state.startswith("dropped 3  mismatch")
    assert keys.startswith("PAUSED  1 marker  space  m  q: stop")
    session.press("mlooks away")
    shown = replace(shown, live=session.desk.view(session.made))
    assert drawn(shown, 40, 12)[-1].startswith("Note: looks away▏  Enter: keep")
    assert shown.live.paused


@pytest.mark.parametrize(
    ("kind", "waiting"),
    [("camera", "waiting: 0 pictures"), ("microphone", "waiting: 0.0 s of sound")],
)
def test_one_device_waits_for_nothing_of_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, waiting: str
) -> None:
    monkeypatch.setattr(module, "Keyboard", Typist)
    clock, stop = LiveClock(), threading.Event()
    source = LiveSource(clock, [Gadget(kind).part])
    made, tables = pipeline(tmp_path, source, clock=clock, stop=stop)
    with tables, ExitStack() as stack:
        live = Desk(source, clock, stop, tmp_path, False, stack).view(made)
    lines = drawn(replace(view(), live=live), 80, 24)
    assert [line.rstrip() for line in lines if "waiting" in line] == [waiting]


def test_the_plain_line_tells_of_a_lost_device(session: Session) -> None:
    line = plain(busy(session))
    assert line.endswith("dropped 3  camera /dev/video0 lost  slowed: 5 faces/s, voice every 1 s")


# Back-pressure


class Load:
    """A device and its model in the worker's thread, in virtual time: a look takes ``cost`` s."""

    def __init__(self, kind: str, cost: Callable[[float], float]) -> None:
        self.now = 0.0
        self.looks: list[tuple[float, float]] = []
        """(the time that was looked at, how late its prediction was), s."""
        self.shown: list[str] = []
        self.done = threading.Event()
        self.kind, self.cost = kind, cost

    def attach(self, made: Pipeline) -> None:
        """Have what comes next come in virtual time."""
        raise NotImplementedError

    def hear(self, input_values: Any) -> Any:
        """The voice's model."""
        self.now += self.cost(self.now)
        return hear_emotion(input_values)

    def looked(self, t: float) -> None:
        """Note a look at ``t`` s."""
        self.looks.append((t, self.now - t))
        self.shown.append(self.view())

    def run(self, folder: Path, patched: pytest.MonkeyPatch) -> Pipeline:
        """A live session of it, to its end."""
        patched.setattr(workers, "monotonic", lambda: self.now)
        clock, stop = LiveClock(), threading.Event()
        patched.setattr(clock, "restart", lambda: None)
        clock.origin = 0.0
        device = Gadget(self.kind, lambda *_: self.done.wait(WAIT_S), ends=True)
        source = LiveSource(clock, [device.part])
        loaded = models(voice=self.hear)
        made, tables = pipeline(folder, source, clock=clock, stop=stop, loaded=loaded)
        with tables, ExitStack() as stack:
            desk = Desk(source, clock, stop, folder, False, stack)
            self.view = lambda: desk.view(made).slowed
            self.attach(made)
            made.run(lambda: None)
        assert self.done.is_set()
        return made


class Watching(Load):
    """A camera; the pictures of a look's time wait in the ring."""

    def __init__(self, seconds: float, cost: Callable[[float], float]) -> None:
        super().__init__("camera", cost)
        self._left = [frame(k / 30) for k in range(round(30 * seconds))][::-1]

    def attach(self, made: Pipeline) -> None:
        ring, take = made.frames, made.frames.take

        def arriving() -> Frame | float | None:
            while self._left and (not len(ring) or self._left[-1].t <= self.now):
                arrived = self._left.pop()
                self.now = max(self.now, arrived.t)
                ring.put(arrived)
            if not self._left:
                ring.close()
                self.done.set()
            taken = take()
            self._t = taken.t if isinstance(taken, Frame) else 0.0
            return taken

        def look() -> None:
            self.now += self.cost(self.now)
            self.looked(self._t)

        made.frames.take = arriving  # type: ignore[method-assign]
        made.face._reader = ScriptedReader(look)  # type: ignore[assignment]


def test_an_overloaded_session_slows_down_says_so_and_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Watching(90, lambda t: 0.35 if 10 <= t < 40 else 0.02)
    made = load.run(tmp_path, monkeypatch)
    assert list(dict.fromkeys(load.shown)) == ["", "5 faces/s", "2.5 faces/s"]
    assert load.shown[0] == load.shown[-1] == ""
    assert max(late for _, late in load.looks) <= 1 + 0.35 + 0.2  # the ring's second, and a look
    settled = [late for t, late in load.looks if 15 < t < 40]
    assert max(settled) <= 0.5 + 2 * 0.35 + 0.1
    calm = [late for t, late in load.looks if t > 60]
    assert max(calm) < 0.1
    assert len(calm) == pytest.approx(300, abs=5)  # all ten a second again
    assert made.frames.dropped > 100


class Listening(Load):
    """A microphone and a voice model."""

    def __init__(self, seconds: int, cost: Callable[[float], float]) -> None:
        super().__init__("microphone", cost)
        self._left = list(range(10 * seconds))[::-1]

    def attach(self, made: Pipeline) -> None:
        ring, wait, predict = made.audio, made.audio.wait, made.speech._predict
        tenth = np.full(SAMPLE_RATE // 10, 0.4, np.float32)

        def arrive(wanted: Callable[[int], bool]) -> None:
            while self._left and wanted(self._left[-1] + 1):
                k = self._left.pop()
                ring.write(AudioChunk(k * len(tenth), tenth))
                self.now = max(self.now, (k + 1) / 10)
            if not self._left:
                ring.close()
                self.done.set()

        def waiting(sample: int, interrupted: Callable[[], bool]) -> bool:
            arrive(lambda _: ring.end < sample)
            return wait(sample, interrupted)

        def look(centre: int) -> None:
            end = min(centre + 3 * SAMPLE_RATE // 2, ring.end) / SAMPLE_RATE
            predict(centre)
            arrive(lambda k: k / 10 <= self.now)
            self.looked(end)

        ring.wait = waiting  # type: ignore[method-assign]
        made.speech._predict = look  # type: ignore[method-assign]


def test_an_overloaded_voice_is_asked_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Listening(120, lambda t: 1.2 if 10 <= t < 60 else 0.02)
    load.run(tmp_path, monkeypatch)
    assert list(dict.fromkeys(load.shown)) == ["", "voice every 1 s", "voice every 2 s"]
    assert load.shown[-1] == ""
    assert max(late for _, late in load.looks) <= 1 + 0.5 + 2 * 1.2
    settled = [late for t, late in load.looks if 25 < t < 60]
    assert max(settled) <= 0.5 + 1.2 + 1.2
    calm = [late for t, late in load.looks if 85 < t < 118]
    assert max(calm) < 0.3
    assert len(calm) == pytest.approx(66, abs=2)
