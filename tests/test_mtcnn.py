"""MTCNN finds the boxes that facenet-pytorch finds; a broken manifest is refused in one line."""

import json
import shutil
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from streamer import config as configuration
from streamer import models, mtcnn
from streamer.face import FaceReader
from streamer.models import Model
from streamer.mtcnn import Mtcnn
from streamer.pipeline import Models
from streamer.resources import demo_clip, models_dir
from streamer.types import Image, StreamerError

CASES = json.loads((Path(__file__).parent / "mtcnn_boxes.json").read_text(encoding="utf-8"))
CONFIG = configuration.load(settings=["face.detector=mtcnn"])


@pytest.fixture(scope="module")
def detector() -> Mtcnn:
    return Mtcnn(models.load("mtcnn", "face-detection", CONFIG.models), CONFIG.face.min_score)


@pytest.fixture(scope="module")
def demo() -> list[Image]:
    with av.open(str(demo_clip())) as clip:
        return [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]


def picture(case: dict[str, Any], demo: list[Image]) -> Image:
    """Frames of the demo, each [number, width, height, x, y], on a gray canvas."""
    width, height = case["canvas"]
    canvas = np.full((height, width, 3), 96, np.uint8)
    for number, w, h, x, y in case["items"]:
        small = cv2.resize(demo[number], (w, h), interpolation=cv2.INTER_AREA)
        canvas[y : y + h, x : x + w] = small
    return canvas


def overlap(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    both = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return shared / (both - shared)


@pytest.mark.parametrize("case", CASES["pictures"], ids=range(len(CASES["pictures"])))
def test_boxes_equal_facenet_pytorchs(
    case: dict[str, Any], detector: Mtcnn, demo: list[Image]
) -> None:
    faces = detector.detect(picture(case, demo))
    found = [[f.x, f.y, f.x + f.width, f.y + f.height] for f in faces]
    assert len(found) == len(case["boxes"])
    for box, score in zip(case["boxes"], case["scores"], strict=True):
        near = max(range(len(found)), key=lambda n: overlap(box, found[n]))
        assert overlap(box, found[near]) >= 0.99
        assert faces[near].score == pytest.approx(score, abs=1e-4)
    assert [f.score for f in faces] == sorted((f.score for f in faces), reverse=True)


@pytest.mark.parametrize("shape", [(1, 1), (11, 300), (19, 19), (20, 20), (240, 320)])
def test_no_face_is_no_error(detector: Mtcnn, shape: tuple[int, int]) -> None:
    assert detector.detect(np.full((*shape, 3), 120, np.uint8)) == []


def test_means_of_a_huge_picture_are_exact() -> None:
    image = np.full((3000, 4000, 3), 255, np.uint8)  # whose sum needs more than 31 bits
    image[2000:] = 3
    sums = mtcnn._integral(image)
    cells = np.array([[0, 0, 4000, 3000]])
    assert (mtcnn._means(sums, cells, (3, 4))[0] == np.array([255, 255, 3])[:, None, None]).all()
    several = mtcnn._means(sums, np.array([[3900, 1900, 4000, 2000], [8, 2100, 20, 2112]]), (2, 2))
    assert (several == np.array([255, 3])[:, None, None, None]).all()


class Anywhere:
    """A model whose first network sees a face in every place; notes how many are asked at once."""

    def __init__(self, model: Model) -> None:
        self.manifest, self.parts, self.failed = model.manifest, model.parts, model.failed
        self._model, self.asked = model, list[int]()

    def run_part(self, name: str, **inputs: Any) -> dict[str, Any]:
        out = self._model.run_part(name, **inputs)
        if name:
            self.asked.append(len(inputs["x"]))
        else:
            random = np.random.default_rng(1)
            out["prob"] = random.uniform(0.9, 1, out["prob"].shape).astype(np.float32)
        return out


def test_network_that_sees_faces_everywhere_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three gigabytes for a picture of 320 x 240 without bounds."""
    model: Any = Anywhere(models.load("mtcnn", "face-detection", CONFIG.models))
    image = np.random.default_rng(1).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    batched = Mtcnn(model, 0.5).detect(image)
    assert max(model.asked) == 512
    several = model.asked.copy()
    monkeypatch.setattr(mtcnn, "_BATCH", 1 << 20)
    model.asked.clear()
    whole = Mtcnn(model, 0.5).detect(image)
    assert len(model.asked) < len(several)
    assert sum(model.asked) == sum(several)
    assert len(whole) == len(batched)
    monkeypatch.setattr(mtcnn, "_MOST_BOXES", 100)
    model.asked.clear()
    Mtcnn(model, 0.5).detect(image)
    assert max(model.asked) <= 100


def test_reader_uses_it(demo: list[Image]) -> None:
    loaded = Models.load(CONFIG)
    assert loaded.detector.manifest.architecture == "mtcnn"
    count, found = FaceReader(loaded.detector, loaded.face, CONFIG.face).read(demo[0], 0.0)
    assert count == 1
    assert found is not None
    assert found.probs.sum() == pytest.approx(1, abs=1e-5)


def broken(folder: Path, **changes: object) -> None:
    for path in models_dir().glob("mtcnn.*"):
        shutil.copy(path, folder)
    path = folder / "mtcnn.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(manifest | changes), encoding="utf-8")


def refused(folder: Path) -> str:
    settings = ["face.detector=mtcnn", f"models.dir={folder}"]
    with pytest.raises(StreamerError) as caught:
        Models.load(configuration.load(settings=settings))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_altered_or_missing_part_is_refused(tmp_path: Path) -> None:
    broken(tmp_path)
    part = tmp_path / "mtcnn.onet.onnx"
    part.write_bytes(part.read_bytes()[:-1] + b"!")
    assert "altered" in refused(tmp_path)
    part.unlink()
    assert "mtcnn.onet.onnx" in refused(tmp_path)


def test_foreign_manifest_is_refused(tmp_path: Path) -> None:
    broken(tmp_path, parts=[])
    assert "parts" in refused(tmp_path)
    broken(
        tmp_path, preprocess={"size": [12], "scale": 1, "shift": 0, "crop": {"side": 1, "up": 0}}
    )
    assert "min_face_px" in refused(tmp_path)
    broken(tmp_path, architecture="yunet")
    assert "'yunet'" in refused(tmp_path)
