"""The speech models that can be exported, without the tool chain that exports them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class SpeechModel:
    """What an exporter asks of a checkpoint beyond its being one.

    `head` None takes any known head and family; else wav2vec 2.0 with that head is wanted.
    `licence` is what the authors published it under, where their model card may not be at hand.
    """

    name: str
    line: str
    source: str | None = None
    head: Literal["projector", "dense", "ctc"] | None = None
    dimensional: bool = False
    licence: str | None = None
    licence_notice: str | None = None


SPEECH_MODELS = {
    model.name: model
    for model in (
        SpeechModel(
            "wav2vec2",
            "any emotion classifier on wav2vec 2.0, HuBERT, WavLM or UniSpeech-SAT (--source)",
        ),
        SpeechModel(
            "aniemore",
            "the original program's Russian voice model: wav2vec 2.0 XLSR-53, 7 classes",
            source="Aniemore/wav2vec2-xlsr-53-russian-emotion-recognition",
            head="dense",
        ),
        SpeechModel(
            "audeering",
            "arousal, dominance and valence of a voice; non-commercial (--accept-license)",
            source="audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim",
            head="dense",
            dimensional=True,
            licence="CC-BY-NC-SA-4.0",
            licence_notice="audeering's model is CC BY-NC-SA 4.0, for non-commercial use only",
        ),
    )
}
