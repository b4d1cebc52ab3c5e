"""What the original's work costs, and what `streamer` takes for it, in one run.

    python benchmarks/versus_original.py [CLIP] [--cache FOLDER] [--only WORD ...]

CLIP: by default the bundled demo clip enlarged to 720p. Each contender runs in a process of its
own, one after another (short ones five times: the median counts); its CPU seconds and peak memory
are what the system says of that process.
The exported models (some 4 GB, made with random weights the first time) stay in FOLDER.

The original (RuslanAntonov/video_and_speech_emotion_recognition, 2022), rebuilt: the whole clip in
memory; facenet-pytorch's MTCNN on every full picture; where it finds one face, VGG19 on ten crops;
then XLSR-53 on the sound of each of the video's intervals (2.4 a second, as in its published run).
PyTorch, CPU, fp32, all else as it comes. With more than one thread PyTorch's threads wait for each
other in a busy loop, which costs the more CPU seconds the more else runs on the machine; so it also
runs once with waiting that costs nothing (OMP_WAIT_POLICY=passive). Targets are held against that.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[1]
FACENET = "facenet-pytorch==2.6.0"
INTERVALS_HZ = 24 / 10.08
SHORT_S, ROUNDS = 5, 5


@dataclass(frozen=True)
class Contender:
    """``settings``: streamer's; none: the original. ``target``: how many times cheaper it is to be
    than the original; 0: none.
    """

    name: str
    settings: tuple[str, ...] = ()
    target: float = 0
    environment: tuple[tuple[str, str], ...] = ()


SAME = ("face.detector=mtcnn", "face.detect_hz=1", "face.emotion=fer2013_vgg19_ten_crop")
EVERY_INTERVAL = ("speech.emotion=xlsr", "speech.min_voiced=0", "speech.hop_s=3")
SMALL_FACE = "face.emotion=fer2013_vgg19_ten_crop-int8"
CONTENDERS = [
    Contender("original, idle waiting", environment=(("OMP_WAIT_POLICY", "passive"),)),
    Contender("same models, 25 faces/s", ("face.rate_hz=25", *SAME, *EVERY_INTERVAL), 3),
    Contender(
        "  in int8",
        ("face.rate_hz=25", *SAME, *EVERY_INTERVAL, SMALL_FACE, "speech.emotion=xlsr-int8"),
        3,
    ),
    Contender("same models, default rates", (*SAME, "speech.emotion=xlsr-split"), 8),
    Contender("  in int8", (*SAME, SMALL_FACE, "speech.emotion=xlsr-int8-split"), 8),
    Contender("default models, 25 faces/s", ("face.rate_hz=25",), 50),
    Contender("default models, 10 faces/s", ("face.rate_hz=10",), 90),
    Contender("original, as it ran"),
]


@dataclass(frozen=True)
class Cost:
    """Seconds (``first``: to the first row), MiB, and what the contender says of itself."""

    cpu: float
    wall: float
    first: float
    memory: float
    said: str


def prepare(cache: Path) -> None:
    """Fetch facenet-pytorch and make the models, where they are not there."""
    from rich.console import Console

    models, console = cache / "models", Console()
    cache.mkdir(parents=True, exist_ok=True)

    def step(what: str, *command: str) -> None:
        with console.status(what):
            done = subprocess.run(
                [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False
            )
        if done.returncode:
            raise SystemExit(f"{what} failed: {done.stderr.strip()}")

    if not (cache / "facenet_pytorch").is_dir():
        fetch = ("-m", "pip", "download", "-q", "--no-deps", "--dest", str(cache), FACENET)
        step(f"fetching {FACENET}", *fetch)
        with zipfile.ZipFile(next(cache.glob("facenet_pytorch-*.whl"))) as wheel:
            wheel.extractall(cache)
    faces, voice = cache / "vgg19.t7", cache / "xlsr"
    export = ("-m", "export_onnx")
    vgg = (*export, "fer2013-vgg19", "--source", str(faces), "--ten-crop", "--out", str(models))
    xlsr = (*export, "aniemore", "--source", str(voice), "--out", str(models))
    if not voice.is_dir():
        step("making XLSR-53's weights", "benchmarks/xlsr.py", "make", str(voice))
    if not faces.is_file():
        step("making VGG19's weights", __file__, "--weights", str(faces))
    for name, *command in (
        ("fer2013_vgg19_ten_crop", *vgg),
        ("fer2013_vgg19_ten_crop-int8", *vgg, "--precision", "int8"),
        ("xlsr", *xlsr),
        ("xlsr-int8", *xlsr, "--precision", "int8"),
        ("xlsr-split", *xlsr, "--split"),
        ("xlsr-int8-split", *xlsr, "--split", "--precision", "int8"),
    ):
        if not (models / f"{name}.json").is_file():
            step(f"exporting {name}", *command, "--no-verify")


def make_vgg19(path: Path) -> None:
    """Write VGG19 with random weights as its project saves them."""
    import torch

    from export_onnx.fer2013 import Vgg19

    torch.manual_seed(0)
    torch.save({"net": Vgg19().state_dict()}, path)


def stand_in_for_torchvision() -> None:
    """Where torchvision is not there, or not built for this PyTorch: the one function of it that
    MTCNN needs, from OpenCV, which is as quick.
    """
    try:
        import torchvision.ops  # noqa: F401
    except (ImportError, RuntimeError):
        pass
    else:
        return
    import types

    import cv2
    import numpy as np
    import torch

    def batched_nms(boxes, scores, _picture, overlap):  # all of one picture here
        if not len(boxes):
            return torch.zeros(0, dtype=torch.int64)
        sides = boxes.numpy().astype(np.float64)
        sides[:, 2:] -= sides[:, :2]
        kept = cv2.dnn.NMSBoxes(sides, scores.numpy(), 0.0, overlap)
        return torch.as_tensor(np.asarray(kept, np.int64))

    for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    for name in ("", ".ops", ".ops.boxes", ".transforms", ".transforms.functional"):
        sys.modules[f"torchvision{name}"] = types.ModuleType(f"torchvision{name}")
    sys.modules["torchvision.transforms"].functional = sys.modules[
        "torchvision.transforms.functional"
    ]
    sys.modules["torchvision.ops.boxes"].batched_nms = batched_nms


def original(clip: Path, cache: Path) -> None:
    """The original's work; prints when the first row could be read, and what each stage took."""
    began = time.monotonic()
    sys.path.insert(0, str(cache))
    import av
    import cv2
    import numpy as np
    import torch

    from export_onnx.backbone import build  # transformers must not meet the stand-in
    from export_onnx.fer2013 import TenCrops
    from export_onnx.verify import SAMPLE_RATE, read_sound

    stand_in_for_torchvision()
    from facenet_pytorch.models.mtcnn import MTCNN

    spent = dict.fromkeys(("start", "decode", "MTCNN", "VGG19", "XLSR-53"), 0.0)
    last = 0.0

    def count(stage: str) -> None:
        nonlocal last
        now = time.process_time()
        spent[stage] += now - last
        last = now

    count("start")
    with av.open(str(clip)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        rate = float(container.streams.video[0].average_rate)
    count("decode")
    detector, faces = MTCNN(keep_all=True), TenCrops(vgg19(cache)).eval()
    count("start")
    single = 0
    with torch.no_grad():
        for frame in frames:
            boxes, _ = detector.detect(frame)
            count("MTCNN")
            if boxes is None or len(boxes) != 1:
                continue
            single += 1
            left, top, right, bottom = (max(int(edge), 0) for edge in boxes[0])
            gray = cv2.cvtColor(frame[top:bottom, left:right], cv2.COLOR_RGB2GRAY)
            small = cv2.resize(gray, (48, 48)).astype(np.float32) / 255
            faces(torch.from_numpy(np.repeat(small[None, None], 3, axis=1))).argmax()
            count("VGG19")
        network = build(*xlsr(cache))[0].eval()
        pcm = read_sound(clip)
        end = min(len(frames) / rate, len(pcm) / SAMPLE_RATE)
        edges = np.linspace(0, end, max(round(end * INTERVALS_HZ), 1) + 1)
        for a, b in pairwise(edges):
            part = pcm[round(a * SAMPLE_RATE) : round(b * SAMPLE_RATE)]
            part = (part - part.mean()) / np.sqrt(part.var() + 1e-7)
            network(torch.from_numpy(part)[None])["logits"].argmax()
        count("XLSR-53")
    told = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in spent.items())
    told += f"; one face in {single} of {len(frames)} pictures; {torch.get_num_threads()} threads"
    # It wrote its tables at the end.
    print(json.dumps({"first": time.monotonic() - began, "said": told}))


