"""ONNX Runtime sessions: manifest, hash, provider, threads."""

import ctypes
import hashlib
import sys
from dataclasses import dataclass, field
from importlib.metadata import distributions
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streamer.config import ModelsConfig
from streamer.resources import models_dir
from streamer.types import EMOTIONS, Floats, StreamerError

Task = Literal["face-detection", "face-emotion", "voice-activity", "speech-emotion"]


PREPROCESS: dict[Task, set[str]] = {
    "face-detection": {"size", "scale", "shift", "crop"},
    "face-emotion": {"size"},
    "voice-activity": {"chunk", "context"},
    "speech-emotion": {"sample_rate", "normalise", "min_window_s"},
}
"""What a manifest must say of the preprocessing for each task."""


FILE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tensor(_Part):
    """Name, dtype and shape of an input or output; a named dimension is free."""

    name: str
    dtype: str
    shape: list[int | str]


class Licence(_Part):
    """``notice`` is what a user must be told at the first start, if anything."""

    name: str
    research_only: bool
    notice: str | None
    file: str | None


class Origin(_Part):
    """The package and the file in it that the weights come from."""

    package: str
    version: str
    registry: str
    member: str
    sha256: str
    licence: str
    authors: str


class Accuracy(_Part):
    """One figure: on which data, by whom."""

    data: str
    metric: str
    value: float
    origin: Literal["measured", "published"]
    note: str | None


class PartFile(_Part):
    """A further ONNX file that the model needs, and the name that the code calls it by."""

    name: str
    file: Annotated[str, Field(pattern=FILE_NAME)]
    sha256: str
    bytes: int


class Manifest(_Part):
    """The contract between `export_onnx` and `streamer`: NAME.json beside NAME.onnx."""

    manifest: Literal[1]
    name: str
    task: Task
    architecture: str
    description: str
    file: Annotated[str, Field(pattern=FILE_NAME)]
    sha256: str
    bytes: int
    opset: int
    inputs: list[Tensor]
    outputs: list[Tensor]
    preprocess: dict[str, Any]
    labels: list[str] | None
    mapping: dict[str, str] | None
    output: Literal["probs", "logits", "raw"]
    temperature: Annotated[float, Field(gt=0)]
    licence: Licence
    sources: list[Origin]
    producer: dict[str, str]
    accuracy: list[Accuracy]
    parts: list[PartFile] = []


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model: its manifest and its sessions, which threads may share."""

    manifest: Manifest
    session: ort.InferenceSession
    provider: str
    parts: dict[str, ort.InferenceSession] = field(default_factory=dict)

    def run(self, **inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """All outputs, in the model's order."""
        return list(self.session.run(None, inputs))

    def run_part(self, name: str, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """All outputs of the part ``name`` (empty: the first) by name."""
        session = self.parts[name] if name else self.session
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))

    def to_emotions(self, outputs: Floats) -> Floats:
        """Raw outputs float32 (C,) to probabilities (7,) in the order of EMOTIONS."""
        probs = outputs.astype(np.float64)
        if self.manifest.output == "logits":
            probs = np.exp((probs - probs.max()) / self.manifest.temperature)
        labels, mapping = self.manifest.labels or [], self.manifest.mapping or {}
        total = np.zeros(len(EMOTIONS))
        for label, p in zip(labels, probs / probs.sum(), strict=True):
            total[EMOTIONS.index(mapping[label])] += p
        return total.astype(np.float32)


def load(name: str, task: Task, config: ModelsConfig) -> Model:
    """The model ``name``, its file checked against the manifest's hash.

    Raises StreamerError: no such model, altered, of another task, can't be loaded, or the
    provider that was asked for is not there.
    """
    manifest, path = find(name, config)
    if manifest.task != task:
        raise StreamerError(f"model {name} is for {manifest.task}, not for {task}")
    if missing := PREPROCESS[task] - set(manifest.preprocess):
        raise StreamerError(f"model {name}: its manifest's preprocess lacks {min(missing)}")
    unknown = set((manifest.mapping or {}).values()) - set(EMOTIONS)
    unmapped = set(manifest.labels or []) - set(manifest.mapping or {})
    if unknown or unmapped:
        raise StreamerError(
            f"model {name}: its manifest maps no label to {EMOTIONS} for all labels"
        )
    providers = _providers(config.provider)
    session = _session(path, manifest.sha256, providers, config.threads)
    parts = {
        part.name: _session(path.with_name(part.file), part.sha256, providers, config.threads)
        for part in manifest.parts
    }
    for made in (session, *parts.values()):
        if (used := made.get_providers()[0]) != providers[0]:
            raise StreamerError(f"model {name}: {providers[0]} was asked for, but {used} runs it")
    return Model(manifest, session, providers[0], parts)


def _session(path: Path, sha256: str, providers: list[str], threads: int) -> ort.InferenceSession:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StreamerError(f"model file {path}: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise StreamerError(f"model file {path} is altered: its hash is not its manifest's")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Threads that spin between two windows doubled the wall time on two cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # ONNX Runtime raises many unrelated types
        raise StreamerError(f"model file {path}: ONNX Runtime can't load it: {error}") from None


def find(name: str, config: ModelsConfig) -> tuple[Manifest, Path]:
    """Manifest and ONNX path of ``name``, in the configured folder or the packaged one."""
    folders = [Path(config.dir)] if config.dir else []
    if folders and not folders[0].is_dir():
        raise StreamerError(f"models.dir = {config.dir}: no such folder")
    folders.append(models_dir())
    for folder in folders:
        path = folder / f"{name}.json"
        if path.is_file():
            try:
                manifest = Manifest.model_validate_json(path.read_bytes())
            except ValidationError as error:
                first = error.errors()[0]
                key = ".".join(str(part) for part in first["loc"])
                raise StreamerError(f"model manifest {path}: {key}: {first['msg']}") from None
            if not (folder / manifest.file).is_file():
                raise StreamerError(f"model file {folder / manifest.file} is missing")
            return manifest, folder / manifest.file
    known = sorted({p.stem for folder in folders for p in folder.glob("*.json")})
    raise StreamerError(f"no model {name!r}; there are: {', '.join(known)}")


def check_runtime() -> None:
    """Refuse two ONNX Runtimes side by side: they overwrite each other's files, silently."""
    wanted = {"onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino"}
    found = sorted({str(d.metadata["Name"]).lower() for d in distributions()} & wanted)
    if len(found) > 1:
        raise StreamerError(
            f"{' and '.join(found)} are both installed and overwrite each other: "
            f"pip uninstall {' '.join(found)}, then install one of them"
        )


def _providers(asked: str) -> list[str]:
    cuda, cpu = "CUDAExecutionProvider", "CPUExecutionProvider"
    if asked == "cpu" or (asked == "auto" and not _has_cuda_device()):
        return [cpu]
    if not _has_cuda_device():
        raise StreamerError(
            "models.provider is cuda, but this machine has no CUDA device: use auto"
        )
    if cuda not in ort.get_available_providers():
        raise StreamerError("models.provider is cuda, but this ONNX Runtime was built without it")
    return [cuda, cpu]


def _has_cuda_device() -> bool:
    """Ask the driver: the GPU build of ONNX Runtime calls CUDA available where there is none."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count = ctypes.c_int(0)
        ready = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    except (OSError, AttributeError):
        return False
    return ready and count.value > 0
