"""The proof of a face model's export: ONNX Runtime against torch on the same pictures."""

from __future__ import annotations

from collections.abc import Sequence

import av
import cv2
import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export_onnx.errors import ExportError
from export_onnx.face_models import Request
from export_onnx.manifest import Figure
from export_onnx.verify import CLIP, EXACT_INT8, LARGEST_DIFFERENCE, LEAST_AGREEMENT, Floats

BATCHES = (1, 7, 32)
_EVERY = 10  # frames of the bundled clip
# Where its one face is, as large as the detectors' squares: rows and columns, pixels of 640 x 480.
FACE = slice(110, 285), slice(200, 375)


def verify(
    module: nn.Module, full: bytes, model: bytes, shape: Sequence[int], request: Request
) -> tuple[Figure, ...]:
    """Compare an ONNX file with its network, in int8 also on real faces with its fp32 file.

    Args:
        module: as `compare` takes it.
        full: the ONNX file in fp32.
        model: the ONNX file in the precision that was asked for.
        shape: of one picture; in int8 that of gray ones, (3, side, side).
        request: the precision, and whether int8 may often name another class.

    Raises:
        ExportError: the file is further from its original than is taken, or cannot be run.

    """
    figure = compare(module, model, shape, LARGEST_DIFFERENCE[request.precision])
    if request.precision != "int8":
        return (figure,)
    faces = read_faces(shape[-1])
    share = agreement(_session(full), _session(model), faces)
    if share < LEAST_AGREEMENT and not request.allow_disagreement:
        raise ExportError(
            f"the int8 model names the same emotion as fp32 for only {share:.1%} of {len(faces)} "
            f"faces, under {LEAST_AGREEMENT:.0%}: --allow-disagreement takes it all the same"
        )
    note = f"int8 against fp32; most probable class, one speaker's face in {len(faces)} frames"
    return figure, Figure("bundled clip", "agreement", round(share, 4), note=note)


def compare(module: nn.Module, model: bytes, shape: Sequence[int], limit: float) -> Figure:
    """Return the largest absolute difference of the probabilities, over `BATCHES` pictures.

    Args:
        module: takes float32 (N, *shape); gives logits (N, C), or a tuple that begins with them,
            whose other members are compared as they are.
        model: the ONNX file, with the same outputs in the same order.
        shape: of one picture.
        limit: the largest difference that is taken.

    Raises:
        ExportError: the difference is above `limit`, is no number, or the file cannot be run.

    """
    try:
        session = _session(model)
        found = [_difference(module, session, (batch, *shape)) for batch in BATCHES]
        worst = float(np.max(found))
    except Exception as error:  # ONNX Runtime raises many unrelated types
        raise ExportError(f"the exported model cannot be run: {error}") from error
    if not worst <= limit:
        raise ExportError(
            f"the exported model differs from torch's by {worst:.1e}, more than {limit:.0e}"
        )
    batches = ", ".join(map(str, BATCHES))
    return Figure(f"torch, batches {batches}", "largest difference", float(f"{worst:.2e}"))


def read_faces(side: int) -> Floats:
    """Return the face of the bundled clip in every tenth frame, as the FER2013 networks want it.

    Float32 (N, 3, side, side), the middle of 48 x 48 gray pixels, 0 ... 1.

    Raises:
        ExportError: the clip is not there or cannot be read.

    """
    try:
        with av.open(str(CLIP), "r") as clip:
            frames = list(clip.decode(video=0))[::_EVERY]
    except (av.FFmpegError, OSError, IndexError) as error:
        raise ExportError(f"cannot read the pictures of {CLIP}: {error}") from None
    cut = (48 - side) // 2
    faces = []
    for frame in frames:
        gray = cv2.cvtColor(frame.to_ndarray(format="rgb24")[FACE], cv2.COLOR_RGB2GRAY)
        small = cv2.resize(gray, (48, 48), interpolation=cv2.INTER_AREA)
        faces.append(small[cut : cut + side, cut : cut + side])
    pictures = np.stack(faces).astype(np.float32) / np.float32(255)
    return np.repeat(pictures[:, None], 3, axis=1)


def calibration_faces(side: int) -> Floats:
    """Return faces (N, 3, side, side) as bright, dark and flat as a model may be given them.

    Raises:
        ExportError: the clip is not there or cannot be read.

    """
    faces = read_faces(side)[::6]
    low, high = faces.min(axis=(1, 2, 3), keepdims=True), faces.max(axis=(1, 2, 3), keepdims=True)
    stretched = (faces - low) / (high - low)
    return np.concatenate([faces, stretched, faces / 4, 1 - faces / 4, stretched[..., ::-1]])


def agreement(ours: ort.InferenceSession, theirs: ort.InferenceSession, faces: Floats) -> float:
    """Return the share of `faces` (N, 3, H, W), one at a time, with the same most probable class.

    One at a time: what the quantisation of activations does depends on all of a batch.
    """
    same = [_best(ours, face) == _best(theirs, face) for face in faces]
    return float(np.mean(same))


def _best(session: ort.InferenceSession, face: Floats) -> int:
    logits: NDArray[np.float32] = session.run(None, {"face": face[None]})[0]
    return int(logits.argmax())


def _session(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.add_session_config_entry(EXACT_INT8, "1")
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _difference(module: nn.Module, session: ort.InferenceSession, shape: Sequence[int]) -> float:
    random = torch.Generator().manual_seed(shape[0])
    # Smooth patterns in the range of normalised pixels: noise alone looks like no picture.
    coarse = torch.rand(shape[0], shape[1], 8, 8, generator=random) * 2 - 0.5
    pictures = nn.functional.interpolate(coarse, tuple(shape[2:]), mode="bilinear")
    with torch.no_grad():
        given = module(pictures)
    expected = [given] if isinstance(given, Tensor) else list(given)
    found = [torch.from_numpy(value) for value in session.run(None, {"face": pictures.numpy()})]
    if [tuple(value.shape) for value in found] != [tuple(value.shape) for value in expected]:
        return float("nan")
    expected, found = _probabilities(expected), _probabilities(found)
    pairs = zip(expected, found, strict=True)
    # Not Python's max: it would lose a difference that is no number.
    return float(np.max([float((a - b).abs().max()) for a, b in pairs]))


def _probabilities(outputs: Sequence[Tensor]) -> list[Tensor]:
    """The logits as probabilities, the rest as it is."""
    return [outputs[0].softmax(1), *outputs[1:]]
