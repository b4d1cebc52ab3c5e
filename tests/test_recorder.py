"""What a recorder stores is what was analysed: replayed, it gives the same tables."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scripted
from media import speaker_clip
from scripted import ScriptedReader, contents

from streamer import pipeline as module
from streamer.clock import FreeClock
from streamer.pipeline import Models
from streamer.recorder import CODECS, Quality, Recorder
from streamer.sources.file import FileSource
from streamer.types import (
    EMOTIONS,
    SAMPLE_RATE,
    AudioChunk,
    AudioSink,
    Frame,
    FrameSink,
    Image,
    Source,
    SourceInfo,
    StreamerError,
)

Item = Frame | AudioChunk | int
"""An int: there is no sound before that sample."""


class Live:
    """A source of given items, as a live one gives them: in order of arrival."""

    def __init__(self, items: Sequence[Item], end: float | None = None, sound: bool = True) -> None:
        has_video = any(isinstance(i, Frame) for i in items)
        self.info = SourceInfo("live", has_video, sound)
        self.problems: list[str] = []
        self._items, self._end = items, end

    def run(self, frames: FrameSink, audio: AudioSink, stop: threading.Event) -> None:
        for item in self._items:
            if isinstance(item, Frame):
                frames.put(item)
                frames.advance(item.t)
            elif isinstance(item, AudioChunk):
                audio.write(item)
            else:
                audio.advance(item)
        frames.close(self._end)
        audio.close()

    def close(self) -> None:
        pass


class Taken:
    """Both sinks: keeps what it is given, sound as in the ring."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.pcm = np.zeros(0, np.float32)
        self.end: float | None = None

    def put(self, frame: Frame) -> bool:
        self.frames.append(frame)
        return True

    def write(self, chunk: AudioChunk) -> bool:
        self.advance(chunk.start)
        self.pcm = np.concatenate([self.pcm, chunk.pcm[len(self.pcm) - chunk.start :]])
        return True

    def advance(self, to: float) -> bool:
        if isinstance(to, int):
            self.pcm = np.pad(self.pcm, (0, max(to - len(self.pcm), 0)))
        return True

    def close(self, end: float | None = None) -> None:
        self.end = end if end is not None else self.end

    @property
    def pictures(self) -> list[Image]:
        return [f.load() for f in self.frames]

    @property
    def times(self) -> list[float]:
        return [f.t for f in self.frames]


def noise(number: int, size: tuple[int, int] = (70, 46)) -> Image:
    made = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3))
    return made.astype(np.uint8)


def frame(number: int, t: float, size: tuple[int, int] = (70, 46)) -> Frame:
    return Frame(round(t, 3), number, partial(noise, number, size))


def voice(number: int, start: int, length: int) -> AudioChunk:
    pcm = np.random.default_rng(number).uniform(-1, 1, length).astype(np.float32)
    return AudioChunk(start, pcm)


def holed(seconds: float = 6.0) -> list[Item]:
    """Pictures at 30/s from 0.512 s on, sound from sample 777 on, a hole in each."""
    items: list[Item] = []
    for k in range(round(seconds * 30)):
        t, sample = k / 30, 777 + k * 533
        if t >= 0.512 and not 2 <= t < 3.5:
            items.append(frame(k, t))
        if not 60 < k < 90:
            items.append(voice(k, sample, 533))
        elif k % 10 == 0:
            items.append(sample - 100)
    return items


def record(source: Source, path: Path, room: int = 10_000, quality: Quality = "lossless") -> Taken:
    taken = Taken()
    Recorder(source, path, quality, room).run(taken, taken, threading.Event())
    return taken


def replayed(path: Path) -> tuple[Taken, list[str]]:
    source, taken = FileSource(path, FreeClock()), Taken()
    source.run(taken, taken, threading.Event())
    source.close()
    return taken, source.problems


# The same again


@pytest.mark.parametrize("sound", [True, False])
def test_a_recording_holds_every_pixel_sample_and_time(tmp_path: Path, sound: bool) -> None:
    path = tmp_path / "recording.mkv"
    items = [i for i in holed() if sound or isinstance(i, Frame)]
    live = record(Live(items, 6.321, sound), path)
    again, problems = replayed(path)
    assert problems == []
    assert again.times == live.times
    assert again.end == 6.321
    assert all((a == b).all() for a, b in zip(again.pictures, live.pictures, strict=True))
    assert np.array_equal(again.pcm, live.pcm)


def test_silence_of_a_stream_that_has_no_sound_is_passed_over(tmp_path: Path) -> None:
    items: list[Item] = [frame(0, 0.0), 16_000, frame(1, 1.0), 32_000]
    taken = record(Live(items, 2.0, sound=False), tmp_path / "recording.mkv")
    again, problems = replayed(tmp_path / "recording.mkv")
    assert problems == []
    assert again.times == taken.times == [0.0, 1.0]
    assert len(again.pcm) == 0


