"""Flashes with beeps, and claps, tell by how much picture and sound are out of step."""

import threading
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console
from typer.testing import CliRunner

from streamer import calibrate, live
from streamer import config as configuration
from streamer.calibrate import offset
from streamer.cli import app
from streamer.resources import demo_clip
from streamer.types import (
    SAMPLE_RATE,
    AudioChunk,
    AudioSink,
    Floats,
    Frame,
    FrameSink,
    Image,
    SourceInfo,
    StreamerError,
)

EVENTS = [1.213, 2.871, 4.402, 6.555, 8.009]
LENGTH = 10.0
OFFSETS = [-0.3, -0.121, -0.04, 0.0, 0.017, 0.083, 0.2, 0.3]


def beeps(at: list[float], seed: int = 0, noise: float = 0.01) -> Floats:
    rng = np.random.default_rng(seed)
    pcm = rng.normal(0, noise, round(LENGTH * SAMPLE_RATE))
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(1600) / SAMPLE_RATE)
    for t in at:
        start = round(t * SAMPLE_RATE)
        pcm[start : start + len(tone)] += tone
    return pcm.astype(np.float32)


def claps(at: list[float], noise: float = 0.01) -> Floats:
    rng = np.random.default_rng(1)
    pcm = rng.normal(0, noise, round(LENGTH * SAMPLE_RATE))
    burst = rng.normal(0, 1, 3200) * np.exp(-np.arange(3200) / 320)
    for t in at:
        start = round(t * SAMPLE_RATE)
        pcm[start : start + len(burst)] += 0.4 * burst
    return pcm.astype(np.float32)


def frame_times(rate: float = 30.0) -> NDArray[np.float64]:
    return np.round(0.007 + np.arange(round((LENGTH - 0.1) * rate)) / rate, 3)


def lit(times: NDArray[np.float64], at: list[float], noise: float = 0.3) -> Floats:
    on = sum(((times >= t) & (times < t + 0.2)).astype(float) for t in at)
    jitter = np.random.default_rng(2).normal(0, noise, len(times))
    return (80 + 40 * np.asarray(on) + jitter).astype(np.float32)


def still(times: NDArray[np.float64]) -> Floats:
    return np.random.default_rng(3).normal(0.4, 0.05, len(times)).astype(np.float32)


def stepped(brightness: Floats) -> Floats:
    return np.abs(np.diff(brightness, prepend=brightness[:1]))


@pytest.mark.parametrize("rate", [25.0, 30.0, 60.0])
@pytest.mark.parametrize("wanted", OFFSETS)
def test_flashes_with_beeps_give_the_offset_to_half_a_frame(wanted: float, rate: float) -> None:
    times = frame_times(rate)
    brightness = lit(times, EVENTS)
    pcm = beeps([t + wanted for t in EVENTS])
    found = offset(times, brightness, stepped(brightness), pcm)
    assert found.seconds == pytest.approx(wanted, abs=0.02 if rate < 60 else 0.01)
    assert found.spread_s < 0.02
    assert (found.events, found.kind) == (5, "flash")


def hands(t: float, at: list[float]) -> Image:
    """Two bars that close in within 0.15 s, meet at each time, and part slowly in 0.8 s."""
    image = np.full((72, 128, 3), 90, np.uint8)
    apart = 1.0
    for clap in at:
        if clap - 0.15 <= t < clap:
            apart = (clap - t) / 0.15
        elif clap <= t < clap + 0.8:
            apart = (t - clap) / 0.8
    gap = round(2 + 40 * apart)
    image[20:50, 64 - gap - 12 : 64 - gap] = 230
    image[20:50, 64 + gap : 64 + gap + 12] = 230
    return image


class Clip:
    """A source of pictures made by ``show`` and of sound."""

    def __init__(self, show: Any, pcm: Floats, start: float = 0.0) -> None:
        self.info = SourceInfo("clip", True, len(pcm) > 0, start)
        self.problems: list[str] = []
        self._show, self._pcm = show, pcm
        self.closed = 0
        self.pushed = 0.0

    def run(self, frames: FrameSink, audio: AudioSink, stop: threading.Event) -> None:
        for k, t in enumerate(frame_times().tolist()):
            frames.put(Frame(t, k, partial(self._show, t)))
            at = slice(round(k * SAMPLE_RATE / 30), round((k + 1) * SAMPLE_RATE / 30))
            audio.write(AudioChunk(at.start, self._pcm[at]))
            self.pushed = t
            if stop.is_set():
                break
        frames.close()
        audio.close()

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("wanted", [-0.25, 0.0, 0.12])
def test_claps_give_the_offset_to_a_frame_and_what_to_configure(wanted: float) -> None:
    source = Clip(lambda t: hands(t, EVENTS), claps([t + wanted for t in EVENTS]))
    text = StringIO()
    found = calibrate.run(source, LENGTH, Console(file=text, width=200), current=0.1)
    assert found.seconds == pytest.approx(wanted, abs=0.033)
    assert found.kind == "clap"
    assert source.closed == 1
    assert f"av_offset_s: {0.1 + found.seconds:.3f}" in text.getvalue()
    order = "before" if found.seconds < 0 else "after"
    assert f"{abs(found.seconds) * 1000:.0f} ms {order} the picture (5 claps" in text.getvalue()


