"""The face models that are exported from the user's own checkpoint, without the tool chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the tool chain is slow to import
    from export_onnx.onnxfile import Precision


@dataclass(frozen=True, slots=True)
class FaceModel:
    """A family: a line of help, and the module whose `export(request)` returns the files."""

    line: str
    module: str


FACE_MODELS: Mapping[str, FaceModel] = {
    "fer2013-vgg19": FaceModel(
        "Your VGG19 checkpoint of Facial-Expression-Recognition.Pytorch (.t7).",
        "export_onnx.fer2013",
    ),
    "fer2013-resnet18": FaceModel("The same project's ResNet18.", "export_onnx.fer2013"),
    "hsemotion": FaceModel(
        "Your EfficientNet-B0 or B2 checkpoint of HSEmotion (state_dict).", "export_onnx.hsemotion"
    ),
}


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asks of an exporter.

    `source` is the checkpoint's file. `ten_crop` folds the averaging over ten crops into the graph.
    `name` is the stem of the files, if not the exporter's own.
    """

    model: str
    source: Path | None = None
    ten_crop: bool = False
    name: str | None = None
    precision: Precision = "fp32"
    verify: bool = True
    allow_disagreement: bool = False
