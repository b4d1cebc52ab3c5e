"""Readers of the two XCEPTION emotion networks of Octavio Arriaga (arXiv 1710.07557).

Both take a gray picture (N, 1, 64, 64) and give seven probabilities. Batch normalisations are
folded into the convolution before them, and so is the scaling x / 127.5 - 1 of the picture: the
first convolutions pad nothing, hence the folding is exact up to rounding. All folding is done in
float64, element by element, so that every machine rounds alike.
"""

from __future__ import annotations

import base64
import io
import json
import math
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from export_onnx.errors import ExportError
from export_onnx.graph import Graph

Array = npt.NDArray[np.float32]
Wide = npt.NDArray[np.float64]


def _scale_input(kernel: Wide, bias: Wide) -> tuple[Wide, Wide]:
    """Fold x / 127.5 - 1 into a kernel (out, in, h, w) and its bias (out,)."""
    # fsum does not depend on the order of adding, which numpy leaves to the machine.
    sums = np.array([math.fsum(row.reshape(-1)) for row in kernel])
    return kernel / 127.5, bias - sums


class KerasReader:
    """Adds the layers of a Keras 2 HDF5 file (mini-XCEPTION) to a graph.

    Args:
        data: the .hdf5 file.
        graph: receives the nodes; their names begin with `prefix`.

    Raises:
        ExportError: the file has a layer that the reader does not know.

    """

    def __init__(self, data: bytes, graph: Graph, prefix: str) -> None:
        with h5py.File(io.BytesIO(data), "r") as file:
            self._layers = json.loads(file.attrs["model_config"])["config"]["layers"]
            stored = file["model_weights"]
            self._weights = {name: _keras_weights(stored[name]) for name in stored}
        self._graph = graph
        self._prefix = prefix
        self._names: dict[str, str] = {}

    def add(self, picture: str) -> str:
        """Add all layers behind the tensor `picture`; return the name of the probabilities."""
        name = picture
        for layer in self._layers:
            name = self._add_layer(layer, picture)
            self._names[layer["name"]] = name
        return name

    def _add_layer(self, layer: dict[str, Any], picture: str) -> str:
        kind, config = layer["class_name"], layer["config"]
        output = self._prefix + layer["name"]
        inputs = [self._names[node[0]] for call in layer["inbound_nodes"] for node in call]
        match kind:
            case "InputLayer":
                added = picture
            case "BatchNormalization":
                added = inputs[0]
            case "Conv2D" | "SeparableConv2D":
                added = self._convolve(layer, inputs[0], output, scaled=inputs[0] == picture)
            case "Activation" if config["activation"] == "relu":
                added = self._graph.op("Relu", inputs, output)
            case "Activation" if config["activation"] == "softmax":
                added = self._graph.op("Softmax", inputs, output, axis=1)
            case "MaxPooling2D" if config["padding"] == "same":
                size, stride = config["pool_size"][0], config["strides"][0]
                added = self._graph.max_pool(inputs[0], output, size=size, stride=stride)
            case "Add":
                added = self._graph.op("Add", inputs, output)
            case "GlobalAveragePooling2D":
                added = _add_mean(self._graph, inputs[0], output)
            case _:
                raise ExportError(
                    f"the emotion network has an unknown layer {kind} {layer['name']}"
                )
        return added

    def _convolve(self, layer: dict[str, Any], source: str, output: str, *, scaled: bool) -> str:
        config = layer["config"]
        same, stride = config["padding"] == "same", config["strides"][0]
        weights = self._weights[layer["name"]]
        separable = layer["class_name"] == "SeparableConv2D"
        if separable:
            depthwise = weights["depthwise_kernel"].transpose(2, 3, 0, 1)
            group = len(depthwise)
            source = self._graph.conv(
                source, f"{output}.depthwise", depthwise, None, stride=stride, group=group
            )
            same, stride = False, 1
        stored = weights["pointwise_kernel" if separable else "kernel"]
        kernel = stored.transpose(3, 2, 0, 1).astype(np.float64)
        bias = weights.get("bias", np.zeros(len(kernel), np.float32)).astype(np.float64)
        kernel, bias = self._normalise(layer["name"], kernel, bias)
        if scaled:
            kernel, bias = _scale_input(kernel, bias)
        return self._graph.conv(
            source,
            output,
            kernel.astype(np.float32),
            bias.astype(np.float32),
            stride=stride,
            same=same,
        )

    def _normalise(self, name: str, kernel: Wide, bias: Wide) -> tuple[Wide, Wide]:
        """Fold the batch normalisation that follows layer `name`, if there is one."""
        for layer in self._layers:
            sources = [node[0] for call in layer["inbound_nodes"] for node in call]
            if layer["class_name"] == "BatchNormalization" and sources == [name]:
                weights = self._weights[layer["name"]]
                variance = weights["moving_variance"].astype(np.float64)
                gain = weights["gamma"] / np.sqrt(variance + layer["config"]["epsilon"])
                shifted = (bias - weights["moving_mean"]) * gain + weights["beta"]
                return kernel * gain[:, None, None, None], shifted
        return kernel, bias


