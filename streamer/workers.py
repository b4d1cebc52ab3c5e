"""The two threads between the rings and the owner: frames and windows in, predictions out."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace

from streamer.clock import Clock, monotonic
from streamer.config import FaceConfig, SpeechConfig
from streamer.face import FaceReader
from streamer.pace import Pace
from streamer.ring import AudioRing, FrameRing
from streamer.speech import SpeechEmotion, VoiceActivity
from streamer.types import (
    SAMPLE_RATE,
    Frame,
    Image,
    Message,
    Prediction,
    Reading,
    SpanReply,
    SpanRequest,
    StreamEnd,
)

Send = Callable[[Message], None]


class FaceWorker:
    """Reads every wanted frame. A picture that went stale before the next one came says None.

    Where it can't keep up (live policy), it wants only every second, fourth, … one.
    """

    def __init__(
        self, reader: FaceReader, ring: FrameRing, clock: Clock, config: FaceConfig, send: Send
    ) -> None:
        self._reader, self._ring, self._clock = reader, ring, clock
        self._stale_s, self._send = config.stale_s, send
        self.pace = Pace(1 / config.rate_hz)
        self._last: float | None = None
        """The time of the picture that still speaks, s; None: there is none."""
        self._face_id = 0
        self.analysed = self.without_face = self.several_faces = self.face_switches = 0
        self.picture: Image | None = None
        """The last picture that was looked at, RGB."""

    def run(self) -> None:
        """Work until the ring ends."""
        while (item := self._ring.take()) is not None:
            if isinstance(item, Frame):
                self._go_on(item.t)
                self._read(item)
            else:
                self._go_on(item)
                if self._last is None:
                    self._say_none(item, item, item, passed=True)
        self._go_on(self._ring.end)
        self._send(StreamEnd("face", self._ring.end))

    def _read(self, frame: Frame) -> None:
        began = monotonic()
        self.picture = frame.load()
        faces, reading = self._reader.read(self.picture, frame.t)
        self.analysed += 1
        self.without_face += faces == 0
        self.several_faces += faces > 1
        captured = self._clock.captured(frame.t)
        said = Prediction("face", frame.t, frame.t, frame.t, None, 0.0, captured)
        if reading is not None:
            said = replace(
                said, probs=reading.probs, details=reading.details, face_id=reading.face_id
            )
            self.face_switches += self._face_id not in (0, reading.face_id)
            self._face_id = reading.face_id
        self._send(said)
        self._last = frame.t
        now = monotonic()
        if not self._clock.lossless and self.pace.note(now, now - began, began - captured):
            self._ring.thin(self.pace.stride)

    def _go_on(self, t: float) -> None:
        """Time has come to ``t`` s without another picture."""
        last = self._last
        if last is not None and t - last > self._stale_s:
            self._last = None
            self._say_none(last, last + self._stale_s, t)

    def _say_none(self, start: float, at: float, known: float, passed: bool = False) -> None:
        captured = self._clock.captured(known)
        self._send(Prediction("face", at, start, at, None, 0.0, captured, passed=passed))


class SpeechWorker:
    """Predicts the voice around every grid point k · hop, and answers the owner's questions.

    The window of grid point c is [c − L/2, c + L/2), cut at both ends of the sound, and speaks for
    the cell [c − hop/2, c + hop/2). It is ready when the sound reaches c + L/2: nothing sees the
    future. A late worker (live policy) jumps to the newest grid point that is ready, and says None
    for the first that it left out; one that stays late takes only every second, fourth, … point,
    each for a cell of twice, four times, … the length.
    """

    _AROUND = SAMPLE_RATE // 2  # speech is looked for within 0.5 s of the grid point

    def __init__(
        self,
        vad: VoiceActivity,
        emotion: SpeechEmotion,
        ring: AudioRing,
        clock: Clock,
        config: SpeechConfig,
        max_lag_s: float,
        send: Send,
    ) -> None:
        self._vad, self._emotion, self._ring, self._clock = vad, emotion, ring, clock
        self._hop = round(config.hop_s * SAMPLE_RATE)
        self._half = round(config.window_s * SAMPLE_RATE / 2)
        self._min_voiced = config.min_voiced
        self._max_lag = round(max_lag_s * SAMPLE_RATE)
        self._send = send
        self._questions: deque[SpanRequest] = deque()
        self._asked = self._dismissed = False
        self.pace = Pace(config.hop_s)
        self.windows = self.without_speech = self.skipped = 0
        self.heard = ring.start
        """The sample up to which the windows have come."""
        ring.hold("speech", ring.start)

    def ask(self, request: SpanRequest) -> None:
        """Ask for the voice during a span; the reply comes as a message."""
        self._questions.append(request)
        self._asked = True
        self._ring.wake()

    def dismiss(self) -> None:
        """No more questions come."""
        self._dismissed = True
        self._ring.wake()

    def run(self) -> None:
        """Work until the sound has ended and the owner has no more questions."""
        index = -(-self._ring.start // self._hop)
        while True:
            centre = index * self._hop
            self._await(self._ready(centre))
            if self._ring.closed and centre >= self._ring.end:
                break
            if jump := self._jump(centre):
                # Where the last one's cell ended, not before it: that may have been a longer one.
                cell = self._hop * self.pace.stride // 2
                start = max(centre - cell, self._ring.start) / SAMPLE_RATE
                newest = self._clock.captured(self._ring.end / SAMPLE_RATE)
                self._send(Prediction("voice", start, start, start, None, 0.0, newest))
                index += jump
            self._predict(index * self._hop)
            self.skipped += self.pace.stride - 1
            index += self.pace.stride
        self._send(StreamEnd("voice", self._ring.end / SAMPLE_RATE))
        while not self._dismissed or self._questions:
            self._answer()
            self._ring.pause(lambda: bool(self._questions) or self._dismissed)

    def _await(self, sample: int) -> None:
        """Wait for the sound up to ``sample``, or its end; answer meanwhile."""
        while True:
            self._answer()
            if self._ring.closed or self._ring.end >= sample:
                return
            self._asked = False
            first = next(iter(self._questions), None)
            self._ring.wait(min(sample, self._needed(first)) if first else sample, self._is_asked)

    def _is_asked(self) -> bool:
        return self._asked

    def _ready(self, centre: int) -> int:
        """The sample up to which sound must be there for grid point ``centre``."""
        around = centre + min(self._half, self._AROUND)
        return max(centre + self._half, self._vad.needed(around))

    def _jump(self, centre: int) -> int:
        """How many grid points to leave out because the worker is late."""
        late = self._ring.end - (centre + self._half)
        if self._clock.lossless or self._ring.closed or late <= self._max_lag:
            return 0
        self.skipped += late // self._hop
        return late // self._hop

    def _predict(self, centre: int) -> None:
        ring, began = self._ring, monotonic()
        start, end = max(centre - self._half, ring.start), min(centre + self._half, ring.end)
        around = min(centre + self._AROUND, end)
        self._vad.advance(around)
        voiced = self._vad.share(centre - self._AROUND, around)
        reading = self._read(start, end, voiced, start)
        self.windows, self.heard = self.windows + 1, end
        self.without_speech += reading is None
        captured = self._clock.captured(end / SAMPLE_RATE)
        self._send(
            Prediction(
                "voice",
                max(centre - self._hop * self.pace.stride // 2, ring.start) / SAMPLE_RATE,
                start / SAMPLE_RATE,
                end / SAMPLE_RATE,
                reading.probs if reading else None,
                voiced,
                captured,
                reading.details if reading else None,
            )
        )
        ring.hold("speech", min(centre + self._hop - self._half, self._vad.position))
        now = monotonic()
        if not self._clock.lossless:
            self.pace.note(now, now - began, began - captured)

    def _read(
        self, start: int, end: int, voiced: float, first: int | None = None
    ) -> Reading | None:
        if voiced < self._min_voiced or (pcm := self._ring.read(start, end)) is None:
            return None
        return self._emotion.read(pcm, first)

    def _needed(self, question: SpanRequest) -> int:
        return self._vad.needed(_samples(question.end))

    def _answer(self) -> None:
        while self._questions:
            if not self._ring.closed and self._ring.end < self._needed(self._questions[0]):
                return
            question = self._questions.popleft()
            start = max(_samples(question.start), self._ring.start)
            end = min(_samples(question.end), self._ring.end)
            self._vad.advance(end)
            voiced = self._vad.share(start, end)
            self._send(SpanReply(question.key, self._read(start, end, voiced), voiced))


def _samples(t: float) -> int:
    return round(t * SAMPLE_RATE)