@pytest.mark.parametrize("early", [0.01, 0.05])
def test_sound_from_before_the_session_is_left_out(early: float) -> None:
    """As a network stream gives it: its first chunk lies before 0 s, in part or whole."""

    class Stream(Clip):
        def run(self, frames: FrameSink, audio: AudioSink, stop: threading.Event) -> None:
            before = np.full(round(0.03 * SAMPLE_RATE), 0.001, np.float32)
            audio.write(AudioChunk(-round(early * SAMPLE_RATE), before))
            super().run(frames, audio, stop)

    source = Stream(lambda t: hands(t, EVENTS), claps([t + 0.1 for t in EVENTS]))
    found = calibrate.run(source, LENGTH, Console(file=StringIO()))
    assert found.seconds == pytest.approx(0.1, abs=0.033)


def test_a_stream_that_gave_only_earlier_sound_is_refused() -> None:
    sound = calibrate._Sound(1.0, threading.Event())
    sound.write(AudioChunk(-100, np.ones(60, np.float32)))
    assert len(sound.pcm()) == 0


def test_measuring_ends_after_the_duration() -> None:
    source = Clip(lambda t: hands(t, EVENTS), claps(EVENTS))
    found = calibrate.run(source, 5.0, Console(file=StringIO()))
    assert found.events == 3
    assert source.pushed == pytest.approx(5.0, abs=0.05)


def test_a_missed_beep_and_a_door_that_slams_do_not_matter() -> None:
    times = frame_times()
    brightness = lit(times, EVENTS)
    heard = [t + 0.1 for t in EVENTS if t != 4.402] + [5.3]
    found = offset(times, brightness, stepped(brightness), beeps(heard))
    assert found.seconds == pytest.approx(0.1, abs=0.02)
    assert found.events == 4


def test_an_even_rhythm_gives_the_offset_with_the_most_events() -> None:
    times = frame_times()
    even = [1.0 + k for k in range(8)]
    brightness = lit(times, even)
    found = offset(times, brightness, stepped(brightness), beeps([t - 0.2 for t in even]))
    assert found.seconds == pytest.approx(-0.2, abs=0.02)


def refusal(brightness: Floats, motion: Floats, pcm: Floats) -> str:
    with pytest.raises(StreamerError) as caught:
        offset(frame_times(), brightness, motion, pcm)
    return str(caught.value)


def test_noise_is_refused() -> None:
    times = frame_times()
    for seed in range(5):
        text = refusal(lit(times, [], 1.0), still(times), beeps([], seed, 0.1))
        assert "no beep or clap is heard" in text


def test_beeps_without_flashes_are_refused() -> None:
    times = frame_times()
    assert "no flash or clap is seen" in refusal(lit(times, []), still(times), beeps(EVENTS))


def test_one_event_is_refused() -> None:
    times = frame_times()
    brightness = lit(times, [3.0])
    text = refusal(brightness, stepped(brightness), beeps([3.1]))
    assert "1 sounds and 1 flashes, but only 1 agree; 3 or more are needed" in text


def bursts(seed: int, attack_s: float, length_s: tuple[float, float]) -> Floats:
    """Noise in pieces at random times, each of which takes ``attack_s`` to get loud."""
    rng = np.random.default_rng(seed)
    pcm = rng.normal(0, 0.002, round(LENGTH * SAMPLE_RATE))
    t = rng.uniform(0.2, 0.6)
    while t < LENGTH - 1:
        size = round(rng.uniform(*length_s) * SAMPLE_RATE)
        at = np.arange(size) / SAMPLE_RATE
        shape = np.clip(np.minimum(at / attack_s, (size / SAMPLE_RATE - at) / 0.05), 0, 1)
        start = round(t * SAMPLE_RATE)
        pcm[start : start + size] += rng.uniform(0.1, 0.3) * shape * rng.normal(0, 1, size)
        t += size / SAMPLE_RATE + rng.uniform(0.15, 0.9)
    return pcm.astype(np.float32)


