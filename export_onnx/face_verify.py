"""The proof of a face model's export: ONNX Runtime against torch on the same pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor, nn

from export_onnx.errors import ExportError
from export_onnx.manifest import Figure

BATCHES = (1, 7, 32)
LIMIT = 1e-4


def compare(module: nn.Module, model: bytes, shape: Sequence[int]) -> Figure:
    """Return the largest absolute difference of the probabilities, over `BATCHES` pictures.

    Args:
        module: takes float32 (N, *shape); gives logits (N, C), or a tuple that begins with them,
            whose other members are compared as they are.
        model: the ONNX file, with the same outputs in the same order.
        shape: of one picture.

    Raises:
        ExportError: the difference is above `LIMIT`, is no number, or the file cannot be run.

    """
    try:
        session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        found = [_difference(module, session, (batch, *shape)) for batch in BATCHES]
        worst = float(np.max(found))
    except Exception as error:  # ONNX Runtime raises many unrelated types
        raise ExportError(f"the exported model cannot be run: {error}") from error
    if not worst <= LIMIT:
        raise ExportError(
            f"the exported model differs from torch's by {worst:.1e}, more than {LIMIT:.0e}"
        )
    batches = ", ".join(map(str, BATCHES))
    return Figure(f"torch, batches {batches}", "largest difference", float(f"{worst:.2e}"))


def _difference(module: nn.Module, session: ort.InferenceSession, shape: Sequence[int]) -> float:
    random = torch.Generator().manual_seed(shape[0])
    # Smooth patterns in the range of normalised pixels: noise alone looks like no picture.
    coarse = torch.rand(shape[0], shape[1], 8, 8, generator=random) * 2 - 0.5
    pictures = nn.functional.interpolate(coarse, tuple(shape[2:]), mode="bilinear")
    with torch.no_grad():
        given = module(pictures)
    expected = [given] if isinstance(given, Tensor) else list(given)
    found = [torch.from_numpy(value) for value in session.run(None, {"face": pictures.numpy()})]
    if [tuple(value.shape) for value in found] != [tuple(value.shape) for value in expected]:
        return float("nan")
    expected, found = _probabilities(expected), _probabilities(found)
    pairs = zip(expected, found, strict=True)
    # Not Python's max: it would lose a difference that is no number.
    return float(np.max([float((a - b).abs().max()) for a, b in pairs]))


def _probabilities(outputs: Sequence[Tensor]) -> list[Tensor]:
    """The logits as probabilities, the rest as it is."""
    return [outputs[0].softmax(1), *outputs[1:]]
