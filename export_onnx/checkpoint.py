"""Checkpoint folders of the hub's layout: found or fetched, read without running any code."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils.tqdm import disable_progress_bars
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from export_onnx.errors import ExportError
from export_onnx.hub import reason_of

# Weights and descriptions, never code.
_SMALL = ["config.json", "preprocessor_config.json", "README.md", "LICENSE", "LICENSE.txt"]
_SAFE = ["model*.safetensors", "model.safetensors.index.json"]
_PICKLED = ["pytorch_model*.bin", "pytorch_model.bin.index.json"]
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w.-]+)?")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder with config.json and weights, and where it came from.

    `name` is the hub's id or the folder's name; `revision` the hub's commit, or "local".
    """

    folder: Path
    name: str
    revision: str

    def json(self, file: str) -> dict[str, Any]:
        """Return a JSON file's object; empty where there is no such file.

        Raises:
            ExportError: the file is not a JSON object.

        """
        path = self.folder / file
        if not path.is_file():
            return {}
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            content = None
        if not isinstance(content, dict):
            raise ExportError(f"{path} is not a JSON object")
        return content

    def front_matter(self) -> dict[str, Any]:
        """Return the model card's front matter; empty where there is none that can be read."""
        path = self.folder / "README.md"
        try:
            text = path.read_text(encoding="utf-8")
            _, matter, _ = text.split("---\n", 2) if text.startswith("---\n") else ("", "", "")
            content = yaml.safe_load(matter)
        except (OSError, ValueError, yaml.YAMLError):
            return {}
        return content if isinstance(content, dict) else {}

    def weight_files(self) -> list[Path]:
        """Return the files that hold the weights: safe ones are preferred to pickled ones.

        Raises:
            ExportError: there are none, or an index names a file outside the folder.

        """
        for stem in ("model.safetensors", "pytorch_model.bin"):
            if (self.folder / stem).is_file():
                return [self.folder / stem]
            if index := self.json(f"{stem}.index.json"):
                table = index.get("weight_map")
                names = sorted({str(n) for n in table.values()}) if isinstance(table, dict) else []
                files = [self.folder / name for name in names if Path(name).name == name]
                if not names or len(files) < len(names) or not all(f.is_file() for f in files):
                    raise ExportError(f"{self.folder}: {stem}.index.json names missing files")
                return files
        raise ExportError(
            f"{self.folder} is not a checkpoint: it has neither model.safetensors nor "
            "pytorch_model.bin"
        )

    def weights(self) -> dict[str, Tensor]:
        """Return all weights by key, floating ones as float32.

        Raises:
            ExportError: a file is damaged, or is a pickle with more than weights in it.

        """
        return {
            key: value.float() if value.is_floating_point() else value
            for path in self.weight_files()
            for key, value in _read_weights(path)
        }


def sha256(path: Path) -> str:
    """Return a file's SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_checkpoint(source: str) -> Checkpoint:
    """Return the folder `source`, or fetch what the hub has under this id (`owner/name@revision`).

    Raises:
        ExportError: no such folder; the hub cannot be reached or has no such model.

    """
    folder = Path(source)
    if folder.is_dir():
        found = Checkpoint(folder, folder.resolve().name, "local")
    elif _HUB_ID.fullmatch(source) and not folder.exists():
        found = _fetch(source)
    else:
        raise ExportError(f"{source} is neither a checkpoint's folder nor a hub id (owner/name)")
    if not found.json("config.json"):
        raise ExportError(f"{source} is not a checkpoint: it has no config.json")
    return found


def _fetch(source: str) -> Checkpoint:
    name, _, revision = source.partition("@")
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        for patterns in (_SAFE, _PICKLED):
            wanted = [*_SMALL, *patterns]
            folder = snapshot_download(name, revision=revision or None, allow_patterns=wanted)
            if any(path for p in patterns for path in Path(folder).glob(p)):
                break
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ExportError(reason_of(source, error)) from None
    return Checkpoint(Path(folder), name, Path(folder).name)


def _read_weights(path: Path) -> Iterator[tuple[str, Tensor]]:
    content: object
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError):
        raise ExportError(
            f"{path} cannot be read as plain weights: it is damaged, or holds code, which is "
            "never run"
        ) from None
    if not isinstance(content, Mapping):
        raise ExportError(f"{path} holds no table of weights")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ExportError(f"{path} holds no table of weights")
        yield key, value


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"
