"""The dashboard is a pure function: what it shows at any size."""

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from streamer.agreement import Agreement
from streamer.dashboard import ModalityView, View, clock, milliseconds, plain, render
from streamer.figures import Now
from streamer.pairing import Pair, Voice
from streamer.types import EMOTIONS, UNKNOWN, Interval, Running


def view(rows: int = 3, voice: bool = True, silent: bool = False) -> View:
    probs = np.array([0.62, 0.0, 0.05, 0.08, 0.2, 0.0, 0.05], np.float32)
    agreement = Agreement()
    pairs = []
    for k in range(rows):
        face = Interval("face", EMOTIONS[k % 7], k * 2.0, k * 2.0 + 2, 0.71, 0.9, 20, "change")
        pairs.append(Pair(face, Voice("Happy", 0.55, 0.9, 0.8) if k % 2 else Voice(None)))
        agreement.add(pairs[-1])
    shown = ModalityView(
        None if silent else probs, Running("Angry", 6.0), 8.5, 4, "nobody speaks", 0.047
    )
    return View(
        title="interview [bold]one[/].mp4",
        t=8.5,
        start=0.0,
        duration=20.88,
        speed="×1",
        provider="CPU",
        faces_per_s=10.0,
        dropped=3,
        row_latency=0.75,
        face=shown,
        voice=shown if voice else None,
        agreement=agreement,
        closed=agreement.rows,
        rows=pairs,
        figures=Now(0.58, 0.412, 0.25, 0.98, 0.641, (0.284, 0.553)),
    )


def drawn(what: View, width: int, height: int) -> list[str]:
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None
    )
    console.print(render(what, width, height), height=height)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (200, 60)])
def test_everything_fits_and_fills_the_terminal(width: int, height: int) -> None:
    lines = drawn(view(), width, height)
    assert len(lines) == height
    assert {len(line) for line in lines} == {width}
    text = "\n".join(lines)
    for needed in (
        "interview [bold]one[/].mp4",
        "00:08.5 / 00:20.9",
        "×1",
        "CPU",
        *EMOTIONS,
        "62%",
        "Angry for 2.5 s",
        "4 transitions",
        "p95 47 ms",
        "Closed intervals · 3",
        "nobody spoke",
        "mismatch in 1 of 3 rows",
        "faces 10.0/s",
        "dropped 3",
        "row latency p95 750 ms",
        "agree 58%  κ 0.41 [0.28, 0.55]  lag +0.25 s  face 98%  voice 64%",
        "Ctrl-C",
    ):
        assert needed in text, needed


@pytest.mark.parametrize(("height", "fit"), [(24, 6), (60, 42)])
def test_the_newest_rows_come_first_and_as_many_as_fit(height: int, fit: int) -> None:
    shown = [line for line in drawn(view(rows=60), 80, height) if "00:" in line or "01:" in line]
    starts = [line.split()[1] for line in shown[1:]]
    assert starts == [clock((59 - k) * 2.0) for k in range(fit)]


@pytest.mark.parametrize(
    ("figures", "line"),
    [
        (Now(None, None, None, 1.0, None), "agree –  κ –  lag –  face 100%  voice –"),
        (
            Now(1.0, -0.412, -2.75, 1.0, 1.0, (-0.553, -0.284)),
            "agree 100%  κ -0.41 [-0.55, -0.28]  lag -2.75 s  face 100%  voice 100%",
        ),
    ],
)
def test_the_line_of_agreement_fits_always(figures: Now, line: str) -> None:
    assert line in "\n".join(drawn(replace(view(), figures=figures), 80, 24))


def test_a_missing_modality_says_so() -> None:
    assert "no sound in this source" in "\n".join(drawn(view(voice=False), 80, 24))


def test_one_line_tells_what_both_say_together() -> None:
    def line(what: View) -> str:
        return next(line for line in drawn(what, 100, 30) if line.startswith("  Both"))

    assert "needs a picture and sound" in line(view())
    together = line(replace(view(), fused=view().face))
    assert "Angry for 2.5 s  Angry 62%  Sad 20%  Happy 8%  · 4 transitions" in together
    assert "Angry for 2.5 s  (nobody speaks)" in line(replace(view(), fused=view(silent=True).face))


def test_an_unknown_interval_is_a_row_without_mismatch() -> None:
    what = view(rows=0)
    face = Interval("face", UNKNOWN, 0.0, 2.0, 0.31, 0.9, 20, "change")
    what.rows.append(Pair(face, Voice("Happy", 0.55, 0.9, 0.8)))
    (row,) = [line for line in drawn(what, 80, 24) if "31%" in line]
    assert "Unknown" in row
    assert "mismatch" not in row


def test_silence_shows_no_probabilities_but_the_running_interval() -> None:
    text = "\n".join(drawn(view(silent=True), 80, 24))
    assert "62%" not in text
    assert "(nobody speaks)" in text


def test_the_plain_line_tells_the_same() -> None:
    assert plain(view()) == (
        "00:08.5 / 00:20.9  face Angry  voice Angry  rows 3  mismatches 1  dropped 3"
    )


def test_times_and_latencies_are_written_for_people() -> None:
    assert clock(0) == "00:00.0"
    assert clock(59.96) == "01:00.0"
    assert clock(3723.25) == "1:02:03.2"
    assert milliseconds(None) == "–"
    assert milliseconds(0.0474) == "47 ms"
    assert milliseconds(12.4) == "12 s"
