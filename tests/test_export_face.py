"""Face checkpoints become models that run in the analyzer; broken ones are refused in one line."""

import copy
import dataclasses
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnxruntime as ort
import pytest
import torch
from commands import run_module
from face_checkpoints import digest, fer2013, fill, hsemotion, picture, save_t7
from typer.testing import CliRunner

from export_onnx import cli, face_verify, hub
from export_onnx import fer2013 as fer2013_exporter
from export_onnx import hsemotion as hsemotion_exporter
from export_onnx.efficientnet import EfficientNet
from export_onnx.errors import ExportError
from export_onnx.face_models import FACE_MODELS, Request
from export_onnx.manifest import write_files
from streamer import config as configuration
from streamer import models
from streamer.face import BlazeFace, FaceEmotion, FaceReader
from streamer.models import Model
from streamer.resources import demo_clip
from streamer.types import EMOTIONS, Face, Image, StreamerError

EXPECTED = json.loads((Path(__file__).parent / "face_logits.json").read_text(encoding="utf-8"))
# Verified with one picture and with two here, to save time; with all batches in one test.
FEW = (1, 2)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every kind of exported model."""
    folder = tmp_path_factory.mktemp("made")
    vgg, resnet = folder / "vgg.t7", folder / "resnet.t7"
    save_t7(fer2013("vgg19"), vgg)
    save_t7(fer2013("resnet18"), resnet)
    torch.save({"net": {f"module.{k}": v for k, v in hsemotion("b0", 10).items()}}, folder / "b0")
    torch.save(hsemotion("b2", 7, nested=True), folder / "b2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(face_verify, "BATCHES", FEW)
        for model, source, ten_crop in (
            ("fer2013-vgg19", vgg, False),
            ("fer2013-resnet18", resnet, False),
            ("fer2013-resnet18", resnet, True),
        ):
            write_files(folder, fer2013_exporter.export(Request(model, source, ten_crop=ten_crop)))
        for name in ("b0", "b2"):
            files = hsemotion_exporter.export(Request("hsemotion", folder / name))
            write_files(folder, files)
    return folder


MADE = (
    "fer2013_vgg19",
    "fer2013_resnet18",
    "fer2013_resnet18_ten_crop",
    "hsemotion_b0_8_va",
    "hsemotion_b2_7",
)


def load(name: str, folder: Path) -> Model:
    settings = configuration.load(settings=[f"models.dir={folder}"]).models
    return models.load(name, "face-emotion", settings)


def test_every_model_is_made_by_a_test() -> None:
    prefixes = {name.replace("-", "_") for name in FACE_MODELS}
    assert all(any(name.startswith(prefix) for name in MADE) for prefix in prefixes)


# --- numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("fer2013_vgg19", "vgg19"),
        ("fer2013_resnet18", "resnet18"),
        ("hsemotion_b0_8_va", "b0-10"),
        ("hsemotion_b2_7", "b2-7"),
    ],
)
def test_logits_are_those_of_the_authors_code(made: Path, name: str, key: str) -> None:
    """`face_logits.json` holds what timm and the project's own classes gave for these weights."""
    model = load(name, made)
    side = model.manifest.inputs[0].shape[-1]
    assert isinstance(side, int)
    found = np.concatenate(model.run(face=picture(2, side)), axis=1)
    np.testing.assert_allclose(found, EXPECTED[key]["logits"], atol=2e-3)


@pytest.mark.parametrize(
    ("key", "state"),
    [
        ("vgg19", lambda: fer2013("vgg19")),
        ("resnet18", lambda: fer2013("resnet18")),
        ("b0-10", lambda: hsemotion("b0", 10)),
        ("b2-7", lambda: hsemotion("b2", 7)),
    ],
)
def test_weights_have_the_authors_names_and_shapes(key: str, state: Callable[[], Any]) -> None:
    assert digest(state()) == EXPECTED[key]["weights"]


def test_ten_crops_are_averaged_in_the_graph(made: Path) -> None:
    pictures = picture(3, 48)
    crops = []
    for top, left in ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)):
        cut = pictures[:, :, top : top + 44, left : left + 44]
        crops += [cut, cut[..., ::-1]]
    one = load("fer2013_resnet18", made)
    mean = np.mean([one.run(face=np.ascontiguousarray(crop))[0] for crop in crops], axis=0)
    (ten,) = load("fer2013_resnet18_ten_crop", made).run(face=pictures)
    np.testing.assert_allclose(ten, mean, atol=1e-3)


