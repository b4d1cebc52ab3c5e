"""A speech network in two files, so that overlapping windows share what is local in time.

The convolutional front end looks at 25 ms for each 20 ms step, and where it normalises each step by
itself (feat_extract_norm "layer"; Baevski et al. 2020, arXiv 2006.11477, section 4.2) that step is
the same in every window that holds it. Computed once, only the transformer runs per window.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from export_onnx.errors import ExportError
from export_onnx.heads import SpeechClassifier
from export_onnx.verify import Floats, Net, open_session

FEATURES = "features"
"""The name of the part, of its output, and of the input of the rest."""
_AXES = {
    "input_values": ["batch", "samples"],
    FEATURES: ["batch", "steps"],
    "logits": ["batch"],
}


class Front(nn.Module):
    """Convolutions and projection: input_values float32 (B, n) to features float32 (B, T, H)."""

    def __init__(self, network: SpeechClassifier) -> None:
        super().__init__()
        self.backbone = network.backbone

    def forward(self, input_values: Tensor) -> Tensor:
        """Return the features."""
        found = self.backbone.feature_extractor(input_values).transpose(1, 2)
        projected = self.backbone.feature_projection(found)
        features: Tensor = projected[0] if isinstance(projected, tuple) else projected
        return features


class Rest(nn.Module):
    """Transformer and head: features float32 (B, T, H) to logits float32 (B, C)."""

    def __init__(self, network: SpeechClassifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.network.classify(features)
        return logits


def check(network: SpeechClassifier) -> None:
    """Refuse a network whose front end is not local in time.

    Raises:
        ExportError: it normalises over a whole window.

    """
    if (kind := network.config.feat_extract_norm) != "layer":
        raise ExportError(
            f"--split: the front end normalises over the whole window (feat_extract_norm {kind!r}),"
            " so that overlapping windows share nothing"
        )


def geometry(kernels: list[int], strides: list[int]) -> tuple[int, int]:
    """Return the receptive field of one step and the distance of two, in samples."""
    field, hop = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        field, hop = field + (kernel - 1) * hop, hop * stride
    return field, hop


def to_onnx(network: SpeechClassifier, front: Path, rest: Path, opset: int) -> None:
    """Write both files."""
    width = network.config.hidden_size
    sound, features = torch.zeros(1, 16_000), torch.zeros(1, 49, width)
    jobs: list[tuple[nn.Module, Tensor, Path, str, str]] = [
        (Front(network), sound, front, "input_values", FEATURES),
        (Rest(network), features, rest, FEATURES, "logits"),
    ]
    for module, example, path, source, target in jobs:
        torch.onnx.export(
            module.eval(),
            (example,),
            str(path),
            input_names=[source],
            output_names=[target],
            dynamic_axes={name: dict(enumerate(_AXES[name])) for name in (source, target)},
            opset_version=opset,
            dynamo=False,
        )
    network.eval()  # the exporter of torch may leave it in training mode


def as_net(front: Path, rest: Path, hop: int, field: int, piece: int = 25) -> Net:
    """Return both files as one function of input_values float32 (B, n) to outputs (B, C).

    The features are computed `piece` steps at a time, as the windows of a stream do, so that
    what is compared with the whole network is also that the steps are local.
    """
    first, second = open_session(front), open_session(rest)

    def run(batch: Floats) -> Floats:
        steps = (batch.shape[1] - field) // hop + 1
        edges = [(a, min(a + piece, steps)) for a in range(0, steps, piece)]
        parts = [
            first.run(None, {"input_values": batch[:, a * hop : (b - 1) * hop + field]})[0]
            for a, b in edges
        ]
        outputs: Floats = second.run(None, {FEATURES: np.concatenate(parts, axis=1)})[0]
        return outputs

    return run
