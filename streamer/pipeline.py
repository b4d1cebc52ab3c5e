"""The whole wiring: a source thread fills two rings, a worker empties each, one owner writes.

source ─┬─ FrameRing ── FaceWorker ───┐
        └─ AudioRing ── SpeechWorker ─┴─ inbox ── Analysis (this thread) ── tables
                            └──────── questions ─────┘
"""

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from streamer import inference, models
from streamer.analysis import Analysis
from streamer.baseline import Baseline
from streamer.changepoint import ChangePointSegmenter
from streamer.clock import Clock, cpu, monotonic
from streamer.config import Config, SegmenterConfig
from streamer.face import FaceReader
from streamer.fusion import Fuser
from streamer.models import Model
from streamer.pairing import Pairing
from streamer.ring import AudioRing, FrameRing
from streamer.segmenter import ArgmaxSegmenter, ConfidentSegmenter, HysteresisSegmenter
from streamer.speech import SpeechEmotion, VoiceActivity
from streamer.tables import SessionTables
from streamer.timeline import Timeline
from streamer.tracking import PerFace
from streamer.types import (
    SAMPLE_RATE,
    Failure,
    Message,
    Modality,
    Segmenter,
    Source,
    Vocabulary,
)
from streamer.workers import FaceWorker, SpeechWorker

TICK_S = 0.125
FOREVER = 1 << 62
GRACE_S = 30.0
"""How long a run that is told to stop may say nothing before its models are stopped."""


@dataclass(frozen=True, slots=True)
class Models:
    """The models of a session, which pipelines that run at once may share; ``dimensions``, for the
    voice's valence and arousal, if wanted.
    """

    detector: Model
    face: Model
    vad: Model
    voice: Model
    dimensions: Model | None = None

    @classmethod
    def load(cls, config: Config) -> "Models":
        """Load and check all of them. Raises StreamerError."""
        inference.check_runtime()
        loaded = cls(
            models.load(config.face.detector, "face-detection", config.models),
            models.load(config.face.emotion, "face-emotion", config.models),
            models.load(config.speech.vad, "voice-activity", config.models),
            models.load(config.speech.emotion, "speech-emotion", config.models),
            models.load(config.speech.dimensions, "speech-dimensions", config.models)
            if config.speech.dimensions
            else None,
        )
        # Both refuse what they can't work with before a session is made.
        SpeechEmotion(loaded.voice, config.speech, loaded.dimensions)
        FaceReader(loaded.detector, loaded.face, config.face)
        return loaded

    def own(self) -> "Models":
        """The same models, to be stopped by themselves."""
        fifth = self.dimensions and self.dimensions.own()
        return Models(self.detector.own(), self.face.own(), self.vad.own(), self.voice.own(), fifth)

    def all(self) -> list[Model]:
        """All of them."""
        known = [self.detector, self.face, self.vad, self.voice, self.dimensions]
        return [model for model in known if model is not None]

    def vocabularies(self) -> dict[Modality, Vocabulary]:
        """The own labels of each modality's model."""
        return {
            "face": self.face.manifest.vocabulary,
            "voice": self.voice.manifest.vocabulary,
        }


def segmenter(modality: Modality, config: SegmenterConfig) -> Segmenter:
    """The segmenter that the configuration's policy names; where a face is seen it keeps people
    apart.
    """
    made: Segmenter
    match config.policy:
        case "argmax":
            made = ArgmaxSegmenter(modality)
        case "hysteresis":
            made = HysteresisSegmenter(modality, config)
        case "changepoint":
            made = ChangePointSegmenter(modality, config)
    if config.min_confidence:
        made = ConfidentSegmenter(made, config.min_confidence)
    return made if modality == "voice" else PerFace(made)


