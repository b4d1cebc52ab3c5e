"""The contract of a source, held by `FileSource` on files whose content carries its own time."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import Any

import av
import numpy as np
import pytest
from av.packet import Packet
from media import (
    HEIGHT,
    WIDTH,
    Audio,
    Video,
    at_rate,
    chirp,
    lag,
    make_clip,
    number_of,
    picture,
    turn,
)
from serving import serving

from streamer.clock import Clock, FreeClock, PacedClock
from streamer.ring import AudioRing, FrameRing
from streamer.sources.decode import recordings
from streamer.sources.demux import Demuxer
from streamer.sources.file import FileSource
from streamer.types import SAMPLE_RATE, AudioChunk, Floats, Frame, Image, StreamerError

OPUS: dict[str, Any] = {"codec": "libopus", "rate": 48_000, "format": "flt"}
PCM: dict[str, Any] = {"codec": "pcm_s16le", "format": "s16"}
SHORT = at_rate(25, 0, 2)
UNEVEN = [0, 0.04, 0.1, 0.3, 0.31, 0.9, 1.5, 1.52, 1.9]
TEN_BIT: dict[str, Any] = {"pix_fmt": "yuv420p10le"}
HEVC: dict[str, Any] = {"codec": "libx265", "options": {"x265-params": "log-level=none"}}


@dataclass
class Played:
    """Two sinks that keep what they are given, in the order in which it comes."""

    shown: list[tuple[float, int, int]] = field(default_factory=list)
    chunks: list[AudioChunk] = field(default_factory=list)
    order: list[tuple[str, float]] = field(default_factory=list)
    ends: list[float | None] = field(default_factory=list)
    sound_closed: int = 0
    problems: list[str] = field(default_factory=list)
    stop: Event = field(default_factory=Event)
    stop_at: float = float("inf")

    def put(self, frame: Frame) -> bool:
        self.shown.append((frame.t, frame.index, number_of(frame.load())))
        self.order.append(("frame", frame.t))
        if frame.t >= self.stop_at:
            self.stop.set()
        return True

    def write(self, chunk: AudioChunk) -> bool:
        self.chunks.append(chunk)
        self.order.append(("sound", (chunk.start + len(chunk.pcm)) / SAMPLE_RATE))
        return True

    def advance_frames(self, t: float) -> bool:
        self.order.append(("nothing seen", t))
        return True

    def advance_sound(self, sample: int) -> bool:
        self.order.append(("nothing heard", sample / SAMPLE_RATE))
        return True

    @property
    def times(self) -> list[float]:
        return [t for t, _, _ in self.shown]

    @property
    def numbers(self) -> list[int]:
        return [number for _, _, number in self.shown]

    @property
    def pcm(self) -> Floats:
        return np.concatenate([chunk.pcm for chunk in self.chunks])

    @property
    def sound_end(self) -> float:
        return (self.chunks[-1].start + len(self.chunks[-1].pcm)) / SAMPLE_RATE


class FrameLog:
    """The frames' side of Played: both sinks have a `close`."""

    def __init__(self, played: Played) -> None:
        self.put, self.advance = played.put, played.advance_frames
        self._played = played

    def close(self, end: float | None = None) -> None:
        self._played.ends.append(end)


class SoundLog:
    """The sound's side of Played."""

    def __init__(self, played: Played) -> None:
        self.write, self.advance = played.write, played.advance_sound
        self._played = played

    def close(self) -> None:
        self._played.sound_closed += 1


