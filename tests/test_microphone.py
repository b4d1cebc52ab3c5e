"""A microphone in virtual time: its sound stands at its media time, whatever happens to it."""

import math
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path
from types import FrameType

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from room import Mic, Room, Tape, lateness

from streamer import config as configuration
from streamer.clock import FreeClock
from streamer.config import LiveConfig
from streamer.ring import AudioRing, FrameRing
from streamer.sources import microphone as module
from streamer.sources.file import FileSource
from streamer.sources.microphone import CaptureRing, Microphone
from streamer.sources.portaudio import Device, PortAudio, find
from streamer.types import SAMPLE_RATE, StreamerError

LIVE: LiveConfig = configuration.load().live
PIECE_S = 0.125


@pytest.fixture(autouse=True)
def _room_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def monotonic() -> float:
        return _now[0].monotonic()

    monkeypatch.setattr(module, "monotonic", monotonic)


_now: list[Room] = []


def record(
    room: Room, tape: Tape | None = None, spec: str | int = "default"
) -> tuple[Tape, Microphone]:
    _now[:] = [room]
    tape = tape or Tape()
    mic = Microphone(spec, room.clock, LIVE, room.system)
    mic.run(tape, room.stop)
    mic.close()
    assert tape.closed == 1
    assert mic.state.status == "ended"
    return tape, mic


def errors(tape: Tape, begin: float, end: float) -> list[tuple[float, float]]:
    """(media time, how much too late the sound stands there, s) of the pieces in [begin, end) s."""
    pcm, size = tape.pcm(), round(PIECE_S * SAMPLE_RATE)
    times = [k * PIECE_S for k in range(math.ceil(begin / PIECE_S), math.floor(end / PIECE_S))]
    return [(t, lateness(pcm[round(t * SAMPLE_RATE) :][:size], t)) for t in times]


def worst(tape: Tape, begin: float, end: float) -> float:
    """The largest error of the sound's place during [begin, end) s; NaN where it is not there."""
    return float(np.abs([error for _, error in errors(tape, begin, end)]).max())


def is_silent(tape: Tape, begin: float, end: float) -> bool:
    return not tape.pcm()[round(begin * SAMPLE_RATE) : round(end * SAMPLE_RATE)].any()


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_becomes_sixteen_kilohertz_in_its_place(rate: int, channels: int) -> None:
    tape, mic = record(Room(Mic(rate=rate, channels=channels), until=6))
    assert worst(tape, 0.25, 5.5) <= 0.0003
    assert tape.end == pytest.approx(6 * SAMPLE_RATE, abs=0.07 * SAMPLE_RATE)
    loud = float(np.square(tape.pcm()[16_000:80_000]).mean())
    assert 10 * math.log10(loud) == pytest.approx(20 * math.log10(0.1 * math.sqrt(6)), abs=0.1)
    assert mic.state.level == pytest.approx(10 * math.log10(loud), abs=2)
    assert mic.state.detail == f"{rate / 1000:g} kHz, {channels} ch, ALSA"
    assert (mic.state.losses, mic.state.dropped, mic.state.lost_s) == (0, 0, 0)


def late_now_and_then(t: float) -> float:
    """Every other second nothing comes for 200 ms, then all at once."""
    return max(0.2 - t % 2.0, 0.0) + 0.003 * abs(math.sin(1000 * t))


def test_minutes_with_drift_jitter_and_bursts_of_losses() -> None:
    losses = {10.3: (0.4, True), 30.0: (0.15, True), 50.1: (1.0, False), 70.2: (0.06, True)}
    room = Room(Mic(ppm=-500, lateness=late_now_and_then, losses=losses), until=100)
    tape, mic = record(room)
    for t, error in errors(tape, 0.25, 99.5):
        if not any(at - 0.5 < t < at + length + 3.5 for at, (length, _) in losses.items()):
            assert abs(error) < 0.040, (t, error)
    assert worst(tape, 95, 99) < 0.005
    assert mic.state.dropped == len(losses)
    assert mic.state.lost_s == pytest.approx(sum(length for length, _ in losses.values()), abs=0.05)
    assert mic.state.drift_ppm == pytest.approx(-500, abs=30)
    assert abs(mic.state.drift_ms or 99) < 5


def test_a_told_loss_is_silence_of_its_length() -> None:
    tape, mic = record(Room(Mic(losses={3.0: (0.5, True)}), until=6))
    assert is_silent(tape, 3.02, 3.48)
    assert worst(tape, 0.25, 2.75) <= 0.001
    assert worst(tape, 3.5, 5.5) <= 0.001
    assert (mic.state.dropped, mic.state.losses) == (1, 0)
    assert mic.state.lost_s == pytest.approx(0.5, abs=0.002)


