"""The manifest beside each model: all that the analyzer knows about the file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import onnx

from export_onnx.errors import ExportError
from export_onnx.fetch import Member
from export_onnx.graph import ONNX_VERSION

MANIFEST_VERSION = 1

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """One file that a model is made from, and to whom it belongs."""

    member: Member
    licence: str
    authors: str

    def as_json(self) -> Json:
        """Return the manifest's entry."""
        return {
            "package": self.member.package.name,
            "version": self.member.package.version,
            "registry": self.member.package.registry,
            "member": self.member.path,
            "sha256": self.member.sha256,
            "licence": self.licence,
            "authors": self.authors,
        }


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured or published figure of a model's quality."""

    data: str
    metric: Literal[
        "accuracy", "macro-F1", "UAR", "ECE", "recall", "largest difference", "agreement"
    ]
    value: float
    origin: Literal["measured", "published"] = "measured"
    note: str | None = None

    def as_json(self) -> Json:
        """Return the manifest's entry."""
        return {
            "data": self.data,
            "metric": self.metric,
            "value": self.value,
            "origin": self.origin,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Card:
    """What a manifest says that cannot be read from the model file.

    `name` is the stem of the files. `mapping` gives the analyzer's name of each native label; its
    order is the order of the model's output. `output` says what comes out: probabilities, logits
    or raw numbers. `producer` adds versions of what made the file to that of the onnx package;
    `licence_text` says whether the licence's text lies beside it.
    """

    name: str
    task: Literal["face-detection", "face-emotion", "voice-activity", "speech-emotion"]
    architecture: str
    description: str
    preprocess: Json
    output: Literal["probs", "logits", "raw"]
    licence: str
    sources: tuple[Source, ...]
    mapping: Mapping[str, str] | None = None
    temperature: float = 1.0
    research_only: bool = False
    notice: str | None = None
    accuracy: tuple[Figure, ...] = ()
    producer: Mapping[str, str] = field(default_factory=dict)
    licence_text: bool = True


def check_name(stem: str) -> None:
    """Raise ExportError if a model's files cannot have this name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", stem):
        raise ExportError(f"--name {stem!r}: use letters, digits, '.', '_' and '-' only")


def make_manifest(card: Card, model: bytes, parts: Mapping[str, bytes] | None = None) -> str:
    """Return the manifest of `model` (an ONNX file's bytes) as JSON text, keys in fixed order.

    `parts` are further ONNX files that the model needs, by name: NAME.PART.onnx beside NAME.onnx.
    """
    proto = onnx.load_from_string(model)
    (opset,) = (entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    manifest: dict[str, Any] = {
        "manifest": MANIFEST_VERSION,
        "name": card.name,
        "task": card.task,
        "architecture": card.architecture,
        "description": card.description,
        "file": f"{card.name}.onnx",
        "sha256": hashlib.sha256(model).hexdigest(),
        "bytes": len(model),
        "opset": opset,
        "inputs": [_tensor(value) for value in proto.graph.input],
        "outputs": [_tensor(value) for value in proto.graph.output],
        "preprocess": card.preprocess,
        "labels": None if card.mapping is None else list(card.mapping),
        "mapping": None if card.mapping is None else dict(card.mapping),
        "output": card.output,
        "temperature": card.temperature,
        "licence": {
            "name": card.licence,
            "research_only": card.research_only,
            "notice": card.notice,
            "file": f"{card.name}.LICENSE.txt" if card.licence_text else None,
        },
        "sources": [source.as_json() for source in card.sources],
        "producer": {"onnx": ONNX_VERSION, **card.producer},
        "accuracy": [figure.as_json() for figure in card.accuracy],
    }
    if parts:
        manifest["parts"] = [
            {
                "name": name,
                "file": f"{card.name}.{name}.onnx",
                "sha256": hashlib.sha256(data).hexdigest(),
                "bytes": len(data),
            }
            for name, data in parts.items()
        ]
    return json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"


def _tensor(value: onnx.ValueInfoProto) -> Json:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    shape = [
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in tensor.shape.dim
    ]
    return {"name": value.name, "dtype": dtype.name, "shape": shape}


def write_files(out: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write `files` (name to content) into the folder `out`, which is made if needed; their paths.

    All are written beside their place first, so that a failure leaves the old files as they were.

    Raises:
        OSError: the folder cannot be made or written.

    """
    out.mkdir(parents=True, exist_ok=True)
    beside = {name: out / f".{name}.{os.getpid()}.part" for name in files}
    try:
        for name, content in files.items():
            beside[name].write_bytes(content)
        for name in files:
            beside[name].replace(out / name)
    finally:
        for path in beside.values():
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
    return [out / name for name in files]
