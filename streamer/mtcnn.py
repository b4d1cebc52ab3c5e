"""MTCNN: a cascade that finds faces of any size from 20 pixels up, in numpy around three networks.

Source: Zhang, Zhang, Li, Qiao, "Joint face detection and alignment using multi-task cascaded
convolutional networks", 2016; the details (areas, roundings, suppressions) are those with which
facenet-pytorch uses the same weights, so that both find the same boxes.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.models import Model
from streamer.types import Face, Floats, Image, StreamerError

Indices = NDArray[np.int64]
Sums = NDArray[np.int32]

KEYS = ("min_face_px", "factor", "thresholds")
"""What its manifest must say besides what every detector's does."""

_SIDES = [12, 24, 48]  # of the networks' pictures, in pixels
_STRIDE, _CELL = 2, 12  # of the first network, in pixels of its scaled picture
_MOST_SHIFT = 4.0  # of an edge, in the box's sides: a network of faces says less than one
_MOST_SIDE = 4.0  # of a face, in the picture's longer sides
_MOST_BOXES = 8192  # of a step: pictures of crowds propose hundreds
_BATCH = 512  # boxes whose pictures are held at a time: 55 kB each, and as much again on the way
_REACH = 0.8  # around the middle of a face that is followed, in its longer sides


class Mtcnn:
    """Three steps: propose boxes at every scale, refine them, correct them once more.

    Args:
        model: with the parts ``rnet`` and ``onet``.
        min_score: least score 0…1 of a face, where it is above the manifest's last threshold.

    Raises StreamerError: the manifest lacks a part or a value of the preprocessing.

    """

    def __init__(self, model: Model, min_score: float) -> None:
        pre, name = model.manifest.preprocess, model.manifest.name
        missing = [key for key in KEYS if key not in pre]
        if missing or {"rnet", "onet"} - set(model.parts):
            what = f"preprocess lacks {missing[0]}" if missing else "parts lack rnet or onet"
            raise StreamerError(f"model {name}: its manifest's {what}")
        if pre["size"] != _SIDES:
            raise StreamerError(f"model {name}: its manifest's preprocess.size is not {_SIDES}")
        self._model = model
        self._scale, self._shift = np.float32(pre["scale"]), np.float32(pre["shift"])
        self._zoom, self._factor = _SIDES[0] / pre["min_face_px"], float(pre["factor"])
        self._least = [float(value) for value in pre["thresholds"]]
        self._min_score = min_score

    def detect(self, image: Image) -> list[Face]:
        """Faces in an RGB picture uint8 (H, W, 3), best first."""
        sums = _integral(image)
        boxes, scores = self._correct(sums, self._propose(sums))
        return self._faces(boxes, scores, image)

    def follow(self, image: Image, faces: Sequence[Face]) -> list[Face]:
        """Where ``faces`` of a picture shortly before are in this one, best first.

        The last two steps alone look, around where each was. A face that they no longer take for
        one is left out, and one of two that have come to lie on each other.
        """
        found, sure = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
        for face in faces:
            x, y = face.x + face.width / 2, face.y + face.height / 2
            reach = _REACH * max(face.width, face.height)
            left, top = max(int(x - reach), 0), max(int(y - reach), 0)
            part = image[top : max(int(y + reach), 0), left : max(int(x + reach), 0)]
            if not part.size:
                continue
            corner = np.array([left, top, left, top], np.float32)
            box = np.array([[face.x, face.y, face.x + face.width, face.y + face.height]])
            boxes, scores = self._correct(_integral(part), box.astype(np.float32) - corner)
            found.append(boxes[:1] + corner)
            sure.append(scores[:1])
        boxes, scores = np.concatenate(found), np.concatenate(sure)
        keep = _suppress(boxes, scores, 0.7, inner=True)
        return self._faces(boxes[keep], scores[keep], image)

    def _correct(self, sums: Sums, boxes: Floats) -> tuple[Floats, Floats]:
        """The last two steps: boxes (N, 4), best first, and their scores (N,)."""
        boxes, _ = self._judge("rnet", sums, _squares(boxes), 1)
        return self._judge("onet", sums, _squares(boxes), 2)

    def _faces(self, boxes: Floats, scores: Floats, image: Image) -> list[Face]:
        faces = [
            Face(float(x), float(y), float(right - x), float(bottom - y), float(score))
            for (x, y, right, bottom), score in zip(boxes, scores, strict=True)
            if score >= self._min_score
        ]
        return sorted(possible(faces, image), key=lambda face: -face.score)

    def _run(self, part: str, means: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """Outputs for mean colours (N, H, W, 3), 0…255: `prob` (N, 2, …) and `reg` (N, 4, …)."""
        pixels = means.astype(np.float32) * self._scale + self._shift
        out = self._model.run_part(part, x=np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
        prob, reg = out["prob"].shape, out["reg"].shape
        count, grid = len(means), prob[2:]
        if len(prob) != (2 if part else 4) or (prob, reg) != ((count, 2, *grid), (count, 4, *grid)):
            raise self._model.failed(
                f"{part or 'it'} answered {prob} and {reg} for {count} pictures"
            )
        return out

    def _propose(self, sums: Sums) -> Floats:
        """Corrected boxes (N, 4) of all scales together."""
        height, width = sums.shape[0] - 1, sums.shape[1] - 1
        whole = np.array([[0, 0, width, height]])
        boxes, scores, shifts = [], [], []
        scale, least = self._zoom, min(height, width) * self._zoom
        while least >= _SIDES[0]:
            size = int(height * scale + 1), int(width * scale + 1)
            out = self._run("", _means(sums, whole, size))
            row, column = np.nonzero(out["prob"][0, 1] >= self._least[0])
            best = _best(out["prob"][0, 1, row, column])
            row, column = row[best], column[best]
            found = out["prob"][0, 1, row, column]
            corner = (_STRIDE * np.stack([column, row], 1)).astype(np.float32)
            box = np.floor(
                np.concatenate([corner + 1, corner + _CELL], 1).astype(np.float32)
                / np.float32(scale)
            )
            keep = _suppress(box, found, 0.5)
            boxes.append(box[keep])
            scores.append(found[keep])
            shifts.append(out["reg"][0][:, row, column].T[keep])
            scale, least = scale * self._factor, least * self._factor
        if not boxes:
            return np.zeros((0, 4), np.float32)
        sure = np.concatenate(scores)
        best = _best(sure)
        together, shift = np.concatenate(boxes)[best], np.concatenate(shifts)[best]
        keep = _suppress(together, sure[best], 0.7)
        return _moved(together[keep], shift[keep], 0)

    def _judge(self, part: str, sums: Sums, boxes: Floats, step: int) -> tuple[Floats, Floats]:
        """Boxes (N, 4) that the network of ``step`` takes for faces, corrected, and scores (N,)."""
        limits = np.array([sums.shape[1] - 1, sums.shape[0] - 1])
        cut = np.trunc(boxes).astype(np.int64)
        cut = np.concatenate([np.maximum(cut[:, :2], 1) - 1, np.minimum(cut[:, 2:], limits)], 1)
        inside = (cut[:, 2] > cut[:, 0]) & (cut[:, 3] > cut[:, 1])
        boxes, cut = boxes[inside], cut[inside]
        if not len(boxes):
            return boxes, np.zeros(0, np.float32)
        side = _SIDES[step]
        outs = [
            self._run(part, _means(sums, cut[start : start + _BATCH], (side, side)))
            for start in range(0, len(cut), _BATCH)
        ]
        scores = np.concatenate([out["prob"][:, 1] for out in outs])
        passed = np.flatnonzero(scores > self._least[step])
        shift = np.concatenate([out["reg"] for out in outs])[passed]
        boxes, scores = boxes[passed], scores[passed]
        if step == 1:
            keep = _suppress(boxes, scores, 0.7)
            return _moved(boxes[keep], shift[keep], 1), scores[keep]
        boxes = _moved(boxes, shift, 1)
        keep = _suppress(boxes, scores, 0.7, inner=True)
        return boxes[keep], scores[keep]


def _best(scores: Floats) -> Indices:
    """Indices of the best, in their order: of all, unless a network sees faces everywhere."""
    if len(scores) <= _MOST_BOXES:
        return np.arange(len(scores))
    return np.sort(np.argsort(-scores, kind="stable")[:_MOST_BOXES])


def possible(faces: Sequence[Face], image: Image) -> list[Face]:
    """Those that the picture can hold at least in part: a network may answer anything."""
    height, width = image.shape[:2]
    most = _MOST_SIDE * max(height, width)
    return [
        face
        for face in faces
        if 0 < face.width <= most
        and 0 < face.height <= most
        and -face.width < face.x < width
        and -face.height < face.y < height
    ]


def _integral(image: Image) -> Sums:
    """Sums (H + 1, W + 1, 3) over all that lies above and left, modulo 2^32."""
    # Differences over a cell are far below 2^31, so exact; wider numbers cost three times as much.
    return np.asarray(cv2.integral(image, sdepth=cv2.CV_32S), np.int32)


def _means(sums: Sums, boxes: Indices, size: tuple[int, int]) -> NDArray[np.float64]:
    """Mean colours (N, height, width, 3) of ``boxes`` (N, 4) cut into ``size`` cells.

    ``sums`` (H + 1, W + 1, 3) is the picture's integral. A cell takes every pixel that it touches,
    so cells overlap where the sizes do not divide, and repeat pixels where the box is smaller.
    """
    edges = []
    for axis, count in ((1, size[0]), (0, size[1])):
        start, length = boxes[:, axis, None], (boxes[:, axis + 2] - boxes[:, axis])[:, None]
        cell = np.arange(count)
        edges.append((start + cell * length // count, start - (-(cell + 1) * length // count)))
    (top, bottom), (left, right) = edges
    area = (bottom - top)[:, :, None] * (right - left)[:, None]
    if len(boxes) == 1:  # the whole picture at one scale: rows first costs a third
        rows = np.take(sums, bottom[0], axis=0)
        rows -= np.take(sums, top[0], axis=0)
        total = np.take(rows, right[0], axis=1)
        total -= np.take(rows, left[0], axis=1)
        total = total[None]
    else:
        y, x, bottom, right = top[:, :, None], left[:, None], bottom[:, :, None], right[:, None]
        total = sums[bottom, right] - sums[y, right] - sums[bottom, x] + sums[y, x]
    return np.asarray(total / area[..., None])


def _moved(boxes: Floats, shift: Floats, extra: int) -> Floats:
    """Boxes (N, 4) with each edge moved by a share (N, 4) of the side, plus ``extra`` pixels."""
    side = boxes[:, 2:] - boxes[:, :2] + np.float32(extra)
    return boxes + np.clip(shift, -_MOST_SHIFT, _MOST_SHIFT) * np.tile(side, 2)


def _squares(boxes: Floats) -> Floats:
    """The squares around the centres of boxes (N, 4), of their longer side."""
    side = boxes[:, 2:] - boxes[:, :2]
    longer = side.max(axis=1, keepdims=True, initial=0)
    corner = boxes[:, :2] + side * np.float32(0.5) - longer * np.float32(0.5)
    return np.concatenate([corner, corner + longer], 1)


def _suppress(boxes: Floats, scores: Floats, overlap: float, *, inner: bool = False) -> Indices:
    """Indices of the boxes (N, 4) to keep, best first: none covers a better one by ``overlap``.

    Covering is the shared area's part of both together, or, ``inner``, of the smaller of them, with
    sides counted in whole pixels, ends included.
    """
    low, high, extra = boxes[:, :2], boxes[:, 2:], np.float32(inner)
    area = np.prod(high - low + extra, axis=1)
    # Boxes of one face often all score exactly 1: this order among equals is the original's.
    left = np.argsort(scores)[::-1] if inner else np.argsort(-scores, kind="stable")
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        size = np.minimum(high[left], high[best]) - np.maximum(low[left], low[best]) + extra
        shared = np.prod(np.maximum(size, 0), axis=1)
        smaller = np.minimum(area[left], area[best])
        total = smaller if inner else area[left] + area[best] - shared
        left = left[shared <= overlap * total]
    return np.array(kept, np.int64)
