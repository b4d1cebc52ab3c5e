"""Speech checkpoints of the wav2vec 2.0 kind to verified ONNX files with manifests."""

from __future__ import annotations

import math
import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from optimum.exporters.onnx import export as optimum_export
from optimum.exporters.onnx.model_configs import (
    HubertOnnxConfig,
    UniSpeechSATOnnxConfig,
    Wav2Vec2OnnxConfig,
    WavLMOnnxConfig,
)

from export_onnx import card, split
from export_onnx.backbone import build, family_of
from export_onnx.checkpoint import Checkpoint, find_checkpoint, sha256
from export_onnx.errors import ExportError
from export_onnx.fetch import Progress
from export_onnx.heads import SpeechClassifier
from export_onnx.labels import is_dimensional, native_labels, to_emotions
from export_onnx.manifest import check_name
from export_onnx.onnxfile import ONE_FILE_BYTES, Precision, convert, describe, name_axes
from export_onnx.quiet import quiet
from export_onnx.speech_models import SpeechModel
from export_onnx.verify import SAMPLE_RATE, Floats, Net, open_session, verify
from export_onnx.verify import as_net as session_as_net

OPSET = 17
_ONNX_CONFIGS = {
    "wav2vec2": Wav2Vec2OnnxConfig,
    "hubert": HubertOnnxConfig,
    "wavlm": WavLMOnnxConfig,
    "unispeech-sat": UniSpeechSATOnnxConfig,
}
_PRODUCERS = ("torch", "transformers", "optimum", "optimum-onnx", "onnx")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user asked of an export; `limit` is the most bytes in one ONNX file."""

    source: str
    out: Path
    precision: Precision = "fp32"
    verify: bool = True
    accept_license: bool = False
    allow_disagreement: bool = False
    name: str | None = None
    split: bool = False
    limit: int = ONE_FILE_BYTES


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is known of a checkpoint before its network is exported."""

    name: str
    labels: list[str]
    mapping: dict[str, str | None] | None
    preprocess: Mapping[str, Any]
    licence: card.Licence


def export_speech(model: SpeechModel, wishes: Wishes, progress: Progress) -> list[Path]:
    """Export a checkpoint into the folder `wishes.out`; return the files written, manifest last.

    Nothing is left of an export that fails: all is made in a folder of its own and moved at the
    end.

    Raises:
        ExportError: the checkpoint cannot be had, is broken or foreign, its licence is not
            accepted, or the export differs from it.
        OSError: the folder cannot be written.

    """
    if model.licence_notice and not wishes.accept_license:
        raise ExportError(f"{model.licence_notice}: --accept-license says that you may use it")
    checkpoint = find_checkpoint(wishes.source)
    with progress(f"Reading {wishes.source}"):
        network, plan, kind = _read(checkpoint, model, wishes)
    before = wishes.out.exists()
    wishes.out.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{plan.name}.", dir=wishes.out) as folder:
            made = _make(Path(folder), network, kind, plan, checkpoint, wishes, progress)
            for file in made:
                file.replace(wishes.out / file.name)
    except BaseException:
        if not before:
            with suppress(OSError):
                wishes.out.rmdir()
        raise
    return [wishes.out / file.name for file in made]


def _read(
    checkpoint: Checkpoint, model: SpeechModel, wishes: Wishes
) -> tuple[SpeechClassifier, _Plan, str]:
    config = checkpoint.json("config.json")
    licence = card.licence(checkpoint, model)
    if licence.non_commercial and not wishes.accept_license:
        raise ExportError(
            f"the checkpoint's licence is {licence.name}, non-commercial: "
            "--accept-license says that you may use it"
        )
    extractor = checkpoint.json("preprocessor_config.json")
    rate = extractor.get("sampling_rate", config.get("sampling_rate", SAMPLE_RATE))
    if rate != SAMPLE_RATE:
        raise ExportError(f"the checkpoint wants sound of {rate} Hz; 16000 Hz is what is taken")
    weights = checkpoint.weights()
    family = family_of(config, weights)
    if family == "wavlm" and wishes.precision == "fp16":
        # Seen with ONNX Runtime 1.31: a segmentation fault while the session is made.
        raise ExportError("ONNX Runtime crashes on WavLM in fp16: take fp32 or int8")
    network, kind = build(config, weights)
    if wishes.split:
        split.check(network)
    if model.head and (family, kind) != ("wav2vec2", model.head):
        raise ExportError(f"this is no {model.name} checkpoint but a {family} with a {kind} head")
    with torch.no_grad():
        classes = network(torch.zeros(1, SAMPLE_RATE))["logits"].shape[-1]
    labels = native_labels(config, classes)
    if model.dimensional and not is_dimensional(labels):
        raise ExportError(f"the outputs are {', '.join(labels)}, not arousal, dominance, valence")
    mapping = None if is_dimensional(labels) else to_emotions(labels)
    stem = wishes.name or _stem(checkpoint.name, wishes)
    check_name(stem)
    preprocess = _preprocess(network.config, extractor, wishes.split)
    return network, _Plan(stem, labels, mapping, preprocess, licence), f"{family}, {kind} head"


