"""From a checkpoint's own labels to the seven words of the analyzer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from export_onnx.errors import ExportError

DIMENSIONS = ("arousal", "dominance", "valence")

_WORDS = {
    "Angry": "angry anger ang rage mad злость гнев злой",
    "Disgust": "disgust disgusted dis отвращение",
    "Fear": "fear fearful fea afraid scared страх",
    # Enthusiasm is a high-spirited joy; the original program called it Surprise: wrong.
    "Happy": "happy happiness hap joy joyful positive excited excitement exc enthusiasm "
    "enthusiastic радость счастье энтузиазм",
    "Sad": "sad sadness грусть печаль",
    "Surprise": "surprise surprised sur ps pleasant_surprise pleasant_surprised удивление",
    "Neutral": "neutral neutrality neu calm calmness нейтрально нейтральность",
}
_SYNONYMS = {word: emotion for emotion, words in _WORDS.items() for word in words.split()}


def native_labels(config: Mapping[str, Any], classes: int) -> list[str]:
    """Return the labels of a config.json's id2label, in the order of the model's outputs.

    Raises:
        ExportError: there are none, not as many as `classes`, or two are the same.

    """
    table = config.get("id2label")
    if not isinstance(table, dict) or not table:
        raise ExportError("config.json has no id2label: what the model's outputs mean is unknown")
    try:
        named = {int(key): str(label) for key, label in table.items()}
    except ValueError:
        raise ExportError("config.json's id2label has a key that is no number") from None
    if sorted(named) != list(range(classes)):
        raise ExportError(
            f"config.json's id2label names {len(named)} classes ({', '.join(named.values())}), "
            f"but the weights have {classes}"
        )
    labels = [named[index] for index in range(classes)]
    if len(set(labels)) != classes:
        raise ExportError(f"config.json's id2label names a class twice: {', '.join(labels)}")
    return labels


def is_dimensional(labels: Sequence[str]) -> bool:
    """Tell whether the outputs are arousal, dominance and valence and not classes."""
    return sorted(label.lower() for label in labels) == sorted(DIMENSIONS)


def to_emotions(labels: Sequence[str]) -> dict[str, str | None]:
    """Map each label to one of the seven words; None where none of them is meant.

    Raises:
        ExportError: fewer than two of the seven would be left.

    """
    mapping = {label: _SYNONYMS.get(_plain(label)) for label in labels}
    if len(set(mapping.values()) - {None}) < 2:
        raise ExportError(f"the labels {', '.join(labels)} are not those of emotions")
    return mapping


def _plain(label: str) -> str:
    return "_".join(label.lower().replace("-", " ").replace("_", " ").split())