def play(
    path: Path,
    start: float = 0.0,
    duration: float | None = None,
    *,
    stop_at: float = float("inf"),
    clock: Clock | None = None,
) -> Played:
    played = Played(stop_at=stop_at)
    source = FileSource(path, clock or FreeClock(), start, duration)
    try:
        source.run(FrameLog(played), SoundLog(played), played.stop)
    finally:
        source.close()
        source.close()
    played.problems = source.problems
    return played


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds, both streams from 0 on, stored without loss of precision."""
    path = tmp_path_factory.mktemp("plain") / "plain.mp4"
    return make_clip(path, Video(at_rate(25, 0, 4)), Audio([(0, 4)]))


@dataclass(frozen=True)
class Variant:
    """A file and how precisely its container stores times, s."""

    name: str
    video: Video | None
    audio: Audio | None
    precision: float = 1e-6


VARIANTS = {
    "plain MP4": Variant("a.mp4", Video(SHORT), Audio([(0, 2)])),
    "plain MOV": Variant("a.mov", Video(SHORT), Audio([(0, 2)])),
    "plain MKV": Variant("a.mkv", Video(SHORT), Audio([(0, 2)]), 1e-3),
    "plain TS": Variant("a.ts", Video(SHORT), Audio([(0, 2)]), 2e-5),
    "variable rate": Variant("a.mp4", Video(UNEVEN), Audio([(0, 2)])),
    "variable rate MKV": Variant("a.mkv", Video(UNEVEN), Audio([(0, 2)]), 1e-3),
    "late picture": Variant("a.mp4", Video(at_rate(25, 0.7, 2)), Audio([(0, 2)])),
    "late picture MKV": Variant("a.mkv", Video(at_rate(25, 0.7, 2)), Audio([(0, 2)]), 1e-3),
    "late picture TS": Variant("a.ts", Video(at_rate(25, 0.7, 2)), Audio([(0, 2)]), 2e-5),
    "late sound": Variant("a.mp4", Video(SHORT), Audio([(0.5, 2)])),
    "late sound MKV": Variant("a.mkv", Video(SHORT), Audio([(0.5, 2)]), 1e-3),
    "late sound TS": Variant("a.ts", Video(SHORT), Audio([(0.5, 2)]), 2e-5),
    "both late MKV": Variant("a.mkv", Video(at_rate(25, 3.2, 4)), Audio([(2.5, 4)]), 1e-3),
    "both late TS": Variant("a.ts", Video(at_rate(25, 2.5, 4)), Audio([(3.2, 4)]), 2e-5),
    "10-bit H.264": Variant("a.mp4", Video(SHORT, **TEN_BIT), None),
    "10-bit H.265": Variant("a.mp4", Video(SHORT, **HEVC, **TEN_BIT), None),
    "4:4:4 FFV1": Variant("a.mkv", Video(SHORT, "ffv1", "yuv444p", options={}), None, 1e-3),
    "MPEG-4 AVI": Variant("a.avi", Video(SHORT, "mpeg4", options={}), Audio([(0, 2)], **PCM)),
    "VP8 and Opus": Variant(
        "a.webm",
        Video(SHORT, "libvpx", options={"deadline": "realtime"}),
        Audio([(0, 2)], **OPUS),
        1e-3,
    ),
    "raw H.264": Variant("a.h264", Video(SHORT), None),
    "stereo 44.1 kHz": Variant(
        "a.mkv", Video(SHORT), Audio([(0, 2)], rate=44_100, layout="stereo"), 1e-3
    ),
    "5.1 AAC": Variant("a.mp4", Video(SHORT), Audio([(0, 2)], rate=48_000, layout="5.1")),
    "8 kHz WAV": Variant("a.wav", None, Audio([(0, 2)], rate=8_000, **PCM)),
    "5.1 float WAV": Variant(
        "a.wav", None, Audio([(0, 2)], "pcm_f32le", 48_000, layout="5.1", format="flt")
    ),
    "FLAC": Variant("a.flac", None, Audio([(0, 2)], "flac", 44_100, format="s16")),
    "Opus": Variant("a.ogg", None, Audio([(0, 2)], **OPUS)),
    "MP3": Variant("a.mp3", None, Audio([(0, 2)], "libmp3lame", 44_100, "stereo", "s16p")),
}


@pytest.fixture(scope="module", params=VARIANTS.values(), ids=list(VARIANTS))
def variant(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Variant, Played]:
    v: Variant = request.param
    path = make_clip(tmp_path_factory.mktemp("variant") / v.name, v.video, v.audio)
    return v, play(path)


def shift_of(v: Variant, played: Played) -> float:
    """By how much the source's times differ from those that the content tells, s."""
    return played.times[0] - v.video.times[0] if v.video else 0.0


def test_times_increase_from_the_common_origin(variant: tuple[Variant, Played]) -> None:
    _, played = variant
    firsts = [c.start / SAMPLE_RATE for c in played.chunks[:1]] + played.times[:1]
    # Encoders put up to 65 ms of silence before the sound, and that comes first.
    assert 0 <= min(firsts) < 0.065
    assert all(b > a for a, b in pairwise(played.times))
    assert all(b.start == a.start + len(a.pcm) for a, b in pairwise(played.chunks)), (
        "gaps where there are none"
    )


