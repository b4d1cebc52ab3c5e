"""A small builder of ONNX graphs whose bytes are the same on every machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

OPSET = 17
# The IR version that came with opset 17: the oldest one that may hold it, so that old runtimes
# read the file and newer versions of the onnx package do not change its bytes.
IR_VERSION = 8
PRODUCER_NAME = "streamer.export_onnx"
PRODUCER_VERSION = "1"
# The version of the onnx package the committed files were made with.
ONNX_VERSION = "1.23.2"

Dims = Sequence[int | str]


class Graph:
    """Collects the nodes and float32 or int64 weights of one model, in order of evaluation."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}

    def weight(self, name: str, value: npt.NDArray[np.float32] | npt.NDArray[np.int64]) -> str:
        """Add the constant `value` and return its name.

        Raises:
            ValueError: the name is taken, or the type is neither float32 nor int64.

        """
        if name in self._weights:
            raise ValueError(f"weight {name} is there already")
        if value.dtype not in (np.float32, np.int64):
            raise ValueError(f"weight {name} is {value.dtype}")
        self._weights[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def op(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node of type `kind` with one output and return the output's name."""
        node = helper.make_node(kind, list(inputs), [output], name=output, **attributes)
        self._nodes.append(node)
        return output

    def conv(
        self,
        source: str,
        output: str,
        kernel: npt.NDArray[np.float32],
        bias: npt.NDArray[np.float32] | None,
        *,
        stride: int = 1,
        same: bool = True,
        group: int = 1,
    ) -> str:
        """Add a convolution with square strides and return its output's name.

        Args:
            source: the input's name.
            output: the output's name; the weights' names begin with it.
            kernel: float32 (out, in / group, height, width).
            bias: float32 (out,) or None.
            stride: pixels, both ways.
            same: TensorFlow's SAME padding, which is ONNX's SAME_UPPER; else VALID.
            group: as in ONNX; the number of channels for a depthwise convolution.

        """
        names = [source, self.weight(f"{output}.weight", kernel)]
        if bias is not None:
            names.append(self.weight(f"{output}.bias", bias))
        return self.op(
            "Conv",
            names,
            output,
            auto_pad="SAME_UPPER" if same else "VALID",
            group=group,
            kernel_shape=kernel.shape[2:],
            strides=[stride, stride],
        )

    def max_pool(self, source: str, output: str, *, size: int, stride: int) -> str:
        """Add a square max pooling with TensorFlow's SAME padding; return its output's name."""
        return self.op(
            "MaxPool",
            [source],
            output,
            auto_pad="SAME_UPPER",
            kernel_shape=[size, size],
            strides=[stride, stride],
        )

    def serialize(
        self, name: str, inputs: Mapping[str, Dims], outputs: Mapping[str, Dims]
    ) -> bytes:
        """Return the model's bytes; all inputs and outputs are float32.

        Raises:
            onnx.checker.ValidationError: the graph is not valid ONNX.

        """
        graph = helper.make_graph(
            self._nodes,
            name,
            [_value(key, dims) for key, dims in inputs.items()],
            [_value(key, dims) for key, dims in outputs.items()],
            [self._weights[key] for key in sorted(self._weights)],
        )
        model = onnx.ModelProto(
            ir_version=IR_VERSION,
            producer_name=PRODUCER_NAME,
            producer_version=PRODUCER_VERSION,
            opset_import=[helper.make_opsetid("", OPSET)],
            graph=graph,
        )
        onnx.checker.check_model(model, full_check=True)
        data: bytes = model.SerializeToString(deterministic=True)
        return data


def _value(name: str, dims: Dims) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(dims))
