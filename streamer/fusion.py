"""Late fusion: from the predictions of the face and of the voice to a third stream of them."""

import math
from collections import deque

import numpy as np

from streamer.types import Floats, Prediction, StreamEnd


class Fuser:
    """Predictions of both modalities in, each in its own time order; fused ones out, in time order.

    A fused prediction stands at the time of each face prediction, and is made of it and of the
    voice's last one by then. From the first one that says nothing to the next that does, and after
    the pictures' end, the voice goes on alone at its own times: how often "nothing" was said in
    between has no part in it. Each is given out once no message of either can come before it any
    more: what comes out depends on media time alone, not on which thread was faster.

    The fused probabilities are the mean, weighted by how reliable each is: 1 − ``voice_weight`` for
    the face, ``voice_weight`` (0…1) for the voice; where one says nothing, the other's own. Its
    ``details`` are the two weights, float32 (2,).

    Sources: Stone, "The Opinion Pool", 1961 (the weighted mean); Kittler et al., "On Combining
    Classifiers", 1998 (why the mean outlasts a wrong classifier, which can veto in a product).
    """

    def __init__(self, voice_weight: float) -> None:
        self._weights = np.array([1 - voice_weight, voice_weight])
        self._faces: deque[Prediction] = deque()
        """Those to come, without repeated ones that say nothing."""
        self._voices: deque[Prediction] = deque()
        self._face_known = -math.inf
        """No face prediction to come is from before this time, s."""
        self._blind = True
        """Whether the face says nothing, as far as it was fused."""
        self._voice: Prediction | None = None
        """The voice's last one, as far as it was fused."""
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
            if message.modality == "face":
                self._face_known = math.inf
        elif message.modality == "voice":
            self._voices.append(message)
        else:
            self._face_known = message.time
            silent = self._faces[-1].probs is None if self._faces else self._blind
            if message.probs is not None or not silent:
                self._faces.append(message)
        fused = list[Prediction]()
        while (one := self._next()) is not None:
            fused.append(one)
        return fused

    def _next(self) -> Prediction | None:
        """The next fused prediction that is known for good."""
        face = self._faces[0] if self._faces else None
        if face is None and "face" in self._ends:
            self._blind = True
        if self._blind and (voice := self._alone(face.time if face else self._face_known)):
            return self._fuse(voice.time, None, voice)
        if face is None or not self._is_heard(face.time):
            return None
        self._faces.popleft()
        self._blind = face.probs is None
        self._pass(face.time)
        ended = face.time >= self._ends.get("voice", math.inf)
        return self._fuse(face.time, face, None if ended else self._voice)

    def _alone(self, until: float) -> Prediction | None:
        """The voice's next one after what was fused and before ``until`` s."""
        self._pass(self._last)
        if not self._voices or self._voices[0].time >= until:
            return None
        self._voice = self._voices.popleft()
        return self._voice

    def _pass(self, t: float) -> None:
        """The voice's last one by ``t`` s counts from now on."""
        while self._voices and self._voices[0].time <= t:
            self._voice = self._voices.popleft()

    def _is_heard(self, t: float) -> bool:
        """Whether the voice's last prediction by ``t`` s is known."""
        return "voice" in self._ends or (bool(self._voices) and self._voices[-1].time > t)

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
        weight = shares.astype(np.float32)
        face_id = face.face_id if face else 0
        return Prediction("fused", t, t, t, total, 0.0, captured, weight, face_id)
