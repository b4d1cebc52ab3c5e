"""Workers between scripted rings and a list of messages."""

import threading
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import (
    ScriptedReader,
    config,
    hear_speech,
    models,
    picture,
    sound,
)

from streamer.clock import Clock, FreeClock, PacedClock
from streamer.face import FaceReader
from streamer.ring import AudioRing, FrameRing
from streamer.speech import SpeechEmotion, VoiceActivity
from streamer.types import (
    EMOTIONS,
    SAMPLE_RATE,
    AudioChunk,
    Floats,
    Frame,
    Message,
    Prediction,
    SpanReply,
    SpanRequest,
    StreamEnd,
    StreamerError,
)
from streamer.workers import FaceWorker, SpeechWorker


def label(message: Prediction | SpanReply) -> str | None:
    said = message if isinstance(message, Prediction) else message.reading
    return None if said is None or said.probs is None else EMOTIONS[int(np.argmax(said.probs))]


# Face


def face_worker(ring: FrameRing, send: Callable[[Message], None]) -> FaceWorker:
    return FaceWorker(cast(FaceReader, ScriptedReader()), ring, FreeClock(), config().face, send)


def watch(frames: list[tuple[float, str | None]], end: float) -> list[Message]:
    ring, sent = FrameRing(10, 1000, lossless=True), list[Message]()
    for index, (t, emotion) in enumerate(frames):
        ring.put(Frame(t, index, lambda e=emotion: picture(e)))
    ring.close(end)
    worker = face_worker(ring, sent.append)
    worker.run()
    assert worker.analysed == len(frames)
    assert worker.without_face == sum(emotion is None for _, emotion in frames)
    return sent


def said(messages: list[Message]) -> list[tuple[float, str | None]]:
    return [(m.time, label(m)) for m in messages if isinstance(m, Prediction)]


def test_every_frame_speaks_of_its_own_time() -> None:
    frames = [(0.0, "Sad"), (0.1, None), (0.2, "Happy")]
    sent = watch(frames, 0.3)
    assert said(sent) == frames
    assert sent[-1] == StreamEnd("face", 0.3)


def test_a_picture_that_went_stale_says_none() -> None:
    sent = watch([(0.0, "Sad"), (1.0, "Sad"), (2.5, "Happy")], 9.0)
    assert said(sent) == [
        (0.0, "Sad"),
        (1.0, "Sad"),
        (2.0, None),
        (2.5, "Happy"),
        (3.5, None),
    ]


def test_time_goes_on_where_there_are_no_pictures() -> None:
    ring, sent = FrameRing(10, 100, lossless=True), list[Message]()
    steps = iter(
        [
            lambda: ring.advance(5.0),
            lambda: ring.put(Frame(6.0, 0, lambda: picture("Sad"))),
            lambda: ring.advance(6.5),
            lambda: ring.advance(9.0),
            lambda: ring.put(Frame(9.5, 1, lambda: picture("Sad"))),
            lambda: ring.close(9.6),
        ]
    )
    take = ring.take

    def take_after_a_step() -> Frame | float | None:
        while not ring._count and ring._quiet is None and not ring._closed:
            next(steps)()
        return take()

    ring.take = take_after_a_step  # type: ignore[method-assign]
    face_worker(ring, sent.append).run()
    assert said(sent) == [(5.0, None), (6.0, "Sad"), (7.0, None), (9.0, None), (9.5, "Sad")]
    assert [m.time for m in sent if isinstance(m, Prediction) and m.passed] == [5.0, 9.0]


# Voice


class Heard:
    """A speech worker on sound that is all there, or comes in chunks."""

    def __init__(
        self,
        *settings: str,
        ring: AudioRing | None = None,
        clock: Clock | None = None,
        vad: Callable[..., Any] = hear_speech,
    ) -> None:
        speech = config(*settings).speech
        loaded = models(vad=vad)
        self.clock = clock or FreeClock()
        self.ring = ring or AudioRing(60, lossless=True)
        self.sent: list[Message] = []
        self.worker = SpeechWorker(
            VoiceActivity(loaded.vad, 0.5, self.ring, 60),
            SpeechEmotion(loaded.voice, speech),
            self.ring,
            self.clock,
            speech,
            1.0,
            self.send,
        )

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def run(self, pcm: Floats, questions: list[SpanRequest] | None = None) -> "Heard":
        for question in questions or []:
            self.worker.ask(question)
        self.ring.write(AudioChunk(self.ring.end, pcm))
        self.ring.close()
        self.worker.dismiss()
        self.worker.run()
        return self

    @property
    def predictions(self) -> list[Prediction]:
        return [m for m in self.sent if isinstance(m, Prediction)]

    @property
    def replies(self) -> dict[int, SpanReply]:
        return {m.key: m for m in self.sent if isinstance(m, SpanReply)}


