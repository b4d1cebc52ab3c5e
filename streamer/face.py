"""Faces in a picture, and the emotion of the one that speaks."""

import math
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.config import FaceConfig
from streamer.models import Model
from streamer.mtcnn import Mtcnn, possible
from streamer.sparse import SparseDetector
from streamer.tracking import Follower
from streamer.types import Face, Floats, Image, Reading, StreamerError

Reals = NDArray[np.floating[Any]]

LEAST_ROLL = 10.0
"""A head less inclined than this is left so, degrees: turning blurs, small angles don't hurt."""
_FAR = 1e6
"""Beyond the edge of any picture of a detector's, pixels."""
_MOST_CUT = 8192.0
"""Of the side of what is cut, pixels: as much as the largest picture has."""


class BlazeFace:
    """BlazeFace short-range: faces that fill a good part of the picture.

    Source: Bazarevsky et al., "BlazeFace: Sub-millisecond neural face detection on mobile GPUs",
    2019. Suppression is the paper's blending: overlapping boxes are averaged, which shakes less
    from frame to frame than picking the best one.
    """

    _OVERLAP = 0.3

    def __init__(self, model: Model, min_score: float) -> None:
        self._model = model
        self._size = int(model.manifest.preprocess["size"][0])
        self._min_logit = _logit(min_score)
        self._anchors = _anchors(self._size)
        self._input, shape = model.manifest.inputs[0].name, model.manifest.inputs[0].shape
        told = [shape, *(output.shape[:2] for output in model.manifest.outputs[:2])]
        boxes = [1, len(self._anchors)]
        if told != [[1, self._size, self._size, 3], boxes, boxes]:
            name = model.manifest.name
            raise StreamerError(
                f"model {name}: its manifest's preprocess.size does not fit "
                f"{', '.join(map(str, told))}"
            )

    def detect(self, image: Image) -> list[Face]:
        """Faces in an RGB picture uint8 (H, W, 3), best first."""
        size = self._size
        height, width = image.shape[:2]
        scale = size / max(height, width)
        small = cv2.resize(
            image,
            (max(round(width * scale), 1), max(round(height * scale), 1)),
            interpolation=cv2.INTER_AREA,
        )
        top, left = (size - small.shape[0]) // 2, (size - small.shape[1]) // 2
        canvas = np.zeros((1, size, size, 3), np.float32)
        canvas[0, top : top + small.shape[0], left : left + small.shape[1]] = small
        pre = self._model.manifest.preprocess
        canvas *= np.float32(pre["scale"])
        canvas += np.float32(pre["shift"])
        raw, logits = self._model.run(**{self._input: canvas})[:2]
        scores = logits[0, :, 0]
        keep = np.flatnonzero(scores > self._min_logit)
        if not len(keep):
            return []
        # Centre, size, and the two eyes. Numbers that no picture holds would overflow below.
        boxes = np.clip(raw[0, keep, :8].astype(np.float32), -_FAR, _FAR) / size
        boxes.reshape(-1, 4, 2)[:, (0, 2, 3)] += self._anchors[keep, None]
        weights = 1 / (1 + np.exp(-np.clip(scores[keep], -80, 80)))
        boxes[:, 4:6] = boxes[:, 6:8] - boxes[:, 4:6]  # from the eye on the left to the other
        faces = _blend(boxes[:, :6], weights, self._OVERLAP)
        back = size / scale
        found = [
            Face(
                (x - w / 2) * back - left / scale,
                (y - h / 2) * back - top / scale,
                w * back,
                h * back,
                score,
                math.degrees(math.atan2(dy, dx)),
            )
            for x, y, w, h, dx, dy, score in faces
        ]
        return possible(found, image)


