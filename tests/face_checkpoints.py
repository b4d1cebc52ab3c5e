"""Checkpoints made on the spot: the real architectures and file formats, weights out of a hat."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from export_onnx.efficientnet import EfficientNet
from export_onnx.fer2013 import ResNet18, Vgg19

State = dict[str, torch.Tensor]


def fill(shapes: Mapping[str, torch.Tensor]) -> State:
    """Weights for the names and shapes given, the same on every machine."""
    random = np.random.default_rng(11)
    state: State = {}
    for name in sorted(shapes):
        shape = tuple(shapes[name].shape)
        values = random.standard_normal(shape)
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(1)
            continue
        if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
            values = 1 + 0.2 * np.tanh(values)
        elif len(shape) > 1:
            values *= np.sqrt(2 / np.prod(shape[1:]))
        else:
            values *= 0.1
        state[name] = torch.from_numpy(values.astype(np.float32))
    return state


def digest(shapes: Mapping[str, torch.Tensor]) -> str:
    """What tells one architecture's weights from another's: all names and shapes."""
    text = "\n".join(f"{name} {tuple(shapes[name].shape)}" for name in sorted(shapes))
    return hashlib.sha256(text.encode()).hexdigest()


def picture(count: int, side: int) -> NDArray[np.float32]:
    """Smooth colours float32 (count, 3, side, side), about -1 ... 2."""
    coarse = np.random.default_rng(5).uniform(-1, 2, (count, 3, 4, 4)).astype(np.float32)
    large = torch.nn.functional.interpolate(torch.from_numpy(coarse), (side, side), mode="bilinear")
    return np.asarray(large.numpy())


def fer2013(kind: str) -> State:
    return fill((Vgg19() if kind == "vgg19" else ResNet18()).state_dict())


def hsemotion(size: str, outputs: int, *, nested: bool = False) -> State:
    return fill(EfficientNet(size, outputs, nested=nested).state_dict())


def save_t7(state: State, path: Path) -> Path:
    """As Facial-Expression-Recognition.Pytorch saves it, in the old format and without counters."""
    kept = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    torch.save(
        {"net": kept, "best_PrivateTest_acc": 73.1, "best_PrivateTest_acc_epoch": 212},
        path,
        _use_new_zipfile_serialization=False,
    )
    return path
