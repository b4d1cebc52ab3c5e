"""Memory does not grow with the length of the file, or of a session."""

import subprocess
import sys
from pathlib import Path

from inputs import repeat
from memory import peak_mb

from streamer import config as configuration
from streamer.pipeline import Models

ROOT = Path(__file__).parents[1]


def test_five_times_the_length_costs_the_same_memory(tmp_path: Path) -> None:
    short = peak_mb(repeat(tmp_path / "short.mkv", 60), tmp_path)
    long = peak_mb(repeat(tmp_path / "long.mkv", 300), tmp_path)
    assert long < 1.1 * short
    assert long < 600


PICTURES = """
from pathlib import Path
import numpy as np
from streamer.memory import return_pictures

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

assert return_pictures()
np.ones(1 << 20, np.uint8)  # glibc would learn from it to keep such
pictures, small = [], []
for _ in range(20):
    pictures.append(np.ones(1 << 20, np.uint8))
    small.append(np.ones(1 << 14, np.uint8))
before = resident()
pictures.clear()
assert resident() < before - 19 * (1 << 20)
"""


def test_pictures_go_back_to_the_system() -> None:
    subprocess.run([sys.executable, "-c", PICTURES], check=True, cwd=ROOT)


def test_nothing_is_kept_for_each_length_of_a_window() -> None:
    # ONNX Runtime would plan memory for each anew and keep the plan: 6 kB, hundreds an hour.
    plans = {
        model.manifest.task: model.session.get_session_options().enable_mem_pattern
        for model in Models.load(configuration.load()).all()
    }
    assert plans == {
        "face-detection": True,
        "face-emotion": True,
        "voice-activity": True,
        "speech-emotion": False,
    }


END = """
import gc, sys
from streamer.__main__ import main
sys.argv = ["streamer", "models", "list"]
try:
    main()
except SystemExit as end:
    assert not end.code
assert gc.get_freeze_count() > 10_000
"""


def test_no_garbage_is_looked_for_on_the_way_out() -> None:
    subprocess.run([sys.executable, "-c", END], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
