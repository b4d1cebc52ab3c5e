"""Face emotion: the mean of two XCEPTION networks' probabilities, in one graph."""

from __future__ import annotations

import numpy as np

from export_onnx.graph import Graph
from export_onnx.xception import KerasReader, TfjsReader


def convert(mini: bytes, big_topology: bytes, big_weights: bytes) -> bytes:
    """Join both networks into one ONNX model.

    Args:
        mini: mini-XCEPTION, a Keras HDF5 file.
        big_topology: the larger network's TensorFlow.js graph, a .json file.
        big_weights: its weights, a .bin file.

    Returns:
        An ONNX model: `face` float32 (N, 1, 64, 64), gray 0 ... 255; output `probs` (N, 7).

    Raises:
        ExportError: a file has a layer that its reader does not know.

    """
    graph = Graph()
    first = KerasReader(mini, graph, "mini.").add("face")
    second = TfjsReader(big_topology, big_weights, graph, "big.").add("face")
    total = graph.op("Add", [first, second], "total")
    half = graph.weight("half", np.array(0.5, np.float32))
    graph.op("Mul", [total, half], "probs")
    return graph.serialize("face_emotion", {"face": ["N", 1, 64, 64]}, {"probs": ["N", 7]})