def vgg19(cache: Path):
    """The network with the weights that were exported."""
    import torch

    from export_onnx.fer2013 import Vgg19

    net = Vgg19()
    net.load_state_dict(torch.load(cache / "vgg19.t7", weights_only=True)["net"])
    return net


def xlsr(cache: Path):
    """Configuration and weights that were exported."""
    from safetensors.torch import load_file

    config = json.loads((cache / "xlsr" / "config.json").read_text(encoding="utf-8"))
    return config, load_file(cache / "xlsr" / "model.safetensors")


def run(contender: Contender, clip: Path, cache: Path) -> Cost:
    """Run a contender in a process of its own."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as output:
        if contender.settings:
            settings = (*contender.settings, f"models.dir={cache / 'models'}")
            command = ["-m", "streamer", "replay", str(clip), "--speed", "max", "--json"]
            command += ["--out", folder, *(p for s in settings for p in ("--set", s))]
        else:
            command = [__file__, str(clip), "--cache", str(cache), "--original"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | dict(contender.environment)
        began, first = time.monotonic(), 0.0
        child = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
        try:
            pid = 0
            while not pid:
                time.sleep(0.02)
                pid, status, usage = os.wait4(child.pid, os.WNOHANG)
                tables = Path(folder).glob("*/*_intervals.csv")
                if not first and any(rows(path) > 1 for path in tables):
                    first = time.monotonic() - began
        except BaseException:
            child.kill()
            raise
        wall = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if child.returncode:
        raise SystemExit(f"{contender.name} failed with {child.returncode}: {text}")
    told = json.loads(text[text.index("{") :])
    cpu, memory = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
    return Cost(cpu, wall, told.get("first", first or wall), memory, told.get("said", ""))


def typical(contender: Contender, clip: Path, cache: Path) -> Cost:
    """One run, or of a short one the median by CPU time of five: others on the machine make a tenth
    of it.
    """
    costs = [run(contender, clip, cache)]
    while costs[0].wall < SHORT_S and len(costs) < ROUNDS:
        costs.append(run(contender, clip, cache))
    return sorted(costs, key=lambda cost: cost.cpu)[len(costs) // 2]


def rows(path: Path) -> int:
    """Lines of a table that may be being written."""
    return path.read_bytes().count(b"\n")


def duration(clip: Path) -> float:
    """Seconds of media."""
    import av

    with av.open(str(clip)) as container:
        return container.duration / av.time_base


def show(costs: dict[Contender, Cost], media: float, load: tuple[float, float]) -> None:
    """Print the table and the breakdown."""
    from rich.console import Console
    from rich.table import Table

    heads = ["", "CPU s / media s", "as it ran ÷", "idle waiting ÷", "target"]
    heads += ["wall s", "first row s", "peak MiB"]
    table = Table(*heads, title=f"{media:.1f} s of media, fp32 if not said otherwise")
    ran, idle = (costs.get(CONTENDERS[k]) for k in (-1, 0))
    for contender, cost in costs.items():
        ratios = [f"{base.cpu / cost.cpu:.1f}" if base else "" for base in (ran, idle)]
        target = ""
        if contender.target and idle:
            met = idle.cpu >= contender.target * cost.cpu
            target = f"{contender.target:g}: {'met' if met else 'not met'}"
        figures = f"{cost.wall:.1f}", f"{cost.first:.1f}", f"{cost.memory:,.0f}"
        table.add_row(contender.name, f"{cost.cpu / media:.3f}", *ratios, target, *figures)
    console = Console(width=130)
    console.print(table)
    for contender, cost in costs.items():
        if cost.said:
            console.print(f"{contender.name}, CPU s: {cost.said}")
    console.print(
        f"Load average {load[0]:.1f} at the start, {load[1]:.1f} at the end, on {os.cpu_count()} "
        "cores: above its own share (2) others ran beside it."
    )


def main() -> None:
    """Prepare, run each contender, and print."""
    ask = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    ask.add_argument("clip", nargs="?", type=Path)
    ask.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "versus-original")
    ask.add_argument("--only", nargs="*", default=[""], help="contenders whose name holds a word")
    ask.add_argument("--original", action="store_true", help=argparse.SUPPRESS)
    ask.add_argument("--weights", type=Path, help=argparse.SUPPRESS)
    asked = ask.parse_args()
    if asked.weights:
        make_vgg19(asked.weights)
        return
    if asked.original:
        original(asked.clip, asked.cache)
        return
    from inputs import enlarged
    from rich.console import Console
    from rich.progress import track

    cache = asked.cache.resolve()
    prepare(cache)
    clip = asked.clip or cache / "demo720.mp4"
    if not asked.clip and not clip.is_file():
        enlarged(clip)
    chosen, before = [], ""
    for contender in CONTENDERS:  # "  in int8" belongs to the one above
        before = contender.name if contender.name.strip() == contender.name else before
        if any(word in f"{before} {contender.name}" for word in asked.only):
            chosen.append(contender)
    load = os.getloadavg()[0]
    costs, media = {}, duration(clip)
    try:
        for contender in track(chosen, "replaying", console=Console(stderr=True)):
            costs[contender] = cost = typical(contender, clip.resolve(), cache)
            print(f"{contender.name}: {cost.cpu / media:.3f} CPU s / media s", file=sys.stderr)
    except KeyboardInterrupt:  # what was measured is shown
        print(f"{contender.name}: stopped", file=sys.stderr)
    show(costs, media, (load, os.getloadavg()[0]))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
