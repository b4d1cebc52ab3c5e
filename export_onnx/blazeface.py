"""BlazeFace short-range (Bazarevsky et al. 2019, arXiv 1907.05047) from MediaPipe's TFLite file.

The graph runs channels-first behind one transpose of the picture; only the four small heads are
turned back. Its numbers are bit for bit those of the tf2onnx conversion on ONNX Runtime's CPU.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from export_onnx.errors import ExportError
from export_onnx.flatmodel import FlatModel, Op, read_flat_model
from export_onnx.graph import Graph

Weights = npt.NDArray[np.float32]

# TFLite's enumeration: 0 is SAME, 1 is VALID.
_SAME = 0


def convert(data: bytes) -> bytes:
    """Convert face_detection_short_range.tflite to ONNX.

    Returns:
        An ONNX model: `input` float32 (1, 128, 128, 3), RGB in -1 ... 1; outputs `regressors`
        (1, 896, 16) in pixels and `classificators` (1, 896, 1) as logits, per anchor.

    Raises:
        ExportError: the file has an operator or option that the converter does not know.

    """
    return _Converter(read_flat_model(data)).run()


class _Converter:
    def __init__(self, model: FlatModel) -> None:
        self._model = model
        self._graph = Graph()
        self._names: dict[int, str] = {}

    def run(self) -> bytes:
        picture = self._model.inputs[0]
        self._names[picture] = self._graph.op("Transpose", ["input"], "nchw", perm=[0, 3, 1, 2])
        steps: dict[str, Callable[[Op, str], str]] = {
            "CONV_2D": self._conv,
            "DEPTHWISE_CONV_2D": self._depthwise,
            "MAX_POOL_2D": self._max_pool,
            "PAD": self._pad,
            "ADD": self._add,
            "RELU": self._relu,
            "RESHAPE": self._reshape,
            "CONCATENATION": self._concat,
        }
        names = {number: name for name, number in self._model.outputs.items()}
        for op in self._model.ops:
            if op.kind not in steps:
                raise ExportError(f"the detector's file has an unknown operator {op.kind}")
            if op.options.get("FusedActivationFunction"):
                raise ExportError(f"the detector's {op.kind} has a fused activation")
            number = op.outputs[0]
            self._names[number] = steps[op.kind](op, names.get(number, f"t{number}"))
        shapes = {name: self._model.shapes[number] for name, number in self._model.outputs.items()}
        return self._graph.serialize("blazeface", {"input": self._model.shapes[picture]}, shapes)

    def _conv(self, op: Op, name: str) -> str:
        kernel, bias = (self._model.constants[number] for number in op.inputs[1:])
        return self._convolve(op, name, kernel.transpose(0, 3, 1, 2), bias, group=1)

    def _depthwise(self, op: Op, name: str) -> str:
        kernel, bias = (self._model.constants[number] for number in op.inputs[1:])
        return self._convolve(op, name, kernel.transpose(3, 0, 1, 2), bias, group=len(bias))

    def _convolve(self, op: Op, name: str, kernel: Weights, bias: Weights, group: int) -> str:
        options = op.options
        if options["StrideW"] != options["StrideH"] or options["DilationWFactor"] != 1:
            raise ExportError(f"the detector's {op.kind} has an unknown stride or dilation")
        return self._graph.conv(
            self._names[op.inputs[0]],
            name,
            kernel,
            bias,
            stride=options["StrideW"],
            same=options["Padding"] == _SAME,
            group=group,
        )

    def _max_pool(self, op: Op, name: str) -> str:
        size, stride = op.options["FilterWidth"], op.options["StrideW"]
        return self._graph.max_pool(self._names[op.inputs[0]], name, size=size, stride=stride)

    def _pad(self, op: Op, name: str) -> str:
        # TFLite lists (before, after) per axis, channels last; ONNX all befores, then all afters.
        pads = self._model.constants[op.inputs[1]][[0, 3, 1, 2]].T.reshape(-1).astype(np.int64)
        names = [self._names[op.inputs[0]], self._graph.weight(f"{name}.pads", pads)]
        return self._graph.op("Pad", names, name, mode="constant")

    def _add(self, op: Op, name: str) -> str:
        return self._graph.op("Add", [self._names[number] for number in op.inputs], name)

    def _relu(self, op: Op, name: str) -> str:
        return self._graph.op("Relu", [self._names[op.inputs[0]]], name)

    def _reshape(self, op: Op, name: str) -> str:
        source = self._names[op.inputs[0]]
        last = self._graph.op("Transpose", [source], f"{name}.nhwc", perm=[0, 2, 3, 1])
        dims = np.array(self._model.shapes[op.outputs[0]], np.int64)
        return self._graph.op("Reshape", [last, self._graph.weight(f"{name}.shape", dims)], name)

    def _concat(self, op: Op, name: str) -> str:
        inputs = [self._names[number] for number in op.inputs]
        return self._graph.op("Concat", inputs, name, axis=op.options["Axis"])
