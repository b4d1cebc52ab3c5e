"""ONNX Runtime itself: that there is one, its sessions, providers and threads; and what the program
asks of networks.
"""

import ctypes
import sys
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import NamedTuple

import onnxruntime as ort

from streamer.processor import has_vnni
from streamer.types import StreamerError

Sizes = Sequence[int | str | None]
"""Of a tensor; what is no number is free."""


class Need(NamedTuple):
    """An input or output: its name, empty if only its place counts, and its sizes, if they do."""

    name: str
    sizes: Sizes | None = None


_STATE = (1, 1, 128)
_VOICE = [Need("")], [Need("", (None, None))]

NEEDS: dict[str, tuple[list[Need], list[Need]]] = {
    "blazeface-short-range": (
        [Need("", (1, None, None, 3))],
        [Need("", (1, None, 16)), Need("", (1, None, 1))],
    ),
    "mtcnn": (
        [Need("x", (None, 3, None, None))],
        [Need("reg", (None, 4, None, None)), Need("prob", (None, 2, None, None))],
    ),
    "rnet": ([Need("x", (None, 3, 24, 24))], [Need("reg", (None, 4)), Need("prob", (None, 2))]),
    "onet": ([Need("x", (None, 3, 48, 48))], [Need("reg", (None, 4)), Need("prob", (None, 2))]),
    "face-emotion": ([Need("", (None,) * 4)], [Need("", (None, None))]),
    "voice-activity": (
        [Need("input", (None, None)), Need("h", _STATE), Need("c", _STATE)],
        [Need(""), Need("", (1, None, 128)), Need("", (1, None, 128))],
    ),
    "speech-emotion": _VOICE,
    "speech-dimensions": _VOICE,
    "features": ([Need("input_values")], [Need("")]),
}
"""What a network takes, all of it, and what it answers at least: by a detector's architecture, the
others' task, and the name of a part.
"""


def check_needs(what: str, key: str, inputs: dict[str, Sizes], outputs: dict[str, Sizes]) -> None:
    """Raises StreamerError if ``what`` can't be asked as NEEDS[key] says. An unknown key asks
    nothing.
    """
    if key not in NEEDS:
        return
    taken, answered = NEEDS[key]
    lists = ("takes", taken, inputs), ("answers", answered, outputs)
    for verb, needs, found in lists:
        enough = len(needs) == len(found) if verb == "takes" else len(needs) <= len(found)
        if not enough or not all(_meets(need, at, found) for at, need in enumerate(needs)):
            wanted = ", ".join(_shown(need.name or "any name", need.sizes) for need in needs)
            there = ", ".join(_shown(name, sizes) for name, sizes in found.items())
            raise StreamerError(f"{what}: {key} {verb} {wanted}; this one {verb} {there}")


def _meets(need: Need, at: int, found: dict[str, Sizes]) -> bool:
    """Whether it is there, by name or place. A free size won't do for a fixed one: what is answered
    is held only to what is told.
    """
    name = need.name or list(found)[at]
    if name not in found or need.sizes is None:
        return name in found
    sizes = found[name]
    return len(sizes) == len(need.sizes) and all(
        wanted in (None, size) for wanted, size in zip(need.sizes, sizes, strict=True)
    )


def _shown(name: str, sizes: Sizes | None) -> str:
    if sizes is None:
        return name
    return f"{name} [{', '.join('*' if size is None else str(size) for size in sizes)}]"


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
    # A float64 may be finite, and yet too large for the float32 that everything is computed in.
    both = {"tensor(float)", "tensor(float16)"}
    for tensors, types in ((made.get_inputs(), {"tensor(float)"}), (made.get_outputs(), both)):
        for tensor in tensors:
            if tensor.type not in types:
                raise StreamerError(
                    f"model file {path}: {tensor.name} is {tensor.type}, not tensor(float)"
                )
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
