"""A sound server of the test's own: what its loudspeaker plays, the default microphone hears."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from commands import ROOT

from streamer.resources import demo_clip

ALSA = "/usr/share/alsa/alsa.conf"
PULSE = "pcm.!default { type pulse }\nctl.!default { type pulse }\n"


def environment(folder: Path, asound: str) -> dict[str, str]:
    """Sound of the test's own, whatever the machine has."""
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    (folder / "asound.conf").write_text(asound)
    return os.environ | {
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "XDG_RUNTIME_DIR": str(runtime),
        "PULSE_SERVER": f"unix:{runtime / 'socket'}",
        "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime / 'none'}",
        "ALSA_CONFIG_PATH": f"{ALSA}:{folder / 'asound.conf'}",
    }


@contextmanager
def pulseaudio(env: dict[str, str]) -> Iterator[None]:
    """A sound server with a loudspeaker that is nowhere and its monitor as the microphone."""
    address = env["PULSE_SERVER"].removeprefix("unix:")
    Path(address).unlink(missing_ok=True)
    sink = "module-null-sink sink_name=speaker rate=48000 channels=2"
    protocol = f"module-native-protocol-unix socket={address} auth-anonymous=1"
    command = [
        *("pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1"),
        *("--fail=yes", "--log-level=error", "-L", sink, "-L", protocol),
    ]
    ask = ["pactl", "info"]
    log = Path(env["HOME"]) / "pulse.log"
    with log.open("w") as output, subprocess.Popen(command, env=env, stderr=output) as server:
        try:
            # pactl itself waits for the server's answer; the socket is there a little later.
            while subprocess.run(ask, env=env, capture_output=True, check=False).returncode:
                assert server.poll() is None, log.read_text()
            yield
        finally:
            server.kill()


@contextmanager
def voice(env: dict[str, str], folder: Path) -> Iterator[None]:
    """The demo's sound from the loudspeaker, again and again."""
    path = folder / "voice.wav"
    with av.open(str(demo_clip())) as clip, av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=48_000, layout="mono")
        resampler = av.AudioResampler(format="s16", layout="mono", rate=48_000)
        for frame in clip.decode(audio=0):
            for piece in resampler.resample(frame):
                piece.pts = None
                out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    again = ["sh", "-c", f"while paplay '{path}' 2>/dev/null; do :; done"]
    with subprocess.Popen(again, env=env, start_new_session=True) as player:
        try:
            yield
        finally:
            os.killpg(player.pid, signal.SIGKILL)
