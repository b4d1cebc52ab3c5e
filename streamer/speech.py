"""Voice activity and the emotion of a voice in windows of sound."""

import numpy as np

from streamer.config import SpeechConfig
from streamer.models import Model
from streamer.ring import AudioRing
from streamer.types import SAMPLE_RATE, Floats, StreamerError


class VoiceActivity:
    """Probability of speech in each 32 ms chunk, by silero-vad, in one pass over a ring.

    Chunks are run in blocks of a fixed length: what comes out does not depend on how the sound
    came in. Source: Silero Team, "Silero VAD: pre-trained enterprise-grade voice activity
    detector", 2021.
    """

    _BLOCK = 8

    def __init__(self, model: Model, threshold: float, ring: AudioRing, memory_s: float) -> None:
        self._model, self._threshold, self._ring = model, threshold, ring
        pre = model.manifest.preprocess
        self._chunk, self._context = int(pre["chunk"]), int(pre["context"])
        shape = model.manifest.inputs[0].shape
        if shape[1:] != [self._chunk + self._context] or self._context > self._chunk:
            name = model.manifest.name
            raise StreamerError(
                f"model {name}: its manifest's preprocess.chunk and context do not fit {shape}"
            )
        self._voiced = np.zeros(int(memory_s * SAMPLE_RATE / self._chunk) + self._BLOCK, np.bool_)
        self._h = np.zeros((1, 1, 128), np.float32)
        self._c = np.zeros((1, 1, 128), np.float32)
        self._before = np.zeros(self._context, np.float32)
        self._done = 0  # chunks, counted from the ring's start

    @property
    def position(self) -> int:
        """The sample up to which speech was looked for."""
        return self._ring.start + self._done * self._chunk

    def needed(self, sample: int) -> int:
        """The sample up to which sound must be there to know about speech before ``sample``."""
        block = self._BLOCK * self._chunk
        return self._ring.start + -(-(sample - self._ring.start) // block) * block

    def advance(self, sample: int) -> None:
        """Go on until speech before ``sample`` is known, or the ring's sound ends."""
        while self.position < sample:
            end = min(self.position + self._BLOCK * self._chunk, self._ring.end)
            chunks = (end - self.position) // self._chunk
            if chunks == 0:
                return
            pcm = self._ring.read(self.position, self.position + chunks * self._chunk)
            if pcm is None:  # overwritten: the worker was late
                pcm = np.zeros(chunks * self._chunk, np.float32)
            self._run(pcm.reshape(chunks, self._chunk))

    def share(self, start: int, end: int) -> float:
        """Share of the chunks between two samples that are speech, 0…1."""
        first = max(start - self._ring.start, 0) // self._chunk
        last = min((end - self._ring.start) // self._chunk, self._done)
        first = max(first, self._done - len(self._voiced))
        if last <= first:
            return 0.0
        return float(self._voiced[np.arange(first, last) % len(self._voiced)].mean())

    def _run(self, rows: Floats) -> None:
        before = np.concatenate([self._before[None], rows[:-1, -self._context :]])
        probs, self._h, self._c = self._model.run(
            input=np.concatenate([before, rows], axis=1), h=self._h, c=self._c
        )
        self._before = rows[-1, -self._context :]
        at = np.arange(self._done, self._done + len(rows)) % len(self._voiced)
        self._voiced[at] = probs.reshape(-1) >= self._threshold
        self._done += len(rows)


class SpeechEmotion:
    """Emotion probabilities of a voice in a stretch of sound."""

    def __init__(self, model: Model, config: SpeechConfig) -> None:
        self._model = model
        pre = model.manifest.preprocess
        if pre["sample_rate"] != SAMPLE_RATE:
            raise StreamerError(
                f"model {model.manifest.name} wants {pre['sample_rate']} Hz, not {SAMPLE_RATE} Hz"
            )
        least = float(pre["min_window_s"])
        for key in ("window_s", "min_s"):
            if getattr(config, key) < least:
                raise StreamerError(
                    f"speech.{key} = {getattr(config, key):g} is shorter than the {least:g} s "
                    f"that model {model.manifest.name} takes"
                )
        self._least = round(least * SAMPLE_RATE)
        self._normalise = pre["normalise"] == "zero-mean-unit-variance"
        self._input = model.manifest.inputs[0].name

    def probs(self, pcm: Floats) -> Floats | None:
        """Float32 (7,) in the order of EMOTIONS for float32 (n,) 16 kHz sound.

        None where the sound is shorter than the model takes.
        """
        if len(pcm) < self._least:
            return None
        if self._normalise:
            pcm = (pcm - pcm.mean()) / np.sqrt(pcm.var() + np.float32(1e-7))
        return self._model.to_emotions(self._model.run(**{self._input: pcm[None]})[0][0])