def _stem(name: str, wishes: Wishes) -> str:
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name.rpartition("/")[2]).strip("-._") or "speech"
    made = [wishes.precision] if wishes.precision != "fp32" else []
    return "-".join([stem, *made, *(["split"] if wishes.split else [])])


def _preprocess(network: Any, extractor: Mapping[str, Any], parted: bool) -> Mapping[str, Any]:
    field, step = split.geometry(network.conv_kernel, network.conv_stride)
    least = max(0.5, math.ceil((field + 10 * step) / SAMPLE_RATE * 10) / 10)
    # The extractor's own default: it normalises unless it is told not to.
    normalised = extractor.get("do_normalize", True)
    return {
        "sample_rate": SAMPLE_RATE,
        "normalise": "zero-mean-unit-variance" if normalised else "none",
        "min_window_s": least,
        "best_window_s": max(4.0, least),
        **({"split": {"hop": step, "field": field}} if parted else {}),
    }


def _make(
    folder: Path,
    network: SpeechClassifier,
    kind: str,
    plan: _Plan,
    checkpoint: Checkpoint,
    wishes: Wishes,
    progress: Progress,
) -> list[Path]:
    raw, path = folder / "fp32" / "model.onnx", folder / f"{plan.name}.onnx"
    raw.parent.mkdir()
    with progress(f"Exporting {plan.name}"), quiet():
        if wishes.split:
            split.to_onnx(network, _front(raw), raw, OPSET)
        else:
            _to_onnx(network, kind.partition(",")[0], raw)
    with progress(f"Writing {plan.name} as {wishes.precision}"), quiet():
        for source, target in ((raw, path), (_front(raw), _front(path))):
            if source.exists():
                convert(source, target, wishes.precision, wishes.limit)
    figures = card.published(checkpoint)
    if wishes.verify:
        normalise = plan.preprocess["normalise"] != "none"
        with progress(f"Comparing {plan.name} with the checkpoint"):
            figures += verify(
                *(_as_net(path, plan), _as_net(raw, plan), as_net(network)),
                *(wishes.precision, normalise, plan.mapping is not None),
                wishes.allow_disagreement,
            )
    shutil.rmtree(raw.parent)
    made = sorted(folder.glob(f"{plan.name}.*onnx*"), reverse=True)
    if text := plan.licence.text:
        made.append(folder / f"{plan.name}.LICENSE.txt")
        made[-1].write_text(text, encoding="utf-8")
    weights = [(file.name, sha256(file)) for file in checkpoint.weight_files()]
    manifest = card.manifest(
        name=plan.name,
        kind=kind,
        precision=wishes.precision,
        file=describe(path, {split.FEATURES: _front(path)} if wishes.split else {}),
        preprocess=plan.preprocess,
        labels=plan.labels,
        mapping=plan.mapping,
        licence=plan.licence,
        checkpoint=checkpoint,
        weights=weights,
        producer={name: version(name) for name in _PRODUCERS} | {"onnxruntime": ort.__version__},
        figures=figures,
    )
    made.append(folder / f"{plan.name}.json")
    made[-1].write_text(manifest, encoding="utf-8")
    return made


def as_net(network: SpeechClassifier) -> Net:
    """Return the network as a function of float32 (B, n) to float32 (B, C)."""

    def run(batch: Floats) -> Floats:
        with torch.no_grad():
            return np.asarray(network(torch.from_numpy(batch))["logits"].numpy(), np.float32)

    return run


def _front(path: Path) -> Path:
    """Where the front end of a split model lies."""
    return path.with_suffix(f".{split.FEATURES}.onnx")


def _as_net(path: Path, plan: _Plan) -> Net:
    """A file, or both of a split model, as a function."""
    if (parted := plan.preprocess.get("split")) is None:
        return session_as_net(open_session(path))
    return split.as_net(_front(path), path, parted["hop"], parted["field"])


def _to_onnx(network: SpeechClassifier, family: str, path: Path) -> None:
    config = _ONNX_CONFIGS[family](network.config, task="audio-classification")
    optimum_export(network, config, path, opset=OPSET, disable_dynamic_axes_fix=True)
    network.eval()  # the exporter of torch may leave it in training mode
    name_axes(path)
