"""The real PortAudio on virtual microphones: ALSA's file plugin, and a PulseAudio of our own.

Each recording is a process of its own, as ALSA reads its configuration once.
"""

import json
import os
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from loudspeaker import PULSE, environment, pulseaudio
from media import chirp, lag

from streamer.sources import portaudio
from streamer.types import SAMPLE_RATE

RATE, SECONDS = 48_000, 3

CAPTURE = """
import sys, threading
import numpy as np
from streamer.sources.microphone import CaptureRing
from streamer.sources.portaudio import PortAudio, find

enough = threading.Event()
with PortAudio() as audio:
    device = find("stamped", audio.devices())
    ring = CaptureRing(960, 1)
    def callback(data, frames, times, flags):
        answer = ring.callback(data, frames, times, flags)
        if ring._written == 90:  # less than half a ring: none may be lost
            enough.set()
        return (None, 1) if enough.is_set() else answer  # paComplete
    stream = audio.open(device, 48_000, 1, 960, callback)
    stream.start()
    assert enough.wait(30)
    stream.close()
np.save(sys.argv[1], np.stack([block.pcm for block in ring.take()]))
"""

LISTEN = """
import json, sys, threading
import numpy as np
from streamer import config
from streamer.clock import LiveClock, monotonic
from streamer.ring import AudioRing
from streamer.sources.microphone import Microphone
from streamer.sources.portaudio import quiet

class Told(AudioRing):
    def write(self, chunk):
        taken = super().write(chunk)
        tell(mic.state.status)
        return taken
    def advance(self, sample):
        taken = super().advance(sample)
        tell(mic.state.status)
        return taken

said = []
def tell(status):
    if said[-1:] != [status]:
        said.append(status)
        print(json.dumps([status, clock.media(monotonic())]), flush=True)

clock, stop = LiveClock(), threading.Event()
settings = ["live.stall_s=4.0", "live.retry_s=0.5"]
mic = Microphone("default", clock, config.load(settings=settings).live)
ring = Told(60, lossless=False)
with quiet():  # as behind the dashboard
    thread = threading.Thread(target=mic.run, args=(ring, stop))
    thread.start()
    for line in sys.stdin:
        print(json.dumps(["now", clock.media(monotonic())]), flush=True)
    stop.set()
    thread.join()
state = mic.state
np.save(sys.argv[1], ring.read(0, ring.end))
print(json.dumps([state.losses, state.lost_s, state.dropped, state.detail, state.status]))
"""


def answers(env: dict[str, str]) -> bool:
    asked = subprocess.run(["pactl", "info"], env=env, capture_output=True, timeout=20, check=False)
    return asked.returncode == 0


def stamped(path: Path, begin: float = 0.0) -> Path:
    """A file of the chirp from ``begin`` s on."""
    sound = 0.5 * chirp(begin + np.arange(RATE * SECONDS) / RATE)
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes((sound * 32767).astype("<i2").tobytes())
    return path