def restless(times: NDArray[np.float64], seed: int) -> Floats:
    """The motion of someone who moves quickly at random times."""
    rng = np.random.default_rng(seed + 1000)
    moved = still(times).astype(np.float64)
    for t in rng.uniform(0, LENGTH, rng.integers(6, 14)):
        moved += rng.uniform(1, 3) * np.exp(-(((times - t) / 0.06) ** 2))
    return moved.astype(np.float32)


@pytest.mark.parametrize("seed", range(40))
def test_speech_and_a_moving_speaker_give_no_offset(seed: int) -> None:
    times = frame_times()
    attack = 0.015 + 0.001 * seed
    text = refusal(lit(times, []), restless(times, seed), bursts(seed, attack, (0.1, 0.5)))
    assert "as sharp and short as a clap or a beep; most must be" in text


def test_long_sounds_are_no_beeps() -> None:
    times = frame_times()
    pcm = np.random.default_rng(4).normal(0, 0.002, round(LENGTH * SAMPLE_RATE))
    for t in EVENTS:
        start = round(t * SAMPLE_RATE)
        pcm[start : start + SAMPLE_RATE // 2] += 0.5
    brightness = lit(times, EVENTS)
    text = refusal(brightness, stepped(brightness), pcm.astype(np.float32))
    assert text == "0 of 5 sounds are as sharp and short as a clap or a beep; most must be"


@pytest.mark.parametrize("seed", range(40))
def test_claps_and_movements_that_have_nothing_to_do_with_each_other_are_refused(seed: int) -> None:
    times = frame_times()
    rng = np.random.default_rng(seed)
    at = np.cumsum(rng.uniform(0.4, 1.6, 9))
    pcm = claps([t for t in at.tolist() if t < LENGTH - 0.3])
    text = refusal(lit(times, []), restless(times, seed), pcm)
    assert "3 or more are needed, and most of both" in text


def test_the_demo_clip_an_actor_speaking_gives_no_offset() -> None:
    result = CliRunner().invoke(app, ["calibrate", str(demo_clip())])
    assert isinstance(result.exception, StreamerError)
    assert result.exception.status == 2
    assert "of 12 sounds are as sharp and short" in str(result.exception)
    assert result.output == ""


def test_who_measures_a_file_is_not_told_to_clap(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = Clip(lambda t: hands(t, EVENTS), claps(EVENTS))
    monkeypatch.setattr(live, "FileSource", lambda *_: clip)
    text = StringIO()
    console = Console(file=text, width=200)
    live.measure(Path("clip"), None, None, LENGTH, configuration.load(), console)
    assert text.getvalue().startswith("The sound comes")


def test_who_measures_devices_is_told_what_to_do() -> None:
    text = StringIO()
    source = Clip(lambda t: hands(t, EVENTS), claps(EVENTS))
    calibrate.run(source, LENGTH, Console(file=text, width=200))
    assert text.getvalue().startswith("Clap with the hands in the picture")


def test_a_refusal_names_what_was_measured() -> None:
    source = Clip(lambda _: hands(-5, EVENTS), claps(EVENTS))
    with pytest.raises(StreamerError, match=r"^clip: no flash or clap is seen$"):
        calibrate.run(source, LENGTH, Console(file=StringIO()))


def test_hands_that_part_quickly_too_are_one_movement() -> None:
    times = frame_times()
    motion = still(times)
    for t in EVENTS:
        for at, speed in ((t - 0.03, 3), (t + 0.4, 2)):
            motion += speed * np.exp(-(((times - at) / 0.05) ** 2)).astype(np.float32)
    found = offset(times, lit(times, []), motion, claps([t + 0.1 for t in EVENTS]))
    assert (found.events, found.kind) == (5, "clap")


def test_events_that_disagree_are_refused() -> None:
    times = frame_times()
    brightness = lit(times, EVENTS)
    heard = [t + d for t, d in zip(EVENTS, [0.0, 0.25, -0.3, 0.45, -0.6], strict=True)]
    text = refusal(brightness, stepped(brightness), beeps(heard))
    assert "5 sounds and 5 movements, but only 2 agree" in text


def test_silence_and_no_frames_are_refused() -> None:
    times = frame_times()
    none = np.zeros(0, np.float32)
    assert "no beep" in refusal(lit(times, EVENTS), still(times), none)
    with pytest.raises(StreamerError, match="no flash"):
        offset(np.zeros(0), none, none, beeps(EVENTS))


def test_a_source_without_sound_is_refused() -> None:
    with pytest.raises(StreamerError, match="clip: no sound, so there is nothing to compare"):
        calibrate.run(Clip(None, np.zeros(0, np.float32)), 5.0, Console(file=StringIO()))
