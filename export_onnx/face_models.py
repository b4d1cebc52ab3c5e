"""The face models that are exported from the user's own checkpoint, without the tool chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FACE_MODELS: Mapping[str, str] = {
    "fer2013-vgg19": "export_onnx.fer2013",
    "fer2013-resnet18": "export_onnx.fer2013",
    "hsemotion": "export_onnx.hsemotion",
}
"""Each model's module; its `export(request)` returns the files to write, by name."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asks of an exporter.

    `source` is the checkpoint's file. `ten_crop` folds the averaging over ten crops into the graph.
    """

    model: str
    source: Path | None = None
    ten_crop: bool = False
