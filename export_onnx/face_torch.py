"""From a checkpoint's weights in a torch module to a checked ONNX file with its manifest."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnxruntime as ort
import torch
from torch import Tensor, nn

from export_onnx.errors import ExportError
from export_onnx.face_models import Request
from export_onnx.face_verify import calibration_faces, verify
from export_onnx.fetch import Member, Package
from export_onnx.graph import OPSET
from export_onnx.int8 import to_int8
from export_onnx.manifest import Card, Source, check_name, make_manifest
from export_onnx.onnxfile import convert
from export_onnx.quiet import quiet
from export_onnx.torch_file import find_numbers, find_state, read_file, read_object


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file's weights by name, its name, its sha256 (hex), and the numbers beside the weights."""

    name: str
    sha256: str
    state: Mapping[str, Tensor]
    numbers: Mapping[str, float]

    def source(self, project: str, licence: str, authors: str) -> Source:
        """Return the manifest's entry: the file is the user's own, of the project's making."""
        member = Member(Package(project, "local", "file"), self.name, self.sha256)
        return Source(member, licence, authors)


def read_checkpoint(request: Request) -> Checkpoint:
    """Return the checkpoint that was asked for.

    Raises:
        ExportError: none was named, or it cannot be read, or it holds other things than weights.

    """
    if request.source is None:
        raise ExportError(f"{request.model} is made from your checkpoint: name it with --source")
    name, data = request.source.name, read_file(request.source)
    loaded = read_object(data, name)
    state = find_state(loaded, name)
    return Checkpoint(name, hashlib.sha256(data).hexdigest(), state, find_numbers(loaded))


def load_exactly(module: nn.Module, checkpoint: Checkpoint, what: str) -> None:
    """Load the weights into `module` (a `what`, in messages): each is used, none is missing.

    Only the counters of batch normalisations may be missing: old versions of torch had none.

    Raises:
        ExportError: a weight is missing, left over, of another shape, or not finite.

    """
    own, given, name = module.state_dict(), checkpoint.state, checkpoint.name
    missing = [key for key in own if key not in given and not key.endswith("num_batches_tracked")]
    unused = [key for key in given if key not in own]
    if missing:
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise ExportError(f"{name} is no {what}: it lacks the weight {missing[0]}{more}")
    if unused:
        more = f" and {len(unused) - 1} more" if unused[1:] else ""
        raise ExportError(f"{name} is no {what}: nothing uses its weight {unused[0]}{more}")
    for key, value in given.items():
        if value.shape != own[key].shape:
            shapes = f"{list(value.shape)}, not {list(own[key].shape)}"
            raise ExportError(f"{name} is no {what}: its weight {key} is {shapes}")
        if not bool(torch.isfinite(value).all()):
            raise ExportError(f"{name}: its weight {key} holds values that are not finite")
    module.load_state_dict(given, strict=False)
    module.eval()


def make_files(
    module: nn.Module, card: Card, shape: Sequence[int], outputs: Sequence[str], request: Request
) -> dict[str, bytes]:
    """Export `module`, compare it with the ONNX file, and return model and manifest by file name.

    int8 is static: its ranges are those of the bundled clip's faces.

    Args:
        module: in evaluation mode, takes float32 (N, *shape) and gives one output or a tuple.
        card: what the manifest says; the comparison's figures are added, and the precision.
        shape: of one picture.
        outputs: the names; the first one is the logits.
        request: the precision, the files' name, and whether to compare.

    Raises:
        ExportError: the file does not give what the module gives, or its name cannot be one.

    """
    precision = request.precision
    ending = "" if precision == "fp32" else f"-{precision}"
    check_name(name := request.name or card.name + ending)
    card = replace(
        card,
        name=name,
        description=card.description + ("" if precision == "fp32" else f" In {precision}."),
        producer={"torch": str(torch.__version__), "onnxruntime": ort.__version__},
        licence_text=False,
    )
    with tempfile.TemporaryDirectory() as scratch, quiet():
        full, path = Path(scratch) / "full.onnx", Path(scratch) / "model.onnx"
        _to_onnx(module, shape, outputs, full)
        if precision == "int8":
            to_int8(full, path, "face", calibration_faces(shape[-1]))
        else:
            convert(full, path, precision)
        exact, model = full.read_bytes(), path.read_bytes()
    if request.verify:
        figures = verify(module, exact, model, shape, request)
        card = replace(card, accuracy=(*card.accuracy, *figures))
    return {f"{card.name}.onnx": model, f"{card.name}.json": make_manifest(card, model).encode()}


def _to_onnx(module: nn.Module, shape: Sequence[int], outputs: Sequence[str], path: Path) -> None:
    # The tracing exporter is called out of date, but it alone writes opset 17, like the others.
    with torch.no_grad():
        torch.onnx.export(
            module,
            (torch.zeros(2, *shape),),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=["face"],
            output_names=list(outputs),
            dynamic_axes={name: {0: "N"} for name in ("face", *outputs)},
        )