class Pipeline:
    """One run from a source to tables. ``run`` is called once, by the thread that owns them."""

    def __init__(
        self,
        source: Source,
        loaded: Models,
        config: Config,
        clock: Clock,
        tables: SessionTables,
        stop: threading.Event,
    ) -> None:
        self.source, self._clock, self._stop, self.tables = source, clock, stop, tables
        self._inbox: queue.Queue[Message] = queue.Queue(maxsize=512)
        rings, rate = config.rings, config.face.rate_hz
        slots = max(round(rings.max_lag_s * rate), 2)
        start = round(source.info.start * SAMPLE_RATE)
        self.frames = FrameRing(rate, slots, clock.lossless)
        self.audio = AudioRing(rings.audio_s, clock.lossless, start)
        self._models = loaded = loaded.own()
        reader = FaceReader(loaded.detector, loaded.face, config.face)
        send = self._inbox.put
        self.face = FaceWorker(reader, self.frames, clock, config.face, send)
        vad = VoiceActivity(loaded.vad, config.speech.vad_threshold, self.audio, rings.audio_s)
        emotion = SpeechEmotion(loaded.voice, config.speech, loaded.dimensions)
        self.speech = SpeechWorker(
            vad, emotion, self.audio, clock, config.speech, rings.max_lag_s, send
        )
        has_face, has_voice = source.info.has_video, source.info.has_audio
        modalities: dict[Modality, bool] = {"face": has_face, "voice": has_voice}
        segmenters = {m: segmenter(m, config.segmenter) for m, there in modalities.items() if there}
        fusion = None
        if has_face and has_voice:
            fusion = Fuser(config.fusion.voice_weight), segmenter("fused", config.segmenter)
        self.baselines: dict[Modality, Baseline] = {}
        if seconds := config.segmenter.baseline_s:
            self.baselines = {m: Baseline(seconds, source.info.start) for m in segmenters}
        rest = {"rest": b.rest_reading} if (b := self.baselines.get("voice")) else {}
        self.analysis = Analysis(
            segmenters,
            Pairing(
                config.speech, self.speech.ask, has_voice, config.segmenter.min_confidence, **rest
            ),
            Timeline(list(segmenters), source.info.start, config.agreement.tolerance_s),
            tables,
            clock,
            lambda t: self.audio.hold("owner", round(min(t * SAMPLE_RATE, FOREVER))),
            self.baselines,
            fusion,
            source.info.start,
        )
        self._bodies: dict[str, Callable[[], None]] = {"source": self._feed}
        if has_face:
            self._bodies["face"] = self.face.run
            self.audio.hold("owner", start)
        if has_voice:
            self._bodies["speech"] = self.speech.run
        self.wall_s = self.cpu_s = 0.0

    def run(self, tick: Callable[[], None], closing: Callable[[], None] = lambda: None) -> None:
        """Run to the end of the source or to ``stop``; ``tick`` is called a few times a second,
        ``closing`` before rows are made of data that is cut off there.

        Raises what any thread raised, after everything was stopped in order, the open intervals
        were closed and the tables were flushed.
        """
        began, cpu_before = monotonic(), cpu()
        threads = [
            threading.Thread(target=self._guarded, args=(name, body), name=f"streamer-{name}")
            for name, body in self._bodies.items()
        ]
        for thread in threads:
            thread.start()
        try:
            self._own(tick, closing, began)
        except BaseException:
            self._abort(threads, closing)
            raise
        finally:
            self.speech.dismiss()
            for thread in threads:
                thread.join()
            self.source.close()
            self.wall_s, self.cpu_s = monotonic() - began, cpu() - cpu_before
        self.tables.finish()

    def _own(self, tick: Callable[[], None], closing: Callable[[], None], began: float) -> None:
        """Take messages until every row is written."""
        last = heard = began
        while not self.analysis.done:
            try:
                message = self._inbox.get(timeout=TICK_S)
            except queue.Empty:
                message = None
            if self._stop.is_set() and self.analysis.closed_by != "stopped":
                closing()  # before the message that stopping brought about is taken
                self.analysis.closed_by = "stopped"
            if isinstance(message, Failure):
                raise message.error
            if message is not None:
                self.analysis.take(message)
            now = monotonic()
            if message is not None or not self._stop.is_set():
                heard = now
            elif now - heard > GRACE_S:
                self._stop_models()
            if now - last >= TICK_S:
                self.tables.sync()  # before anyone is shown the rows
                self.wall_s, last = now - began, now
                tick()

    def _feed(self) -> None:
        self.source.run(self.frames, self.audio, self._stop)

    def _guarded(self, name: str, body: Callable[[], None]) -> None:
        try:
            body()
        except BaseException as error:
            self._inbox.put(Failure(name, error))

    def _stop_models(self) -> None:
        for model in self._models.all():
            model.stop()

    def _abort(self, threads: list[threading.Thread], closing: Callable[[], None]) -> None:
        """Stop every thread, then save what is there; the error itself matters more."""
        self._stop.set()
        self._stop_models()
        self.frames.abort()
        self.audio.close()
        self.speech.dismiss()
        while any(thread.is_alive() for thread in threads):
            try:
                self._inbox.get(timeout=0.05)  # a worker may wait for room
            except queue.Empty:
                continue
        with suppress(Exception):  # such as a full disk: the error on its way matters more
            if self.analysis.closed_by != "stopped":
                closing()
            self.analysis.finish("error")
        with suppress(Exception):
            self.tables.finish()