def test_sound_alone_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "recording.mkv"
    live = record(Live([i for i in holed() if not isinstance(i, Frame)]), path)
    again, problems = replayed(path)
    assert problems == []
    assert np.array_equal(again.pcm, live.pcm)


class Scripted(scripted.ScriptedSource):
    """Holes in picture and sound: of the latter is told, as live sources do."""

    def run(self, frames: FrameSink, audio: AudioSink, stop: threading.Event) -> None:
        class Holed:
            close = staticmethod(audio.close)

            def write(self, chunk: AudioChunk) -> bool:
                if 96_000 <= chunk.start < 144_000:
                    return audio.advance(chunk.start)
                return audio.write(chunk)

        made: Any = Holed()
        super().run(frames, made, stop)


FACE = [(0.5, 3.0, "Sad"), (3.0, 6.0, "Happy"), (9.0, 12.0, "Angry"), (12.0, 14.0, "Sad")]
VOICE = [(0.3, 5.2, "Sad"), (5.2, 8.0, "Happy"), (9.1, 13.0, "Angry")]


@pytest.mark.parametrize("policy", ["argmax", "changepoint"])
@pytest.mark.parametrize("with_sound", [True, False])
def test_a_replayed_recording_gives_the_same_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, with_sound: bool
) -> None:
    monkeypatch.setattr(module, "FaceReader", lambda *_: ScriptedReader())
    monkeypatch.setattr(scripted, "picture", shown)
    frames = [(t, e) for t, e in scripted.at_rate(25, 14.0, FACE) if e or 7.0 < t < 7.5]
    pcm = scripted.sound(14.0, VOICE) if with_sound else np.zeros(0, np.float32)
    source = Scripted(frames, pcm, end=14.0)
    settings = scripted.config(f"segmenter.policy={policy}")
    path = tmp_path / "recording.mkv"
    run(tmp_path / "live", Recorder(source, path, room=10_000), settings)
    run(tmp_path / "again", FileSource(path, FreeClock()), settings)
    live, again = contents(tmp_path / "live"), contents(tmp_path / "again")
    assert len(live["video_intervals"].splitlines()) > 4
    assert (len(live["voice_intervals"].splitlines()) > 2) == with_sound
    assert again == live


def shown(label: str | None) -> Image:
    value = scripted.NO_FACE if label is None else EMOTIONS.index(label)
    return np.full((16, 24, 3), value, np.uint8)


def run(folder: Path, source: Any, settings: Any, loaded: Models | None = None) -> None:
    made, tables = scripted.pipeline(folder, source, settings, loaded=loaded)
    with tables:
        made.run(lambda: None)
    assert source.problems == []


def test_the_models_see_the_same_in_a_recording(tmp_path: Path) -> None:
    clip = speaker_clip(tmp_path / "clip.mkv", 6.0)
    path = tmp_path / "recording.mkv"
    settings = scripted.config("segmenter.policy=argmax")
    loaded = Models.load(settings)
    recorder = Recorder(FileSource(clip, FreeClock()), path, room=10_000)
    run(tmp_path / "live", recorder, settings, loaded)
    run(tmp_path / "again", FileSource(path, FreeClock()), settings, loaded)
    live = contents(tmp_path / "live")
    assert len(live["video_intervals"].splitlines()) > 4
    assert len(live["voice_intervals"].splitlines()) > 1
    assert contents(tmp_path / "again") == live


def test_a_small_recording_keeps_times_and_nearly_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "recording.mkv"
    smooth = np.add.outer(np.arange(47), np.arange(71)).astype(np.uint8)
    image = np.repeat(smooth[:, :, None], 3, axis=2)
    items = [Frame(k / 10, k, lambda: image) for k in range(1, 20)]
    live = record(Live(items, sound=False), path, quality="small")
    again, problems = replayed(path)
    assert problems == []
    assert again.times == live.times
    assert all(p.shape == (46, 70, 3) for p in again.pictures)
    assert np.abs(again.pictures[-1][:45, :69].astype(int) - image[:45, :69]).mean() < 3


# What goes wrong


