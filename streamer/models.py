"""Models: their manifests, hashes and sessions."""

import errno
import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from streamer import inference, preprocess, weights
from streamer.config import ModelsConfig
from streamer.resources import models_dir
from streamer.types import EMOTIONS, Floats, Reading, StreamerError, Vocabulary

Task = Literal[
    "face-detection", "face-emotion", "voice-activity", "speech-emotion", "speech-dimensions"
]

PREPROCESS: dict[Task, type[preprocess.Preprocess]] = {
    "face-detection": preprocess.FaceDetection,
    "face-emotion": preprocess.FaceEmotion,
    "voice-activity": preprocess.VoiceActivity,
    "speech-emotion": preprocess.Speech,
    "speech-dimensions": preprocess.Speech,
}
"""What the entry ``preprocess`` of a manifest must be for each task."""


MOST_BYTES = 8 << 30
"""Of a model's files together."""

MOST_MANIFEST_BYTES = 1 << 20


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    @field_validator("*")
    @classmethod
    def _printable(cls, value: object) -> object:
        """No control characters: people see it in their terminals."""
        texts = value if isinstance(value, list) else [value]
        if isinstance(value, dict):
            texts = [*value, *value.values()]
        if not all(text.isprintable() for text in texts if isinstance(text, str)):
            raise ValueError("holds characters that can't be printed")
        return value


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


FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class File(_Part):
    """A further file of a model, beside its ONNX file: large weights, or another network."""

    name: str
    file: FileName
    sha256: str
    bytes: int

    @property
    def is_network(self) -> bool:
        """Whether it is loaded by itself; the others are large weights that a network reads."""
        return self.file.endswith(".onnx")


class Manifest(_Part):
    """The contract between `export_onnx` and `streamer`: NAME.json beside NAME.onnx.

    ``preprocess`` holds what PREPROCESS says for the task, as it stands in the file.

    A label that ``mapping`` maps to None is none of the seven: its share is left out.
    """

    manifest: Literal[1]
    name: str
    task: Task
    architecture: str
    description: str
    file: FileName
    sha256: str
    bytes: int
    opset: int
    inputs: Annotated[list[Tensor], Field(min_length=1)]
    outputs: Annotated[list[Tensor], Field(min_length=1)]
    preprocess: dict[str, Any]
    labels: list[str] | None
    mapping: dict[str, str | None] | None
    output: Literal["probs", "logits", "raw"]
    temperature: Annotated[float, Field(gt=0)]
    licence: Licence
    sources: list[Origin]
    producer: dict[str, str]
    accuracy: list[Accuracy]
    parts: list[File] = []

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Its labels and what they mean."""
        labels, mapping = self.labels or [], self.mapping or {}
        return Vocabulary(tuple(labels), tuple(mapping.get(label) for label in labels))


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model: its manifest and its sessions, which threads may share."""

    manifest: Manifest
    session: ort.InferenceSession
    provider: str
    parts: dict[str, ort.InferenceSession] = field(default_factory=dict)
    options: ort.RunOptions = field(default_factory=ort.RunOptions)

    def own(self) -> Self:
        """The same sessions, to be stopped by themselves."""
        return replace(self, options=ort.RunOptions())

    def stop(self) -> None:
        """End its runs at the next operator, and all later ones: they raise StreamerError."""
        self.options.terminate = True

    def run(self, **inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """All outputs, in the model's order."""
        answers = self._answer(self.session, None, inputs)
        for told, answer in zip(self.manifest.outputs, answers, strict=False):
            if not answer.size or not _same_shape(told.shape, list(answer.shape)):
                raise self.failed(f"it answered {answer.shape} for {told.name} {told.shape}")
        return answers

    def _answer(
        self, session: ort.InferenceSession, names: list[str] | None, inputs: dict[str, Any]
    ) -> list[NDArray[Any]]:
        try:
            answers = list(session.run(names, inputs, self.options))
        except Exception as error:  # ONNX Runtime raises many unrelated types
            if self.options.terminate:
                raise self.failed("it was stopped before it had answered") from None
            raise self.failed(f"it failed: {error}") from None
        if not all(np.isfinite(answer).all() for answer in answers):
            raise self.failed("it answered a number that is not finite")
        return answers

    def failed(self, why: str) -> StreamerError:
        """What to raise if it answers what can't be used."""
        return StreamerError(f"model {self.manifest.name}: {why}", status=1)

    def run_part(self, name: str, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """All outputs of the part ``name`` (empty: the first) by name."""
        session = self.parts[name] if name else self.session
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, self._answer(session, names, inputs), strict=True))

    def reading(self, outputs: Floats, affect: Floats | None) -> Reading:
        """What raw outputs float32 (C,), and valence and arousal (2,) if there are any, say."""
        shares = self.shares(outputs)
        more = np.full(2, np.nan) if affect is None else np.clip(affect, -1, 1)
        return Reading(self._sum_up(shares), np.concatenate([shares, more]).astype(np.float32))

    def to_emotions(self, outputs: Floats) -> Floats:
        """Raw outputs float32 (C,) to probabilities (7,) in the order of EMOTIONS."""
        return self._sum_up(self.shares(outputs))

    def shares(self, outputs: Floats) -> NDArray[np.float64]:
        """Raw outputs float32 (C,) to the labels' shares (C,): 0 for what is none of the seven."""
        # It is left out before anything is summed up.
        kept = [emotion is not None for emotion in self.manifest.vocabulary.emotions]
        if outputs.shape != (len(kept),):
            raise self.failed(f"it answered {outputs.shape} for its {len(kept)} labels")
        probs = outputs.astype(np.float64)[kept]
        temperature = self.manifest.temperature
        if self.manifest.output == "logits":
            probs = np.exp((probs - probs.max()) / temperature)
        elif probs.min() < 0:
            raise self.failed("it answered a share below 0")
        elif not probs.sum():
            probs = np.ones(len(probs))
        elif temperature != 1:
            probs = (probs / probs.max()) ** (1 / temperature)  # as logits: they are its logarithm
        shares = np.zeros(len(kept))
        shares[kept] = probs / probs.sum()
        return shares

    def _sum_up(self, shares: NDArray[np.float64]) -> Floats:
        total = np.zeros(len(EMOTIONS))
        for emotion, share in zip(self.manifest.vocabulary.emotions, shares, strict=True):
            if emotion is not None:
                total[EMOTIONS.index(emotion)] += share
        return total.astype(np.float32)


