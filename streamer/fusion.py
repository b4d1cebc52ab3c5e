"""Late fusion: from the predictions of the face and of the voice to a third stream of them."""

import math
from collections import deque

import numpy as np

from streamer.types import Floats, Prediction, StreamEnd


class Fuser:
    """Predictions of both modalities in, each in its own time order; fused ones out, in time order.

    A fused prediction stands at the time of each face prediction, and is made of it and of the
    voice's last one by then. It is given out once the next one of the voice is there, or the voice
    has ended: what comes out depends on media time alone, not on which thread was faster. Once the
    pictures have ended, the voice goes on alone at its own times.

    The fused probabilities are the mean, weighted by how reliable each is: 1 − ``voice_weight`` for
    the face, ``voice_weight`` (0…1) for the voice; where one says nothing, the other's own. Its
    ``details`` are the two weights, float32 (2,).

    Sources: Stone, "The Opinion Pool", 1961 (the weighted mean); Kittler et al., "On Combining
    Classifiers", 1998 (why the mean outlasts a wrong classifier, which can veto in a product).
    """

    def __init__(self, voice_weight: float) -> None:
        self._weights = np.array([1 - voice_weight, voice_weight])
        self._faces: deque[Prediction] = deque()
        self._voices: deque[Prediction] = deque()
        """The voice's last one by the time of the last fused prediction, and those after it."""
        self._ends: dict[str, float] = {}
        self._last = -math.inf

    @property
    def end(self) -> float | None:
        """Where the last of both streams ended, s; None: one still goes on."""
        return max(self._ends.values()) if len(self._ends) == 2 else None

    def take(self, message: Prediction | StreamEnd) -> list[Prediction]:
        """Take the next message of either modality; return the fused predictions it completes."""
        if isinstance(message, StreamEnd):
            self._ends[message.modality] = message.t
        else:
            (self._faces if message.modality == "face" else self._voices).append(message)
        fused = list[Prediction]()
        while self._faces and self._is_heard(self._faces[0].time):
            fused.append(self._beside(self._faces.popleft()))
        while "face" in self._ends and not self._faces and self._voices:
            if (voice := self._voices.popleft()).time > self._last:
                fused.append(self._fuse(voice.time, None, voice))
        return fused

    def _is_heard(self, t: float) -> bool:
        """Whether the voice's last prediction by ``t`` s is known."""
        return "voice" in self._ends or (bool(self._voices) and self._voices[-1].time > t)

    def _beside(self, face: Prediction) -> Prediction:
        t = face.time
        while len(self._voices) > 1 and self._voices[1].time <= t:
            self._voices.popleft()
        ended = t >= self._ends.get("voice", math.inf)
        speaks = bool(self._voices) and self._voices[0].time <= t and not ended
        return self._fuse(t, face, self._voices[0] if speaks else None)

    def _fuse(self, t: float, face: Prediction | None, voice: Prediction | None) -> Prediction:
        self._last = t
        sides = [side if side and side.probs is not None else None for side in (face, voice)]
        weights = self._weights * [side is not None for side in sides]
        captured = max(side.captured for side in (face, voice) if side)
        if not any(sides):
            return Prediction("fused", t, t, t, None, 0.0, captured)
        # A modality that does not count says something, though, where it is alone.
        shares = weights / weights.sum() if weights.sum() else np.array([bool(s) for s in sides])
        total: Floats = np.sum(
            [w * s.probs for w, s in zip(shares, sides, strict=True) if s and s.probs is not None],
            axis=0,
        ).astype(np.float32)
        return Prediction("fused", t, t, t, total, 0.0, captured, shares.astype(np.float32))
