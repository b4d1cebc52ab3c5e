"""A live session without devices: the bundled clip on a loopback camera and a virtual microphone.

python benchmarks/live.py [SECONDS] [streamer live's further options]

The clip's pictures are served as HTTP MJPEG in real time, its sound is played into a PulseAudio of
this benchmark's own, whose monitor is the microphone (PortAudio by PyAudio): the real live path
from the network and the sound server to the tables. Prints the latencies of session.json: from the
capture of the newest datum to its prediction, and from the end of an interval to its row.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import av
import cv2

ROOT = Path(__file__).parents[1]
CLIP = ROOT / "streamer" / "demo" / "demo.mp4"


def pictures() -> list[tuple[float, bytes]]:
    """(time, JPEG) of each picture of the clip."""
    with av.open(str(CLIP)) as clip:
        frames = [(float(f.time or 0), f.to_ndarray(format="bgr24")) for f in clip.decode(video=0)]
    return [(t, cv2.imencode(".jpg", image)[1].tobytes()) for t, image in frames]


class Camera(BaseHTTPRequestHandler):
    """Sends the clip again and again, each picture at its time."""

    shown: ClassVar[list[tuple[float, bytes]]] = []

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        began, length, lap = time.monotonic(), self.shown[-1][0] + 0.04, 0
        try:
            while True:
                for t, jpeg in self.shown:
                    time.sleep(max(began + lap * length + t - time.monotonic(), 0))
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n"
                    self.wfile.write(head.encode() + b"\r\n" + jpeg + b"\r\n")
                lap += 1
        except OSError:
            return  # the session ended

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def speaker(place: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The camera's URL, and the environment in which the default microphone hears the clip."""
    sys.path.insert(0, str(ROOT / "tests"))
    from loudspeaker import PULSE, environment, pulseaudio, voice

    Camera.shown = pictures()
    with ExitStack() as stack:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        env = environment(place, PULSE)
        stack.enter_context(pulseaudio(env))
        stack.enter_context(voice(env, place))
        yield f"http://127.0.0.1:{server.server_port}/", env


def main() -> None:
    """Serve, play, run and print."""
    seconds = sys.argv[1] if len(sys.argv) > 1 else "60"
    with tempfile.TemporaryDirectory() as folder, speaker(Path(folder)) as (url, env):
        command = [sys.executable, "-m", "streamer", "live", "--yes", "--camera", url]
        command += ["--mic", "default", "--duration", seconds, "--out", f"{folder}/out"]
        done = subprocess.run(
            [*command, *sys.argv[2:], "--json"],
            env=env,
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            check=True,
        )
    about = json.loads(done.stdout)
    for key in ("latency_s", "frames", "windows", "devices", "transitions", "seconds", "cpu_s"):
        print(key, json.dumps(about[key], indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