def test_a_slow_disk_costs_pictures_of_the_recording_alone(tmp_path: Path) -> None:
    path, disk = tmp_path / "recording.mkv", threading.Event()

    def slow(number: int) -> Image:
        assert disk.wait(60)
        return noise(number)

    class Free(Live):
        def run(self, frames: FrameSink, audio: AudioSink, stop: threading.Event) -> None:
            super().run(frames, audio, stop)
            disk.set()

    source = Free([Frame(k / 10, k, partial(slow, k)) for k in range(20)], sound=False)
    recorder, taken = Recorder(source, path, room=4), Taken()
    recorder.run(taken, taken, threading.Event())
    assert taken.times == [k / 10 for k in range(20)]
    assert recorder.lost == 16
    assert source.problems == ["recording.mkv: the disk was too slow, 16 pieces are missing"]
    assert replayed(path)[0].times == [0.0, 0.1, 0.2, 0.3]


def test_a_full_disk_ends_the_recording_alone() -> None:
    source = Live(holed(), 6.0)
    taken = record(source, Path("/dev/full"))
    assert len(taken.frames) == len([i for i in holed() if isinstance(i, Frame)])
    assert source.problems == ["full: the recording ends early: No space left on device"]


def test_a_folder_that_is_gone_ends_the_recording_alone(tmp_path: Path) -> None:
    source = Live(holed(), 6.0)
    taken = record(source, tmp_path / "none" / "recording.mkv")
    assert taken.end == 6.0
    assert source.problems == ["recording.mkv: the recording ends early: No such file or directory"]


def test_a_picture_that_can_not_be_made_is_an_error_of_the_source(tmp_path: Path) -> None:
    def broken() -> Image:
        raise ValueError("broken")

    source = Live([frame(0, 0.0), Frame(0.1, 1, broken)], sound=False)
    with pytest.raises(ValueError, match="broken"):
        record(source, tmp_path / "recording.mkv")


def test_a_build_without_the_encoder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CODECS, "small", ("libnone", "yuv420p", {}))
    with pytest.raises(StreamerError, match="built without libnone"):
        Recorder(Live(holed()), tmp_path / "recording.mkv", "small")


def test_two_pictures_within_a_millisecond_do_not_end_the_recording(tmp_path: Path) -> None:
    path = tmp_path / "recording.mkv"
    items = [Frame(t, k, partial(noise, k)) for k, t in enumerate([0.1, 0.2, 0.2003, 0.3])]
    record(Live(items, sound=False), path)
    again, problems = replayed(path)
    assert problems == []
    assert again.times == [0.1, 0.2, 0.3]


def test_pictures_of_another_size_are_scaled_and_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "recording.mkv"
    source = Live([frame(0, 0.0), frame(1, 0.1, (140, 92)), frame(2, 0.2)], sound=False)
    record(source, path)
    assert source.problems == ["recording.mkv: pictures of 140×92 are scaled to 70×46 in it"]
    assert [p.shape for p in replayed(path)[0].pictures] == [(46, 70, 3)] * 3


def test_sound_does_not_wait_for_a_camera_that_never_starts(tmp_path: Path) -> None:
    path = tmp_path / "recording.mkv"
    source = Live([voice(k, k * 1600, 1600) for k in range(60)])
    source.info.has_video = True
    live = record(source, path)
    again, problems = replayed(path)
    assert problems == ["not one picture was found: no face was looked for"]
    assert np.array_equal(again.pcm, live.pcm)


# Cut off


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "recording.mkv"
    record(Live([frame(0, 0.0), *holed()[12:]], 6.0), path)
    return path


@pytest.mark.parametrize("share", [0.25, 0.5, 0.77, 0.999])
def test_a_recording_cut_anywhere_is_replayed_to_there(
    whole: Path, tmp_path: Path, share: float
) -> None:
    data = whole.read_bytes()
    cut = tmp_path / "cut.mkv"
    full = replayed(whole)[0]
    for at in (round(len(data) * share) + k for k in (0, 1, 1000)):
        cut.write_bytes(data[:at])
        part, _ = replayed(cut)
        assert part.times == full.times[: len(part.frames)]
        assert len(part.frames) >= share * len(full.frames) - 30 * 0.6
        assert np.array_equal(part.pcm, full.pcm[: len(part.pcm)])


CHILD = """
import os, signal, sys
from pathlib import Path
from streamer.types import Frame
from test_recorder import Live, holed, record

last = Frame(6.0, 999, lambda: os.kill(os.getpid(), signal.SIGKILL))
record(Live([*holed(), last]), Path(sys.argv[1]))
"""


def test_a_killed_process_leaves_a_recording_of_all_but_its_end(tmp_path: Path) -> None:
    path = tmp_path / "recording.mkv"
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)], env=environment, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL
    wanted = [i.t for i in holed() if isinstance(i, Frame)]
    again, _ = replayed(path)
    assert again.times == wanted[: len(again.frames)]
    assert again.times[-1] > wanted[-1] - 0.7
    assert len(again.pcm) > (wanted[-1] - 0.7) * SAMPLE_RATE