def test_a_machine_that_slept_for_hours_is_awake_at_once() -> None:
    chunks = 0

    def listen(input: Floats, h: Floats, c: Floats) -> list[Any]:  # noqa: A002
        nonlocal chunks
        chunks += len(input)
        return hear_speech(input, h, c)

    ring = AudioRing(30, lossless=False)
    vad = VoiceActivity(models(vad=listen).vad, 0.5, ring, 30)
    second = np.full(SAMPLE_RATE, 0.4, np.float32)
    ring.write(AudioChunk(0, second))
    vad.advance(ring.end)
    morning = 8 * 3600 * SAMPLE_RATE
    ring.advance(morning)
    ring.write(AudioChunk(morning, second))
    vad.advance(ring.end)
    assert ring.end - 512 < vad.position <= ring.end
    assert chunks < 40 * 32
    assert vad.share(morning, ring.end) == pytest.approx(1, abs=0.04)
    assert vad.share(morning - 10 * SAMPLE_RATE, morning) == 0


def test_a_voice_activity_model_that_answers_for_other_pieces_is_refused() -> None:
    def listen(input: Floats, h: Floats, c: Floats) -> list[Any]:  # noqa: A002
        probs, *state = hear_speech(input, h, c)
        return [probs[1:], *state]

    ring = AudioRing(30, lossless=False)
    vad = VoiceActivity(models(vad=listen).vad, 0.5, ring, 30)
    ring.write(AudioChunk(0, np.full(SAMPLE_RATE, 0.4, np.float32)))
    with pytest.raises(StreamerError, match=r"it answered \(7,.*\) for 8 pieces of sound"):
        vad.advance(ring.end)


def test_windows_lie_around_the_grid_cut_at_both_ends() -> None:
    heard = Heard().run(sound(5.2, [(0, 5.2, "Sad")]))
    windows = [(p.time, p.start, p.end) for p in heard.predictions]
    centres = [k / 2 for k in range(11)]
    assert windows == [(max(c - 0.25, 0), max(c - 1.5, 0), min(c + 1.5, 5.2)) for c in centres]
    assert {label(p) for p in heard.predictions} == {"Sad"}
    assert heard.sent[-1] == StreamEnd("voice", 5.2)
    assert heard.worker.windows == 11


def test_silence_says_none() -> None:
    heard = Heard().run(sound(12, [(0, 5, "Sad")]))
    spoken = {p.time: (label(p), round(p.voiced, 2)) for p in heard.predictions}
    assert spoken[1.75] == ("Sad", 1.0)
    assert spoken[8.75] == (None, 0.0)
    assert heard.worker.without_speech == sum(name is None for name, _ in spoken.values()) > 10


def test_start_of_the_sound_may_lie_anywhere() -> None:
    start = round(10.3 * SAMPLE_RATE)
    ring = AudioRing(60, lossless=True, start=start)
    heard = Heard(ring=ring).run(sound(3, [(0, 3, "Sad")]))
    assert [p.time for p in heard.predictions] == [10.3, 10.75, 11.25, 11.75, 12.25, 12.75]
    assert heard.predictions[0].start == 10.3
    assert label(heard.predictions[0]) == "Sad"


def test_questions_are_answered_from_their_own_span() -> None:
    questions = [
        SpanRequest(1, 1.0, 2.5),
        SpanRequest(2, 4.0, 5.5),
        SpanRequest(3, 8.0, 9.5),
        SpanRequest(4, -1.0, 0.9),
        SpanRequest(5, 11.0, 14.0),
        SpanRequest(6, 40.0, 41.5),
    ]
    pcm = sound(12, [(0, 3, "Sad"), (3, 7, "Happy"), (11, 12, "Fear")])
    replies = Heard().run(pcm, questions).replies
    assert [label(replies[k]) for k in range(1, 7)] == ["Sad", "Happy", None, "Sad", "Fear", None]


def test_a_question_is_answered_after_the_sound_has_ended() -> None:
    heard = Heard()
    heard.ring.write(AudioChunk(0, sound(5, [(0, 5, "Sad")])))
    heard.ring.close()

    def owner(message: Message) -> None:
        heard.sent.append(message)
        if isinstance(message, StreamEnd):
            heard.worker.ask(SpanRequest(1, 1.0, 2.5))
        if isinstance(message, SpanReply):
            heard.worker.dismiss()

    heard.worker._send = owner
    heard.worker.run()
    assert label(heard.replies[1]) == "Sad"


def in_chunks(heard: Heard, pcm: Floats, chunk: int, questions: list[SpanRequest]) -> Heard:
    """The sound comes in chunks while the worker works."""
    thread = threading.Thread(target=heard.worker.run)
    thread.start()
    for question in questions:
        heard.worker.ask(question)
    for start in range(0, len(pcm), chunk):
        heard.ring.write(AudioChunk(start, pcm[start : start + chunk]))
    heard.ring.close()
    heard.worker.dismiss()
    thread.join()
    return heard


