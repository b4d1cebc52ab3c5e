"""The exporters give the committed models from the real packages; the manifests tell the truth."""

import hashlib
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import av
import cv2
import h5py
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from commands import run_module
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from export_onnx.catalog import FACE_EMOTION, MODELS
from export_onnx.errors import ExportError
from export_onnx.fetch import Fetcher, Member, Package, default_cache

ROOT = Path(__file__).parents[1]
COMMITTED = ROOT / "models"
MANIFESTS = sorted(COMMITTED.glob("*.json"))
EMOTIONS = {"Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral"}
KEYS = (
    "manifest name task architecture description file sha256 bytes opset inputs outputs preprocess "
    "labels mapping output temperature licence sources producer accuracy"
)
FETCHING = pytest.mark.timeout(600)

Array = NDArray[np.float32]


@pytest.fixture(scope="session")
def fetcher() -> Fetcher:
    return Fetcher(default_cache())


def session(name: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    path = str(COMMITTED / f"{name}.onnx")
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def faces(count: int) -> Array:
    """Smooth gray patterns (count, 1, 64, 64), 0 ... 255: noise would drive the nets to a wall."""
    coarse = np.random.default_rng(7).uniform(0, 255, (count, 8, 8)).astype(np.float32)
    large = [cv2.resize(face, (64, 64), interpolation=cv2.INTER_LINEAR) for face in coarse]
    return np.stack(large).astype(np.float32)[:, None]


@FETCHING
@pytest.mark.parametrize("name", MODELS)
def test_exporter_gives_the_committed_bytes(name: str, fetcher: Fetcher) -> None:
    files = MODELS[name].export(fetcher)
    manifest = json.loads(files[f"{MODELS[name].card.name}.json"])
    assert hashlib.sha256(files[manifest["file"]]).hexdigest() == manifest["sha256"]
    assert len(files) == 3 + len(manifest.get("parts", []))
    for file, content in files.items():
        assert content == (COMMITTED / file).read_bytes(), file


def test_every_model_has_a_manifest_and_the_other_way_round() -> None:
    named = [
        entry["file"]
        for manifest in (json.loads(path.read_text(encoding="utf-8")) for path in MANIFESTS)
        for entry in (manifest, *manifest.get("parts", []))
    ]
    assert sorted(named) == sorted(path.name for path in COMMITTED.glob("*.onnx"))
    assert {exporter.card.name for exporter in MODELS.values()} < {path.stem for path in MANIFESTS}


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_manifest_matches_its_model(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    manifest = json.loads(text)
    assert " ".join(manifest) in (KEYS, f"{KEYS} parts")
    assert text == json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    assert (manifest["manifest"], manifest["name"]) == (1, path.stem)
    assert manifest["file"] == f"{path.stem}.onnx"

    for entry in (manifest, *manifest.get("parts", [])):
        data = (COMMITTED / entry["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]
        assert len(data) == entry["bytes"]
        model = onnx.load_from_string(data)
        assert model.ir_version <= 8  # old runtimes read it too
        opsets = {entry.domain: entry.version for entry in model.opset_import}
        assert opsets == {"": manifest["opset"]}

    loaded = session(path.stem)
    for key, tensors in (("inputs", loaded.get_inputs()), ("outputs", loaded.get_outputs())):
        for told, tensor in zip(manifest[key], tensors, strict=True):
            assert told["name"] == tensor.name
            assert (told["dtype"], tensor.type) == ("float32", "tensor(float)")
            # The runtime may find out the size of a dimension that the file only names.
            for size, found in zip(told["shape"], tensor.shape, strict=True):
                assert size == found or isinstance(size, str)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_manifest_tells_labels_licence_and_sources(path: Path) -> None:
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if manifest["task"] in ("face-emotion", "speech-emotion"):
        assert manifest["labels"] == list(manifest["mapping"])
        assert set(manifest["mapping"].values()) == EMOTIONS
        assert manifest["outputs"][0]["shape"][-1] == len(manifest["labels"])
    else:
        assert manifest["labels"] is manifest["mapping"] is None
    licence = manifest["licence"]
    text = (COMMITTED / licence["file"]).read_text(encoding="utf-8")
    assert len(text) > 1000
    assert licence["research_only"] == (licence["notice"] is not None)
    assert manifest["sources"]
    for source in manifest["sources"]:
        assert source["registry"] in ("PyPI", "npm")
    for figure in manifest["accuracy"]:
        assert 0 <= figure["value"] <= 1
        assert figure["origin"] in ("measured", "published")


# --- numbers ------------------------------------------------------------------------------------


def test_face_emotion_gives_probabilities_whatever_the_batch() -> None:
    net, batch = session("face_emotion_mini_big"), faces(7)
    (together,) = net.run(None, {"face": batch})
    assert together.shape == (7, 7)
    assert together.min() >= 0
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)
    alone = np.concatenate([net.run(None, {"face": face[None]})[0] for face in batch])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    # Different pictures are told apart: the graph is not stuck on one answer.
    assert np.ptp(together, axis=0).max() > 0.05


def convolve(x: Array, kernel: Array, stride: int = 1, same: bool = True) -> Array:
    """TensorFlow's convolution: x (H, W, I), kernel (h, w, I, O)."""
    windows = sliding_window_view(
        pad(x, len(kernel), stride) if same else x, kernel.shape[:2], (0, 1)
    )
    moved = windows[::stride, ::stride]
    return np.asarray(np.einsum("yxihw,hwio->yxo", moved, kernel, optimize=True))


def depthwise(x: Array, kernel: Array) -> Array:
    """TensorFlow's depthwise convolution with SAME padding: kernel (h, w, I, 1)."""
    windows = sliding_window_view(pad(x, len(kernel), 1), kernel.shape[:2], (0, 1))
    return np.asarray(np.einsum("yxihw,hwi->yxi", windows, kernel[..., 0], optimize=True))


def max_pool(x: Array) -> Array:
    """Three by three, stride two, SAME."""
    windows = sliding_window_view(pad(x, 3, 2, -np.inf), (3, 3), (0, 1))
    return np.asarray(windows[::2, ::2].max(axis=(-2, -1)))


def pad(x: Array, size: int, stride: int, value: float = 0.0) -> Array:
    total = max((-(-len(x) // stride) - 1) * stride + size - len(x), 0)
    edges = (total // 2, total - total // 2)
    return np.pad(x, (edges, edges, (0, 0)), constant_values=value)


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max())
    return np.asarray(e / e.sum())


def mini_xception(x: Array, path: Path) -> Array:
    """The published layers, batch normalisation and all: x (64, 64, 1), already scaled."""
    with h5py.File(path) as file:
        stored = file["model_weights"]

        def weights(layer: str, name: str) -> Array:
            return np.asarray(stored[f"{layer}/{layer}_1/{name}:0"])

        def norm(x: Array, number: int) -> Array:
            layer = f"batch_normalization_{number}"
            scale = np.sqrt(weights(layer, "moving_variance") + 1e-3)
            centred = (x - weights(layer, "moving_mean")) / scale
            return np.asarray(centred * weights(layer, "gamma") + weights(layer, "beta"))

        def conv(x: Array, number: int, **how: Any) -> Array:
            return convolve(x, weights(f"conv2d_{number}", "kernel"), **how)

        def separable(x: Array, number: int) -> Array:
            layer = f"separable_conv2d_{number}"
            deep = depthwise(x, weights(layer, "depthwise_kernel"))
            return convolve(deep, weights(layer, "pointwise_kernel"))

        for number in (1, 2):
            x = np.maximum(norm(conv(x, number, same=False), number), 0)
        for block in range(4):
            shortcut = norm(conv(x, 3 + block, stride=2), 3 * (block + 1))
            deep = norm(separable(x, 2 * block + 1), 3 * block + 4)
            deep = norm(separable(np.maximum(deep, 0), 2 * block + 2), 3 * block + 5)
            x = max_pool(deep) + shortcut
        return softmax(conv(x, 7).mean(axis=(0, 1)) + weights("conv2d_7", "bias"))


def big_xception(x: Array, topology: bytes, data: bytes) -> Array:
    """The larger network, its graph written out by hand: x (64, 64, 1), already scaled."""
    stored: dict[str, Array] = {}
    offset = 0
    for spec in json.loads(topology)["weightsManifest"][0]["weights"]:
        size = int(np.prod(spec["shape"]))
        values = np.frombuffer(data, np.float32, size, offset)
        stored[spec["name"].removeprefix("StatefulPartitionedCall/model_1/")] = values.reshape(
            spec["shape"]
        )
        offset += 4 * size

    def conv(x: Array, number: int, **how: Any) -> Array:
        layer = f"conv2d_{number}/Conv2D"
        return convolve(x, stored[f"{layer}_weights"], **how) + stored[f"{layer}_bn_offset"]

    def separable(x: Array, number: int, kernel: str) -> Array:
        layer = f"separable_conv2d_{number}/separable_conv2d"
        deep = depthwise(x, stored[kernel])
        return convolve(deep, stored[f"{layer}_weights"]) + stored[f"{layer}_bn_offset"]

    x = np.maximum(conv(x, 1, stride=2, same=False), 0)
    x = np.maximum(conv(x, 2, same=False), 0)
    deep = separable(np.maximum(separable(x, 1, "unknown_9"), 0), 2, "unknown_15")
    x = max_pool(deep) + conv(x, 3, stride=2)
    deep = np.maximum(separable(np.maximum(x, 0), 3, "unknown_26"), 0)
    x = max_pool(separable(deep, 4, "unknown_32")) + conv(x, 4, stride=2)
    return softmax((convolve(x, stored["unknown_43"]) + stored["unknown_44"]).mean(axis=(0, 1)))


@FETCHING
def test_face_emotion_equals_both_networks_in_numpy(fetcher: Fetcher, tmp_path: Path) -> None:
    mini, topology, data = (fetcher.read(source.member) for source in FACE_EMOTION.card.sources)
    path = tmp_path / "mini.hdf5"
    path.write_bytes(mini)
    batch = faces(4)
    (probs,) = session("face_emotion_mini_big").run(None, {"face": batch})
    for face, row in zip(batch, probs, strict=True):
        x = face[0][..., None] / np.float32(127.5) - 1
        expected = (mini_xception(x, path) + big_xception(x, topology, data)) / 2
        np.testing.assert_allclose(row, expected, atol=1e-5)


def test_blazeface_finds_the_face_of_the_demo() -> None:
    with av.open(str(ROOT / "streamer" / "demo" / "demo.mp4"), "r") as clip:
        picture = next(clip.decode(video=0)).to_ndarray(format="rgb24")
    square = cv2.copyMakeBorder(picture, 80, 80, 0, 0, cv2.BORDER_CONSTANT)
    pixels = cv2.resize(square, (128, 128)).astype(np.float32)[None]
    boxes, logits = session("blazeface").run(
        ["regressors", "classificators"], {"input": pixels / np.float32(127.5) - 1}
    )
    scores = logits[0, :, 0]
    best = int(scores.argmax())
    assert scores[best] > 2.2  # a probability of 0.9
    assert (scores > 0).sum() < 20
    assert best < 512  # two anchors in each of 16 x 16 cells come first
    cell = np.array([best // 2 % 16, best // 2 // 16]) * 8 + 4
    x, y = (cell + boxes[0, best, :2]) * 5 - (0, 80)
    width, height = boxes[0, best, 2:4] * 5
    assert abs(x - 284) < 15
    assert abs(y - 200) < 40
    assert 80 < width < 200
    assert 80 < height < 200


# --- what can go wrong --------------------------------------------------------------------------


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_module("export_onnx", *arguments, **environment)


def assert_refused(done: subprocess.CompletedProcess[str], out: Path, *words: str) -> None:
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    for word in words:
        assert word in line
    assert not out.exists() or list(out.iterdir()) == []


def wheel(cache: Path, package: Package, members: dict[str, bytes]) -> Path:
    folder = cache / package.folder
    folder.mkdir(parents=True)
    path = folder / f"{package.name}-{package.version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


SILERO = MODELS["silero_vad"].card.sources[0].member


@FETCHING
def test_command_writes_the_three_files_and_nothing_else(tmp_path: Path, fetcher: Fetcher) -> None:
    fetcher.read(SILERO)
    done = run("silero_vad", "--out", str(tmp_path / "made" / "here"))
    assert (done.returncode, done.stderr) == (0, "")
    made = {path.name: path.read_bytes() for path in (tmp_path / "made" / "here").iterdir()}
    assert made == {
        name: (COMMITTED / name).read_bytes()
        for name in ("silero_vad.onnx", "silero_vad.json", "silero_vad.LICENSE.txt")
    }


def test_help_lists_the_models() -> None:
    done = run("--help")
    assert done.returncode == 0
    for name in MODELS:
        assert name in done.stdout


def test_unknown_model_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert_refused(run("silero", "--out", str(out)), out, "'silero'", *MODELS)


@pytest.mark.parametrize(
    ("path", "words"),
    [(SILERO.path, ("sha256", SILERO.sha256)), ("../" + SILERO.path, ("no file",))],
)
def test_other_members_are_refused(tmp_path: Path, path: str, words: tuple[str, ...]) -> None:
    wheel(tmp_path / "cache", SILERO.package, {path: b"not the pinned model"})
    out = tmp_path / "out"
    done = run("silero_vad", "--out", str(out), "--cache", str(tmp_path / "cache"))
    assert_refused(done, out, "silero-vad==6.2.3", SILERO.path, *words)


def test_damaged_package_is_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path / "cache", SILERO.package, {})
    path.write_bytes(b"half a download")
    out = tmp_path / "out"
    done = run("silero_vad", "--out", str(out), "--cache", str(tmp_path / "cache"))
    assert_refused(done, out, "damaged", "delete it")


def test_package_out_of_reach_is_refused(tmp_path: Path) -> None:
    cache, out = tmp_path / "cache", tmp_path / "out"
    done = run(
        *("silero_vad", "--out", str(out), "--cache", str(cache)),
        PIP_NO_INDEX="1",
        PIP_FIND_LINKS=str(tmp_path),
    )
    assert_refused(done, out, "cannot fetch silero-vad==6.2.3 from PyPI")
    assert list(cache.iterdir()) == []


def test_npm_package_out_of_reach_is_refused(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    human = FACE_EMOTION.card.sources[1].member
    environment = {"npm_config_offline": "true", "npm_config_cache": str(tmp_path / "npm")}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        with pytest.raises(ExportError, match=r"cannot fetch @vladmandic/human@3\.3\.6 from npm"):
            Fetcher(cache).read(human)
    assert list(cache.iterdir()) == []


def test_without_npm_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ExportError, match="no npm found"):
        Fetcher(tmp_path / "cache").read(FACE_EMOTION.card.sources[1].member)


def test_out_that_is_a_file_is_refused(tmp_path: Path, fetcher: Fetcher) -> None:
    fetcher.read(SILERO)
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    done = run("silero_vad", "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / "out").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.SYMTYPE])
def test_tar_entries_other_than_files_are_refused(tmp_path: Path, kind: bytes) -> None:
    member = Member(Package("@scope/name", "1.0.0", "npm"), "package/model.bin", "0" * 64)
    folder = tmp_path / member.package.folder
    folder.mkdir()
    with tarfile.open(folder / "scope-name-1.0.0.tgz", "w:gz") as tar:
        entry = tarfile.TarInfo(member.path)
        entry.type, entry.linkname = kind, "../../../secret"
        tar.addfile(entry)
    with pytest.raises(ExportError, match=r"has no file package/model\.bin"):
        Fetcher(tmp_path).read(member)
