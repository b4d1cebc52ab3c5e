"""int8 models: signed weights, ranges that are measured, and sums that do not overflow."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from export_onnx.graph import Graph
from export_onnx.int8 import to_int8
from export_onnx.onnxfile import convert
from export_onnx.verify import EXACT_INT8
from streamer import inference
from streamer.processor import has_vnni

RANDOM = np.random.default_rng(2)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A convolution and a dense layer whose int8 sums need more than 16 bits."""
    graph = Graph()
    kernel = RANDOM.choice([-1.0, 1.0], (8, 3, 3, 3)).astype(np.float32)
    graph.conv("face", "mixed", kernel, np.zeros(8, np.float32), same=False)
    graph.op("GlobalAveragePool", ["mixed"], "pooled")
    graph.op("Flatten", ["pooled"], "flat", axis=1)
    weight = graph.weight("weight", RANDOM.choice([-1.0, 1.0], (8, 4)).astype(np.float32))
    graph.op("MatMul", ["flat", weight], "logits")
    path = tmp_path / "full.onnx"
    path.write_bytes(graph.serialize("net", {"face": ["N", 3, 16, 16]}, {"logits": ["N", 4]}))
    return path


def answer(path: Path, picture: np.ndarray, exact: str) -> np.ndarray:
    options = ort.SessionOptions()
    options.add_session_config_entry(EXACT_INT8, exact)
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"face": picture[None]})[0])


def integers(path: Path) -> set[str]:
    kinds = {numpy_helper.to_array(w).dtype.name for w in onnx.load(path).graph.initializer}
    return kinds & {"int8", "uint8"}


def test_static_int8_keeps_to_the_ranges_it_was_shown(network: Path, tmp_path: Path) -> None:
    pictures = RANDOM.random((6, 3, 16, 16), dtype=np.float32)
    to_int8(network, tmp_path / "small.onnx", "face", pictures)
    assert "int8" in integers(tmp_path / "small.onnx")
    for picture in pictures:
        full, small = answer(network, picture, "1"), answer(tmp_path / "small.onnx", picture, "1")
        assert 0 < np.abs(small - full).max() < 0.05 * np.abs(full).max() + 0.1
    beyond = answer(tmp_path / "small.onnx", pictures[0] * 50, "1")
    assert np.abs(beyond).max() < np.abs(answer(network, pictures[0] * 50, "1")).max()


def test_dense_layers_are_signed_in_dynamic_int8(network: Path, tmp_path: Path) -> None:
    convert(network, tmp_path / "small.onnx", "int8")
    assert integers(tmp_path / "small.onnx") == {"int8"}


def test_sums_do_not_overflow_here(network: Path, tmp_path: Path) -> None:
    white = np.ones((3, 16, 16), np.float32)
    to_int8(network, tmp_path / "small.onnx", "face", np.stack([white, white * 0]))
    session = inference.session(tmp_path / "small.onnx", ["CPUExecutionProvider"], 1, varies=False)
    found = session.run(None, {"face": white[None]})[0]
    np.testing.assert_array_equal(found, answer(tmp_path / "small.onnx", white, "1"))


def test_vnni_is_what_the_system_says() -> None:
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text(encoding="ascii", errors="replace").split() if cpu.exists() else []
    if has_vnni():
        assert not flags or "avx512_vnni" in flags
    else:
        assert "avx512_vnni" not in flags