def test_all_batches_are_compared_and_told_of(tmp_path: Path) -> None:
    path = save_t7(fer2013("resnet18"), tmp_path / "resnet.t7")
    result = CliRunner().invoke(
        cli.app, ["fer2013-resnet18", "--source", str(path), "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, result.output
    manifest = json.loads((tmp_path / "out" / "fer2013_resnet18.json").read_text("utf-8"))
    published, figure = manifest["accuracy"]
    assert published == {
        "data": "FER2013 PrivateTest",
        "metric": "accuracy",
        "value": 0.731,
        "origin": "published",
        "note": "as the checkpoint says; with ten crops",
    }
    assert 0 < figure.pop("value") < 1e-4
    assert figure == {
        "data": "torch, batches 1, 7, 32",
        "metric": "largest difference",
        "origin": "measured",
        "note": None,
    }
    assert "torch, batches 1, 7, 32" in result.output
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"fer2013_resnet18.onnx", "fer2013_resnet18.json"}
    assert manifest["producer"]["torch"] == torch.__version__
    assert manifest["sources"][0]["member"] == "resnet.t7"


def test_a_difference_is_refused(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face_verify, "BATCHES", FEW)
    net = fer2013_exporter.ResNet18().eval()
    net.load_state_dict(fill(net.state_dict()))
    model = (made / "fer2013_resnet18.onnx").read_bytes()
    face_verify.compare(net, model, (3, 44, 44), 1e-4)
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.linear.bias[0] += 1
    with pytest.raises(ExportError, match="differs from torch's by"):
        face_verify.compare(other, model, (3, 44, 44), 1e-4)
    with torch.no_grad():
        other.linear.bias[0] = float("nan")
    with pytest.raises(ExportError, match="nan"):
        face_verify.compare(other, model, (3, 44, 44), 1e-4)
    with pytest.raises(ExportError, match="cannot be run"):
        face_verify.compare(net, b"no model", (3, 44, 44), 1e-4)


# --- precision ----------------------------------------------------------------------------------


def command(out: Path, model: str, source: Path, *options: str) -> dict[str, Any]:
    """The manifest that the command line writes."""
    arguments = [model, "--source", str(source), "--out", str(out), *options]
    result = CliRunner().invoke(cli.app, arguments)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    path = Path(result.stdout.splitlines()[1].split()[0])
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert path == out / f"{manifest['name']}.json"
    return manifest


def figures(manifest: dict[str, Any], metric: str) -> list[float]:
    return [f["value"] for f in manifest["accuracy"] if f["metric"] == metric]


HALVES = {
    "fer2013_resnet18": ("fer2013-resnet18", "resnet.t7"),
    "hsemotion_b0_8_va": ("hsemotion", "b0"),
}


@pytest.mark.parametrize("name", HALVES)
def test_half_precision_is_verified_and_runs_in_the_analyzer(
    made: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face_verify, "BATCHES", FEW)
    model, source = HALVES[name]
    manifest = command(tmp_path, model, made / source, "--precision", "fp16")
    assert manifest["name"] == f"{name}-fp16"
    assert 0 < figures(manifest, "largest difference")[0] <= 1e-2
    assert {t["dtype"] for t in (*manifest["inputs"], *manifest["outputs"])} == {"float32"}
    assert manifest["bytes"] < 0.55 * (made / f"{name}.onnx").stat().st_size
    full, half = load(name, made), load(f"{name}-fp16", tmp_path)
    image = np.random.default_rng(4).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    exact, near = (
        FaceEmotion(m, {"side": 1, "up": 0}).read(image, Face(9, 9, 80, 80, 1)).probs
        for m in (full, half)
    )
    np.testing.assert_allclose(near, exact, atol=1e-2)


def test_int8_is_compared_with_fp32_on_the_clips_faces(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face_verify, "BATCHES", FEW)
    options = ("--precision", "int8", "--name", "small")
    manifest = command(tmp_path, "fer2013-resnet18", made / "resnet.t7", *options)
    assert figures(manifest, "agreement")[0] >= 0.95
    assert 0 < figures(manifest, "largest difference")[0] < 0.1
    assert "53 frames" in manifest["accuracy"][-1]["note"]
    assert manifest["bytes"] < 0.3 * (made / "fer2013_resnet18.onnx").stat().st_size
    (logits,) = load("small", tmp_path).run(face=picture(1, 44))
    assert logits.shape == (1, 7)


def test_int8_that_disagrees_is_refused_unless_told(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face_verify, "BATCHES", FEW)
    monkeypatch.setattr(face_verify, "agreement", lambda *_: 0.9)
    request = Request("fer2013-resnet18", made / "resnet.t7", precision="int8")
    with pytest.raises(ExportError, match=r"90\.0% of 53 faces.*--allow-disagreement"):
        fer2013_exporter.export(request)
    files = fer2013_exporter.export(dataclasses.replace(request, allow_disagreement=True))
    manifest = json.loads(files["fer2013_resnet18-int8.json"])
    assert figures(manifest, "agreement") == [0.9]


def test_agreement_counts_the_same_most_probable_class(made: Path) -> None:
    whole, faces = face_verify.read_faces(48)[:8], face_verify.read_faces(44)[:8]
    assert (whole[:, :, 2:46, 2:46] == faces).all()
    assert faces.shape == (8, 3, 44, 44)
    assert (faces[:, 0] == faces[:, 2]).all()
    assert 0.1 < faces.mean() < 0.9
    one, other = (load(name, made).session for name in ("fer2013_resnet18", "fer2013_vgg19"))
    best = [[s.run(None, {"face": f[None]})[0].argmax() for f in faces] for s in (one, other)]
    assert face_verify.agreement(one, one, faces) == 1
    assert face_verify.agreement(one, other, faces) == np.mean(np.equal(*best))


def test_the_clips_face_is_where_the_detector_sees_it() -> None:
    settings = configuration.load()
    blazeface = BlazeFace(models.load("blazeface", "face-detection", settings.models), 0.5)
    rows, columns = face_verify.FACE
    with av.open(str(demo_clip())) as clip:
        for frame in list(clip.decode(video=0))[::100]:
            (face,) = blazeface.detect(frame.to_ndarray(format="rgb24"))
            assert columns.start <= face.x < face.x + face.width <= columns.stop
            assert rows.start <= face.y < face.y + face.height <= rows.stop
            assert columns.stop - columns.start < 1.4 * face.width


def test_unverified_export_says_no_figure(made: Path, tmp_path: Path) -> None:
    options = ("--no-verify", "--name", "mine")
    manifest = command(tmp_path, "fer2013-resnet18", made / "resnet.t7", *options)
    assert [figure["origin"] for figure in manifest["accuracy"]] == ["published"]
    assert manifest["file"] == "mine.onnx"
    load("mine", tmp_path)


def test_affectnets_terms_are_told(made: Path) -> None:
    for name in MADE:
        licence = load(name, made).manifest.licence
        assert licence.research_only == name.startswith("hsemotion")
        assert ("AffectNet" in (licence.notice or "")) == licence.research_only


# --- in the analyzer ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", MADE)
def test_exported_model_reads_faces(made: Path, name: str) -> None:
    settings = configuration.load(settings=["face.min_score=0.01", f"models.dir={made}"])
    detector = models.load("blazeface", "face-detection", settings.models)
    emotion = load(name, made)
    FaceReader(detector, emotion, settings.face)
    reader = FaceEmotion(emotion, detector.manifest.preprocess["crop"])
    noise = np.random.default_rng(1).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    for face in (Face(100, 60, 90, 110, 1.0), Face(-5, -9, 30, 30, 1.0)):
        probs = reader.read(noise, face).probs
        assert probs.shape == (len(EMOTIONS),)
        assert probs.sum() == pytest.approx(1, abs=1e-5)


def test_exported_model_replays_a_recording(made: Path, tmp_path: Path) -> None:
    settings = ("face.detector=mtcnn", "face.emotion=fer2013_resnet18", f"models.dir={made}")
    arguments = ["replay", str(demo_clip()), "--speed", "max", "--duration", "2", "--json"]
    arguments += [
        "--out",
        str(tmp_path),
        *(part for value in settings for part in ("--set", value)),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "streamer", *arguments],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert json.loads(done.stdout)["frames"]["analysed"] == 20
    (rows,) = tmp_path.rglob("video_intervals.csv")
    assert len(rows.read_text(encoding="utf-8").splitlines()) > 1


def test_contempt_counts_as_disgust_and_is_still_named(made: Path) -> None:
    manifest = load("hsemotion_b0_8_va", made).manifest
    assert manifest.labels is not None
    assert manifest.labels[1] == "Contempt"
    assert manifest.mapping is not None
    assert manifest.mapping["Contempt"] == "Disgust"
    assert [output.name for output in manifest.outputs] == ["logits", "valence_arousal"]
    assert "Contempt" not in (load("hsemotion_b2_7", made).manifest.labels or [])


def prepared(model: Model, image: Image) -> np.ndarray:
    """What the model is given for a face as large as the picture."""
    given = []
    seen = copy.copy(model.session)

    class Listening:
        def run(self, outputs: None, inputs: dict[str, np.ndarray], options: Any) -> Any:
            given.append(inputs)
            return seen.run(outputs, inputs, options)

    session: Any = Listening()
    listening = Model(model.manifest, session, model.provider)
    side = image.shape[0]
    FaceEmotion(listening, {"side": 1, "up": 0}).read(image, Face(0, 0, side, side, 1))
    ((pixels,),) = (inputs.values() for inputs in given)
    return np.asarray(pixels)


def test_gray_models_get_the_middle_in_three_equal_channels(made: Path) -> None:
    image = np.random.default_rng(2).integers(0, 255, (48, 48, 3), dtype=np.uint8)
    pixels = prepared(load("fer2013_resnet18", made), image)
    assert pixels.shape == (1, 3, 44, 44)
    gray = image[2:46, 2:46] @ np.array([0.299, 0.587, 0.114])
    for channel in pixels[0]:
        np.testing.assert_allclose(channel, gray / 255, atol=0.6 / 255)


def test_colour_models_get_imagenets_normalisation(made: Path) -> None:
    image = np.random.default_rng(2).integers(0, 255, (224, 224, 3), dtype=np.uint8)
    pixels = prepared(load("hsemotion_b0_8_va", made), image)
    expected = (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(pixels[0], expected.transpose(2, 0, 1), atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"layout": "NHWC"},
        {"center_crop": None},
        {"center_crop": [60, 60]},
        {"size": [40, 40]},
        {"mean": [0.0, 0.0]},
        {"std": [0.0]},
    ],
    ids=str,
)
def test_preprocessing_that_does_not_fit_is_refused(made: Path, change: dict[str, Any]) -> None:
    model = load("fer2013_resnet18", made)
    preprocess = model.manifest.preprocess | change
    wrong = Model(
        model.manifest.model_copy(update={"preprocess": preprocess}), model.session, model.provider
    )
    with pytest.raises(StreamerError, match="preprocess"):
        FaceEmotion(wrong, {"side": 1, "up": 0})


