"""The dashboard is a pure function: what it shows at any size."""

import io
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from rich.console import Console

from streamer.agreement import Agreement
from streamer.dashboard import Live, ModalityView, View, milliseconds, plain, render
from streamer.figures import Now
from streamer.liveview import keys
from streamer.pairing import Pair, Voice
from streamer.rowview import clock
from streamer.types import EMOTIONS, UNKNOWN, DeviceState, Interval, Running


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
        "dropped 3  mismatch in 1 of 3 rows  faces 10.0/s  row latency p95 750 ms",
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


def test_a_missing_modality_says_so_and_nothing_else_is_said_of_it() -> None:
    deaf = view(voice=False)
    for k, row in enumerate(deaf.rows):
        assert isinstance(row, Pair)
        deaf.rows[k] = replace(row, voice=Voice(None), sound=False)
    lines = drawn(deaf, 80, 24)
    assert any("no sound in this source" in line for line in lines)
    assert [line.split()[5:-1] for line in lines if "71%" in line] == [["71%", "–"]] * 3
    assert "─ face 98% ─" in lines[-3]
    assert lines[-2].split("  ")[:3] == ["dropped 3", "faces 10.0/s", "row latency p95 750 ms"]
    assert plain(deaf) == "00:08.5 / 00:20.9  face Angry  rows 3  dropped 3"


def test_without_a_picture_the_rows_are_the_voices() -> None:
    spoken = [Interval("voice", "Sad", k * 2.0, k * 2.0 + 2, 0.41, 0.9, 4, "gap") for k in range(2)]
    blind = replace(view(rows=0), face=None, closed=2, rows=list(spoken))
    lines = drawn(blind, 80, 24)
    assert any("no picture in this source" in line for line in lines)
    shown = [line.split()[1:-1] for line in lines if "41%" in line]
    assert shown == [[clock(t), clock(t + 2), "2.0", "–", "Sad", "41%"] for t in (2.0, 0.0)]
    assert "─ voice 64% ─" in lines[-3]
    assert lines[-2].split("  ")[:2] == ["dropped 3", "row latency p95 750 ms"]


def test_a_pause_is_said_where_it_would_say_why_nothing_is_shown() -> None:
    still = replace(view().face or ModalityView(None, None, 0.0, 0, "", None), running=None)
    still = replace(still, probs=None, silent="no face, or more than one")
    live = Live([], (0, 0.0), "", partial(keys, True, None, 0, True), paused=True)
    for size in ((80, 24), (80, 12)):
        text = "\n".join(drawn(replace(view(), face=still, live=live), *size))
        assert "paused" in text
        assert "no face" not in text
        running = replace(view(), face=still, live=replace(live, paused=False))
        assert "no face" in "\n".join(drawn(running, *size))
    assert "  face paused  " in plain(replace(view(), face=still, live=live))


# Small terminals


def emotions(lines: list[str]) -> list[list[str]]:
    """What stands beside the names of the emotions in the left half, from above."""
    halves = [line[: len(line) // 2].strip("│ ").split() for line in lines]
    return [half for half in halves if half and half[0] in EMOTIONS and half[-1][-1] in "%–"]


@pytest.mark.parametrize(
    ("width", "height", "shown"), [(40, 12, 7), (40, 24, 7), (80, 12, 7), (80, 9, 5), (80, 18, 7)]
)
def test_a_small_terminal_keeps_the_footer_and_whole_figures(
    width: int, height: int, shown: int
) -> None:
    lines = drawn(view(), width, height)
    assert len(lines) == height
    assert {len(line) for line in lines} == {width}
    assert lines[-2].startswith("dropped 3  mismatch in 1 of 3 rows")
    assert lines[-1].startswith("Ctrl-C: stop")
    bars = [half[1:-1] for half in emotions(lines)]
    assert [(half[0], half[-1]) for half in emotions(lines)] == [
        *zip(EMOTIONS, ("62%", "0%", "5%", "8%", "20%", "0%", "5%"), strict=True)
    ][:shown]
    assert all(len(bar) == (width >= 50) for bar in bars)


def test_the_newest_row_is_seen_in_twelve_lines() -> None:
    assert drawn(view(), 80, 12)[-3].split()[:5] == ["00:04.0", "00:06.0", "2.0", "Fear", "71%"]
    assert drawn(view(rows=2), 40, 12)[-3].split() == ["00:02.0", "2.0", "Disgust", "Happy", "≠"]
    silent = drawn(view(rows=1), 40, 12)[-3]
    assert silent.split() == ["00:00.0", "2.0", "Angry", "nobody", "spoke"]


@pytest.mark.parametrize("width", [1, 17, 40, 50, 75, 80])
def test_no_terminal_is_too_small_for_the_keys(width: int) -> None:
    live = Live([], (0, 0.0), "", partial(keys, True, None, 0, False))
    for what in (view(), replace(view(), live=live)):
        for height in range(1, 30):
            lines = drawn(what, width, height)
            assert len(lines) == height
            assert lines[-1][0] in "Cs"


@pytest.mark.parametrize(("width", "height"), [(40, 12), (80, 12), (80, 24)])
def test_a_disk_that_fails_is_told_above_the_state(width: int, height: int) -> None:
    trouble = "can't write to statistics/20260101-090000_talk: the disk is full: 4 rows wait"
    lines = drawn(replace(view(), trouble=trouble), width, height)
    assert len(lines) == height
    assert " ".join(" ".join(lines[:-2]).split()).endswith(f" {trouble}")
    assert lines[-2].startswith("dropped 3")
    assert lines[-1].startswith("Ctrl-C")


@pytest.mark.parametrize(("height", "listed"), [(24, True), (19, False), (12, False)])
def test_where_devices_have_no_room_only_a_loss_is_told(height: int, listed: bool) -> None:
    devices = [DeviceState("eye", "camera", "lost"), DeviceState("ear", "microphone", "running")]
    live = Live(devices, (0, 0.0), "5 faces/s", partial(keys, True, None, 0, False))
    lines = drawn(replace(view(), live=live), 80, height)
    assert any("waiting: 0 pictures" in line for line in lines) == listed
    assert lines[-3].startswith("eye lost  slowed: 5 faces/s" if not listed else "slowed: 5 faces")
    healthy = replace(live, devices=devices[1:], slowed="")
    calm = drawn(replace(view(), live=healthy), 80, height)
    assert len(calm) == height
    assert not any("lost" in line or "slowed" in line for line in calm)


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
    for width in (80, 40):
        (row,) = [line for line in drawn(what, width, 24) if "00:02" in line or "Happy" in line][
            -1:
        ]
        assert "Unknown" in row
        assert "mismatch" not in row
        assert "≠" not in row


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
