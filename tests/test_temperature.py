"""A manifest's temperature acts alike on logits and on the probabilities made of them."""

from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from streamer import config as configuration
from streamer import models
from streamer.models import Model

MANIFEST, _ = models.find("face_emotion_mini_big", configuration.load().models)


def model(output: str, temperature: float) -> Model:
    changes = {"output": output, "temperature": temperature}
    return Model(MANIFEST.model_copy(update=changes), cast(Any, None), "CPU")


@given(arrays(np.float32, 7, elements=st.floats(-8, 8, width=32)), st.sampled_from([0.5, 1.0, 1.7]))
def test_probabilities_are_softened_as_their_logits_are(
    logits: np.ndarray[Any, np.dtype[np.float32]], temperature: float
) -> None:
    probs = np.exp(logits.astype(np.float64))
    softened = model("probs", temperature).to_emotions((probs / probs.sum()).astype(np.float32))
    assert softened == pytest.approx(model("logits", temperature).to_emotions(logits), abs=1e-5)
    assert softened.sum() == pytest.approx(1)


def test_a_higher_temperature_is_less_sure_and_of_the_same_mind() -> None:
    probs = np.array([0.6, 0.2, 0.1, 0.05, 0.05, 0, 0], np.float32)
    sure, vague = (model("probs", t).to_emotions(probs) for t in (1.0, 2.0))
    assert sure == pytest.approx(probs)
    assert vague[0] < sure[0]
    assert list(np.argsort(-vague, kind="stable")) == list(np.argsort(-sure, kind="stable"))
    assert model("probs", 2.0).to_emotions(np.zeros(7, np.float32)) == pytest.approx([1 / 7] * 7)
