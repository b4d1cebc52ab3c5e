"""PortAudio by PyAudio: which microphones there are, and opening one. Nothing else imports it."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, Self, TextIO

from streamer.types import StreamerError

CONTINUE = 0  # paContinue
INPUT_OVERFLOW = 2  # paInputOverflow: sound was lost before this block

Callback = Callable[[bytes, int, object, int], tuple[None, int]]
"""PyAudio's: float32 bytes of (frames, channels), frames, times, flags → (None, CONTINUE)."""


@dataclass(frozen=True, slots=True)
class Device:
    """A microphone. ``channels`` is the most that it has, ``rate_hz`` the rate that it prefers."""

    index: int
    name: str
    api: str
    channels: int
    rate_hz: int
    is_default: bool
    is_usual_api: bool
    """Whether ``api`` is the one that PortAudio prefers: several list the same microphone."""


class Input(Protocol):
    """An opened microphone; its callback runs in a thread of PortAudio's."""

    @property
    def active(self) -> bool:
        """Whether it still runs; False once the device is gone."""

    def start(self) -> None:
        """Begin to call back. Raises StreamerError."""

    def close(self) -> None:
        """Stop and release it; no callback comes any more. Never raises."""


class System(Protocol):
    """Where microphones come from: PortAudio, or what stands for it in a test."""

    def devices(self) -> list[Device]:
        """Every device that has an input."""

    def open(
        self, device: Device, rate: int, channels: int, frames: int, callback: Callback
    ) -> Input:
        """Open it for blocks of ``frames``. Raises StreamerError where it can't or won't."""

    def close(self) -> None:
        """Forget the devices: a new System sees what was plugged in meanwhile. Never raises."""


@contextmanager
def quiet() -> Iterator[TextIO]:
    """Send file descriptor 2 nowhere: ALSA and JACK print a hundred lines where no device is, and
    PortAudio some when one dies.

    It is the whole process's: what must be seen meanwhile is written to the file that this yields.
    """
    with os.fdopen(os.dup(2), "w") as screen, Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield screen
        finally:
            screen.flush()
            os.dup2(screen.fileno(), 2)


class PortAudio:
    """The machine's microphones, as they are when it is made. Raises StreamerError without PyAudio.

    While one is open another one sees no newly plugged devices.
    """

    def __init__(self) -> None:
        pyaudio = _pyaudio()
        with quiet():
            self._audio = pyaudio.PyAudio()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def devices(self) -> list[Device]:
        audio = self._audio
        default = usual = -1
        with suppress(OSError):
            default = audio.get_default_input_device_info()["index"]
        with suppress(OSError):
            usual = audio.get_default_host_api_info()["index"]
        found = []
        for index in range(audio.get_device_count()):
            info = audio.get_device_info_by_index(index)
            if info["maxInputChannels"] > 0:
                api = info["hostApi"]
                found.append(
                    Device(
                        index,
                        str(info["name"]),
                        audio.get_host_api_info_by_index(api)["name"],
                        info["maxInputChannels"],
                        round(info["defaultSampleRate"]),
                        index == default,
                        api == usual,
                    )
                )
        return found

    def open(
        self, device: Device, rate: int, channels: int, frames: int, callback: Callback
    ) -> Input:
        try:
            with quiet():
                stream = self._audio.open(
                    rate=rate,
                    channels=channels,
                    format=1,  # paFloat32
                    input=True,
                    input_device_index=device.index,
                    frames_per_buffer=frames,
                    stream_callback=callback,
                    start=False,
                )
        except (OSError, ValueError) as error:
            raise StreamerError(f"microphone {device.name}: {_reason(error)}", 1) from None
        return _Stream(stream, device.name)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            with quiet(), suppress(OSError):
                self._audio.terminate()


class _Stream:
    """PyAudio's stream as an Input."""

    def __init__(self, stream: Any, name: str) -> None:
        self._stream, self._name = stream, name

    @property
    def active(self) -> bool:
        try:
            return bool(self._stream.is_active())
        except OSError:
            return False

    def start(self) -> None:
        try:
            with quiet():
                self._stream.start_stream()
        except OSError as error:
            raise StreamerError(f"microphone {self._name}: {_reason(error)}", 1) from None

    def close(self) -> None:
        with quiet(), suppress(OSError):
            self._stream.close()


class NoMicrophoneError(StreamerError):
    """There is none at all: what can be done without one, the caller knows."""


def find(spec: str | int, devices: list[Device]) -> Device:
    """The microphone with index ``spec``, or whose name has it in it; "default": the system's own.

    Of one that several of the system's interfaces list, the usual one's. Raises StreamerError.
    """
    if not devices:
        raise NoMicrophoneError("no microphone is here: plug one in")
    if spec == "default":
        return next((d for d in devices if d.is_default), devices[0])
    if isinstance(spec, int) or spec.isdecimal():
        found = [d for d in devices if d.index == int(spec)]
    else:
        wanted = spec.casefold()
        found = [d for d in devices if wanted == d.name.casefold()] or [
            d for d in devices if wanted in d.name.casefold()
        ]
        found = [d for d in found if d.is_usual_api] or found
    if len(found) == 1:
        return found[0]
    there = "; ".join(f"{d.index} {d.name}" for d in found or devices)
    what = "several match" if found else "none has this name or index; here are"
    raise StreamerError(f"microphone {spec}: {what}: {there}")


def _pyaudio() -> ModuleType:
    try:
        import pyaudio  # noqa: PLC0415, an extra: only who records needs it
    except ImportError:
        raise StreamerError(
            "no microphone can be used without PyAudio: pip install '.[mic]' in the clone "
            "(on Debian first: apt-get install portaudio19-dev python3-dev gcc)"
        ) from None
    module: ModuleType = pyaudio
    return module


def _reason(error: Exception) -> str:
    """PortAudio's own words; PyAudio gives (number, words) or words alone."""
    words = str(error.args[-1]) if error.args else "can't be opened"
    return {
        "Device unavailable": "is taken by another program, or was unplugged",
        "Invalid sample rate": "does not take this sample rate",
    }.get(words, words)
