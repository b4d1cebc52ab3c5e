"""Checkpoints of PyTorch, read without running anything that is in them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export_onnx.errors import ExportError

# torch takes a second to import: it is imported where a checkpoint is read, not with the catalog.


def read_object(data: bytes, name: str) -> Any:
    """Return what torch saved in `data` (zip or legacy format), tensors on the CPU.

    Only tensors and plain containers are read; `name` is the file's name in messages.

    Raises:
        ExportError: it is no such file, is damaged, or holds anything else, such as a pickled
            model or code.

    """
    import torch  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that torch did not write
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many unrelated types
        text = str(error)
    if "GLOBAL" in text or "unsupported class" in text.lower():
        raise ExportError(
            f"{name} holds a pickled model or code, which is not run here: load it where you trust "
            'it and save the weights alone, torch.save(model.state_dict(), "weights.pt")'
        )
    raise ExportError(f"{name} is not a PyTorch checkpoint, or is damaged")


def read_file(path: Path) -> bytes:
    """Return the bytes of a checkpoint. Raises ExportError: it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ExportError(f"cannot read {path}: {error.strerror}") from error


def find_state(loaded: Any, name: str) -> dict[str, Any]:
    """Return the state dict (names to tensors) in what `read_object` gave.

    It may lie under `net` (Facial-Expression-Recognition.Pytorch), `state_dict` or `model`, and its
    names may begin with the `module.` of DataParallel.

    Raises:
        ExportError: there is none.

    """
    import torch  # noqa: PLC0415

    for key in ("net", "state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping) or not loaded:
        raise ExportError(f"{name} holds no state dict")
    if not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in loaded.items()
    ):
        raise ExportError(f"{name} holds other things than named tensors")
    prefix = "module."
    if all(key.startswith(prefix) for key in loaded):
        return {key.removeprefix(prefix): value for key, value in loaded.items()}
    return dict(loaded)


def find_numbers(loaded: Any) -> dict[str, float]:
    """Return the numbers that a training wrote beside the weights, such as its best accuracy."""
    entries = loaded.items() if isinstance(loaded, Mapping) else ()
    single = {key: value.item() if _is_single(value) else value for key, value in entries}
    return {
        key: float(value)
        for key, value in single.items()
        if isinstance(key, str) and isinstance(value, int | float)
    }


def _is_single(value: Any) -> bool:
    import torch  # noqa: PLC0415

    return isinstance(value, torch.Tensor) and value.dim() == 0


def read_arrays(data: bytes, name: str) -> dict[str, npt.NDArray[np.float32]]:
    """Return the float32 weights in a state dict's file by name. Raises ExportError."""
    state = find_state(read_object(data, name), name)
    return {key: np.asarray(value.numpy(), np.float32) for key, value in state.items()}
