"""VGG19 and ResNet18 of WuJie1010/Facial-Expression-Recognition.Pytorch, trained on FER2013.

Checkpoints are the project's `.t7` files: torch files whose key `net` holds the weights. Both take
44 x 44 pixels out of 48 x 48 gray ones, three times the same channel in 0 ... 1. Sources: Simonyan
and Zisserman 2014 (arXiv 1409.1556) with batch normalisation; He et al. 2015 (arXiv 1512.03385).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from export_onnx.errors import ExportError
from export_onnx.face_models import Request
from export_onnx.face_torch import Checkpoint, load_exactly, make_files, read_checkpoint
from export_onnx.manifest import Card, Figure

LABELS = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
_WHOLE, _CUT = 48, 44
_HALVES = ("PublicTest", "PrivateTest")
_VGG19 = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))


class Vgg19(nn.Module):
    """Logits float32 (N, 7) of (N, 3, 44, 44)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for count, repeats in _VGG19:
            for _ in range(repeats):
                layers += [nn.Conv2d(before, count, 3, padding=1), nn.BatchNorm2d(count), nn.ReLU()]
                before = count
            layers.append(nn.MaxPool2d(2, 2))
        # The project averages over one pixel at the end: nothing, and without weights.
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(before, len(LABELS))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.classifier(self.features(x).flatten(1))
        return logits


class _Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut.append(nn.Conv2d(before, after, 1, stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(y + self.shortcut(x))


class ResNet18(nn.Module):
    """Logits float32 (N, 7) of (N, 3, 44, 44); the first layer keeps the small picture's size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(_Block(64, 64, 1), _Block(64, 64, 1))
        self.layer2 = nn.Sequential(_Block(64, 128, 2), _Block(128, 128, 1))
        self.layer3 = nn.Sequential(_Block(128, 256, 2), _Block(256, 256, 1))
        self.layer4 = nn.Sequential(_Block(256, 512, 2), _Block(512, 512, 1))
        self.linear = nn.Linear(512, len(LABELS))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        # Four by four of the six by six: the project's pooling leaves out the last two.
        logits: Tensor = self.linear(functional.avg_pool2d(x, 4).flatten(1))
        return logits


class TenCrops(nn.Module):
    """The mean logits float32 (N, 7) over ten crops of (N, 3, 48, 48): corners, middle, mirrored.

    It is how the project measured its published figures.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self._net = net

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean logits."""
        end, middle = _WHOLE - _CUT, (_WHOLE - _CUT) // 2
        corners = ((0, 0), (0, end), (end, 0), (end, end), (middle, middle))
        crops = [x[:, :, top : top + _CUT, left : left + _CUT] for top, left in corners]
        crops += [crop.flip(3) for crop in crops]
        logits: Tensor = self._net(torch.cat(crops))
        return logits.reshape(len(crops), -1, len(LABELS)).mean(0)


def export(request: Request) -> dict[str, bytes]:
    """Return the files of `fer2013-vgg19` or `fer2013-resnet18` by name.

    The ONNX model takes `face` float32 (N, 3, 44, 44), or 48 x 48 with `ten_crop`, and gives
    `logits` (N, 7).

    Raises:
        ExportError: the checkpoint is missing, broken, foreign, or of other classes.

    """
    checkpoint = read_checkpoint(request)
    vgg = request.model == "fer2013-vgg19"
    net = Vgg19() if vgg else ResNet18()
    _check_classes(checkpoint, "classifier" if vgg else "linear")
    load_exactly(net, checkpoint, request.model)
    side = _WHOLE if request.ten_crop else _CUT
    card = Card(
        name=request.model.replace("-", "_") + ("_ten_crop" if request.ten_crop else ""),
        task="face-emotion",
        architecture=request.model,
        description=f"Seven emotions of a face: {'VGG19' if vgg else 'ResNet18'} on FER2013.",
        preprocess={
            "size": [_WHOLE, _WHOLE],
            "center_crop": None if request.ten_crop else [_CUT, _CUT],
            "color": "gray",
            "layout": "NCHW",
            "scale": 1 / 255,
            "mean": [0.0],
            "std": [1.0],
        },
        output="logits",
        licence="MIT",
        sources=(checkpoint.source("Facial-Expression-Recognition.Pytorch", "MIT", "WuJie1010"),),
        mapping={label: label for label in LABELS},
        accuracy=_published(checkpoint),
    )
    module = TenCrops(net).eval() if request.ten_crop else net
    return make_files(module, card, (3, side, side), ["logits"], request)


def _published(checkpoint: Checkpoint) -> tuple[Figure, ...]:
    """What the project's training wrote into the file, in per cent, measured with ten crops."""
    found = {half: checkpoint.numbers.get(f"best_{half}_acc", -1) for half in _HALVES}
    note = "as the checkpoint says; with ten crops"
    return tuple(
        Figure(f"FER2013 {half}", "accuracy", round(value / 100, 6), "published", note)
        for half, value in found.items()
        if 0 <= value <= 100
    )


def _check_classes(checkpoint: Checkpoint, layer: str) -> None:
    bias = checkpoint.state.get(f"{layer}.bias")
    if bias is not None and len(bias.reshape(-1)) != len(LABELS):
        raise ExportError(
            f"{checkpoint.name} has {bias.numel()} classes, not the seven of FER2013 "
            f"({', '.join(LABELS)})"
        )
