"""EfficientNet-B0 and -B2 (Tan and Le 2019, arXiv 1905.11946) with timm's names of the weights.

This is the `tf_` variety: TensorFlow's SAME padding, which is uneven at stride two, and its epsilon
in the batch normalisations. It is rebuilt here since timm cannot be imported without torchvision.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_EPSILON = 1e-3
# Of B0: expansion, kernel, stride, channels, blocks.
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
SCALES = {"b0": (1.0, 1.0, 224), "b2": (1.1, 1.2, 260)}
"""Width, depth and the side of the picture in pixels that each was trained with."""


def channels(count: int, width: float) -> int:
    """Return `count` times `width`, rounded to eights but never down by more than a tenth."""
    wanted = count * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


class _SameConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding, float32 (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for axis in (1, 0):  # functional.pad takes the last axis first
            size, kernel, stride = int(x.shape[2 + axis]), self.kernel_size[axis], self.stride[axis]
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return functional.conv2d(
            functional.pad(x, pads), self.weight, self.bias, self.stride, groups=self.groups
        )


def _norm(count: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(count, eps=_EPSILON)


class _Excite(nn.Module):
    """Squeeze and excitation: each channel is weighted by what the whole map holds."""

    def __init__(self, count: int, inner: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(count, inner, 1)
        self.conv_expand = nn.Conv2d(inner, count, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        gain: Tensor = self.conv_expand(functional.silu(self.conv_reduce(mean)))
        return x * gain.sigmoid()


class _Block(nn.Module):
    """An inverted residual; without expansion (the first stage) a separable convolution."""

    def __init__(self, before: int, after: int, expand: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = before * expand
        self._expands = expand > 1
        self._adds = stride == 1 and before == after
        depthwise = _SameConv(wide, wide, kernel, stride, groups=wide, bias=False)
        self.se = _Excite(wide, max(1, int(before * 0.25)))
        self.conv_dw = depthwise
        if self._expands:
            self.conv_pw = nn.Conv2d(before, wide, 1, bias=False)
            self.bn1, self.bn2, self.bn3 = _norm(wide), _norm(wide), _norm(after)
            self.conv_pwl = nn.Conv2d(wide, after, 1, bias=False)
        else:
            self.bn1, self.bn2 = _norm(wide), _norm(after)
            self.conv_pw = nn.Conv2d(wide, after, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self._expands:
            wide = functional.silu(self.bn1(self.conv_pw(x)))
            wide = self.se(functional.silu(self.bn2(self.conv_dw(wide))))
            y: Tensor = self.bn3(self.conv_pwl(wide))
        else:
            y = self.bn2(self.conv_pw(self.se(functional.silu(self.bn1(self.conv_dw(x))))))
        return y + x if self._adds else y


class EfficientNet(nn.Module):
    """Logits float32 (N, classes) of RGB pictures (N, 3, H, W), normalised as for ImageNet.

    Args:
        size: `b0` or `b2`.
        classes: outputs of the last layer.
        nested: whether the last layer lies in a sequence, as `classifier.0`.

    """

    def __init__(self, size: str, classes: int, *, nested: bool = False) -> None:
        super().__init__()
        width, depth, self.side = SCALES[size]
        count, features = channels(32, width), channels(1280, width)
        self.conv_stem = _SameConv(3, count, 3, 2, bias=False)
        self.bn1 = _norm(count)
        stages = []
        for expand, kernel, stride, base, repeats in _STAGES:
            blocks = []
            for number in range(math.ceil(repeats * depth)):
                after = channels(base, width)
                blocks.append(_Block(count, after, expand, kernel, 1 if number else stride))
                count = after
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = nn.Conv2d(count, features, 1, bias=False)
        self.bn2 = _norm(features)
        last = nn.Linear(features, classes)
        self.classifier: nn.Module = nn.Sequential(last) if nested else last

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.blocks(functional.silu(self.bn1(self.conv_stem(x))))
        x = functional.silu(self.bn2(self.conv_head(x)))
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


def find_size(last: Tensor) -> str | None:
    """Return the size whose last batch normalisation has as many weights as `last`, or None."""
    for size, (width, _, _) in SCALES.items():
        if last.shape == torch.Size([channels(1280, width)]):
            return size
    return None
