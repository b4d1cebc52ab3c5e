"""MTCNN (Zhang et al. 2016, arXiv 1604.02878) from facenet-pytorch's weights: three small graphs.

Built node by node, so that the bytes are the same on every machine and no tracing is involved.
Dense layers stored for channels-last maps of (width, height) order keep that order: the map is
transposed before it is flattened, as the weights expect.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from export_onnx.errors import ExportError
from export_onnx.graph import Graph
from export_onnx.torch_file import read_arrays

Weights = Mapping[str, npt.NDArray[np.float32]]


def convert(pnet: bytes, rnet: bytes, onet: bytes) -> dict[str, bytes]:
    """Convert the three state dicts (.pt files) to ONNX.

    Returns:
        By part's name, "" for the first: ONNX models of `x` float32 (N, 3, H, W), RGB in -1 ... 1,
        with H and W free for the P-net, 24 for `rnet` and 48 for `onet`. Outputs: `reg` (N, 4, ...)
        the box's correction in shares of its side, `prob` (N, 2, ...) of no face and a face, and of
        the O-net `pts` (N, 10), five points' x, then their y.

    Raises:
        ExportError: a file is not a state dict, or has other weights than its network.

    """
    return {
        "": _Net(read_arrays(pnet, "pnet.pt")).proposal(),
        "rnet": _Net(read_arrays(rnet, "rnet.pt")).refine(),
        "onet": _Net(read_arrays(onet, "onet.pt")).output(),
    }


class _Net:
    """Adds the layers by the names that their weights carry; every weight must be used."""

    def __init__(self, weights: Weights) -> None:
        self._left = dict(weights)
        self._graph = Graph()

    def proposal(self) -> bytes:
        x = self._conv_prelu("x", 1)
        x = self._pool(x, 1, size=2)
        x = self._conv_prelu(self._conv_prelu(x, 2), 3)
        logits = self._conv(x, "conv4_1", "logits")
        self._graph.op("Softmax", [logits], "prob", axis=1)
        self._conv(x, "conv4_2", "reg")
        return self._finish("mtcnn_pnet", ["H", "W"], {"reg": [4, "h", "w"], "prob": [2, "h", "w"]})

    def refine(self) -> bytes:
        x = self._pool(self._conv_prelu("x", 1), 1, size=3)
        x = self._pool(self._conv_prelu(x, 2), 2, size=3)
        x = self._dense_prelu(self._conv_prelu(x, 3), 4)
        self._heads(x, {"dense5_1": "prob", "dense5_2": "reg"})
        return self._finish("mtcnn_rnet", [24, 24], {"reg": [4], "prob": [2]})

    def output(self) -> bytes:
        x = self._pool(self._conv_prelu("x", 1), 1, size=3)
        x = self._pool(self._conv_prelu(x, 2), 2, size=3)
        x = self._pool(self._conv_prelu(x, 3), 3, size=2)
        x = self._dense_prelu(self._conv_prelu(x, 4), 5)
        self._heads(x, {"dense6_1": "prob", "dense6_2": "reg", "dense6_3": "pts"})
        return self._finish("mtcnn_onet", [48, 48], {"reg": [4], "pts": [10], "prob": [2]})

    def _take(self, name: str) -> npt.NDArray[np.float32]:
        if name not in self._left:
            raise ExportError(f"the detector's weights lack {name}")
        return self._left.pop(name)

    def _conv(self, source: str, layer: str, output: str) -> str:
        kernel, bias = self._take(f"{layer}.weight"), self._take(f"{layer}.bias")
        return self._graph.conv(source, output, kernel, bias, same=False)

    def _conv_prelu(self, source: str, number: int) -> str:
        name = self._conv(source, f"conv{number}", f"conv{number}")
        return self._prelu(name, number, (-1, 1, 1))

    def _prelu(self, source: str, number: int, shape: tuple[int, ...]) -> str:
        slope = self._take(f"prelu{number}.weight").reshape(shape)
        name = f"prelu{number}"
        return self._graph.op("PRelu", [source, self._graph.weight(f"{name}.slope", slope)], name)

    def _pool(self, source: str, number: int, *, size: int) -> str:
        return self._graph.op(
            "MaxPool",
            [source],
            f"pool{number}",
            ceil_mode=1,
            kernel_shape=[size, size],
            strides=[2, 2],
        )

    def _dense(self, source: str, layer: str, output: str) -> str:
        weights = [
            self._graph.weight(f"{output}.{part}", self._take(f"{layer}.{part}"))
            for part in ("weight", "bias")
        ]
        return self._graph.op("Gemm", [source, *weights], output, transB=1)

    def _dense_prelu(self, source: str, number: int) -> str:
        turned = self._graph.op("Transpose", [source], "turned", perm=[0, 3, 2, 1])
        flat = self._graph.op("Flatten", [turned], "flat", axis=1)
        return self._prelu(self._dense(flat, f"dense{number}", f"dense{number}"), number, (-1,))

    def _heads(self, source: str, layers: Mapping[str, str]) -> None:
        for layer, output in layers.items():
            if output == "prob":
                logits = self._dense(source, layer, "logits")
                self._graph.op("Softmax", [logits], "prob", axis=1)
            else:
                self._dense(source, layer, output)

    def _finish(
        self, name: str, side: list[int | str], outputs: Mapping[str, list[int | str]]
    ) -> bytes:
        if self._left:
            raise ExportError(f"the detector's weights have {min(self._left)}, which nothing uses")
        shapes = {key: ["N", *dims] for key, dims in outputs.items()}
        return self._graph.serialize(name, {"x": ["N", 3, *side]}, shapes)