def load(name: str, task: Task, config: ModelsConfig) -> Model:
    """The model ``name``, its file checked against the manifest's hash.

    Raises StreamerError: no such model, altered, of another task, can't be loaded, or the
    provider that was asked for is not there.
    """
    manifest, path = find(name, config)
    if manifest.task != task:
        raise StreamerError(f"model {name} is for {manifest.task}, not for {task}")
    meant = set((manifest.mapping or {}).values()) - {None}
    unmapped = set(manifest.labels or []) - set(manifest.mapping or {})
    if task.endswith("-emotion") and (meant - set(EMOTIONS) or unmapped or not meant):
        raise StreamerError(
            f"model {name}: its manifest maps no label to {EMOTIONS} for all labels"
        )
    check(manifest, path)
    providers = inference.providers_for(config.provider)
    varies = any(isinstance(size, str) for tensor in manifest.inputs for size in tensor.shape[1:])
    session = inference.session(path, providers, config.threads, varies)
    _compare(manifest, session)
    parts = {
        part.name: inference.session(
            path.with_name(part.file), providers, config.threads, varies=True
        )
        for part in manifest.parts
        if part.is_network
    }
    for part, network in parts.items():
        taken, answered = network.get_inputs(), network.get_outputs()
        inference.check_needs(
            f"model {name}: its part {part}", part, _sizes(taken), _sizes(answered)
        )
    used = {made.get_providers()[0] for made in (session, *parts.values())}
    if config.provider == "cuda" and used != {providers[0]}:
        raise StreamerError(
            f"model {name}: ONNX Runtime could not start CUDA and would run it on the CPU: install "
            "the CUDA and cuDNN libraries it was built for, or set models.provider to auto or cpu"
        )
    return Model(manifest, session, min(used), parts)


def _compare(manifest: Manifest, session: ort.InferenceSession) -> None:
    """Raises StreamerError if the file's inputs and outputs are not those of its manifest, or can't
    be what the task needs.
    """
    name, inputs, outputs = manifest.name, session.get_inputs(), session.get_outputs()
    for told, found in ((manifest.inputs, inputs), (manifest.outputs, outputs)):
        if [t.name for t in told] != [f.name for f in found] or not all(
            _same_shape(t.shape, f.shape) for t, f in zip(told, found, strict=True)
        ):
            shapes = ", ".join(f"{f.name} {f.shape}" for f in found)
            raise StreamerError(f"model {name}: the file has {shapes}; its manifest says otherwise")
    key = manifest.architecture if manifest.task == "face-detection" else manifest.task
    told_in, told_out = _sizes(manifest.inputs), _sizes(manifest.outputs)
    inference.check_needs(f"model {name}", key, told_in, told_out)
    count, classes = len(manifest.labels or []), manifest.outputs[0].shape[-1:]
    if count and not _same_shape(classes, [count]):
        raise StreamerError(f"model {name}: its manifest has {count} labels for {classes} outputs")