def test_the_callback_gets_what_alsa_reads(tmp_path: Path) -> None:
    sound = (0.5 * chirp(np.arange(RATE * 20) / RATE) * 32767).astype("<i2").tobytes()
    (tmp_path / "sound.raw").write_bytes(sound)
    env = environment(
        tmp_path,
        "pcm.quiet { type null }\n"
        "pcm.stamped { type plug slave { rate 48000 channels 1 format S16_LE pcm {\n"
        f'  type file slave.pcm quiet file /dev/null infile "{tmp_path / "sound.raw"}"\n'
        '} } hint { show on description "stamped" } }\n',
    )
    result = subprocess.run(
        [sys.executable, "-c", CAPTURE, str(tmp_path / "got.npy")],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""  # ALSA's and JACK's hundred lines
    blocks = np.load(tmp_path / "got.npy")
    assert blocks.shape == (90, 960)
    at = 0  # the plugin skips some of its file between two blocks; within one it has all
    for block in blocks:
        data = np.rint(block * 32768).astype("<i2").tobytes()
        found = sound.find(data, at)
        assert found >= at
        at = found + len(data)


class Listener:
    """The program's microphone in a process of its own, told line by line what it is to do."""

    def __init__(self, env: dict[str, str], out: Path) -> None:
        self._out = out
        self._process = subprocess.Popen(
            [sys.executable, "-c", LISTEN, str(out)],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def told(self, status: str) -> float:
        """Wait until it says ``status``; when that was, media s."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said, at = json.loads(line)
            if said == status:
                return float(at)
        raise AssertionError(self._process.communicate()[1])

    def now(self) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.told("now")

    def end(self) -> tuple[np.ndarray, list[object]]:
        """Its ring's sound, and its state at the end."""
        out, errors = self._process.communicate(timeout=30)
        assert self._process.returncode == 0, errors
        assert errors == ""
        return np.load(self._out), json.loads(out.splitlines()[-1])


def play(env: dict[str, str], path: Path) -> None:
    subprocess.run(["paplay", "--latency-msec=1000", str(path)], env=env, check=True, timeout=30)


def check_played(pcm: np.ndarray, begin: float, end: float) -> list[int]:
    """How much later than its beginning says each half second of the chirp stands, samples."""
    loud = np.flatnonzero(np.abs(pcm) > 0.1) / SAMPLE_RATE
    mine = loud[(loud > begin - 0.05) & (loud < end + 0.05)]
    assert begin - 0.02 < mine[0] < end - SECONDS + 0.05
    assert mine[-1] - mine[0] == pytest.approx(SECONDS, abs=0.04)
    first = round(mine[0] * SAMPLE_RATE)
    late = []
    for k in range(2 * SECONDS - 1):
        offset, alike = lag(pcm[first + 8000 * k :][:8000], k / 2)
        assert alike > 0.9
        late.append(offset)
    return late


def test_what_is_played_stands_in_the_ring_at_its_time(tmp_path: Path) -> None:
    env = environment(tmp_path, PULSE)
    sound = stamped(tmp_path / "sound.wav")
    with pulseaudio(env):
        listener = Listener(env, tmp_path / "got.npy")
        listener.told("running")
        begin = listener.now()
        play(env, sound)
        end = listener.now()
        pcm, (losses, lost_s, dropped, detail, status) = listener.end()
    assert (losses, lost_s, dropped, status) == (0, 0, 0, "ended")
    late = check_played(pcm, begin, end)
    assert max(late) - min(late) < 0.040 * SAMPLE_RATE, late
    assert str(detail).startswith("44.1 kHz, 2 ch")


def test_a_sound_server_that_dies_and_returns(tmp_path: Path) -> None:
    env = environment(tmp_path, PULSE)
    sound = stamped(tmp_path / "sound.wav")
    with pulseaudio(env):
        listener = Listener(env, tmp_path / "got.npy")
        listener.told("running")
        died = listener.now()
    lost = listener.told("lost")
    assert lost - died < 3
    with pulseaudio(env):
        back = listener.told("running")
        begin = listener.now()
        play(env, sound)
        end = listener.now()
        pcm, (losses, lost_s, _, _, status) = listener.end()
    check_played(pcm, begin, end)
    between = pcm[round((died + 0.5) * SAMPLE_RATE) : round((back - 1.5) * SAMPLE_RATE)]
    assert not between.any()
    assert (losses, status) == (1, "ended")
    assert isinstance(lost_s, float)
    assert 0 < lost_s < back - died + 0.5


def test_a_machine_without_sound_says_so_in_one_line(tmp_path: Path) -> None:
    env = environment(tmp_path, "")
    code = "from streamer.sources.portaudio import *; find('default', PortAudio().devices())"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    last = result.stderr.splitlines()[-1]
    assert last.endswith("no microphone is here: plug one in")
    assert "ALSA" not in result.stderr
    assert "jack" not in result.stderr


def test_only_the_start_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    with portaudio.quiet():
        os.write(2, b"a line of ALSA's\n")
    os.write(2, b"ours\n")
    assert capfd.readouterr().err == "ours\n"
