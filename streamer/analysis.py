"""The one owner of segmenters, pairing, agreement and tables: messages in, rows out."""

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from streamer.agreement import Agreement, Transitions
from streamer.baseline import Baseline
from streamer.clock import Clock, monotonic
from streamer.fusion import Fuser
from streamer.latency import Latency
from streamer.pairing import Pair, Pairing
from streamer.tables import SessionTables
from streamer.timeline import Timeline
from streamer.types import (
    ClosedBy,
    Floats,
    Interval,
    Modality,
    Prediction,
    Running,
    Segmenter,
    SpanReply,
    StreamEnd,
)


@dataclass(slots=True)
class Track:
    """What is known of one modality by now."""

    segmenter: Segmenter
    time: float = 0.0
    said: float = 0.0
    """The time of the last prediction that is a row."""
    probs: Floats | None = None
    affect: tuple[float, float] | None = None
    running: Running | None = None
    predictions: int = 0
    ended: bool = False
    prediction_latency: Latency = field(default_factory=Latency)
    row_latency: Latency = field(default_factory=Latency)


class Analysis:
    """Takes the workers' messages one at a time and writes what becomes final.

    Only one thread may use it; everything in it is a function of the messages, so that a replay
    gives the same rows at any speed.
    """

    def __init__(
        self,
        segmenters: dict[Modality, Segmenter],
        pairing: Pairing,
        timeline: Timeline,
        tables: SessionTables,
        clock: Clock,
        hold: Callable[[float], None],
        baselines: Mapping[Modality, Baseline] | None = None,
        fusion: tuple[Fuser, Segmenter] | None = None,
        start: float = 0.0,
    ) -> None:
        self._baselines = baselines or {}
        self.tracks = {m: Track(s, start, start) for m, s in segmenters.items()}
        self._fuser = fusion[0] if fusion else None
        self.fused = Track(fusion[1], start, start) if fusion else None
        self.fused_changes = Transitions(["fused"])
        self._pairing, self._tables, self._clock, self._hold = pairing, tables, clock, hold
        self.timeline = timeline
        self.transitions = Transitions(list(segmenters))
        self.agreement = Agreement()
        self.recent: deque[Pair | Interval] = deque(maxlen=60)
        """The last rows of the face with its voice; where no face can be, of the voice alone."""
        self.closed = 0
        """How many of them there were."""
        self.closed_by: ClosedBy = "end"
        """What closes the intervals that are open when their stream ends."""

    @property
    def done(self) -> bool:
        """Whether every stream ended and every row is written."""
        return all(t.ended for t in self.tracks.values()) and self._pairing.idle

    def take(self, message: Prediction | SpanReply | StreamEnd) -> None:
        """Take the next message of a worker; write the rows that it completes."""
        if isinstance(message, SpanReply):
            self._write_pairs(self._pairing.reply(message))
        else:
            self._follow(message)
        self._release()

    def finish(self, closed_by: ClosedBy) -> None:
        """Close what an error left open, each where its modality had come to; write what can be."""
        self.closed_by = closed_by
        for modality, track in self.tracks.items():
            if not track.ended:
                self.take(StreamEnd(modality, track.time))
        self._write_pairs(self._pairing.give_up())

    def _follow(self, message: Prediction | StreamEnd) -> None:
        track = self.tracks[message.modality]
        baseline = self._baselines.get(message.modality)
        if baseline is not None and isinstance(message, Prediction):
            message = baseline.apply(message)
        if isinstance(message, Prediction):
            if not message.passed:
                track.prediction_latency.add(monotonic() - message.captured)
                track.predictions, track.said = track.predictions + 1, message.time
                self._tables.prediction(message)
            track.time, track.probs = message.end, message.probs
            track.affect = _affect(message)
            closed, settled = track.segmenter.push(message), track.segmenter.settled
        else:
            closed, settled = track.segmenter.finish(message.t, self.closed_by), math.inf
            track.ended, track.probs, track.affect = True, None, None
            end = max(message.t, track.said)  # that a picture went stale may be said after the end
            self._tables.prediction(
                Prediction(message.modality, end, end, end, None), self.closed_by
            )
        self._close(message.modality, closed, settled)
        if isinstance(message, StreamEnd):
            self.timeline.finish(message.modality, message.t)
        if message.modality == "voice":
            self._hear(message)
        if self._fuser and self.fused:
            self._fuse(self._fuser, self.fused, message)

    def _fuse(self, fuser: Fuser, track: Track, message: Prediction | StreamEnd) -> None:
        closed = []
        for fused in fuser.take(message):
            track.time, track.probs = fused.time, fused.probs
            track.predictions += 1
            track.prediction_latency.add(monotonic() - fused.captured)
            closed += track.segmenter.push(fused)
        if fuser.end is not None and not track.ended:
            closed += track.segmenter.finish(fuser.end, self.closed_by)
            track.ended, track.probs = True, None
        track.running = track.segmenter.running
        self.fused_changes.update("fused", closed, math.inf)
        for interval in closed:
            self.agreement.add_interval(interval)
            self._tables.fused(interval)
            track.row_latency.add(monotonic() - self._clock.captured(interval.end))

    def _release(self) -> None:
        """Let go of the sound that no face interval can need any more."""
        face = self.tracks.get("face")
        if face is not None:
            settled = math.inf if face.ended else face.segmenter.settled
            if settled > -math.inf:
                self._hold(self._pairing.needed_from(settled))

    def _close(self, modality: Modality, closed: list[Interval], settled: float) -> None:
        track = self.tracks[modality]
        track.running = track.segmenter.running
        for change in self.transitions.update(modality, closed, settled):
            self._tables.transition(change)
        for interval in closed:
            self.agreement.add_interval(interval)
            if modality == "face":
                self._write_pairs(self._pairing.face(interval))
            else:
                self._tables.voice(interval)
                if "face" not in self.tracks:
                    self._show(interval)
                track.row_latency.add(monotonic() - self._clock.captured(interval.end))
        running = track.running
        self.timeline.update(modality, closed, running.start if running else settled)

    def _hear(self, message: Prediction | StreamEnd) -> None:
        if isinstance(message, StreamEnd):
            self._write_pairs(self._pairing.voice_ended())
            return
        face = self.tracks.get("face")
        if face is None or face.ended:
            face_from = math.inf
        else:
            face_from = face.running.start if face.running else face.segmenter.settled
        self._write_pairs(self._pairing.voice(message, face_from))

    def _write_pairs(self, pairs: list[Pair]) -> None:
        for pair in pairs:
            self._tables.pair(pair)
            self.agreement.add(pair)
            self._show(pair)
            latency = monotonic() - self._clock.captured(pair.face.end)
            self.tracks["face"].row_latency.add(latency)

    def _show(self, row: Pair | Interval) -> None:
        self.closed += 1
        self.recent.append(row)


def _affect(prediction: Prediction) -> tuple[float, float] | None:
    """Valence and arousal, where a model gives them."""
    if prediction.details is None or np.isnan(prediction.details[-1]):
        return None
    return float(prediction.details[-2]), float(prediction.details[-1])