class TfjsReader:
    """Adds the nodes of a TensorFlow.js graph model (the larger XCEPTION) to a graph.

    Args:
        topology: the model's .json file.
        weights: its .bin file; float32 and int32, not quantised.
        graph: receives the nodes; their names begin with `prefix`.

    Raises:
        ExportError: the model has a node or a kind of weights that the reader does not know.

    """

    def __init__(self, topology: bytes, weights: bytes, graph: Graph, prefix: str) -> None:
        model = json.loads(topology)
        self._nodes: list[dict[str, Any]] = model["modelTopology"]["node"]
        self._graph = graph
        self._prefix = prefix
        self._weights = _tfjs_weights(model["weightsManifest"], weights)
        self._names: dict[str, str] = {}

    def add(self, picture: str) -> str:
        """Add all nodes behind the tensor `picture`; return the name of the probabilities."""
        name = picture
        for number, node in enumerate(self._nodes):
            if node["op"] != "Const":
                name = self._add_node(node, f"{self._prefix}{number}", picture)
                self._names[node["name"]] = name
        return name

    def _add_node(self, node: dict[str, Any], output: str, picture: str) -> str:
        inputs = [self._names[name] for name in node.get("input", []) if name in self._names]
        match node["op"]:
            case "Placeholder":
                added = picture
            case "Identity":
                added = inputs[0]
            case "_FusedConv2D" | "DepthwiseConv2dNative":
                added = self._convolve(node, inputs[0], output, scaled=inputs[0] == picture)
            case "MaxPool" if _text(node, "padding") == "SAME":
                size, stride = _stride(node, "ksize"), _stride(node, "strides")
                added = self._graph.max_pool(inputs[0], output, size=size, stride=stride)
            case "AddV2":
                added = self._graph.op("Add", inputs, output)
            case "Relu":
                added = self._graph.op("Relu", inputs, output)
            case "Mean":
                added = _add_mean(self._graph, inputs[0], output)
            case "Softmax":
                added = self._graph.op("Softmax", inputs, output, axis=1)
            case _:
                raise ExportError(
                    f"the emotion network has an unknown node {node['op']} {node['name']}"
                )
        return added

    def _convolve(self, node: dict[str, Any], source: str, output: str, *, scaled: bool) -> str:
        same, stride = _text(node, "padding") == "SAME", _stride(node, "strides")
        kernel = self._weights[node["input"][1]]
        if node["op"] == "DepthwiseConv2dNative":
            kernel = kernel.transpose(2, 3, 0, 1)
            return self._graph.conv(
                source, output, kernel, None, stride=stride, same=same, group=len(kernel)
            )
        wide = kernel.transpose(3, 2, 0, 1).astype(np.float64)
        bias = self._weights[node["input"][2]].astype(np.float64)
        if scaled:
            wide, bias = _scale_input(wide, bias)
        fused = [base64.b64decode(text).decode() for text in node["attr"]["fused_ops"]["list"]["s"]]
        if fused not in (["BiasAdd"], ["BiasAdd", "Relu"]):
            raise ExportError(f"the emotion network fuses {fused} into {node['name']}")
        name = self._graph.conv(
            source,
            f"{output}.linear" if "Relu" in fused else output,
            wide.astype(np.float32),
            bias.astype(np.float32),
            stride=stride,
            same=same,
        )
        return self._graph.op("Relu", [name], output) if "Relu" in fused else name


def _keras_weights(group: Any) -> dict[str, Array]:
    paths = [path.decode() for path in group.attrs["weight_names"]]
    return {
        path.rsplit("/", 1)[1].removesuffix(":0"): np.asarray(group[path], np.float32)
        for path in paths
    }


def _add_mean(graph: Graph, source: str, output: str) -> str:
    pooled = graph.op("GlobalAveragePool", [source], f"{output}.pooled")
    return graph.op("Flatten", [pooled], output, axis=1)


def _text(node: dict[str, Any], key: str) -> str:
    return base64.b64decode(node["attr"][key]["s"]).decode()


def _stride(node: dict[str, Any], key: str) -> int:
    return int(node["attr"][key]["list"]["i"][1])


def _tfjs_weights(manifest: list[dict[str, Any]], data: bytes) -> dict[str, Array]:
    weights: dict[str, Array] = {}
    offset = 0
    for spec in (spec for group in manifest for spec in group["weights"]):
        if spec["dtype"] not in ("float32", "int32") or "quantization" in spec:
            raise ExportError(f"the emotion network stores {spec['name']} in an unknown way")
        dtype = np.dtype("<f4" if spec["dtype"] == "float32" else "<i4")
        count = math.prod(spec["shape"])
        flat = np.frombuffer(data, dtype, count, offset)
        offset += flat.nbytes
        if spec["dtype"] == "float32":
            weights[spec["name"]] = flat.reshape(spec["shape"])
    return weights