# --- what can go wrong --------------------------------------------------------------------------


class Bomb:
    """Unpickling it writes a file: nothing may."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, ("exploded",)


def changed(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:
    def save(path: Path) -> None:
        state = hsemotion("b0", 8)
        change(state)
        torch.save(state, path)

    return save


def set_classes(state: dict[str, torch.Tensor], count: int) -> None:
    state["classifier.weight"] = torch.zeros(count, 1280)
    state["classifier.bias"] = torch.zeros(count)


def cut_short(path: Path) -> None:
    torch.save(hsemotion("b0", 8), path)
    path.write_bytes(path.read_bytes()[:200_000])


NOT_A_NUMBER = torch.full((1280,), float("nan"))
BROKEN: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no file": ("hsemotion", lambda _: None, "cannot read"),
    "a folder": ("hsemotion", lambda p: p.mkdir(), "cannot read"),
    "empty": ("hsemotion", lambda p: p.write_bytes(b""), "not a PyTorch checkpoint"),
    "text": ("hsemotion", lambda p: p.write_text("hello"), "not a PyTorch checkpoint"),
    "cut short": ("hsemotion", cut_short, "damaged"),
    "code": ("hsemotion", lambda p: torch.save({"net": Bomb()}, p), "pickled model or code"),
    "bare pickle": ("hsemotion", lambda p: p.write_bytes(pickle.dumps(Bomb(), 2)), "b.pt"),
    "whole model": ("hsemotion", lambda p: torch.save(EfficientNet("b0", 8), p), "state_dict()"),
    "a list": ("hsemotion", lambda p: torch.save([1], p), "no state dict"),
    "numbers": ("hsemotion", lambda p: torch.save({"epoch": 3}, p), "named tensors"),
    "missing": ("hsemotion", changed(lambda s: s.pop("conv_head.weight")), "lacks"),
    "unused": ("hsemotion", changed(lambda s: s.update(head=s["bn1.bias"])), "nothing uses"),
    "shape": (
        "hsemotion",
        changed(lambda s: s.update({"conv_stem.weight": torch.zeros(32, 1, 3, 3)})),
        "[32, 1, 3, 3], not [32, 3, 3, 3]",
    ),
    "nan": ("hsemotion", changed(lambda s: s.update({"bn2.bias": NOT_A_NUMBER})), "finite"),
    "1000 classes": ("hsemotion", changed(lambda s: set_classes(s, 1000)), "1000 outputs"),
    "another network": ("fer2013-vgg19", changed(lambda _: None), "8 classes"),
    "resnet for vgg": ("fer2013-vgg19", lambda p: save_t7(fer2013("resnet18"), p), "features.0"),
    "vgg for b0": ("hsemotion", lambda p: save_t7(fer2013("resnet18"), p), "no EfficientNet"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_checkpoints_are_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, save, words = BROKEN[kind]
    monkeypatch.chdir(tmp_path)
    path, out = tmp_path / "b.pt", tmp_path / "out"
    save(path)
    result = CliRunner().invoke(cli.app, [model, "--source", str(path), "--out", str(out)])
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("export_onnx: ")
    assert words in line
    assert not out.exists()
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["hsemotion"], "--source"),
        (["hsemotion", "--source", "x.pt", "--ten-crop"], "fer2013"),
        (["hsemotion", "--source", "x.pt", "--precision", "int8"], "half as fast"),
        (["mtcnn", "--source", "x.pt"], "no checkpoint"),
        (["mtcnn", "--precision", "fp16"], "precision"),
        (["blazeface", "--name", "mine"], "name"),
        (["silero_vad", "--no-verify"], "byte for byte"),
        (["magic", "--precision", "fp16"], "no model 'magic': choose one of blazeface"),
    ],
)
def test_wrong_options_are_refused(arguments: list[str], words: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(cli.app, [*arguments, "--out", str(out)])
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert words in line
    assert not out.exists()


def test_batches_are_free(made: Path) -> None:
    for name in MADE:
        session = ort.InferenceSession(
            str(made / f"{name}.onnx"), providers=["CPUExecutionProvider"]
        )
        side = session.get_inputs()[0].shape[-1]
        pictures = picture(3, side)
        together = session.run(None, {"face": pictures})[0]
        alone = [session.run(None, {"face": one[None]})[0][0] for one in pictures]
        np.testing.assert_allclose(together, alone, atol=1e-3)


def test_a_file_of_the_hub_is_fetched_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, asked = tmp_path / "w.t7", []
    mine.write_bytes(b"")

    def fetch(name: str, file: str, revision: str | None) -> str:
        asked.append((name, file, revision))
        return str(mine)

    monkeypatch.setattr(hub, "hf_hub_download", fetch)
    assert hub.find_file("Somebody/faces/fer2013/w.t7") == mine
    assert hub.find_file("Somebody/faces@v2/w.t7") == mine
    assert asked == [
        ("Somebody/faces", "fer2013/w.t7", None),
        ("Somebody/faces", "w.t7", "v2"),
    ]
    for path in (str(mine), "w.t7", "../other/w.t7", "a/b/../c"):
        assert hub.find_file(path) == Path(path)
    assert len(asked) == 2


def test_without_a_network_there_is_one_line(tmp_path: Path) -> None:
    out, offline = tmp_path / "out", {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    chosen = ["fer2013-vgg19", "--source", "Somebody/faces/w.t7", "--out", str(out)]
    done = run_module("export_onnx", *chosen, **offline)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "cannot fetch Somebody/faces/w.t7 from the hub" in line
    assert not out.exists()
