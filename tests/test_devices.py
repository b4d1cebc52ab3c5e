"""What `streamer devices` shows of microphones."""

import io
import threading
from collections.abc import Callable

import pytest
from rich.console import Console
from room import Mic, Room

from streamer import config as configuration
from streamer.devices import microphones, show, show_level
from streamer.sources import microphone as module
from streamer.types import StreamerError


def printed(act: Callable[[Console], object]) -> str:
    out = io.StringIO()
    act(Console(file=out, width=100))
    return out.getvalue()


def test_microphones_are_listed_with_what_a_user_needs_to_name_them() -> None:
    room = Room(
        Mic("Desk mic", is_default=False),
        Mic("Head\x1b[31mset", rate=44_100, channels=2, api="JACK"),
        until=1,
    )
    assert [d.name for d in microphones(room.system)] == ["Desk mic", "Head\x1b[31mset"]
    text = printed(lambda console: show(console, room.system))
    lines = [line.split() for line in text.splitlines()]
    assert ["0", "Desk", "mic", "ALSA", "1", "48", "kHz"] in lines
    assert ["●", "1", "Head?[31mset", "JACK", "2", "44.1", "kHz"] in lines


def test_without_microphones_one_line_says_so() -> None:
    assert printed(lambda console: show(console, Room(until=1).system)).count("\n") == 1

    def missing() -> object:
        raise StreamerError("PyAudio is not there: " + 20 * "install it ")

    text = printed(lambda console: show(console, missing))  # type: ignore[arg-type]
    assert text == "PyAudio is not there: " + 20 * "install it " + "\n"


def test_before_the_first_sound_there_is_no_level() -> None:
    stop = threading.Event()
    stop.set()

    def level(console: Console) -> None:
        show_level(console, "desk", configuration.load().live, stop, Room(Mic(), until=1e9).system)

    assert "no sound" in printed(level)


def test_the_level_is_that_of_the_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(Mic(), until=1e9)
    monkeypatch.setattr(module, "monotonic", room.monotonic)

    heard = threading.Event()
    room.at(3.0, heard.set)

    class Stop(threading.Event):
        """The screen's waits end the session; the microphone's let time pass."""

        def wait(self, timeout: float | None = None) -> bool:
            if threading.current_thread().name == "streamer-microphone":
                room.wait(timeout or 0)
                return self.is_set()
            assert heard.wait(10)
            self.set()
            return True

    live = configuration.load().live
    out = io.StringIO()
    console = Console(file=out, width=80)
    state = show_level(console, "desk", live, Stop(), room.system)
    assert state.status == "ended"
    assert state.level == pytest.approx(-12, abs=2)
    assert "█" in out.getvalue()
    assert " dBFS" in out.getvalue()
    with pytest.raises(StreamerError, match="none has this name"):
        show_level(console, "blue", live, Stop(), room.system)