def _sizes(tensors: Sequence[Any]) -> dict[str, inference.Sizes]:
    """Of a manifest or a session."""
    return {tensor.name: tensor.shape for tensor in tensors}


def _same_shape(told: list[int | str], found: list[int | str | None]) -> bool:
    """Whether two shapes agree where both give a number."""
    return len(told) == len(found) and all(
        a == b
        for a, b in zip(told, found, strict=True)
        if isinstance(a, int) and isinstance(b, int)
    )


def check(manifest: Manifest, path: Path) -> None:
    """Raises StreamerError if a file of the model is not what its manifest says."""
    if manifest.bytes + sum(part.bytes for part in manifest.parts) > MOST_BYTES:
        raise StreamerError(f"model {manifest.name}: larger than {MOST_BYTES >> 30} GiB")
    _check(path, manifest)
    for part in manifest.parts:
        _check(path.with_name(part.file), part)
    networks = [path, *(path.with_name(part.file) for part in manifest.parts if part.is_network)]
    for network in networks:
        if foreign := weights.external(network) - {part.file for part in manifest.parts}:
            raise StreamerError(f"model file {network} reads {min(foreign)!r}, not in its manifest")


def known(config: ModelsConfig) -> dict[str, Path]:
    """Names and manifests of all models, in the configured folder and the packaged one.

    Raises StreamerError: a folder can't be read.
    """
    folders = [models_dir(), *([Path(config.dir)] if config.dir else [])]
    try:
        files = [path for folder in folders for path in sorted(folder.iterdir())]
    except OSError as error:
        raise StreamerError(f"models' folder {error.filename}: {error.strerror}") from None
    return {path.stem: path for path in files if path.suffix == ".json"}


def find(name: str, config: ModelsConfig) -> tuple[Manifest, Path]:
    """Manifest and ONNX path of ``name``, in the configured folder or the packaged one."""
    folders = [Path(config.dir)] if config.dir else []
    try:
        if folders and not folders[0].is_dir():
            raise StreamerError(f"models.dir = {config.dir}: no such folder")
        for folder in (*folders, models_dir()):
            path = folder / f"{name}.json"
            if path.exists():
                manifest = _read(path)
                if not (folder / manifest.file).is_file():
                    raise StreamerError(f"model file {folder / manifest.file} is missing")
                return manifest, folder / manifest.file
    except OSError as error:  # such as a folder that may not be searched, or too long a name
        raise StreamerError(f"model {name}: {error.filename}: {error.strerror}") from None
    raise StreamerError(f"no model {name!r}; there are: {', '.join(sorted(known(config)))}")


def _read(path: Path) -> Manifest:
    place = ""
    try:
        with _opened(path) as file:
            text = file.read(MOST_MANIFEST_BYTES + 1)
        if len(text) > MOST_MANIFEST_BYTES:
            raise StreamerError(f"model manifest {path}: larger than 1 MiB")
        manifest = Manifest.model_validate_json(text)
        place = "preprocess."
        PREPROCESS[manifest.task].model_validate(manifest.preprocess)
    except OSError as error:
        raise StreamerError(f"model manifest {path}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = place + ".".join(str(part) for part in first["loc"])
        raise StreamerError(f"model manifest {path}: {key}: {first['msg']}") from None
    return manifest


def _opened(path: Path) -> BufferedReader:
    """A file to read. Raises OSError, also for a pipe or device: it may say nothing for ever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    return path.open("rb")


def _check(path: Path, told: Manifest | File) -> None:
    try:
        with _opened(path) as file:  # a size tells at once what takes long to hash
            same = os.fstat(file.fileno()).st_size == told.bytes
            found = hashlib.file_digest(file, "sha256").hexdigest() if same else ""
    except OSError as error:
        raise StreamerError(f"model file {path}: {error.strerror}") from None
    if not same or found != told.sha256:
        what = "hash" if same else "size"
        raise StreamerError(f"model file {path} is altered: its {what} is not its manifest's")
