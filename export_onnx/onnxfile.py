"""ONNX files of any size: their weights beside them where one file would be too large."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.float16 import convert_float_to_float16

from export_onnx.checkpoint import sha256
from export_onnx.manifest import Json

Precision = Literal["fp32", "fp16", "int8"]

# Protocol buffers end at 2 GiB; and of a file beside it ONNX Runtime maps the weights into memory,
# instead of copying them twice: a model of 1.3 GB is there in half the time, with half the memory.
ONE_FILE_BYTES = 1 << 28
DENSE = ("MatMul", "Gemm")


def name_axes(path: Path) -> None:
    """Give the free axes of input_values and logits the names that manifests use."""
    model = onnx.load(str(path), load_external_data=False)
    samples, logits = model.graph.input[0].type.tensor_type, model.graph.output[0].type.tensor_type
    samples.shape.dim[0].dim_param, samples.shape.dim[1].dim_param = "batch", "samples"
    logits.shape.dim[0].dim_param = "batch"
    onnx.save(model, str(path))


def convert(
    fp32: Path,
    path: Path,
    precision: Precision,
    limit: int = ONE_FILE_BYTES,
) -> None:
    """Write the fp32 model as `path` in another precision; its weights go beside it if large.

    fp16 keeps float32 inputs and outputs. int8 is dynamic, of MatMul and Gemm, signed, with one
    scale for each channel: processors with VNNI run it in a quarter of fp32's time. Others need
    ONNX Runtime's `session.x64quantprecision`, or sums overflow.

    Args:
        fp32: the model; its external data, if any, lies beside it.
        path: NAME.onnx in an existing folder; external data becomes NAME.onnx.data.
        precision: fp32, fp16 or int8.
        limit: bytes of weights above which they go beside the model.

    """
    if precision == "int8":
        quantize_dynamic(
            fp32,
            path,
            op_types_to_quantize=list(DENSE),
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=_weights_bytes(fp32) > limit,
        )
        _save(onnx.load(str(path)), path, limit)
        return
    model = onnx.load(str(fp32))
    if precision == "fp16":
        model = convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True)
    _save(model, path, limit)


def _save(model: onnx.ModelProto, path: Path, limit: int) -> None:
    data = path.with_name(f"{path.name}.data")
    for old in (path, data):
        old.unlink(missing_ok=True)
    # Asked of the tensors: a message of more than 2 GiB may not even tell its size.
    if sum(len(tensor.raw_data) for tensor in model.graph.initializer) <= limit:
        onnx.save(model, str(path))
        return
    onnx.save(
        model,
        str(path),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=data.name,
        size_threshold=1024,
        convert_attribute=False,
    )
    data.chmod(path.stat().st_mode)  # onnx lets only the owner read it


def _weights_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))


def describe(path: Path, others: Mapping[str, Path]) -> Json:
    """Return what a manifest says of the files: opset, inputs, outputs, sizes, hashes, parts.

    Args:
        path: the model.
        others: further networks of it by name.

    """
    model = onnx.load(str(path), load_external_data=False)
    (opset,) = (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    parts = []
    for name, file in {"": path, **others}.items():
        data = file.with_name(f"{file.name}.data")
        if name:
            parts.append(_part(name, file))
        if data.is_file():
            parts.append(_part(f"{name} weights".strip(), data))
    return {
        "sha256": sha256(path),
        "bytes": path.stat().st_size,
        "opset": opset,
        "inputs": [_tensor(value) for value in model.graph.input],
        "outputs": [_tensor(value) for value in model.graph.output],
        "parts": parts or None,
    }


def _part(name: str, file: Path) -> Json:
    size = file.stat().st_size
    return {"name": name, "file": file.name, "sha256": sha256(file), "bytes": size}


def _tensor(value: onnx.ValueInfoProto) -> Json:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    shape = [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]
    return {"name": value.name, "dtype": dtype.name, "shape": shape}