def test_losses_in_quick_succession_leave_what_is_between() -> None:
    losses = {2 + 0.3 * k: (0.1, True) for k in range(8)}
    tape, mic = record(Room(Mic(losses=losses), until=8))
    assert mic.state.dropped == len(losses)
    assert np.count_nonzero(tape.pcm()[2 * SAMPLE_RATE : 5 * SAMPLE_RATE]) > 2 * SAMPLE_RATE
    assert worst(tape, 5.5, 7.5) <= 0.002


@pytest.mark.parametrize("silent", [False, True], ids=["unplugged", "taken"])
def test_a_device_that_goes_away_and_comes_back_with_another_rate(silent: bool) -> None:
    mic_there = Mic()
    room = Room(mic_there, until=20)
    seen: list[tuple[str, float]] = []
    tape = Tape()

    def go() -> None:
        mic_there.silent, mic_there.plugged = silent, False

    def back() -> None:
        mic_there.silent, mic_there.plugged, mic_there.rate = False, True, 44_100

    if silent:
        room.at(5.0, lambda: setattr(mic_there, "silent", True))
        room.at(8.0, go)
    else:
        room.at(5.0, go)
    room.at(9.0, lambda: seen.append((mic.state.status, tape.end / SAMPLE_RATE)))
    room.at(12.0, back)
    _now[:] = [room]
    mic = Microphone("desk", room.clock, LIVE, room.system)
    mic.run(tape, room.stop)
    assert seen == [("lost", pytest.approx(9.0, abs=0.15))]  # time goes on meanwhile
    assert worst(tape, 0.25, 4.5) <= 0.001
    assert is_silent(tape, 5.1, 12.0)
    returned = room.opened[-1][0]
    assert 12 < returned < 12 + LIVE.retry_s
    assert room.opened[-1][1] == 44_100
    assert worst(tape, math.ceil(returned + 0.25), 19.5) <= 0.001
    assert mic.state.losses == 1
    assert mic.state.lost_s == pytest.approx(returned - 5, abs=0.1)


def test_it_is_tried_again_at_growing_intervals() -> None:
    there = Mic()
    room = Room(there, until=100)
    room.at(3.0, lambda: setattr(there, "plugged", False))
    _now[:] = [room]
    tries: list[float] = []

    def system() -> object:
        tries.append(room.media)
        return room.system()

    mic = Microphone("default", room.clock, LIVE, system)  # type: ignore[arg-type]
    mic.run(Tape(), room.stop)
    waits = np.diff([t for t in tries if t > 0])
    assert waits[:4] == pytest.approx([1, 2, 4, 8], abs=0.25)
    assert waits[4:] == pytest.approx([LIVE.retry_s] * len(waits[4:]), abs=0.25)
    assert len(waits) > 8


def test_a_laptop_that_slept_leaves_a_hole_of_that_length() -> None:
    room = Room(Mic(), until=80)
    room.at(4.005, lambda: room.sleep(60.0))
    tape, mic = record(room)
    assert worst(tape, 0.25, 3.5) <= 0.001
    assert is_silent(tape, 4.1, 63.9)
    assert worst(tape, 66, 79) <= 0.001
    assert mic.state.losses == 1
    assert mic.state.lost_s == pytest.approx(60, abs=3)


def test_whoever_wants_no_more_ends_it() -> None:
    room = Room(Mic(), until=1000)
    record(room, Tape(full_at=3 * SAMPLE_RATE))
    assert room.media < 3.2


def test_what_the_device_refuses_is_asked_for_otherwise() -> None:
    room = Room(Mic(rate=48_000, channels=6, takes={(16_000, 6)}), until=3)
    tape, _ = record(room)
    assert [(rate, channels) for _, rate, channels in room.opened] == [(16_000, 6)]
    assert worst(tape, 0.25, 2.5) <= 0.001
    with pytest.raises(StreamerError, match="does not take this sample rate"):
        record(Room(Mic(takes=set()), until=1))


def test_a_recording_of_it_replays_to_the_same_samples(tmp_path: Path) -> None:
    """Its container stamps in milliseconds, as those of a live session do."""
    there = Mic(ppm=300, lateness=late_now_and_then, losses={2.0: (0.03, True), 4.0: (0.7, True)})
    room = Room(there, until=20)
    room.at(9.0, lambda: setattr(there, "plugged", False))
    room.at(11.0, lambda: setattr(there, "plugged", True))
    tape, mic = record(room)
    assert mic.state.dropped == 2
    path = tmp_path / "sound.mkv"
    first = None
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_f32le", rate=SAMPLE_RATE, layout="mono")
        for start, pcm in tape.chunks:
            if pcm is None:
                continue
            first = start if first is None else first
            frame = AudioFrame.from_ndarray(pcm[None], format="flt", layout="mono")
            frame.rate, frame.pts, frame.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    replayed = AudioRing(30, lossless=False)
    source = FileSource(path, FreeClock())
    source.run(FrameRing(10, 2, lossless=True), replayed, threading.Event())
    source.close()
    assert first is not None
    assert replayed.end == tape.end - first
    assert np.array_equal(replayed.read(0, replayed.end), tape.pcm()[first:])


