"""A person's own neutral face or voice, on which later probabilities rest."""

from dataclasses import replace

import numpy as np

from streamer.types import EMOTIONS, NEUTRAL, Floats, Prediction, Reading

LEAST = 5
"""Predictions without which there is no baseline."""


class Baseline:
    """Takes what a model says in the first ``seconds`` from ``start`` s of one modality, while the
    person is neutral, and takes it out of what it says later.

    Some neutral faces and voices look sad or angry to a model. Each of the six emotions that this
    person's baseline has more of than the mean of the six is lowered by just that ratio; nothing is
    raised, so an emotion that the baseline never shows stays as it is. No parameter is fitted.

    What ends within the baseline passes unchanged, and so does everything if it held fewer than
    LEAST predictions (``samples``). A function of media time alone: live and replay agree, if no
    prediction was dropped.
    """

    def __init__(self, seconds: float, start: float = 0.0) -> None:
        self.end = start + seconds
        """The end of the baseline, media s."""
        self.samples = 0
        self._total = np.zeros(len(EMOTIONS))
        self._weights: Floats | None = None

    @property
    def mean(self) -> Floats | None:
        """The baseline's mean probabilities by now, float32 (7,); None: too few predictions."""
        if self.samples < LEAST:
            return None
        return (self._total / self.samples).astype(np.float32)

    def apply(self, prediction: Prediction) -> Prediction:
        """The next prediction, in time order, as it is or rested on the baseline."""
        if prediction.probs is None:
            return prediction
        if prediction.end <= self.end:
            self._total += prediction.probs
            self.samples += 1
            self._weights = None
            return prediction
        return replace(prediction, probs=self.rest(prediction.probs))

    def rest(self, probs: Floats) -> Floats:
        """Probabilities (7,) rested on the baseline as it is by now."""
        if self._weights is None:
            self._weights = self._weigh()
        rested = probs * self._weights
        total: Floats = rested / rested.sum()
        return total

    def rest_reading(self, reading: Reading, heard_to: float) -> Reading:
        """A reading, rested if the baseline is complete: all was heard up to ``heard_to`` s."""
        if heard_to < self.end:
            return reading
        return replace(reading, probs=self.rest(reading.probs))

    def _weigh(self) -> Floats:
        weights = np.ones(len(EMOTIONS), np.float32)
        if (mean := self.mean) is not None:
            # Not from what Neutral leaves: near one, its share keeps no digit of the others'.
            level = np.delete(mean, NEUTRAL).mean(dtype=np.float64)
            high = mean > level
            high[NEUTRAL] = False
            weights[high] = level / mean[high]
        return weights
