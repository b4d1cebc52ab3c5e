"""What a checkpoint's model card says, and the manifest of what was made from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from export_onnx.checkpoint import Checkpoint
from export_onnx.manifest import MANIFEST_VERSION, Figure, Json
from export_onnx.speech_models import SpeechModel

_METRICS: dict[str, Literal["accuracy", "macro-F1", "UAR"]] = {
    "accuracy": "accuracy",
    "f1": "macro-F1",
    "macro_f1": "macro-F1",
    "uar": "UAR",
    "recall": "UAR",
}


def _source(checkpoint: Checkpoint, licence: Licence, member: str, digest: str) -> Json:
    owner, slash, _ = checkpoint.name.partition("/")
    return {
        "package": checkpoint.name,
        "version": checkpoint.revision,
        "registry": "folder" if checkpoint.revision == "local" else "hub",
        "member": member,
        "sha256": digest,
        "licence": licence.name,
        "authors": owner if slash else "unknown",
    }


@dataclass(frozen=True, slots=True)
class Licence:
    """The licence's name, whether it forbids commercial use, and its text if it came along."""

    name: str
    non_commercial: bool
    text: str | None

    @property
    def notice(self) -> str | None:
        """What a user must be told."""
        if self.non_commercial:
            return f"The voice model is under {self.name}: for non-commercial use only."
        if self.name == "unknown":
            return "The voice model's licence is unknown: ask its authors before you use it."
        return None

    def as_json(self, stem: str) -> Json:
        """Return the manifest's entry; `stem` is that of the model's files."""
        return {
            "name": self.name,
            "research_only": self.non_commercial,
            "notice": self.notice,
            "file": f"{stem}.LICENSE.txt" if self.text else None,
        }


def licence(checkpoint: Checkpoint, model: SpeechModel) -> Licence:
    """Return the licence that the model card names, else the exporter's own, else "unknown"."""
    matter = checkpoint.front_matter()
    named = matter.get("license_name") or matter.get("license") or model.licence or "unknown"
    name = ", ".join(named) if isinstance(named, list) else str(named)
    words = name.lower().replace("_", "-").split("-")
    texts = [checkpoint.folder / file for file in ("LICENSE", "LICENSE.txt")]
    found = [path.read_text(encoding="utf-8", errors="replace") for path in texts if path.is_file()]
    non_commercial = "nc" in words or "noncommercial" in name.lower().replace("-", "")
    return Licence(name, non_commercial, found[0] if found else None)


def published(checkpoint: Checkpoint) -> tuple[Figure, ...]:
    """Return the figures of the model card's front matter, as shares from 0 to 1."""
    index = checkpoint.front_matter().get("model-index")
    figures = []
    for entry in index if isinstance(index, list) else []:
        for result in entry.get("results") or [] if isinstance(entry, dict) else []:
            data = result.get("dataset") if isinstance(result, dict) else None
            name = str(data.get("name", "unnamed data")) if isinstance(data, dict) else "its data"
            metrics = result.get("metrics") if isinstance(result, dict) else None
            for metric in metrics if isinstance(metrics, list) else []:
                figures.append(_figure(name, metric))  # noqa: PERF401 - nested enough
    return tuple(figure for figure in figures if figure)


def _figure(data: str, metric: object) -> Figure | None:
    if not isinstance(metric, dict) or str(metric.get("type")).lower() not in _METRICS:
        return None
    try:
        value = float(str(metric.get("value")).strip("% "))
    except ValueError:
        return None
    value = value / 100 if value > 1 else value
    if not 0 <= value <= 1:
        return None
    return Figure(data, _METRICS[str(metric["type"]).lower()], round(value, 6), "published")


def manifest(
    *,
    name: str,
    kind: str,
    precision: str,
    file: Json,
    preprocess: Mapping[str, Any],
    labels: Sequence[str],
    mapping: Mapping[str, str | None] | None,
    licence: Licence,
    checkpoint: Checkpoint,
    weights: Sequence[tuple[str, str]],
    producer: Mapping[str, str],
    figures: Sequence[Figure],
) -> str:
    """Return the manifest as JSON text: all that the analyzer knows about the file.

    Args:
        name: the stem of the files.
        kind: family and head, for people.
        precision: fp32, fp16 or int8.
        file: what `onnxfile.describe` found.
        preprocess: sample rate, normalisation, least and best window.
        labels: the checkpoint's own, in the order of the outputs.
        mapping: one of the seven words for each, or None; no mapping: not classes but dimensions.
        licence: as found.
        checkpoint: where it came from.
        weights: name and SHA-256 of each file of weights.
        producer: version by package.
        figures: published and measured.

    """
    family, head = kind.split(", ", 1)
    what = "Emotions" if mapping is not None else "Arousal, dominance and valence"
    left = [label for label, emotion in (mapping or {}).items() if emotion is None]
    dropped = f" Not mapped, its share is left out: {', '.join(left)}." if left else ""
    content = {
        "manifest": MANIFEST_VERSION,
        "name": name,
        "task": "speech-emotion" if mapping is not None else "speech-dimensions",
        "architecture": f"{family}-{head.removesuffix(' head')}",
        "description": f"{what} of a voice: {checkpoint.name}, {kind}, {precision}. Every weight "
        f"is used but masked_spec_embed, which only training reads.{dropped}",
        "file": f"{name}.onnx",
        **{key: file[key] for key in ("sha256", "bytes", "opset", "inputs", "outputs")},
        "preprocess": dict(preprocess),
        "labels": list(labels),
        "mapping": None if mapping is None else dict(mapping),
        "output": "raw" if mapping is None else "logits",
        "temperature": 1.0,
        "licence": licence.as_json(name),
        "sources": [_source(checkpoint, licence, *file) for file in weights],
        "producer": dict(producer),
        "accuracy": [figure.as_json() for figure in figures],
    }
    if file["parts"]:
        content["parts"] = file["parts"]
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
