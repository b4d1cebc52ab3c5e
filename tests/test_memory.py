"""Memory does not grow with the length of the file."""

from pathlib import Path

from inputs import repeat
from memory import peak_mb

from streamer import config as configuration
from streamer.pipeline import Models


def test_five_times_the_length_costs_the_same_memory(tmp_path: Path) -> None:
    short = peak_mb(repeat(tmp_path / "short.mkv", 60), tmp_path)
    long = peak_mb(repeat(tmp_path / "long.mkv", 300), tmp_path)
    assert long < 1.1 * short
    assert long < 600


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
