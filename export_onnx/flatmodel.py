"""Reads the operators and constants of a TensorFlow Lite file (a flatbuffer) without TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import tflite

from export_onnx.errors import ExportError

_DTYPES: dict[int, np.dtype[Any]] = {
    tflite.TensorType.FLOAT32: np.dtype("<f4"),
    tflite.TensorType.FLOAT16: np.dtype("<f2"),
    tflite.TensorType.INT32: np.dtype("<i4"),
}


@dataclass(frozen=True, slots=True)
class Op:
    """One operator: its builtin name, the tensors' numbers and its options as numbers."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FlatModel:
    """A TensorFlow Lite graph: operators in order, shapes of all tensors, values of the constants.

    Constants stored as float16 behind DEQUANTIZE operators are float32 here, the operators gone.
    """

    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: dict[str, int]
    shapes: dict[int, tuple[int, ...]]
    constants: dict[int, npt.NDArray[Any]]


def _options(table: type[Any], *fields: str) -> Callable[[Any], dict[str, int]]:
    def read(op: Any) -> dict[str, int]:
        raw = op.BuiltinOptions()
        options = table()
        options.Init(raw.Bytes, raw.Pos)
        return {name: int(getattr(options, name)()) for name in fields}

    return read


_CONV = ("Padding", "StrideW", "StrideH", "FusedActivationFunction")
_DILATION = ("DilationWFactor", "DilationHFactor")
_POOL = (*_CONV, "FilterWidth", "FilterHeight")
_OPTIONS: dict[str, Callable[[Any], dict[str, int]]] = {
    "CONV_2D": _options(tflite.Conv2DOptions, *_CONV, *_DILATION),
    "DEPTHWISE_CONV_2D": _options(
        tflite.DepthwiseConv2DOptions, *_CONV, *_DILATION, "DepthMultiplier"
    ),
    "MAX_POOL_2D": _options(tflite.Pool2DOptions, *_POOL),
    "ADD": _options(tflite.AddOptions, "FusedActivationFunction"),
    "CONCATENATION": _options(tflite.ConcatenationOptions, "Axis", "FusedActivationFunction"),
}


def read_flat_model(data: bytes) -> FlatModel:
    """Read the first subgraph of a .tflite file.

    Raises:
        ExportError: a constant has a type other than float32, float16 or int32.

    """
    model = tflite.Model.GetRootAsModel(data, 0)
    graph = model.Subgraphs(0)
    tensors = [graph.Tensors(number) for number in range(graph.TensorsLength())]
    constants = {
        number: value
        for number, tensor in enumerate(tensors)
        if (value := _constant(model, tensor)) is not None
    }
    ops = []
    for number in range(graph.OperatorsLength()):
        op = _op(model, graph.Operators(number))
        if op.kind == "DEQUANTIZE" and op.inputs[0] in constants:
            constants[op.outputs[0]] = constants[op.inputs[0]].astype(np.float32)
        else:
            ops.append(op)
    return FlatModel(
        ops=tuple(ops),
        inputs=tuple(int(number) for number in graph.InputsAsNumpy()),
        outputs={tensors[number].Name().decode(): int(number) for number in graph.OutputsAsNumpy()},
        shapes={
            number: tuple(int(size) for size in tensor.ShapeAsNumpy())
            for number, tensor in enumerate(tensors)
            if tensor.ShapeLength()
        },
        constants=constants,
    )


def _op(model: Any, op: Any) -> Op:
    code = model.OperatorCodes(op.OpcodeIndex())
    # Old files keep the code in a byte-wide field, new ones in a wider one: the larger counts.
    kind = tflite.opcode2name(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()))
    return Op(
        kind=kind,
        inputs=tuple(int(number) for number in op.InputsAsNumpy()),
        outputs=tuple(int(number) for number in op.OutputsAsNumpy()),
        options=_OPTIONS[kind](op) if kind in _OPTIONS else {},
    )


def _constant(model: Any, tensor: Any) -> npt.NDArray[Any] | None:
    buffer = model.Buffers(tensor.Buffer())
    if buffer.DataLength() == 0:
        return None
    dtype = _DTYPES.get(tensor.Type())
    if dtype is None:
        raise ExportError(f"constant {tensor.Name().decode()} has type {tensor.Type()}")
    raw: npt.NDArray[np.uint8] = buffer.DataAsNumpy()
    shape = [int(size) for size in tensor.ShapeAsNumpy()]
    return raw.view(dtype).reshape(shape)