def device(index: int, name: str, **changes: object) -> Device:
    known: dict[str, object] = {"api": "MME", "channels": 2, "rate_hz": 44_100}
    known |= {"is_default": False, "is_usual_api": True, **changes}
    return Device(index, name, **known)  # type: ignore[arg-type]


def test_names_and_indices_find_their_microphone() -> None:
    headset, built_in = device(1, "USB Headset"), device(4, "Built-in", is_default=True)
    twin = device(7, "USB Headset", api="WASAPI", is_usual_api=False)
    there = [headset, built_in, twin]
    assert find("default", there) is built_in
    assert find("headset", there) is headset  # the usual interface's
    assert find(7, there) is twin
    assert find("7", there) is twin
    assert find("default", [headset]) is headset
    assert find("mic", [device(0, "Mic"), device(1, "Mic 2")]).index == 0
    with pytest.raises(StreamerError, match=r"microphone b: several.*: 1 USB Headset; 4 Built-in$"):
        find("b", there)
    with pytest.raises(StreamerError, match=r"microphone blue: none has .*; here are: 1 USB"):
        find("blue", there)
    with pytest.raises(StreamerError, match="microphone 3: none has"):
        find(3, there)
    with pytest.raises(StreamerError, match="no microphone is here"):
        find("default", [])


def test_without_pyaudio_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyaudio", None)
    with pytest.raises(StreamerError, match=r"pip install '\.\[mic\]'.*portaudio19-dev"):
        PortAudio()


def test_the_callback_only_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes through while the reader hangs in a lock that is never given back, and runs nothing
    of ours but itself.
    """
    monkeypatch.setattr(module, "monotonic", lambda: 0.0)
    channels, frames = 2, 960
    sound = np.random.default_rng(0).uniform(-1, 1, (150, frames, channels)).astype(np.float32)
    data = [block.tobytes() for block in sound]
    ring, called = CaptureRing(frames, channels), set()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        # Whatever a garbage collection runs in this thread is not the callback's.
        if event == "call" and frame.f_code.co_filename in (module.__file__, __file__):
            called.add(frame.f_code.co_qualname)

    def device_thread() -> None:
        for block in data[:10]:
            ring.callback(block, frames, {}, 0)
        sys.setprofile(note)
        for block in data[10:90]:
            ring.callback(block, frames, {}, 0)
        sys.setprofile(None)

    audio = AudioRing(10, lossless=False)
    reader = threading.Thread(target=lambda: [audio.advance(b.count) for b in ring.take()])
    device = threading.Thread(target=device_thread)
    ring.callback(data[0], frames, {}, 0)
    with audio._lock:
        reader.start()
        device.start()
        device.join(10)
        assert not device.is_alive()
        assert reader.is_alive()
    reader.join()
    assert called == {
        "CaptureRing.callback",
        "test_the_callback_only_copies.<locals>.<lambda>",  # the clock
    }
    taken = list(ring.take())
    assert len(taken) == 90
    assert taken[-1].count == 91 * frames
    assert not any(block.lost for block in taken)
    heard = np.concatenate([block.pcm for block in taken])
    assert heard == pytest.approx(sound[:90].mean(axis=2).ravel(), abs=1e-6)


ALLOCATED = """
import gc, tracemalloc
from streamer.sources.microphone import CaptureRing

gc.disable()
frames, channels = 960, 2
ring, block = CaptureRing(frames, channels), bytes(frames * channels * 4)
for _ in range(10):
    ring.callback(block, frames, {}, 0)
tracemalloc.start()
before = tracemalloc.get_traced_memory()[0]
for _ in range(10):
    ring.callback(block, frames, {}, 0)
print(tracemalloc.get_traced_memory()[1] - before, len(block))
"""


def test_the_callback_allocates_next_to_nothing() -> None:
    """In a process of its own: the count is of all threads."""
    done = subprocess.run(
        [sys.executable, "-c", ALLOCATED], capture_output=True, text=True, check=True, timeout=60
    )
    peak, block = map(int, done.stdout.split())
    assert peak < block / 4  # not even one block's bytes


def test_a_reader_that_is_much_too_late_loses_sound_and_says_so() -> None:
    ring = CaptureRing(4, 1)
    for k in range(module.BLOCKS):
        ring.callback(np.full(4, k, np.float32).tobytes(), 4, {}, 0)
    (block,) = ring.take()
    assert block.lost
    assert block.pcm[0] == module.BLOCKS - 1
    ring.callback(np.full(4, 7, np.float32).tobytes(), 4, {}, 0)
    (block,) = ring.take()
    assert not block.lost


def test_what_is_not_a_number_is_silence() -> None:
    ring = CaptureRing(4, 1)
    ring.callback(np.array([0.5, np.nan, np.inf, -np.inf], np.float32).tobytes(), 4, {}, 0)
    (block,) = ring.take()
    assert block.pcm.tolist() == [0.5, 0.0, 1.0, -1.0]