class FaceEmotion:
    """The emotion of one face, cut from the picture as the detector's manifest says.

    The model's manifest says the rest: ``size`` [width, height] to scale the face to and
    ``center_crop`` to cut out of that, ``color`` gray or rgb (gray is repeated where the model
    takes three channels), ``layout`` NCHW or NHWC, and ``scale``, ``mean``, ``std`` of
    (pixel × scale − mean) / std. An output `valence_arousal` (N, 2), −1…1, is read too. Raises
    StreamerError: it says what can't be done.
    """

    def __init__(self, model: Model, crop: dict[str, float]) -> None:
        self._model, self._crop = model, crop
        pre, tensor = model.manifest.preprocess, model.manifest.inputs[0]
        self._size = (int(pre["size"][0]), int(pre["size"][1]))
        self._cut = pre.get("center_crop") or self._size
        self._dark_std = float(pre.get("dark_std") or 0)
        self._input = tensor.name
        outputs = [output.name for output in model.manifest.outputs]
        self._affect = outputs.index("valence_arousal") if "valence_arousal" in outputs else None
        if self._affect is not None:
            shape = model.manifest.outputs[self._affect].shape
            if len(shape) != 2 or shape[1] != 2:
                name = model.manifest.name
                raise StreamerError(f"model {name}: its valence_arousal is {shape}, not [N, 2]")
        self._gray, self._first = pre.get("color") != "rgb", pre.get("layout") != "NHWC"
        self._scale = np.float32(pre.get("scale", 1))
        self._mean = np.array(pre.get("mean", [0]), np.float32)
        self._std = np.array(pre.get("std", [1]), np.float32)
        width, height = self._cut
        channels = tensor.shape[1 if self._first else -1] if len(tensor.shape) == 4 else 0
        self._channels = channels if isinstance(channels, int) else 1 if self._gray else 3
        whole = [self._channels, height, width] if self._first else [height, width, self._channels]
        if (
            tensor.shape[1:] != whole
            or self._channels not in ((1, 3) if self._gray else (3,))
            or not {len(self._mean), len(self._std)} <= {1, self._channels}
            or width > self._size[0]
            or height > self._size[1]
            or not self._std.all()
        ):
            name, wanted = model.manifest.name, tensor.shape[1:]
            raise StreamerError(f"model {name}: its manifest's preprocess gives no {wanted}")

    def read(self, image: Image, face: Face) -> Reading:
        """What ``face`` shows in an RGB picture uint8 (H, W, 3)."""
        outputs = self._model.run(**{self._input: self._prepare(self.cut(image, face))})
        affect = None if self._affect is None else outputs[self._affect][0]
        return self._model.reading(outputs[0][0], affect)

    def cut(self, image: Image, face: Face) -> Image:
        """The square uint8 (S, S, 3) around ``face``; from LEAST_ROLL on turned until its eyes are
        level.
        """
        longer = max(face.width, face.height)
        if (whole := self._crop["side"] * longer) > _MOST_CUT:
            image, face = _shrunk(image, face, _MOST_CUT / whole)
            longer = max(face.width, face.height)
        side, up = self._crop["side"] * longer, self._crop["up"] * longer
        x, y = face.x + face.width / 2, face.y + face.height / 2
        if abs(face.roll) < LEAST_ROLL:
            return _square(image, x - side / 2, y - up - side / 2, side)
        return _turned(image, x, y, up, side, face.roll)

    def _prepare(self, cut: Image) -> Floats:
        """The model's input for a square RGB picture uint8 (S, S, 3)."""
        shown = np.asarray(cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY) if self._gray else cut)
        method = cv2.INTER_AREA if shown.shape[0] > self._size[0] else cv2.INTER_LINEAR
        shown = np.asarray(cv2.resize(shown, self._size, interpolation=method))
        (width, height), (whole_width, whole_height) = self._cut, self._size
        left, top = (whole_width - width) // 2, (whole_height - height) // 2
        pixels = shown[top : top + height, left : left + width].astype(np.float32)
        # A dark, flat picture is stretched; a normal one is left: stretching costs accuracy there.
        if 0 < (deviation := float(pixels.std())) < self._dark_std:
            pixels = np.clip((pixels - pixels.mean()) / deviation * 48 + 128, 0, 255)
        if self._gray:
            pixels = np.repeat(pixels[:, :, None], self._channels, axis=2)
        pixels = (pixels * self._scale - self._mean) / self._std
        return np.ascontiguousarray(pixels.transpose(2, 0, 1) if self._first else pixels)[None]


