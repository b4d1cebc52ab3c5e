"""What is shown of devices, sound and keys."""

import math

import pytest

from streamer.liveview import alerts, device, keys, level
from streamer.types import DeviceState


def test_a_running_microphone_shows_its_level_and_drift() -> None:
    state = DeviceState("USB mic", "microphone", "running", "48 kHz", level=-30.0)
    state.drift_ppm, state.drift_ms = 41.7, -3.26
    text = device(state).plain
    assert text == "● USB mic  █████·····  -30 dBFS  drift +42 ppm (-3.3 ms)  48 kHz"


def test_a_lost_camera_shows_what_was_lost() -> None:
    state = DeviceState("Camera 0", "camera", "lost", losses=1, lost_s=2.04, dropped=3)
    text = device(state)
    assert text.plain == "● Camera 0  lost  lost once, 2.0 s  dropped 3"
    assert "bold red" in {str(span.style) for span in text.spans}
    state.losses = 2
    assert "lost 2 times" in device(state).plain


def test_an_opening_device_has_no_figures() -> None:
    assert device(DeviceState("rtsp", "stream")).plain == "● rtsp  opening"


def test_a_name_is_not_taken_for_markup() -> None:
    assert "[red]" in device(DeviceState("[red]", "camera")).plain
    assert "\x1b" not in device(DeviceState("\x1b[31m", "camera")).plain


@pytest.mark.parametrize(
    ("dbfs", "full", "style"),
    [
        (-math.inf, 0, "green"),
        (-100.0, 0, "green"),
        (-59.0, 0, "green"),
        (-45.0, 3, "green"),
        (-15.0, 9, "yellow"),
        (-3.0, 11, "bold red"),
        (3.0, 12, "bold red"),
    ],
)
def test_the_level_meter(dbfs: float, full: int, style: str) -> None:
    text = level(dbfs, 12)
    assert text.plain == "█" * full + "·" * (12 - full) + f" {dbfs:4.0f} dBFS"
    assert not full or str(text.spans[0].style) == style


def test_the_bottom_line_says_what_keys_do() -> None:
    assert "m: marker" in keys(True, None, 0, False).plain
    assert "m: marker" not in keys(False, None, 0, False).plain
    assert keys(True, None, 1, True).plain.startswith("PAUSED  1 marker  space")
    assert "2 markers" in keys(True, None, 2, False).plain
    assert keys(True, "lau[b]", 2, False).plain.startswith("Note: lau[b]▏")
    assert keys(True, "", 0, False).plain.startswith("Note: ")
    assert len(keys(True, "a" * 199 + "!", 0, False).plain) < 80
    assert "aaa!▏" in keys(True, "a" * 199 + "!", 0, False).plain


@pytest.mark.parametrize("width", [18, 30, 40, 55, 80])
@pytest.mark.parametrize("active", [False, True])
@pytest.mark.parametrize(
    "editing", [None, "", "looks away, then at the floor and laughs", "笑" * 60]
)
def test_the_bottom_line_fits_its_terminal(width: int, active: bool, editing: str | None) -> None:
    text = keys(active, editing, 0, False, width)
    assert text.cell_len <= width
    if editing:
        assert f"{editing[-2:]}▏" in text.plain
    elif editing is None:
        assert ("stop" in text.plain) == (width >= len("Ctrl-C: stop"))
        assert text.plain.startswith("space" if active else "Ctrl-C")


def test_a_narrow_bottom_line_still_tells_of_a_pause_and_markers() -> None:
    assert keys(True, None, 12, True, 40).plain == "PAUSED  12 markers  space  m  q: stop"
    assert keys(True, None, 0, True, 40).plain == "PAUSED  space: pause  m: mark  q: stop"
    assert keys(True, "looks away", 0, False, 40).plain == "Note: looks away▏  Enter: keep"


def test_alerts_are_of_what_is_lost_and_slowed_alone() -> None:
    devices = [DeviceState("eye", "camera", "lost"), DeviceState("ear", "microphone", "running")]
    assert alerts(devices, "") == "eye lost"
    assert alerts(devices[1:], "5 faces/s") == "slowed: 5 faces/s"
    assert alerts(devices, "5 faces/s") == "eye lost  slowed: 5 faces/s"
    assert alerts(devices[1:], "") == ""
