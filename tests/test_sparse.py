"""Faces followed between whole pictures: near MTCNN's own boxes, and never for long without it."""

import av
import numpy as np
import pytest

from streamer import config as configuration
from streamer import models
from streamer.face import FaceReader
from streamer.mtcnn import Mtcnn
from streamer.pipeline import Models
from streamer.resources import demo_clip
from streamer.sparse import SparseDetector
from streamer.types import Face, Image

CONFIG = configuration.load(settings=["face.detector=mtcnn", "face.detect_hz=2"])
EMPTY = np.full((480, 640, 3), 96, np.uint8)


class Counting(Mtcnn):
    """MTCNN that knows how many whole pictures it has searched."""

    whole = 0

    def detect(self, image: Image) -> list[Face]:
        self.whole += 1
        return super().detect(image)


@pytest.fixture
def detector() -> Counting:
    return Counting(models.load("mtcnn", "face-detection", CONFIG.models), CONFIG.face.min_score)


@pytest.fixture(scope="module")
def demo() -> list[tuple[Image, float]]:
    with av.open(str(demo_clip())) as clip:
        frames = [frame for frame, _ in zip(clip.decode(video=0), range(50), strict=False)]
    return [(f.to_ndarray(format="rgb24"), float(f.time)) for f in frames if f.time is not None]


def overlap(a: Face, b: Face) -> float:
    width = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    height = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    shared = max(width, 0) * max(height, 0)
    return shared / (a.width * a.height + b.width * b.height - shared)


def test_followed_boxes_lie_on_those_of_whole_pictures(
    detector: Counting, demo: list[tuple[Image, float]]
) -> None:
    exact = [detector.detect(image) for image, _ in demo]
    detector.whole, sparse = 0, SparseDetector(detector, 2)
    found = [sparse.detect(image, t) for image, t in demo]
    assert detector.whole == 4  # two seconds
    shares = [overlap(a, b) for (a,), (b,) in zip(exact, found, strict=True)]
    assert np.median(shares) > 0.9
    assert min(shares) > 0.8


def test_what_is_found_depends_on_media_time_and_pictures_alone(
    detector: Counting, demo: list[tuple[Image, float]]
) -> None:
    first, second = SparseDetector(detector, 2), SparseDetector(detector, 2)
    once = [first.detect(image, t) for image, t in demo[::3]]
    detector.detect(EMPTY)
    assert [second.detect(image, t) for image, t in demo[::3]] == once


def test_a_lost_face_is_looked_for_in_the_whole_picture_at_once(
    detector: Counting, demo: list[tuple[Image, float]]
) -> None:
    image = demo[0][0]
    sparse = SparseDetector(detector, 0.01)
    (there,) = sparse.detect(image, 0.0)
    assert sparse.detect(EMPTY, 0.1) == []
    assert detector.whole == 2
    elsewhere = np.roll(image, -150, axis=1)  # nobody is known: every picture is searched
    (back,) = sparse.detect(elsewhere, 0.2)
    assert back.x == pytest.approx(there.x - 150, abs=8)
    (jumped,) = sparse.detect(image, 0.3)
    assert overlap(jumped, there) > 0.8
    assert detector.whole == 4


def test_a_newcomer_is_seen_when_the_next_whole_picture_is_due(
    detector: Counting, demo: list[tuple[Image, float]]
) -> None:
    alone = np.concatenate([demo[0][0], EMPTY], axis=1)
    both = np.concatenate([demo[0][0], demo[0][0]], axis=1)
    sparse = SparseDetector(detector, 2)
    counts = [len(sparse.detect(alone if k < 3 else both, k / 10)) for k in range(8)]
    assert counts == [1, 1, 1, 1, 1, 2, 2, 2]
    assert detector.whole == 2  # both are followed


def test_two_that_fall_together_are_told_apart_in_a_whole_picture(
    detector: Counting, demo: list[tuple[Image, float]]
) -> None:
    (face,) = detector.detect(demo[0][0])
    assert detector.follow(demo[0][0], [face, face]) == detector.follow(demo[0][0], [face])


def test_a_face_beyond_the_picture_is_lost(detector: Counting) -> None:
    assert detector.follow(EMPTY, [Face(-90, -90, 40, 40, 1), Face(700, 100, 50, 50, 1)]) == []
    assert detector.follow(EMPTY, []) == []


def test_reader_uses_it_where_it_is_asked_to(demo: list[tuple[Image, float]]) -> None:
    loaded = Models.load(CONFIG)
    rare, always = (
        FaceReader(loaded.detector, loaded.face, config)
        for config in (CONFIG.face, CONFIG.face.model_copy(update={"detect_hz": None}))
    )
    apart = []
    for image, t in demo[:12]:
        (one, sparse), (two, exact) = rare.read(image, t), always.read(image, t)
        assert one == two == 1
        assert sparse is not None
        assert exact is not None
        apart.append(float(np.abs(sparse.probs - exact.probs).max()))
    assert apart[0] == 0
    assert max(apart) > 0
    assert np.median(apart) < 0.2