def test_every_picture_is_at_its_own_time(variant: tuple[Variant, Played]) -> None:
    v, played = variant
    wanted = v.video.times if v.video else []
    assert played.numbers == list(range(len(wanted)))
    assert [index for _, index, _ in played.shown] == played.numbers
    shift = shift_of(v, played)
    assert [t - shift for t in played.times] == pytest.approx(wanted, abs=v.precision)


def test_sound_keeps_its_distance_to_the_picture(variant: tuple[Variant, Played]) -> None:
    v, played = variant
    assert (v.audio is None) == (not played.chunks)
    if v.audio:
        first = played.chunks[0].start / SAMPLE_RATE + 0.1  # encoders begin with silence
        late, likeness = lag(played.pcm[1600:], first - shift_of(v, played))
        assert likeness > 0.95
        assert abs(late) <= 1 + v.precision * SAMPLE_RATE


def test_everything_comes_in_time_order_and_ends_once(variant: tuple[Variant, Played]) -> None:
    v, played = variant
    times = [t for _, t in played.order]
    assert times == sorted(times)
    assert played.sound_closed == 1
    (end,) = played.ends
    if v.video:
        assert played.times[-1] < (end or 0) < played.times[-1] + 0.11
    assert played.problems == []


def test_second_picture_of_the_same_time_is_left_out(tmp_path: Path) -> None:
    video = Video([0, 0.04, 0.04, 0.08], "ffv1", options={})
    played = play(make_clip(tmp_path / "twice.mkv", video))
    assert played.times == [0, 0.04, 0.08]
    assert played.numbers == [0, 1, 3]


def test_paced_replay_gives_the_same_events(plain: Path) -> None:
    free, paced = play(plain), play(plain, clock=PacedClock(1000, Event()))
    assert paced.order == free.order
    assert paced.shown == free.shown
    assert np.array_equal(paced.pcm, free.pcm)
    assert paced.ends == free.ends


