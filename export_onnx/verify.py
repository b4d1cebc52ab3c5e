"""What an exported speech model is held to: the numbers of the network it was made from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from export_onnx.errors import ExportError
from export_onnx.manifest import Figure
from export_onnx.onnxfile import Precision

Floats = NDArray[np.float32]
Net = Callable[[Floats], Floats]

SAMPLE_RATE = 16_000
WINDOWS_S = (1.0, 2.37, 8.0)
BATCHES = (1, 3)
# Of probabilities; int8 is judged by its most probable class, but must be a number at all.
LARGEST_DIFFERENCE = {"fp32": 1e-4, "fp16": 1e-2, "int8": 1.0}
LARGEST_INT8_OFFSET = 0.05  # of values that are no probabilities
LEAST_AGREEMENT = 0.95
EXACT_INT8 = "session.x64quantprecision"
"""What keeps processors without VNNI from overflowing with signed weights; sums are the same."""
CLIP = Path(__file__).parents[1] / "streamer" / "demo" / "demo.mp4"


def read_sound(path: Path = CLIP) -> Floats:
    """Return a recording's sound, float32 (n,) mono at 16 kHz in −1…1.

    Raises:
        ExportError: the file is not there or has no sound that can be read.

    """
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    try:
        with av.open(str(path), "r") as clip:
            frames = [out for frame in clip.decode(audio=0) for out in resampler.resample(frame)]
            frames += resampler.resample(None)
    except (av.FFmpegError, OSError, IndexError) as error:
        raise ExportError(f"cannot read the sound of {path}: {error}") from None
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(np.float32)


def open_session(path: Path, threads: int = 0) -> ort.InferenceSession:
    """Return a session on the processor; `threads` 0 takes what ONNX Runtime likes.

    Raises:
        ExportError: ONNX Runtime cannot load the file.

    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.add_session_config_entry(EXACT_INT8, "1")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises many unrelated types
        raise ExportError(f"the exported model cannot be loaded: {error}") from error


def as_net(session: ort.InferenceSession) -> Net:
    """Return a session as a function of input_values float32 (B, n) to outputs (B, C)."""

    def run(batch: Floats) -> Floats:
        outputs: Floats = session.run(None, {"input_values": batch})[0]
        return outputs

    return run


def windows(sound: Floats, seconds: float, count: int, hop_s: float, normalise: bool) -> Floats:
    """Return `count` windows of `sound`, float32 (count, n), as the network wants them.

    They start every `hop_s` seconds; a sound that ends before goes on with its beginning.
    """
    length, hop = round(seconds * SAMPLE_RATE), round(hop_s * SAMPLE_RATE)
    at = np.arange(count)[:, None] * hop + np.arange(length)[None]
    batch: Floats = sound[at % len(sound)]
    if normalise:
        mean, variance = batch.mean(axis=1, keepdims=True), batch.var(axis=1, keepdims=True)
        batch = (batch - mean) / np.sqrt(variance + np.float32(1e-7))
    return np.asarray(batch, np.float32)


def largest_difference(
    ours: Net, theirs: Net, sound: Floats, normalise: bool, probabilities: bool
) -> float:
    """Return the largest absolute difference of two networks over windows and batches.

    Of their probabilities (softmax), or of their outputs where these are no logits.
    """
    found = 0.0
    for seconds in WINDOWS_S:
        for count in BATCHES:
            batch = windows(sound, seconds, count, 6.0, normalise)
            pair = [net(batch).astype(np.float64) for net in (ours, theirs)]
            a, b = [_softmax(x) for x in pair] if probabilities else pair
            if a.shape != b.shape:
                raise ExportError(f"the exported model gives {a.shape}, the network {b.shape}")
            # A NaN must not pass as "no difference".
            found = max(found, float(np.nan_to_num(np.abs(a - b), nan=np.inf).max()))
    return found


def agreement(ours: Net, theirs: Net, sound: Floats, normalise: bool) -> tuple[float, int]:
    """Return the share of 2 s windows, every 0.5 s, with the same most probable class; their count.

    One window at a time: what the quantisation of activations does depends on all of a batch.
    """
    count = max((len(sound) - 2 * SAMPLE_RATE) // (SAMPLE_RATE // 2) + 1, 1)
    batch = windows(sound, 2.0, count, 0.5, normalise)
    same = [ours(row[None]).argmax() == theirs(row[None]).argmax() for row in batch]
    return float(np.mean(same)), count


def verify(
    ours: Net,
    fp32: Net,
    network: Net,
    precision: Precision,
    normalise: bool,
    probabilities: bool,
    allow_disagreement: bool,
) -> tuple[Figure, ...]:
    """Compare an exported model with its network (fp32, fp16) or with its fp32 files (int8).

    Args:
        ours: the model to be checked.
        fp32: the same in full precision.
        network: the original, input_values float32 (B, n) to outputs (B, C).
        precision: of `ours`.
        normalise: whether windows get zero mean and unit variance.
        probabilities: whether the outputs are logits of classes.
        allow_disagreement: take int8 models that often name another class.

    Raises:
        ExportError: the file is further from its original than is taken.

    """
    sound = read_sound()
    where = "ONNX Runtime against torch; windows of 1, 2.37 and 8 s, batches of 1 and 3"
    if precision == "int8":
        where = "int8 against fp32; windows of 1, 2.37 and 8 s, batches of 1 and 3"
        network = fp32
    data = "bundled clip's sound"
    found = largest_difference(ours, network, sound, normalise, probabilities)
    int8_values = precision == "int8" and not probabilities
    limit = LARGEST_INT8_OFFSET if int8_values else LARGEST_DIFFERENCE[precision]
    if found > limit and not (int8_values and allow_disagreement and found < np.inf):
        raise ExportError(
            f"the {precision} model differs from the original by {found:.2g}, more than "
            f"{limit:g}: it is not written"
        )
    figures = [Figure(data, "largest difference", float(f"{found:.3g}"), "measured", where)]
    if precision == "int8" and probabilities:
        share, count = agreement(ours, network, sound, normalise)
        if share < LEAST_AGREEMENT and not allow_disagreement:
            raise ExportError(
                f"the int8 model names the same class as fp32 in only {share:.1%} of {count} "
                f"windows, under {LEAST_AGREEMENT:.0%}: --allow-disagreement takes it all the same"
            )
        note = f"int8 against fp32; most probable class, {count} windows of 2 s"
        figures.append(Figure(data, "agreement", round(share, 4), "measured", note))
    return tuple(figures)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))
