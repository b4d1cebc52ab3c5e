"""The whole wiring on scripted media and models: the same rows always, and every end in order."""

import csv
import threading
from collections.abc import Callable
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scripted
from scripted import ScriptedReader, ScriptedSource, at_rate, config, contents, pipeline, sound

from streamer import pipeline as module
from streamer.clock import PacedClock
from streamer.config import Config
from streamer.pipeline import Models, Pipeline
from streamer.types import EMOTIONS, SAMPLE_RATE, Floats, Message, Prediction, StreamerError

FACE = [
    (0.0, 1.4, "Sad"),
    (1.4, 1.7, "Happy"),
    (1.7, 4.1, "Sad"),
    (4.1, 4.3, "Fear"),
    (5.7, 6.4, "Happy"),
    (6.8, 7.6, "Surprise"),
    (8.0, 10.0, "Happy"),
    (10.0, 16.0, "Angry"),
]
VOICE = [(0.3, 3.2, "Sad"), (3.2, 6.1, "Happy"), (8.4, 13.0, "Angry"), (13.0, 15.5, "Fear")]
LENGTH = 16.0
ARGMAX = ("segmenter.policy=argmax",)


@pytest.fixture(autouse=True)
def reader(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """The scripted reader stands for the face's models; call to have something done before each."""

    def use(before: Callable[[], object] = lambda: None) -> None:
        monkeypatch.setattr(module, "FaceReader", lambda *_: ScriptedReader(before))

    use()
    return use


def recording(**changes: Any) -> ScriptedSource:
    own: dict[str, Any] = {"frames": at_rate(25, LENGTH, FACE), "pcm": sound(LENGTH, VOICE)}
    return ScriptedSource(**{"end": LENGTH} | own | changes)


class Run:
    """A pipeline with its tables, and a way to wait for what it has taken."""

    def __init__(
        self,
        folder: Path,
        source: ScriptedSource,
        *settings: str,
        loaded: Models | None = None,
        live: bool = False,
    ) -> None:
        self.folder, self.stop, self.source = folder, threading.Event(), source
        self.config: Config = scripted.config(*settings)
        clock = source.clock
        if live:
            clock = source.clock = Unpaced(1, self.stop)
        self.pipeline, self.tables = scripted.pipeline(
            folder, source, self.config, clock, self.stop, loaded
        )
        self._taken = threading.Condition()
        self._take = self.pipeline.analysis.take
        self.pipeline.analysis.take = self._note  # type: ignore[method-assign]

    def _note(self, message: Any) -> None:
        self._take(message)
        with self._taken:
            self._taken.notify_all()

    def seen(self, face: int = 0, voice: int = 0) -> bool:
        """Whether the owner has taken so many predictions of each."""
        tracks = self.pipeline.analysis.tracks
        return all(
            m not in tracks or tracks[m].predictions >= n
            for m, n in (("face", face), ("voice", voice))
        )

    def wait(self, face: int = 0, voice: int = 0) -> None:
        with self._taken:
            assert self._taken.wait_for(lambda: self.seen(face, voice), timeout=60)

    def go(self) -> "Run":
        with self.tables:
            self.pipeline.run(lambda: None)
        assert self.source.closed == 1
        return self

    def rows(self, name: str) -> list[dict[str, str]]:
        return list(csv.DictReader(contents(self.folder)[name].splitlines()))

    def spans(self, name: str) -> list[tuple[str, float, float]]:
        return [(row["emotion"], float(row["start"]), float(row["end"])) for row in self.rows(name)]


class Unpaced(PacedClock):
    """Live, but nobody waits: the source is as far ahead as it can be."""

    def wait(self, t: float) -> None:
        self.captured(t)


# The same rows always


def stretches(stream: list[tuple[float, str | None]], end: float) -> list[tuple[str, float, float]]:
    runs = [(label, next(group)[0]) for label, group in groupby(stream, lambda item: item[1])]
    ends = [start for _, start in runs[1:]] + [end]
    return [(label, start, last) for (label, start), last in zip(runs, ends, strict=True) if label]


def voiced_share(pcm: Floats, start: int, end: int) -> float:
    middles = pcm[256 : len(pcm) // 512 * 512 : 512] != 0
    inside = middles[max(start, 0) // 512 : end // 512]
    return float(inside.mean()) if len(inside) else 0.0


def heard(pcm: Floats, start: int, end: int) -> np.ndarray[Any, Any]:
    said = np.rint(pcm[max(start, 0) : end] * 10).astype(int)
    counts = np.bincount(said, minlength=8)[1:8]
    return counts / max(counts.sum(), 1)


class Oracle:
    """What the argmax policy gives, computed from the whole recording at once."""

    def __init__(self, frames: list[tuple[float, str | None]], pcm: Floats, end: float) -> None:
        grid = [max(t for t, _ in frames if t <= k / 10 + 1e-9) for k in range(round(end * 10))]
        emotion = dict(frames)
        self.face = stretches([(t, emotion[t]) for t in sorted(set(grid))], end)
        self._pcm, self._windows = pcm, []
        for centre in range(0, len(pcm), 8000):
            start, stop = max(centre - 24000, 0), min(centre + 24000, len(pcm))
            share = voiced_share(pcm, centre - 8000, min(centre + 8000, stop))
            probs = heard(pcm, start, stop) if share >= 0.3 else None
            self._windows.append((max(centre - 4000, 0), start, stop, share, probs))
        self.voice = stretches(
            [(t / SAMPLE_RATE, _best(probs)) for t, _, _, _, probs in self._windows],
            len(pcm) / SAMPLE_RATE,
        )
        self.paired = [self._pair(start, end) for _, start, end in self.face]

    def _pair(self, start: float, end: float) -> str:
        a, b = round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)
        inside = [w for w in self._windows if a <= w[1] and w[2] <= b]
        if b - a >= 48000 and inside:
            return _best(sum((w[4] * w[3] for w in inside if w[4] is not None), 0)) or ""
        half = min(max(b - a, 24000), 48000) // 2
        span = max((a + b) // 2 - half, 0), min((a + b) // 2 + half, len(self._pcm))
        return (
            (_best(heard(self._pcm, *span)) or "") if voiced_share(self._pcm, *span) > 0.3 else ""
        )


def _best(probs: Any) -> str | None:
    return None if probs is None or not np.any(probs) else EMOTIONS[int(np.argmax(probs))]


def rounded(rows: list[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    return [(label, round(start, 3), round(end, 3)) for label, start, end in rows]


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    source = recording()
    made = Oracle(source.frames, source.pcm, LENGTH)
    assert len(made.face) == 8
    assert {"", "Sad", "Angry"} < set(made.paired)
    assert len(made.voice) > 3
    return made


@pytest.mark.parametrize("chunk", [16, 160, 1111, 32_000])
def test_lossless_rows_are_the_offline_ones(tmp_path: Path, oracle: Oracle, chunk: int) -> None:
    run = Run(tmp_path, recording(chunk=chunk), *ARGMAX).go()
    assert run.spans("video_intervals") == rounded(oracle.face)
    assert run.spans("voice_intervals") == rounded(oracle.voice)
    assert [label for label, _, _ in run.spans("audio_intervals")] == oracle.paired
    assert run.rows("video_intervals")[-1]["closed_by"] == "end"
    count = 0
    for modality in ("face", "voice"):
        rows = [row for row in run.rows("transitions") if row["modality"] == modality]
        times = [float(row["time"]) for row in rows]
        assert times == sorted(times)
        count += len(times)
    assert count == sum(
        a[0] != b[0] for rows in (oracle.face, oracle.voice) for a, b in pairwise(rows)
    )
    assert run.pipeline.frames.seen == 25 * LENGTH
    assert run.pipeline.face.analysed == 10 * LENGTH
    assert run.pipeline.frames.dropped == run.pipeline.speech.skipped == 0


@pytest.mark.parametrize("settings", [(), ARGMAX], ids=["changepoint", "argmax"])
def test_nothing_but_the_media_makes_the_bytes(tmp_path: Path, settings: tuple[str, ...]) -> None:
    reference = contents(Run(tmp_path / "0", recording(), *settings).go().folder)
    assert all(text.count("\n") > 1 for text in reference.values())
    ways: list[dict[str, Any]] = [{"chunk": n} for n in (16, 777, 32_000)]
    ways += [{"ahead_s": s} for s in (8.0, -8.0)]
    ways += [{"early": True}, {"quiet": True}, {"early": True, "ahead_s": 8.0, "chunk": 32_000}]
    for number, way in enumerate(ways, 1):
        folder = tmp_path / str(number)
        assert contents(Run(folder, recording(**way), *settings).go().folder) == reference, way


def test_live_without_loss_equals_lossless(tmp_path: Path) -> None:
    lossless = Run(tmp_path / "lossless", recording(), "rings.max_lag_s=10").go()
    source = recording()
    live = Run(tmp_path / "live", source, "rings.max_lag_s=10", live=True)
    # The source is never further ahead than the rings are long.
    source.hooks = {
        t: lambda n=int(t): live.wait(face=10 * n - 1, voice=2 * n - 3) for t in (4.0, 8.0, 12.0)
    }
    live.go()
    assert live.pipeline.frames.dropped == live.pipeline.speech.skipped == 0
    assert contents(live.folder) == contents(lossless.folder)


# Sources of one kind, and sources with holes


def test_only_pictures_finish(tmp_path: Path, oracle: Oracle) -> None:
    run = Run(tmp_path, recording(pcm=sound(0, [])), *ARGMAX).go()
    assert run.spans("video_intervals") == rounded(oracle.face)
    assert [row["audio_emotion"] for row in run.rows("modality_duration")] == [""] * 8
    for table in ("audio_intervals", "modality_mismatch", "voice_intervals"):
        assert run.rows(table) == []
    assert len(run.rows("transitions")) == 7


def test_only_sound_finishes(tmp_path: Path, oracle: Oracle) -> None:
    run = Run(tmp_path, recording(frames=[], end=None), *ARGMAX).go()
    assert run.spans("voice_intervals") == rounded(oracle.voice)
    assert run.rows("video_intervals") == run.rows("audio_intervals") == []
    assert {row["modality"] for row in run.rows("transitions")} == {"voice"}


def test_a_single_frame_makes_a_row(tmp_path: Path) -> None:
    source = recording(frames=[(0.0, "Sad")], pcm=sound(2, [(0, 2, "Sad")]), end=0.04)
    assert Run(tmp_path, source).go().spans("video_intervals") == [("Sad", 0.0, 0.04)]


LONG = 70.0
LEAST_ROOM = ("rings.audio_s=22.1",)


@pytest.fixture
def long_sound() -> Floats:
    return sound(LONG, [(0, LONG, "Sad")])


@pytest.mark.parametrize("ahead", [-8.0, 0.0, 8.0])
@pytest.mark.parametrize("policy", ["argmax", "hysteresis", "changepoint"])
def test_a_long_unchanging_face_holds_nothing_up(
    tmp_path: Path, long_sound: Floats, ahead: float, policy: str
) -> None:
    """Its row waits for the voice at its end, and the source must go on meanwhile."""
    frames = at_rate(10, LONG, [(0, 60, "Sad"), (60, LONG, "Happy")])
    source = ScriptedSource(frames, long_sound, ahead_s=ahead, end=LONG)
    run = Run(tmp_path, source, f"segmenter.policy={policy}", *LEAST_ROOM).go()
    labels = [(label, end) for label, _, end in run.spans("video_intervals")]
    assert labels == [("Sad", pytest.approx(60, abs=0.4)), ("Happy", LONG)]
    assert [label for label, _, _ in run.spans("audio_intervals")] == ["Sad", "Sad"]


HOLES: dict[str, Callable[[float], bool]] = {
    "late": lambda t: t >= 50,
    "short": lambda t: t < 5,
    "gap": lambda t: t < 5 or t >= 60,
    "one": lambda t: t == 0,
}


@pytest.mark.parametrize("hole", HOLES)
@pytest.mark.parametrize("ahead", [0.0, 8.0])
def test_a_long_time_without_pictures_holds_nothing_up(
    tmp_path: Path, long_sound: Floats, hole: str, ahead: float
) -> None:
    frames = [f for f in at_rate(10, LONG, [(0, LONG, "Happy")]) if HOLES[hole](f[0])]
    source = ScriptedSource(frames, long_sound, quiet=True, ahead_s=ahead, end=frames[-1][0] + 0.1)
    run = Run(tmp_path, source, *LEAST_ROOM).go()
    # A picture speaks until it is stale: a second after the last one.
    expected = {
        "late": [("Happy", 50.0, 70.0)],
        "short": [("Happy", 0.0, 5.9)],
        "gap": [("Happy", 0.0, 5.9), ("Happy", 60.0, 70.0)],
        "one": [("Happy", 0.0, 1.0)],
    }
    assert run.spans("video_intervals") == expected[hole]
    assert {label for label, _, _ in run.spans("audio_intervals")} == {"Sad"}
    assert run.spans("voice_intervals") == [("Sad", 0.0, LONG)]


def test_pictures_that_end_early_hold_nothing_up(tmp_path: Path, long_sound: Floats) -> None:
    frames = at_rate(10, 5, [(0, 3, "Happy"), (3, 5, "Sad")])
    source = ScriptedSource(frames, long_sound, early=True, end=5.0)
    run = Run(tmp_path, source, *LEAST_ROOM).go()
    assert [label for label, _, _ in run.spans("video_intervals")] == ["Happy", "Sad"]
    assert run.spans("voice_intervals") == [("Sad", 0.0, LONG)]


def test_sound_is_held_for_the_face_from_the_beginning(tmp_path: Path) -> None:
    run = Run(tmp_path, recording())
    held = run.pipeline.audio._held
    assert held["owner"] == 0
    with run.tables:
        run.pipeline.analysis.take(Prediction("face", 5.0, 5.0, 5.0, None))
    assert held["owner"] == (5 - 3 - 2 * 0.5) * SAMPLE_RATE


def test_sound_that_ends_early_leaves_later_faces_without_a_voice(tmp_path: Path) -> None:
    frames = at_rate(10, LONG, [(0, 4, "Sad"), (4, LONG, "Happy")])
    source = ScriptedSource(frames, sound(5, [(0, 5, "Sad")]), early=True, end=LONG)
    run = Run(tmp_path, source, *ARGMAX).go()
    assert [label for label, _, _ in run.spans("audio_intervals")] == ["Sad", ""]


# Overload


def test_overloaded_live_counts_drops_and_stays_near(tmp_path: Path, reader: Any) -> None:
    gate, looking, hearing = threading.Event(), threading.Event(), threading.Event()

    def stand_still(begun: threading.Event) -> None:
        begun.set()
        gate.wait()

    def hear(**inputs: Any) -> list[Any]:
        stand_still(hearing)
        return scripted.hear_emotion(**inputs)

    reader(lambda: stand_still(looking))
    source = recording()
    run = Run(tmp_path, source, *ARGMAX, loaded=scripted.models(voice=hear), live=True)
    said: dict[str, list[tuple[float, float]]] = {"face": [], "voice": []}
    take = run.pipeline.analysis.take

    def note(message: Any) -> None:
        if isinstance(message, Prediction):
            said[message.modality].append((message.time, message.end))
        take(message)

    run.pipeline.analysis.take = note  # type: ignore[method-assign]
    # Both models stand still on their first datum until the source is at 12 s; then they keep up.
    source.hooks = {0.5: looking.wait, 2.0: hearing.wait, 12.0: gate.set} | {
        12.01 + n / 2: lambda n=n: run.wait(face=12 + 5 * n, voice=2 + n) for n in range(8)
    }
    run.go()

    # The picture that was looked at, its going stale, then those of the last second.
    assert [t for t, _ in said["face"]][:3] == [0.0, 1.0, 11.0]
    assert run.pipeline.frames.dropped == 109
    assert run.pipeline.face.analysed == 160 - 109
    assert run.spans("video_intervals") == [("Sad", 0.0, 1.0), ("Angry", 11.0, LENGTH)]
    # The window that was heard, then the newest one that was ready.
    none = (0.25, 0.25)  # what was left out is no voice
    assert said["voice"][:4] == [(0.0, 1.5), none, (10.25, 12.0), (10.75, 12.5)]
    assert run.pipeline.speech.skipped == 20
    assert run.pipeline.speech.windows == 32 - 20
    voices = run.spans("voice_intervals")
    assert [label for label, _, _ in voices] == ["Sad", "Angry", "Fear"]
    assert all(a[2] <= b[1] for a, b in pairwise(voices))
    assert [label for label, _, _ in run.spans("audio_intervals")] == ["Sad", "Fear"]


# Every end in order


class BoomError(Exception):
    """Raised by a scripted part."""


def raiser(error: Exception) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call


def breaks(run: Run, part: str, error: Exception) -> None:
    """Make one part of ``run`` raise ``error`` while both modalities have an open interval."""
    pipeline = run.pipeline
    segmenter: Any = pipeline.analysis.tracks["face"].segmenter
    owner, name = {
        "source": (None, ""),
        "face": (pipeline.face._reader, "read"),
        "speech": (pipeline.speech._emotion, "read"),
        "segmenter": (segmenter, "push"),
    }[part]
    opened = threading.Event()
    whole = getattr(owner, name, None)

    def failing(*arguments: Any) -> Any:
        if opened.is_set():
            raise error
        return whole(*arguments)

    def both_open() -> None:
        run.wait(face=3, voice=3)
        opened.set()
        if part == "source":
            raise error

    if owner is not None:
        setattr(owner, name, failing)
    run.source.hooks = {6.0: both_open, 10.0: lambda: run.stop.wait(60)}


@pytest.mark.parametrize("live", [False, True], ids=["lossless", "live"])
@pytest.mark.parametrize("part", ["source", "face", "speech", "segmenter"])
def test_an_error_anywhere_ends_everything_in_order(tmp_path: Path, part: str, live: bool) -> None:
    error = BoomError(part)
    settings = ("rings.max_lag_s=10", "segmenter.max_gap_s=5")
    script = [(0.0, LENGTH, "Sad")]
    source = recording(frames=at_rate(25, LENGTH, script), pcm=sound(LENGTH, script))
    run = Run(tmp_path, source, *settings, live=live)
    breaks(run, part, error)
    synced: list[str] = []
    finish = run.tables.finish
    run.tables.finish = lambda: (synced.append(part), finish())[1]  # type: ignore[method-assign]
    with pytest.raises(BoomError) as caught:
        run.go()
    assert caught.value is error
    assert source.closed == 1
    assert synced
    for name in ("video_intervals", "voice_intervals"):
        (row,) = run.rows(name)
        assert (row["emotion"], row["start"], row["closed_by"]) == ("Sad", "0.000", "error")
    (paired,) = run.rows("modality_duration")
    assert paired["video_emotion"] == "Sad"
    assert run.pipeline.analysis.done


def test_a_row_whose_voice_nobody_tells_any_more_is_written_without(tmp_path: Path) -> None:
    error = BoomError("source")
    source = recording(frames=at_rate(10, LENGTH, [(0, 5, "Sad"), (5, LENGTH, "Fear")]))
    run = Run(tmp_path, source, *ARGMAX)
    breaks(run, "source", error)
    hook = source.hooks[6.0]
    source.hooks[6.0] = lambda: (run.wait(face=60), hook())
    with pytest.raises(BoomError):
        run.go()
    assert run.spans("video_intervals") == [("Sad", 0.0, 5.0), ("Fear", 5.0, 5.9)]
    assert run.spans("audio_intervals")[1] == ("", 5.0, 5.9)
    assert run.rows("video_intervals")[1]["closed_by"] == "error"


def test_an_error_while_saving_does_not_hide_the_first(tmp_path: Path) -> None:
    error = BoomError("first")
    run = Run(tmp_path, recording())
    segmenter: Any = run.pipeline.analysis.tracks["face"].segmenter
    segmenter.push = lambda _: raiser(error)()
    segmenter.finish = lambda *_: raiser(ValueError("second"))()
    with pytest.raises(BoomError) as caught:
        run.go()
    assert caught.value is error


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    run = Run(tmp_path, recording(), *ARGMAX)
    error = StreamerError("can't write", status=1)
    run.tables.pair = lambda _: raiser(error)()  # type: ignore[method-assign]
    with pytest.raises(StreamerError) as caught:
        run.go()
    assert caught.value is error


def test_an_error_in_the_display_ends_everything(tmp_path: Path) -> None:
    run, error = Run(tmp_path, recording()), BoomError("display")
    source_may_end = threading.Event()
    run.source.hooks = {4.0: source_may_end.wait}

    def tick() -> None:
        source_may_end.set()
        raise error

    with run.tables, pytest.raises(BoomError) as caught:
        run.pipeline.run(tick)
    assert caught.value is error


@pytest.fixture
def stopped(tmp_path: Path) -> Run:
    """Stopped at 8 s, when everything that could be said by then was said and taken."""
    script = [(0.0, 6.0, "Sad"), (6.0, LENGTH, "Fear")]
    source = recording(frames=at_rate(10, LENGTH, script), pcm=sound(LENGTH, script), end=8.1)
    run = Run(tmp_path, source)

    def stop() -> None:
        run.wait(face=80, voice=13)
        run.stop.set()

    source.hooks = {8.05: stop}
    return run.go()


def test_stopping_closes_what_is_open_and_loses_no_row(stopped: Run) -> None:
    faces, voices = stopped.rows("video_intervals"), stopped.rows("voice_intervals")
    assert [row["emotion"] for row in faces] == ["Sad", "Fear"]
    assert [row["emotion"] for row in voices] == ["Sad", "Fear"]
    assert [row["closed_by"] for row in faces] == ["change", "stopped"]
    assert [row["closed_by"] for row in voices] == ["change", "stopped"]
    assert faces[-1]["end"] == "8.100"
    assert [row["emotion"] for row in stopped.rows("audio_intervals")] == ["Sad", "Fear"]
    assert len(stopped.rows("transitions")) == 2


def test_stopping_while_the_owner_waits_is_told_in_the_rows(tmp_path: Path) -> None:
    """The very next message may be the end of the stream, which stopping brought about."""
    frames = at_rate(10, LENGTH, [(0, LENGTH, "Sad")])
    source = recording(frames=frames, pcm=sound(0, []), end=8.0)
    run = Run(tmp_path, source, *ARGMAX)
    source.hooks = {8.01: lambda: run.stop.wait(60)}
    get = run.pipeline._inbox.get

    def stop_within(timeout: float) -> Message:
        if run.seen(face=80):
            run.stop.set()
            return get(timeout=60)
        return get(timeout=timeout)

    run.pipeline._inbox.get = stop_within  # type: ignore[method-assign, assignment]
    assert run.go().rows("video_intervals")[-1]["closed_by"] == "stopped"


def test_a_pipeline_stopped_before_it_began_ends(tmp_path: Path) -> None:
    run = Run(tmp_path, recording())
    run.stop.set()
    run.go()
    assert all(text.count("\n") == 1 for text in contents(tmp_path).values())


def test_rows_are_on_the_disk_before_the_display_shows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TICK_S", 0.0)
    run, order = Run(tmp_path, recording()), list[str]()
    run.tables.sync = lambda: order.append("sync")  # type: ignore[method-assign]
    run.tables.finish = lambda: order.append("finish")  # type: ignore[method-assign]
    with run.tables:
        run.pipeline.run(lambda: order.append("tick"))
    assert order[:2] == ["sync", "tick"]
    assert order[-1] == "finish"
    assert order.count("sync") == order.count("tick")


def test_the_inbox_is_bounded_for_a_slow_owner(tmp_path: Path) -> None:
    run = Run(tmp_path, recording())
    most = 0
    take: Callable[[Message], None] = run.pipeline.analysis.take  # type: ignore[assignment]

    def slow(message: Message) -> None:
        nonlocal most
        most = max(most, run.pipeline._inbox.qsize())
        take(message)

    run.pipeline.analysis.take = slow  # type: ignore[method-assign, assignment]
    run.go()
    assert isinstance(run.pipeline, Pipeline)
    assert most <= run.pipeline._inbox.maxsize > 0


@pytest.mark.parametrize("chunk", [1600, 48_000])
def test_a_baseline_rests_face_and_voice_the_same_at_any_pace(tmp_path: Path, chunk: int) -> None:
    script = [(0.0, 6.0, "Sad"), (6.0, 9.0, "Happy"), (9.0, 12.0, "Sad")]

    def run(name: str, chunk: int, *settings: str) -> dict[str, str]:
        source = ScriptedSource(at_rate(25, 12, script), sound(12, script), chunk=chunk)
        made, tables = pipeline(tmp_path / name, source, config(*settings))
        with tables:
            made.run(lambda: None)
        return contents(tmp_path / name)

    settings = ("segmenter.policy=argmax", "segmenter.baseline_s=4")
    rested = run("rested", chunk, *settings)
    assert rested == run("again", 12_345, *settings)
    assert run("plain", chunk, settings[0]) != rested
