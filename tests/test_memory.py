"""Memory does not grow with the length of the file."""

from pathlib import Path

from inputs import repeat
from memory import peak_mb


def test_five_times_the_length_costs_the_same_memory(tmp_path: Path) -> None:
    short = peak_mb(repeat(tmp_path / "short.mkv", 60), tmp_path)
    long = peak_mb(repeat(tmp_path / "long.mkv", 300), tmp_path)
    assert long < 1.1 * short
    assert long < 600