@pytest.mark.parametrize("window", [0.6, 1.0, 3.0])
@pytest.mark.parametrize("chunk", [16, 1000, 12_345, 32_000])
def test_chunk_size_changes_no_prediction(window: float, chunk: int) -> None:
    def blocks(input: Floats, h: Floats, c: Floats) -> list[Any]:  # noqa: A002
        """As hear_speech, but deaf to all chunks but the first in blocks that are not whole."""
        voiced = hear_speech(input, h, c)[0]
        if len(input) != 8:
            voiced[1:] = 0
        return [voiced, h, c]

    settings = [f"speech.window_s={window}", f"speech.min_s={min(window, 1.5)}"]
    pcm = sound(6.1, [(0, 2.2, "Sad"), (2.9, 6.1, "Happy")])
    questions = [SpanRequest(1, 0.4, 1.9), SpanRequest(2, 2.5, 4.0), SpanRequest(3, 5.0, 6.5)]

    def messages(heard: Heard) -> tuple[list[Any], list[Any]]:
        return (
            [(p.time, p.start, p.end, label(p), p.voiced) for p in heard.predictions],
            [(k, label(r), r.voiced) for k, r in sorted(heard.replies.items())],
        )

    whole = Heard(*settings, vad=blocks).run(pcm, questions)
    piecewise = in_chunks(Heard(*settings, vad=blocks), pcm, chunk, questions)
    assert messages(piecewise) == messages(whole)


@given(st.integers(0, 200))
def test_a_late_live_worker_jumps_to_the_newest_ready_point(tenths: int) -> None:
    ring = AudioRing(60, lossless=False)
    heard = Heard(ring=ring, clock=PacedClock(1, threading.Event()))
    ring.write(AudioChunk(0, sound(tenths / 10, [(0, tenths / 10, "Sad")])))
    centre = heard.worker._jump(0) * 8000
    late_s = tenths / 10 - 1.5
    if late_s <= 1.0:
        assert centre == heard.worker.skipped == 0
    else:
        ready = centre / SAMPLE_RATE + 1.5
        assert ready <= tenths / 10 < ready + 0.5 + 1e-9
        assert heard.worker.skipped == centre / 8000


def test_a_lossless_worker_never_jumps() -> None:
    heard = Heard()
    heard.ring.write(AudioChunk(0, sound(20, [])))
    assert heard.worker._jump(0) == 0
    assert heard.worker.skipped == 0


def test_overwritten_sound_says_none_and_time_goes_on() -> None:
    ring = AudioRing(4, lossless=False)
    heard = Heard(ring=ring, clock=PacedClock(1, threading.Event()))
    heard.run(sound(10, [(0, 10, "Sad")]), [SpanRequest(1, 1.0, 2.5)])
    times = [p.time for p in heard.predictions]
    assert times == sorted(set(times))
    assert times[0] == 0
    assert times[-1] == 9.25
    assert label(heard.predictions[0]) is None
    assert label(heard.predictions[-1]) == "Sad"
    assert label(heard.replies[1]) is None


def test_time_does_not_go_back_where_a_slowed_worker_jumps() -> None:
    class Late(Heard):
        def send(self, message: Message) -> None:
            super().send(message)
            if len(self.sent) == 1:
                self.ring.write(AudioChunk(self.ring.end, sound(5.1, [(0, 5.1, "Sad")])))
            elif len(self.sent) == 3:
                self.ring.close()

    heard = Late(ring=AudioRing(60, lossless=False), clock=PacedClock(1, threading.Event()))
    heard.worker.pace.stride = 8
    heard.worker.pace.note = lambda *_: False  # type: ignore[method-assign]
    heard.ring.write(AudioChunk(0, sound(1.6, [(0, 1.6, "Sad")])))
    heard.worker.dismiss()
    heard.worker.run()
    assert [(p.time, label(p)) for p in heard.predictions[:3]] == [
        (0.0, "Sad"),
        (2.0, None),
        (3.0, "Sad"),
    ]


def test_what_a_late_worker_left_out_is_no_voice() -> None:
    class Ending(Heard):
        def send(self, message: Message) -> None:
            super().send(message)
            self.ring.close()  # not before the worker saw that it is late
            self.worker.dismiss()

    heard = Ending(ring=AudioRing(30, lossless=False), clock=PacedClock(1, threading.Event()))
    heard.ring.write(AudioChunk(0, sound(12, [(0, 12, "Sad")])))
    heard.worker.run()
    said = [(p.time, label(p)) for p in heard.predictions]
    assert heard.worker.skipped == 21
    assert said[:2] == [(0.0, None), (10.25, "Sad")]


def test_a_slowed_worker_speaks_for_longer_cells() -> None:
    heard = Heard()
    heard.worker.pace.stride = 4
    heard.run(sound(12, [(0, 12, "Sad")]))
    assert [p.time for p in heard.predictions] == [0, 1, 3, 5, 7, 9]
    assert heard.worker.skipped == 3 * len(heard.predictions)


def test_a_slowed_worker_gets_fewer_frames() -> None:
    ring, got = FrameRing(10, 20, lossless=False), []
    ring.thin(4)
    for k in range(40):
        ring.put(Frame(k / 10, k, lambda: picture("Sad")))
        while len(ring):
            got.append(ring.take())
    assert [f.t for f in got if isinstance(f, Frame)] == [
        0.0,
        0.4,
        0.8,
        1.2,
        1.6,
        2.0,
        2.4,
        2.8,
        3.2,
        3.6,
    ]
    assert ring.dropped == 29
