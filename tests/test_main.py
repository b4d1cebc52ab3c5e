"""The way in and out: whatever hangs, is interrupted or can't be written, the status tells."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT

from streamer.resources import demo_clip

FULL, TASKS = Path("/dev/full"), Path("/proc/self/task")
BEGIN = """
import atexit, os, signal, sys, threading
from streamer import __main__ as program, cli
atexit.register(print, "torn down")
"""
HANGS = """
def main():
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    print("all is written")
    sys.exit(3)
"""
ENDS = "def main(): sys.exit(3)"
INTERRUPTED = """
def main():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        raise ImportError("initialization failed")
"""
THREADS = """
import atexit, os, sys
from streamer import __main__ as program
sys.argv = ["streamer", "--version"]
count = lambda: len(os.listdir("/proc/self/task"))
atexit.register(lambda: print(count(), "numpy" in sys.modules, os.environ["OPENBLAS_NUM_THREADS"]))
program.main()
"""
FAILS = "def main(): raise ImportError('initialization failed')"


def ended(body: str) -> subprocess.CompletedProcess[str]:
    """The program with another body."""
    code = f"{BEGIN}{body}\ncli.main = main\nprogram.main()"
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_thread_that_hangs_in_a_library_is_not_torn_down() -> None:
    done = ended(HANGS)
    assert (done.returncode, done.stdout, done.stderr) == (3, "all is written\n", "")
    done = ended(ENDS)
    assert (done.returncode, done.stdout, done.stderr) == (3, "torn down\n", "")


@pytest.mark.skipif(not TASKS.exists(), reason="a process's threads are told by Linux alone")
@pytest.mark.parametrize(("asked", "said"), [(None, "1 True 1"), ("2", "True 2")])
def test_numpy_starts_no_threads_unless_asked(asked: str | None, said: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    if asked:
        environment["OPENBLAS_NUM_THREADS"] = asked
    command = [sys.executable, "-c", THREADS]
    out = subprocess.check_output(command, cwd=ROOT, env=environment, text=True, timeout=60)
    assert out.splitlines()[-1].endswith(said)


def test_an_interrupted_start_is_no_error() -> None:
    done = ended(INTERRUPTED)
    assert (done.returncode, done.stderr) == (130, "")
    done = ended(FAILS)
    assert done.returncode == 1
    assert "ImportError" in done.stderr


@pytest.mark.skipif(not FULL.exists(), reason="a full device is Linux's")
def test_output_that_can_not_be_written_is_told_in_a_line() -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "streamer", "--version"],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "No space left" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a shell closes them so")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("asked", "status"), [(["--version"], 0), (["replay", "/nope"], 2)])
def test_a_closed_output_is_no_error(closed: str, asked: list[str], status: int) -> None:
    program = [sys.executable, "-m", "streamer", *asked]
    command = ["sh", "-c", f'"$@" {closed}', "sh", *program]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == status
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a shell closes them so")
def test_no_file_takes_the_place_of_a_closed_output() -> None:
    code = f"{BEGIN}\ncli.main = lambda: sys.exit(os.open(os.devnull, os.O_RDONLY))\nprogram.main()"
    command = ["sh", "-c", '"$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, timeout=60, check=False)
    assert done.returncode > 2


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_what_an_encoding_lacks_is_left_out(encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "streamer", "models", "list"],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"?  blazeface" in done.stdout


def test_json_is_utf8_whatever_the_encoding(tmp_path: Path) -> None:
    clip = tmp_path / "жук.mp4"
    clip.write_bytes(demo_clip().read_bytes())
    replay = ["replay", str(clip), "--speed", "max", "--duration", "1", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "streamer", *replay, "--out", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.decode())["source"]["name"].endswith("жук.mp4")