def test_second_run_gives_the_same_events(plain: Path) -> None:
    first, second = play(plain), play(plain)
    assert first.order == second.order
    assert np.array_equal(first.pcm, second.pcm)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_phone_video_is_turned_upright(tmp_path: Path, degrees: int) -> None:
    # What a phone held sideways stores: the upright picture, turned back by its display matrix.
    video = Video(at_rate(5, 0, 1), turned=degrees // 90)
    path = turn(make_clip(tmp_path / "phone.mp4", video), degrees)
    assert play(path).numbers == [0, 1, 2, 3, 4]


def load_first(path: Path, max_px: int = 1280) -> Image:
    """The first picture as the models get it."""
    ring = FrameRing(10, 100, lossless=False)
    source = FileSource(path, FreeClock(), max_px=max_px)
    source.run(ring, AudioRing(1, lossless=False), Event())
    source.close()
    frame = ring.take()
    assert isinstance(frame, Frame)
    return frame.load()


def test_pixels_become_square(tmp_path: Path) -> None:
    wide = make_clip(tmp_path / "wide.mkv", Video(SHORT, aspect=Fraction(3, 2)))
    assert load_first(wide).shape == (HEIGHT, WIDTH * 3 // 2, 3)


def test_large_pictures_are_scaled_to_the_longer_side(tmp_path: Path) -> None:
    large = make_clip(tmp_path / "large.mp4", Video([0], size=(1024, 512)))
    assert load_first(large, max_px=512).shape == (256, 512, 3)
    assert load_first(large, max_px=2048).shape == (512, 1024, 3)


def test_colours_are_red_green_blue(tmp_path: Path) -> None:
    path = tmp_path / "red.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        red = np.full((64, 64, 3), (200, 60, 20), np.uint8)
        out.mux(stream.encode(av.VideoFrame.from_ndarray(red, format="rgb24")))
        out.mux(stream.encode(None))
    assert load_first(path)[32, 32] == pytest.approx((200, 60, 20), abs=6)


GAPS: dict[str, tuple[str, dict[str, Any]]] = {
    "MKV, PCM": ("a.mkv", {**PCM}),
    "MKV, FLAC": ("a.mkv", {"codec": "flac", "format": "s16", "rate": 48_000}),
    "MKV, AAC": ("a.mkv", {"rate": 44_100}),
    "MP4, AAC": ("a.mp4", {}),
    "TS, AAC": ("a.ts", {"rate": 48_000}),
}


@pytest.mark.parametrize(("name", "sound"), GAPS.values(), ids=list(GAPS))
def test_gap_in_the_sound_is_silence_in_its_place(
    tmp_path: Path, name: str, sound: dict[str, Any]
) -> None:
    rate = int(sound.get("rate", 16_000))
    block = 4608 / rate  # whole frames of every codec
    spans = [(0, 6 * block), (14 * block, 20 * block)]
    audio = Audio(spans, **sound)
    path = make_clip(tmp_path / name, Video(at_rate(25, 0, 20 * block)), audio)
    ring = AudioRing(60, lossless=False)
    played = Played()
    source = FileSource(path, FreeClock())
    source.run(FrameLog(played), ring, Event())
    source.close()
    pcm = ring.read(0, ring.end)
    assert pcm is not None
    shift = played.times[0]
    for start, end in spans:
        # Away from the borders, where a codec fades in and out.
        first = round((start + shift + 0.1) * SAMPLE_RATE)
        last = round((end + shift - 0.1) * SAMPLE_RATE)
        late, likeness = lag(pcm[first:last], first / SAMPLE_RATE - shift)
        assert likeness > 0.95
        assert abs(late) <= 17  # MKV stores milliseconds
    silent = [round((t + shift) * SAMPLE_RATE) for t in (6 * block + 0.2, 14 * block - 0.1)]
    assert np.abs(pcm[slice(*silent)]).max() < 0.01


def test_sound_alone_has_no_frames(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.wav", audio=Audio([(0, 1)], **PCM))
    source = FileSource(path, FreeClock())
    source.close()
    assert (source.info.has_video, source.info.has_audio) == (False, True)
    assert play(path).ends == [0.0]


def test_picture_alone_has_no_sound(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", Video(SHORT))
    source = FileSource(path, FreeClock())
    source.close()
    assert (source.info.has_video, source.info.has_audio) == (True, False)
    assert play(path).sound_closed == 1


def test_cover_art_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as out:
        sound = out.add_stream("libmp3lame", rate=16_000)
        cover = out.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = WIDTH, HEIGHT, "gray"
        cover.disposition = av.stream.Disposition.attached_pic
        out.mux(cover.encode(av.VideoFrame.from_ndarray(picture(7), format="gray")))
        out.mux(cover.encode(None))
        wave = (chirp(np.arange(16_000) / 16_000) * 9999).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
        frame.rate = 16_000
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    with av.open(str(path)) as made:
        assert len(made.streams.video) == 1
    source = FileSource(path, FreeClock())
    source.close()
    assert not source.info.has_video
    assert play(path).shown == []


LONG = 35.0
NO_REORDER = {"preset": "veryfast", "g": "10", "bf": "0"}


def assert_told_each_second(played: Played, kind: str) -> None:
    """Until shortly before the end, and in order with what the other stream gives."""
    told = [t for event, t in played.order if event == kind]
    assert max(b - a for a, b in pairwise([5, *told])) < 1.5
    assert told[-1] > LONG - 12
    times = [t for _, t in played.order]
    assert times == sorted(times)


def test_sound_goes_on_when_the_picture_stops(tmp_path: Path) -> None:
    video, audio = Video(at_rate(5, 0, 5), options=NO_REORDER), Audio([(0, LONG)], **PCM)
    played = play(make_clip(tmp_path / "a.mkv", video, audio))
    assert played.numbers == list(range(25))
    assert played.sound_end == LONG
    assert played.ends == [pytest.approx(5.0, abs=0.21)]
    assert played.problems == []
    assert_told_each_second(played, "nothing seen")


@pytest.mark.parametrize("start", [0.0, 1.0, 14.0])
def test_a_picture_that_comes_after_the_sound_is_no_missing_one(
    tmp_path: Path, start: float
) -> None:
    video, audio = Video(at_rate(5, 0.9, 16), options=NO_REORDER), Audio([(0, 16)], **PCM)
    path = make_clip(tmp_path / "a.mkv", video, audio)
    with av.open(str(path)) as made:
        assert next(made.demux()).stream.type == "audio"
    played = play(path, start)
    assert {event for event, _ in played.order} == {"frame", "sound"}
    assert played.times[0] == pytest.approx(max(start, 0.9), abs=0.21)


def test_a_picture_that_comes_much_later_is_told_of_once_time_has_passed(tmp_path: Path) -> None:
    video, audio = Video(at_rate(5, 13, 16), options=NO_REORDER), Audio([(0, 16)], **PCM)
    played = play(make_clip(tmp_path / "a.mkv", video, audio))
    told = [t for event, t in played.order if event == "nothing seen"]
    assert 0 < told[0] < 1.1
    assert told == sorted(set(told))
    assert played.numbers == list(range(15))
    assert [t for _, t in played.order] == sorted(t for _, t in played.order)


def test_pictures_that_the_decoder_held_back_over_a_long_hole_are_left_out(tmp_path: Path) -> None:
    times = at_rate(5, 0, 5) + at_rate(5, 20, 25)
    video, audio = Video(times), Audio([(0, 25)], **PCM)
    played = play(make_clip(tmp_path / "a.mkv", video, audio))
    assert played.order == sorted(played.order, key=lambda event: event[1])
    missing = set(range(50)) - set(played.numbers)
    assert missing <= {22, 23, 24}
    assert played.times == pytest.approx([times[number] for number in played.numbers])
    assert [index for _, index, _ in played.shown] == list(range(50 - len(missing)))


def test_picture_goes_on_when_the_sound_stops(tmp_path: Path) -> None:
    video, audio = Video(at_rate(5, 0, LONG)), Audio([(0, 5)], **PCM, rate=8_000)
    played = play(make_clip(tmp_path / "a.mkv", video, audio))
    assert played.numbers == list(range(175))
    assert played.sound_end == 5
    assert_told_each_second(played, "nothing heard")


@pytest.mark.parametrize("stopped", ["picture", "sound"])
def test_nothing_piles_up_behind_a_stream_that_stopped(tmp_path: Path, stopped: str) -> None:
    video = Video(at_rate(5, 0, 2 if stopped == "picture" else LONG))
    audio = Audio([(0, 2 if stopped == "sound" else LONG)], **PCM, rate=8_000)
    path = make_clip(tmp_path / "a.mkv", video, audio)
    source = FileSource(path, FreeClock())
    most = 0.0

    class Watching(Played):
        def watch(self) -> None:
            nonlocal most
            waiting = source._demuxer._waiting.values()
            spans = [q.newest - (q.packets[0].dts or 0) / 1000 for q in waiting if q.packets]
            most = max([most, *spans])

        def put(self, frame: Frame) -> bool:
            self.watch()
            return super().put(frame)

        def write(self, chunk: AudioChunk) -> bool:
            self.watch()
            return super().write(chunk)

    played = Watching()
    source.run(FrameLog(played), SoundLog(played), Event())
    source.close()
    assert 5 < most < 12


@pytest.mark.parametrize("stopped", ["picture", "sound"])
def test_duration_ends_a_file_whose_other_stream_stopped(tmp_path: Path, stopped: str) -> None:
    times = at_rate(5, 0, 2 if stopped == "picture" else LONG)
    audio = Audio([(0, 2 if stopped == "sound" else LONG)], **PCM, rate=8_000)
    path = make_clip(tmp_path / "a.mkv", Video(times, options=NO_REORDER), audio)
    played = play(path, duration=15)
    assert max(t for _, t in played.order) <= 15
    assert played.numbers == list(range(10 if stopped == "picture" else 75))
    assert played.sound_end == (2 if stopped == "sound" else 15)


CUTS = [(0.0, 1.0), (1.0, 1.5), (1.31, 0.77), (3.5, None), (2.0, 60.0)]


@pytest.mark.parametrize(("start", "duration"), CUTS)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_start_and_duration_cut_at_the_frame_and_the_sample(
    tmp_path: Path, name: str, start: float, duration: float | None
) -> None:
    audio = Audio([(0, 4)], **PCM) if name == "a.mkv" else Audio([(0, 4)])
    path = make_clip(tmp_path / name, Video(at_rate(25, 0, 4)), audio)
    played = play(path, start, duration)
    end = min(start + (duration or 9), 4)
    inside = [n for n, t in enumerate(at_rate(25, 0, 4)) if start <= t < end]
    assert played.numbers == inside
    assert [index for _, index, _ in played.shown] == list(range(len(inside)))
    assert played.ends == [pytest.approx(end, abs=1e-3)]
    assert played.chunks[0].start == round(start * SAMPLE_RATE)
    if end < 4:
        assert played.sound_end == round(end * SAMPLE_RATE) / SAMPLE_RATE
    late, likeness = lag(played.pcm, start)
    assert (late, likeness > 0.95) == (0, True)


def test_start_reaches_into_a_late_stream(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", Video(at_rate(25, 1.0, 3)), Audio([(0, 3)]))
    played = play(path, 0.5)
    assert played.times[0] == pytest.approx(1.0)
    assert played.numbers[0] == 0
    assert played.chunks[0].start == 8000


def test_start_in_a_file_without_times_is_refused(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.h264", Video(SHORT))
    with pytest.raises(StreamerError, match="--start: nothing can be found by time"):
        play(path, 1.0)


def test_start_in_a_file_that_stores_the_sound_late(tmp_path: Path) -> None:
    video, audio = Video(at_rate(5, 0, 30)), Audio([(0, 30)], **PCM, rate=8_000)
    path = make_clip(tmp_path / "a.mkv", video, audio, sound_behind=4.0)
    played = play(path, 20.0)
    assert played.numbers == list(range(100, 150))
    assert played.times[0] == 20
    assert played.chunks[-1].start > 29 * SAMPLE_RATE


def test_stop_ends_it_early(plain: Path) -> None:
    played = play(plain, stop_at=1.0)
    assert played.times[-1] == 1.0
    assert played.ends == [pytest.approx(1.04, abs=0.041)]
    assert played.sound_closed == 1
    assert played.sound_end < 1.2


@pytest.mark.parametrize("what", ["picture", "sound", "both"])
def test_a_stop_is_seen_before_the_start(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a key frame on the way, all from the beginning on is decoded."""
    video = Video(at_rate(25, 0, 8), options={"preset": "veryfast", "g": "1000"})
    audio = Audio([(0, 8)], **PCM)
    path = make_clip(
        tmp_path / "clip.mkv",
        video if what != "sound" else None,
        audio if what != "picture" else None,
    )
    played, decoded, decode = Played(), [0], Demuxer.decode

    def stopping(*args: Any) -> list[object]:
        decoded[0] += 1
        played.stop.set()
        return decode(*args)

    monkeypatch.setattr(Demuxer, "decode", stopping)
    monkeypatch.setattr(FileSource, "_seek", lambda _: None)  # as if it led to the beginning
    source = FileSource(path, FreeClock(), start=4.0)
    source.run(FrameLog(played), SoundLog(played), played.stop)
    source.close()
    assert decoded == [1]
    assert (played.order, played.ends, played.sound_closed) == ([], [4.0], 1)
    assert source.problems == []  # it may well go on


def test_stop_ends_the_wait_of_a_slow_replay(plain: Path) -> None:
    stop = Event()
    played = Played()
    source = FileSource(plain, PacedClock(0.01, stop))
    thread = threading.Thread(target=source.run, args=(FrameLog(played), SoundLog(played), stop))
    thread.start()
    stop.set()
    thread.join(timeout=20)
    assert not thread.is_alive()
    source.close()
    assert (len(played.ends), played.sound_closed) == (1, 1)
    assert len(played.shown) < 50


def test_sink_that_wants_no_more_ends_it(plain: Path) -> None:
    ring = AudioRing(10, lossless=True)
    ring.close()
    played = Played()
    source = FileSource(plain, FreeClock())
    source.run(FrameLog(played), ring, Event())
    source.close()
    assert len(played.shown) < 10
    assert len(played.ends) == 1


def test_streams_stored_too_far_apart_are_refused(tmp_path: Path) -> None:
    video, audio = Video(at_rate(5, 0, LONG)), Audio([(0, LONG)], **PCM, rate=8_000)
    path = make_clip(tmp_path / "a.mkv", video, audio, sound_behind=99.0)
    with pytest.raises(StreamerError, match=r"more than 10 s apart.*ffmpeg -i IN -c copy"):
        play(path)


def test_streams_stored_a_little_apart_are_read(tmp_path: Path) -> None:
    video, audio = Video(at_rate(5, 0, LONG)), Audio([(0, LONG)], **PCM, rate=8_000)
    path = make_clip(tmp_path / "a.mkv", video, audio, sound_behind=8.0)
    played = play(path)
    assert played.numbers == list(range(175))
    assert played.sound_end == LONG
    times = [t for _, t in played.order]
    assert times == sorted(times)


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """The address of a web server on this machine, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with serving(HTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield f"http://127.0.0.1:{port}", asked


def hls(target: str) -> str:
    head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n"
    return f"{head}#EXTINF:3.0,\n{target}\n#EXT-X-ENDLIST\n"


def concat(target: str) -> str:
    return f"ffconcat version 1.0\nfile {target}\n"


@pytest.mark.parametrize("there", ["web", "file"])
@pytest.mark.parametrize(
    ("name", "write"),
    [("list.m3u8", hls), ("list.ffconcat", concat), ("list.mp4", concat), ("list.ts", hls)],
)
def test_playlist_reaches_for_no_other_file(
    tmp_path: Path,
    server: tuple[str, list[str]],
    there: str,
    name: str,
    write: Callable[[str], str],
) -> None:
    address, asked = server
    make_clip(tmp_path / "other.ts", Video(SHORT))
    target = f"{address}/other.ts" if there == "web" else "other.ts"
    (tmp_path / name).write_text(write(target))
    with pytest.raises(StreamerError, match="not a media file"):
        FileSource(tmp_path / name, FreeClock())
    assert asked == []


def test_stream_in_an_unknown_format_is_left_out_and_told(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", Video(SHORT), Audio([(0, 2)]))
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz9"))
    played = play(path)
    assert played.shown == []
    assert lag(played.pcm, 0)[0] == 0
    assert played.problems == [
        "its picture is in a format that can't be decoded here, or too large"
    ]


def test_formats_that_open_other_files_or_devices_are_left_out() -> None:
    openers = {"concat", "dash", "hls", "image2", "mlv", "rtp", "rtsp", "sap", "sdp", "vobsub"}
    devices = {"alsa", "fbdev", "kmsgrab", "lavfi", "oss", "video4linux2,v4l2", "x11grab"}
    assert not recordings() & {*openers, *devices, "tty"}
    usual = {"avi", "flv", "image2pipe", "matroska,webm", "mp3", "mpegts", "ogg", "png_pipe", "wav"}
    assert recordings() >= {*usual, "mov,mp4,m4a,3gp,3g2,mj2"}


def pieces(path: Path, times: list[float], samples: int = 100) -> Path:
    """So many samples of noise at each of these times, at 1 kHz."""
    noise = np.random.default_rng(3).integers(-9000, 9000, samples).astype("<i2").tobytes()
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=1000, layout="mono")
        for t in times:
            packet = Packet(noise)
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.pts = packet.dts = round(t * 1000)
            out.mux_one(packet)
    return path


def test_start_may_lie_hours_behind_the_beginning(tmp_path: Path) -> None:
    path = pieces(tmp_path / "long.mkv", [9.0 * k for k in range(1200)])
    played = play(path, start=9000.0, duration=54.5)
    assert played.problems == []
    assert len(played.chunks) == 7
    assert played.chunks[0].start == 9000 * SAMPLE_RATE


def test_holes_are_believed_for_an_hour_more_than_there_is(tmp_path: Path) -> None:
    path = pieces(tmp_path / "holes.mkv", [1200.0 * k for k in range(3)])
    assert play(path).problems == []
    path = pieces(tmp_path / "jumps.mkv", [1200.0 * k for k in range(30)])
    played = play(path)
    assert "its time stamps jump: 26 packets far off were left out" in played.problems
    assert played.sound_end == pytest.approx(3600.1, abs=0.01)


def test_a_stop_is_seen_within_a_hole(tmp_path: Path) -> None:
    path = pieces(tmp_path / "hole.mkv", [0.0, 3000.0])
    played = Played()
    source, sound = FileSource(path, FreeClock()), SoundLog(played)

    def advance(sample: int) -> bool:
        played.stop.set()
        return played.advance_sound(sample)

    sound.advance = advance  # type: ignore[method-assign]
    source.run(FrameLog(played), sound, played.stop)
    source.close()
    assert played.sound_end < 1
    heard = [t for what, t in played.order if what == "nothing heard"]
    assert len(heard) == 1
    assert heard[0] < 30


def test_the_pictures_time_passes_a_hole_in_one_step(tmp_path: Path) -> None:
    """Each step would say once more that there is no face."""
    played = play(pieces(tmp_path / "hole.mkv", [0.0, 60.0]))
    assert [round(t) for what, t in played.order if what == "nothing seen"] == [60]


def test_a_long_packet_of_plain_sound_is_heard(tmp_path: Path) -> None:
    path = pieces(tmp_path / "one.mkv", [0.0], samples=1_500_000)
    played = play(path)
    assert played.problems == []
    assert played.sound_end == pytest.approx(1500, abs=0.1)
