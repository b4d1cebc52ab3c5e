"""The full size of a voice model: an XLSR-53-shaped checkpoint through export, check and replay.

24 layers, 1024 wide, 16 heads, 4096 between, layer-norm feature extractor, about 316 million
random weights, in the head shape of the original. Prints seconds, peak memory (MiB; each step is a
process of its own) and real-time factors (seconds of work for a second of sound, one thread,
the best of seven).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
WINDOWS_S = (1.0, 2.0, 4.0)
LABELS = ["anger", "disgust", "enthusiasm", "fear", "happiness", "neutral", "sadness"]


def make(folder: Path) -> None:
    """Write the checkpoint."""
    import torch
    from safetensors.torch import save_file
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        conv_bias=True,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )
    weights = {f"wav2vec2.{k}": v for k, v in Wav2Vec2Model(config).state_dict().items()}
    for name, size in (("dense", 1024), ("out_proj", len(LABELS))):
        weights[f"classifier.{name}.weight"] = torch.randn(size, 1024) * 0.05
        weights[f"classifier.{name}.bias"] = torch.zeros(size)
    folder.mkdir()
    described = {**config.to_dict(), "architectures": ["Wav2Vec2ForSpeechClassification"]}
    (folder / "config.json").write_text(json.dumps(described), encoding="utf-8")
    save_file(weights, folder / "model.safetensors")
    print(f"checkpoint: {sum(v.numel() for v in weights.values()) / 1e6:.1f} M weights")


def run(model: Path) -> None:
    """Print the real-time factor of one model at one thread."""
    from export_onnx.verify import SAMPLE_RATE, open_session, read_sound

    session, sound = open_session(model, threads=1), read_sound()
    for seconds in WINDOWS_S:
        pcm = sound[None, : round(seconds * SAMPLE_RATE)]
        session.run(None, {"input_values": pcm})
        times = []
        for _ in range(7):
            start = time.perf_counter()
            session.run(None, {"input_values": pcm})
            times.append(time.perf_counter() - start)
        took = min(times)
        print(f"{model.stem} {seconds:g} s window: {took:.3f} s, factor {took / seconds:.3f}")


def hops(folder: Path, whole: str, parted: str) -> None:
    """Print what a 4 s window costs, whole and split, and how far the two differ, by hop."""
    import numpy as np

    from export_onnx.verify import SAMPLE_RATE, read_sound
    from streamer import config as configuration
    from streamer import models
    from streamer.speech import SpeechNetwork

    config = configuration.load(settings=[f"models.dir={folder}"])
    loaded = [models.load(name, "speech-emotion", config.models) for name in (whole, parted)]
    sound, length = read_sound(), 4 * SAMPLE_RATE
    for hop_s in (1.0, 0.5):
        networks = [SpeechNetwork(model, config.speech) for model in loaded]
        took, apart = [[], []], 0.0
        for start in range(0, len(sound) - length, round(hop_s * SAMPLE_RATE)):
            shares = []
            for network, model, times in zip(networks, loaded, took, strict=True):
                before = time.perf_counter()
                outputs = network.outputs(sound[start : start + length], start)
                times.append(time.perf_counter() - before)
                shares.append(model.shares(outputs))
            apart = max(apart, float(np.abs(shares[0] - shares[1]).max()))
        # The first window of a stream is computed whole.
        whole_s, split_s = (float(np.median(times[1:])) for times in took)
        print(
            f"4 s windows every {hop_s:g} s: whole {whole_s:.3f} s, split {split_s:.3f} s a window,"
            f" ratio {split_s / whole_s:.2f}; probabilities up to {apart:.4f} apart"
        )


def step(name: str, *command: str) -> str:
    """Run a step in a process of its own; print its time and peak memory, return its output."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=output, stderr=errors)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        took = time.perf_counter() - start
        output.seek(0)
        errors.seek(0)
        text, complaint = output.read(), errors.read()
    print(f"{name}: {took:.1f} s, peak {usage.ru_maxrss / 1024:,.0f} MiB", flush=True)
    if child.returncode:
        raise SystemExit(f"{name} failed with {child.returncode}: {complaint}")
    return text


def main() -> None:
    """Make, export, compare, quantise, time and replay."""
    with tempfile.TemporaryDirectory() as place:
        checkpoint, out = Path(place) / "xlsr", Path(place) / "models"
        export = ["-m", "export_onnx", "aniemore", "--source", str(checkpoint), "--out", str(out)]
        for precision in ("fp32", "int8"):
            model = out / ("xlsr.onnx" if precision == "fp32" else "xlsr-int8.onnx")
            if precision == "fp32":
                print(step("make", __file__, "make", str(checkpoint)), end="")
            step(f"export {precision}", *export, "--precision", precision, "--allow-disagreement")
            manifest = json.loads(model.with_suffix(".json").read_text(encoding="utf-8"))
            for figure in manifest["accuracy"]:
                print(f"{precision} {figure['metric']}: {figure['value']:g} ({figure['note']})")
            print(step(f"time {precision}", __file__, "run", str(model)), end="")
            clip = ROOT / "streamer" / "demo" / "demo.mp4"
            settings = [f"models.dir={out}", f"speech.emotion={model.stem}"]
            overlay = [part for setting in settings for part in ("--set", setting)]
            replay = ["-m", "streamer", "replay", str(clip), "--speed", "max", "--json"]
            told = step(f"replay {precision}", *replay, "--out", f"{place}/{precision}", *overlay)
            summary = json.loads(told)
            wall, media = summary["wall_s"], summary["media_s"]
            print(f"replay {precision}: {wall:.1f} s for {media:.1f} s, factor {wall / media:.2f}")
            forced = ["--precision", precision, "--allow-disagreement", "--split"]
            step(f"export {precision} split", *export, *forced)
            parted = f"{model.stem}-split"
            command = [__file__, "hops", str(out), model.stem, parted]
            print(step(f"hops {precision}", *command), end="")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    if sys.argv[1:2] == ["make"]:
        make(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["run"]:
        run(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["hops"]:
        hops(Path(sys.argv[2]), *sys.argv[3:5])
    else:
        main()
