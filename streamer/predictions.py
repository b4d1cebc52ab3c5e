"""Rows of everything that the models said, as --save-predictions writes and `segment` reads them.

Enough digits to get the very same numbers back. The last row's time is the end of the stream; its
closed_by says what closed the intervals that were open then. The shares of a model's own labels
stand in columns named after what each means and itself: happy/enthusiasm, /other.
"""

from collections.abc import Sequence

from streamer.types import EMOTIONS, Floats, Modality, Prediction, Vocabulary

PROBS = [emotion.lower() for emotion in EMOTIONS]
AFFECT = ["valence", "arousal"]
FACE_ID = "face_id"


def columns(modality: Modality, vocabulary: Vocabulary | None) -> list[str]:
    """The header, for a model with these labels (None: they are not known)."""
    about = ["start", "end", "voiced"] if modality == "voice" else []
    own: list[str] = []
    if vocabulary is not None:
        pairs = zip(vocabulary.emotions, vocabulary.labels, strict=True)
        own = [f"{(emotion or '').lower()}/{label}" for emotion, label in pairs] + AFFECT
    last = [FACE_ID] if modality == "face" else []
    return ["time", *about, *PROBS, "closed_by", *own, *last]


def row(said: Prediction, vocabulary: Vocabulary | None, closed_by: str = "") -> list[str]:
    """The values of a prediction, or of the end of a stream."""
    about: list[str] = []
    if said.modality == "voice":
        about = [repr(float(x)) for x in (said.start, said.end, said.voiced)]
    own = _digits(said.details, len(vocabulary.labels) + len(AFFECT)) if vocabulary else []
    probs = _digits(said.probs, len(PROBS))
    last = [str(said.face_id or "")] if said.modality == "face" else []
    return [repr(float(said.time)), *about, *probs, closed_by, *own, *last]


def vocabulary_of(header: Sequence[str]) -> Vocabulary | None:
    """The labels that a header tells of, in its order; None: none."""
    means = dict(zip(PROBS, EMOTIONS, strict=True))
    own = [name.partition("/") for name in header if "/" in name]
    if not own:
        return None
    return Vocabulary(
        tuple(label for _, _, label in own), tuple(means.get(meant.lower()) for meant, _, _ in own)
    )


def _digits(values: Floats | None, count: int) -> list[str]:
    if values is None:
        return [""] * count
    return ["" if value != value else f"{value:.9g}" for value in values]  # noqa: PLR0124 - NaN
