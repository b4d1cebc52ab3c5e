"""Voice activity and the emotion of a voice in windows of sound."""

import numpy as np

from streamer.config import SpeechConfig
from streamer.models import Model
from streamer.ring import AudioRing
from streamer.types import SAMPLE_RATE, Floats, Reading, StreamerError


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
        block = self._BLOCK * self._chunk
        forgotten = (sample - self.position) // block - len(self._voiced) // self._BLOCK
        if forgotten > 0:  # longer than a lossless ring holds: the machine slept, nobody spoke
            self._done += forgotten * self._BLOCK
            self._voiced[:] = False
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
        )[:3]
        if probs.size != len(rows):
            raise self._model.failed(f"it answered {probs.shape} for {len(rows)} pieces of sound")
        self._before = rows[-1, -self._context :]
        at = np.arange(self._done, self._done + len(rows)) % len(self._voiced)
        self._voiced[at] = probs.reshape(-1) >= self._threshold
        self._done += len(rows)


class SpeechNetwork:
    """One network over stretches of sound.

    Its file may be split: the part ``features`` turns sound into one vector for each ``hop``
    samples, looking at ``field`` of them, and the rest reads the vectors of a window. Overlapping
    windows then share theirs: each is computed once, with the mean and variance of the window in
    which it was new.
    """

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
        self._split = pre.get("split")
        if self._split and "features" not in model.parts:
            raise StreamerError(
                f"model {model.manifest.name}: its manifest splits it, but names no part 'features'"
            )
        if self._split and self._split["hop"] + self._split["field"] > self._least:
            raise StreamerError(
                f"model {model.manifest.name}: its manifest's split.hop and split.field together "
                f"are longer than min_window_s, {least:g} s"
            )
        self._first, self._vectors = 0, np.zeros((0, 0), np.float32)

    def outputs(self, pcm: Floats, start: int | None = None) -> Floats | None:
        """Float32 (C,) for float32 (n,) 16 kHz sound; None: it is shorter than the model takes.

        start: the index of the first sample, where windows of one stream come one after another.
        """
        if len(pcm) < self._least:
            return None
        if self._normalise:
            pcm = (pcm - pcm.mean()) / np.sqrt(pcm.var() + np.float32(1e-7))
        heard = pcm if self._split is None else self._features(pcm, start)
        answer = np.asarray(self._model.run(**{self._input: heard[None]})[0][0], np.float32)
        if answer.shape != ((count := len(self._model.manifest.labels or [])),):
            raise self._model.failed(f"it answered {answer.shape} for its {count} labels")
        return answer

    def _features(self, pcm: Floats, start: int | None) -> Floats:
        """The vectors (T, H) of a window, those known from the window before taken over."""
        assert self._split is not None
        hop, field = self._split["hop"], self._split["field"]
        if start is None:
            return self._front(pcm)
        first = -(-start // hop)
        passed = first - self._first if first >= self._first else len(self._vectors)
        parts = [self._vectors[passed:]]
        fresh = (first + len(parts[0])) * hop - start
        if len(pcm) - fresh >= field:
            parts.append(self._front(pcm[fresh:]))
        self._first, self._vectors = first, np.concatenate([p for p in parts if len(p)])
        return self._vectors

    def _front(self, pcm: Floats) -> Floats:
        vectors = next(iter(self._model.run_part("features", input_values=pcm[None]).values()))
        known = self._vectors.shape[1]
        if vectors.ndim != 3 or not vectors.size or known not in (0, vectors.shape[2]):
            raise self._model.failed(f"its part features answered {vectors.shape}")
        return np.asarray(vectors[0], np.float32)


class SpeechEmotion:
    """The emotion of a voice in stretches of sound; with ``dimensions`` its valence and arousal."""

    def __init__(self, model: Model, config: SpeechConfig, dimensions: Model | None = None) -> None:
        self._model, self._network = model, SpeechNetwork(model, config)
        self._dimensions = SpeechNetwork(dimensions, config) if dimensions else None
        labels = list(dimensions.manifest.vocabulary.labels) if dimensions else []
        if dimensions and not {"valence", "arousal"} <= set(labels):
            raise StreamerError(
                f"model {dimensions.manifest.name}: its labels lack valence and arousal"
            )
        self._affect = [labels.index(name) for name in ("valence", "arousal") if name in labels]

    def read(self, pcm: Floats, start: int | None = None) -> Reading | None:
        """What float32 (n,) 16 kHz sound says; None: it is shorter than the models take.

        start: the index of the first sample, where windows of one stream come one after another.
        """
        outputs = self._network.outputs(pcm, start)
        if outputs is None:
            return None
        affect = None
        if self._dimensions and (values := self._dimensions.outputs(pcm, start)) is not None:
            affect = values[self._affect] * 2 - 1  # the models say 0…1, the tables −1…1
        return self._model.reading(outputs, affect)