class FaceReader:
    """Detector, rule and emotion in one call, for the pictures of one recording in order of time.

    Raises StreamerError: the detector's architecture is unknown, or a manifest says what can't be
    done.
    """

    def __init__(self, detector: Model, emotion: Model, config: FaceConfig) -> None:
        self._sparse: SparseDetector | None = None
        """Between pictures that are searched whole; BlazeFace, quick enough, needs none."""
        match detector.manifest.architecture:
            case "blazeface-short-range":
                self._detector: BlazeFace | Mtcnn = BlazeFace(detector, config.min_score)
            case "mtcnn":
                self._detector = mtcnn = Mtcnn(detector, config.min_score)
                if config.detect_hz:
                    self._sparse = SparseDetector(mtcnn, config.detect_hz)
            case other:
                name = detector.manifest.name
                raise StreamerError(f"model {name}: no detector of architecture {other!r} is known")
        self._emotion = FaceEmotion(emotion, detector.manifest.preprocess["crop"])
        self._follower = Follower(config.rule, config.track_s)

    def read(self, image: Image, t: float) -> tuple[int, Reading | None]:
        """(number of faces, what one shows or None) of an RGB picture uint8 (H, W, 3) at ``t`` s.

        None: no face, or by the rule ``single`` more than one, as in the original, or by
        ``largest`` none of the person that is followed.
        """
        faces = self._sparse.detect(image, t) if self._sparse else self._detector.detect(image)
        if (followed := self._follower.follow(t, faces)) is None:
            return len(faces), None
        face, face_id = followed
        return len(faces), replace(self._emotion.read(image, face), face_id=face_id)


def _logit(p: float) -> float:
    return math.log(max(p, 1e-9) / max(1 - p, 1e-9))


def _anchors(size: int) -> Floats:
    """Centres (896, 2) in 0…1: two anchors a cell at stride 8, six at stride 16."""
    grids = []
    for stride, each in ((8, 2), (16, 6)):
        cells = size // stride
        centres = (np.arange(cells, dtype=np.float32) + 0.5) / cells
        x, y = np.meshgrid(centres, centres)
        grids.append(np.repeat(np.stack([x.ravel(), y.ravel()], 1), each, axis=0))
    return np.concatenate(grids)


def _blend(boxes: Reals, weights: Reals, overlap: float) -> list[tuple[float, ...]]:
    """Weighted suppression: the means of each group of overlapping centre-size boxes (n, 4 or more
    columns), and its best score.
    """
    low, high = boxes[:, :2] - boxes[:, 2:4] / 2, boxes[:, :2] + boxes[:, 2:4] / 2
    area = np.prod(np.maximum(high - low, 0), axis=1)
    left = list(np.argsort(-weights, kind="stable"))
    found = []
    while left:
        best = left[0]
        rest = np.array(left)
        size = np.minimum(high[rest], high[best]) - np.maximum(low[rest], low[best])
        shared = np.prod(np.maximum(size, 0), axis=1)
        iou = shared / np.maximum(area[rest] + area[best] - shared, 1e-12)
        group = rest[(iou > overlap) | (rest == best)]
        box = np.average(boxes[group], axis=0, weights=weights[group])
        found.append((*(float(v) for v in box), float(weights[best])))
        chosen = set(group.tolist())
        left = [i for i in left if i not in chosen]
    return found


def _shrunk(image: Image, face: Face, share: float) -> tuple[Image, Face]:
    """Both in a picture whose sides are ``share`` as long."""
    size = [max(round(side * share), 1) for side in image.shape[1::-1]]
    x, y, width, height = (v * share for v in (face.x, face.y, face.width, face.height))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return small, replace(face, x=x, y=y, width=width, height=height)


def _square(image: Image, x: float, y: float, side: float) -> Image:
    """The square with its corner at (x, y); what lies outside repeats the picture's edge."""
    height, width = image.shape[:2]
    size = max(round(side), 2)
    # Further out it would be the same: nothing but the edge.
    left = min(max(math.floor(x), 1 - size), width - 1)
    top = min(max(math.floor(y), 1 - size), height - 1)
    right, bottom = left + size, top + size
    inner = image[
        min(max(top, 0), height - 1) : max(min(bottom, height), 1),
        min(max(left, 0), width - 1) : max(min(right, width), 1),
    ]
    edges = (max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0))
    if any(edges):
        return np.asarray(cv2.copyMakeBorder(inner, *edges, cv2.BORDER_REPLICATE), np.uint8)
    return inner


def _turned(image: Image, x: float, y: float, up: float, side: float, roll: float) -> Image:
    """The square whose middle lies ``up`` above (x, y) in the face, turned back by ``roll``
    degrees; edges as in _square.
    """
    size = max(round(side), 2)
    middle = x - 0.5, y - 0.5  # OpenCV counts from a pixel's middle
    turn = cv2.getRotationMatrix2D(middle, roll, 1.0)
    turn[:, 2] += np.array([size / 2 - x, size / 2 + up - y])
    edge = cv2.BORDER_REPLICATE
    return np.asarray(cv2.warpAffine(image, turn, (size, size), borderMode=edge), np.uint8)
