"""Joins each face interval with the voice during it."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from streamer.config import SpeechConfig
from streamer.types import (
    EMOTIONS,
    NEUTRAL,
    UNKNOWN,
    Floats,
    Interval,
    Prediction,
    Reading,
    SpanReply,
    SpanRequest,
)


@dataclass(frozen=True, slots=True)
class Voice:
    """The voice during a face interval. ``label`` None: nobody spoke. ``score``, ``intensity`` and
    ``voiced`` (share of the time with speech) are 0…1; ``details`` as in Interval.
    """

    label: str | None
    score: float = 0.0
    intensity: float = 0.0
    voiced: float = 0.0
    details: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """A closed face interval and its voice: one row in each of the paired tables. ``sound`` False:
    the source has none at all.
    """

    face: Interval
    voice: Voice
    sound: bool = True

    @property
    def both(self) -> bool:
        """Whether both modalities show an emotion: nobody's silence, and neither is Unknown."""
        return self.voice.label is not None and UNKNOWN not in (self.voice.label, self.face.label)

    @property
    def mismatch(self) -> bool:
        """Whether both modalities show an emotion, and not the same."""
        return self.both and self.voice.label != self.face.label


@dataclass(slots=True)
class _Pending:
    face: Interval
    key: int | None = None
    """Of the question asked about its sound."""
    needed_from: float = 0.0
    voice: Voice | None = None


class Pairing:
    """Face intervals and voice predictions in, pairs out, in the order of the face intervals.

    An interval as long as a voice window or longer takes the mean, weighted by how much was
    spoken, of the windows that lie wholly inside it; a shorter one has its own sound heard, but at
    least ``speech.min_s`` around its middle (the original's rule, made bounded in memory). ``rest``
    puts what was heard during an interval that ends at so many s on the person's baseline. A voice
    whose emotion is less probable than ``min_confidence``, 0…1, is Unknown.
    """

    def __init__(
        self,
        config: SpeechConfig,
        ask: Callable[[SpanRequest], None],
        has_audio: bool,
        min_confidence: float = 0.0,
        rest: Callable[[Reading, float], Reading] = lambda reading, _: reading,
    ) -> None:
        self._config, self._ask, self._rest = config, ask, rest
        self._min_confidence = min_confidence
        self._windows: deque[Prediction] = deque()
        self._pending: deque[_Pending] = deque()
        self._heard = -np.inf if has_audio else np.inf
        self._has_audio = has_audio
        self._keys = 0

    @property
    def idle(self) -> bool:
        """Whether no interval waits for its voice."""
        return not self._pending

    def needed_from(self, settled: float) -> float:
        """From which time on sound may still be asked for, s; face intervals that end before
        ``settled`` were all given.
        """
        return min([self._tail(settled), *(p.needed_from for p in self._pending)])

    def face(self, interval: Interval) -> list[Pair]:
        """Take a closed face interval; return the pairs that are complete."""
        # A longer interval takes its windows; it asks only where too few of them lie inside.
        needed_from = max(self._span(interval)[0], self._tail(interval.end))
        self._pending.append(_Pending(interval, needed_from=needed_from))
        return self._complete()

    def voice(self, prediction: Prediction, face_from: float) -> list[Pair]:
        """Take the next voice prediction; no face interval to come begins before ``face_from``."""
        self._windows.append(prediction)
        self._heard = prediction.end
        waiting = self._pending[0].face.start if self._pending else face_from
        while self._windows and self._windows[0].start < min(waiting, face_from):
            self._windows.popleft()
        return self._complete()

    def voice_ended(self) -> list[Pair]:
        """No more voice predictions come."""
        self._heard = np.inf
        return self._complete()

    def reply(self, reply: SpanReply) -> list[Pair]:
        """Take the answer to a question."""
        for pending in self._pending:
            if pending.key == reply.key:
                reading = reply.reading and self._rest(reply.reading, pending.face.end)
                pending.voice = _voice(reading, reply.voiced)
        return self._complete()

    def give_up(self) -> list[Pair]:
        """Nobody answers any more: what still waits for its voice is given without one."""
        for pending in self._pending:
            pending.voice = pending.voice or Voice(None)
        return self._complete()

    def _complete(self) -> list[Pair]:
        for pending in self._pending:
            # Windows that end together at the end of the sound come one after another: > not >=.
            if pending.voice is None and pending.key is None and self._heard > pending.face.end:
                self._decide(pending)
        pairs = []
        while self._pending and (voice := self._pending[0].voice):
            if voice.label is not None and voice.score < self._min_confidence:
                voice = replace(voice, label=UNKNOWN)
            pairs.append(Pair(self._pending.popleft().face, voice, self._has_audio))
        return pairs

    def _decide(self, pending: _Pending) -> None:
        face = pending.face
        if not self._has_audio:
            pending.voice = Voice(None)
            return
        if face.end - face.start >= self._config.window_s:
            inside = [w for w in self._windows if w.start >= face.start and w.end <= face.end]
            if inside:
                pending.voice = _mean(inside)
                return
        self._keys += 1
        pending.key = self._keys
        self._ask(SpanRequest(self._keys, *self._span(face)))

    def _tail(self, end: float) -> float:
        """From where on an interval that ends at ``end`` s may ask for sound, s."""
        return end - self._config.window_s - 2 * self._config.hop_s

    def _span(self, face: Interval) -> tuple[float, float]:
        """The stretch of sound that stands for a short interval, s."""
        middle, length = (face.start + face.end) / 2, face.end - face.start
        half = min(max(length, self._config.min_s), self._config.window_s) / 2
        return middle - half, middle + half


def _mean(windows: list[Prediction]) -> Voice:
    spoken = [w for w in windows if w.probs is not None]
    voiced = float(np.mean([w.voiced for w in windows]))
    if not spoken:
        return Voice(None, voiced=voiced)
    weights = [max(w.voiced, 1e-9) for w in spoken]  # speech.min_voiced may be 0
    probs = _weighted([w.probs for w in spoken], weights)
    assert probs is not None
    return _voice(Reading(probs, _weighted([w.details for w in spoken], weights)), voiced)


def _weighted(rows: list[Floats | None], weights: list[float]) -> Floats | None:
    """The weighted mean, or None if a row is None."""
    known = [row for row in rows if row is not None]
    return np.average(known, axis=0, weights=weights) if len(known) == len(rows) else None


def _voice(reading: Reading | None, voiced: float) -> Voice:
    if reading is None:
        return Voice(None, voiced=voiced)
    probs, details = reading.probs, reading.details
    best = int(np.argmax(probs))
    return Voice(
        EMOTIONS[best],
        float(probs[best]),
        float(1 - probs[NEUTRAL]),
        voiced,
        () if details is None else tuple(float(value) for value in details),
    )
