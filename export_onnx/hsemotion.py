"""HSEmotion, now EmotiEffLib (Savchenko 2021 and later, arXiv 2103.17107): faces by EfficientNet.

Checkpoints are state dicts of timm's tf_efficientnet_b0_ns and _b2_ns with seven or eight classes,
and perhaps valence and arousal behind them. The authors publish whole pickled modules, which are
code: the user saves the state dict once, where they trust the file.
"""

from __future__ import annotations

from torch import Tensor, nn

from export_onnx.efficientnet import EfficientNet, find_size
from export_onnx.errors import ExportError
from export_onnx.face_models import Request
from export_onnx.face_torch import Checkpoint, load_exactly, make_files, read_checkpoint
from export_onnx.manifest import Card

# AffectNet's classes in the checkpoints' order. Contempt is none of the analyzer's seven emotions.
MAPPING = {
    "Anger": "Angry",
    "Contempt": "Disgust",
    "Disgust": "Disgust",
    "Fear": "Fear",
    "Happiness": "Happy",
    "Neutral": "Neutral",
    "Sadness": "Sad",
    "Surprise": "Surprise",
}
_DIMENSIONS = 2


class _Parted(nn.Module):
    """Logits (N, classes) and valence with arousal (N, 2) out of one last layer."""

    def __init__(self, net: EfficientNet, classes: int) -> None:
        super().__init__()
        self._net, self._classes = net, classes

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        both: Tensor = self._net(x)
        return both[:, : self._classes], both[:, self._classes :]


def export(request: Request) -> dict[str, bytes]:
    """Return the files of `hsemotion` by name; size and classes are found in the checkpoint.

    The ONNX model takes `face` float32 (N, 3, S, S), S being 224 (B0) or 260 (B2), and gives
    `logits` (N, 7 or 8) and, where the checkpoint has them, `valence_arousal` (N, 2), each about
    -1 ... 1.

    Raises:
        ExportError: the checkpoint is missing, broken, foreign, or of other classes.

    """
    if request.ten_crop:
        raise ExportError("--ten-crop is for the fer2013 models")
    if request.precision == "int8":
        # Measured on AVX2: 2.2 times for B0, 1.9 for B2.
        raise ExportError("hsemotion in int8 is about half as fast as in fp32: take fp32 or fp16")
    checkpoint = read_checkpoint(request)
    size, outputs, nested = _find_variety(checkpoint)
    dimensional = outputs > len(MAPPING)
    classes = outputs - _DIMENSIONS if dimensional else outputs
    net = EfficientNet(size, outputs, nested=nested)
    load_exactly(net, checkpoint, f"EfficientNet-{size.upper()}")
    labels = [label for label in MAPPING if classes == len(MAPPING) or label != "Contempt"]
    card = Card(
        name=f"hsemotion_{size}_{classes}" + ("_va" if dimensional else ""),
        task="face-emotion",
        architecture=f"efficientnet-{size}",
        description=f"Emotions of a face: HSEmotion's EfficientNet-{size.upper()} on AffectNet.",
        preprocess={
            "size": [net.side, net.side],
            "center_crop": None,
            "color": "rgb",
            "layout": "NCHW",
            "scale": 1 / 255,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
        },
        output="logits",
        licence="Apache-2.0",
        research_only=True,
        notice="HSEmotion's face models were trained on AffectNet, which is given out for "
        "non-commercial research only.",
        sources=(checkpoint.source("EmotiEffLib", "Apache-2.0", "Andrey Savchenko"),),
        mapping={label: MAPPING[label] for label in labels},
    )
    module: nn.Module = _Parted(net, classes).eval() if dimensional else net
    names = ["logits", "valence_arousal"] if dimensional else ["logits"]
    return make_files(module, card, (3, net.side, net.side), names, request)


def _find_variety(checkpoint: Checkpoint) -> tuple[str, int, bool]:
    """Return the size, the last layer's outputs, and whether that lies in a sequence."""
    norm = checkpoint.state.get("bn2.weight")
    nested = "classifier.0.bias" in checkpoint.state
    last = checkpoint.state.get("classifier.0.bias" if nested else "classifier.bias")
    size = None if norm is None else find_size(norm)
    if size is None or last is None:
        raise ExportError(
            f"{checkpoint.name} is no EfficientNet-B0 or -B2 with timm's names of the weights"
        )
    outputs, most = last.numel(), len(MAPPING)
    # Nine are seven classes, ten are eight, and two more for valence and arousal.
    if outputs not in (most - 1, most, most - 1 + _DIMENSIONS, most + _DIMENSIONS):
        raise ExportError(
            f"{checkpoint.name} has {outputs} outputs, not {most - 1} or {most} classes with or "
            "without valence and arousal"
        )
    return size, outputs, nested
