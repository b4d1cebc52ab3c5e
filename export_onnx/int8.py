"""int8 with the ranges of what flows between the layers measured beforehand.

Convolutions gain nothing from ranges that are found anew for each picture (ConvInteger); with fixed
ones processors with VNNI run them in a quarter of fp32's time. Source: Jacob et al., "Quantization
and training of neural networks for efficient integer-arithmetic-only inference", 2018
(arXiv 1712.05877).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from export_onnx.verify import Floats


class _Pictures(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self, name: str, pictures: Floats) -> None:
        self._left = iter([{name: picture[None]} for picture in pictures])

    def get_next(self) -> Any:
        return next(self._left, None)


def to_int8(fp32: Path, path: Path, name: str, pictures: Floats) -> None:
    """Write the fp32 model as `path` in int8.

    Weights are signed, with one scale for each channel; activations unsigned, with one range each,
    from the least to the largest value that `pictures` bring about.

    Args:
        fp32: the model.
        path: the file to write.
        name: of its input.
        pictures: float32 (N, ...), each as the input without the batch.

    """
    quantize_static(
        fp32,
        path,
        _Pictures(name, pictures),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
