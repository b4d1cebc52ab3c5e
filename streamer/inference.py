"""ONNX Runtime itself: that there is one, its sessions, providers and threads."""

import ctypes
import sys
from importlib.metadata import distributions
from pathlib import Path

import onnxruntime as ort

from streamer.processor import has_vnni
from streamer.types import StreamerError


def session(path: Path, providers: list[str], threads: int, varies: bool) -> ort.InferenceSession:
    """One that was measured to be the best on two cores (benchmarks/speed.md): one thread, as face
    and voice run beside each other and beside the decoder; one node at a time; ONNX Runtime's own
    memory arena, memory pattern and full optimisation of the graph, which are its defaults.
    varies: the sizes of what it is given do.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # It is kept for each size that was ever seen: 6 kB for each length of a voice's window.
    options.enable_mem_pattern = not varies
    # By its name's ending it would take another format, whose weights' places are not checked.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # With two threads or more, spinning between two runs takes three times the CPU time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not has_vnni():
        # Signed int8 weights would overflow; on processors with VNNI this takes twice the time.
        options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        made = ort.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # ONNX Runtime raises many unrelated types
        raise StreamerError(f"model file {path}: ONNX Runtime can't load it: {error}") from None
    for output in made.get_outputs():
        if not output.type.startswith("tensor(") or output.type == "tensor(string)":
            raise StreamerError(f"model file {path}: {output.name} is {output.type}, no numbers")
    return made


def check_runtime() -> None:
    """Refuse two ONNX Runtimes side by side: they overwrite each other's files, silently."""
    rivals = "onnxruntime", "onnxruntime-directml", "onnxruntime-gpu", "onnxruntime-openvino"
    # By name: reading about everything that is installed takes seventy times as long.
    found = [name for name in rivals if any(distributions(name=name))]
    if len(found) > 1:
        raise StreamerError(
            f"{' and '.join(found)} are both installed and overwrite each other: "
            f"pip uninstall {' '.join(found)}, then install one of them"
        )


def providers_for(asked: str) -> list[str]:
    """The best first, for the configuration's models.provider. Raises StreamerError."""
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
