"""Speech checkpoints of every known family and head become verified models that are run."""

import json
import os
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import speech_checkpoints as made
import torch
import transformers
from commands import run_module
from onnx import numpy_helper
from safetensors.torch import save_file
from typer.testing import CliRunner

from export_onnx import checkpoint, verify
from export_onnx import cli as export_cli
from export_onnx.checkpoint import sha256
from export_onnx.errors import ExportError
from export_onnx.labels import native_labels, to_emotions
from export_onnx.speech import Wishes, export_speech
from export_onnx.speech_models import SPEECH_MODELS
from streamer import config as configuration
from streamer import models
from streamer.cli import app
from streamer.resources import demo_clip
from streamer.types import EMOTIONS, StreamerError

RESD = ["anger", "disgust", "enthusiasm", "fear", "happiness", "neutral", "sadness"]


def silent(_: str) -> AbstractContextManager[object]:
    return nullcontext()


def export(kind: str, source: Path | str, out: Path, **wishes: Any) -> tuple[Path, dict[str, Any]]:
    """The ONNX file and the manifest."""
    files = export_speech(SPEECH_MODELS[kind], Wishes(str(source), out, **wishes), silent)
    assert sorted(files) == sorted(out.glob(f"{files[-1].stem}.*"))
    manifest = json.loads(files[-1].read_text(encoding="utf-8"))
    return out / manifest["file"], manifest


def figures(manifest: dict[str, Any], metric: str) -> list[float]:
    return [f["value"] for f in manifest["accuracy"] if f["metric"] == metric]


def replay(out: Path, folder: Path, name: str) -> dict[str, Any]:
    """session.json of the bundled clip's first seconds with the exported voice."""
    settings = [f"models.dir={folder}", f"speech.emotion={name}", "face.rate_hz=1"]
    overlay = [part for setting in settings for part in ("--set", setting)]
    command = ["replay", str(demo_clip()), "--speed", "max", "--json", "--out", str(out)]
    result = CliRunner().invoke(app, [*command, "--duration", "4", *overlay])
    assert result.exit_code == 0, result.output
    # A licence's notice goes before the summary at the first start.
    summary: dict[str, Any] = json.loads(result.stdout)
    return summary


def superb(folder: Path) -> Path:
    return made.stock(folder, "hubert", ["neu", "hap", "ang", "sad"], use_weighted_layer_sum=True)


def group_norm(folder: Path) -> Path:
    return made.stock(
        folder, "wav2vec2", RESD, feat_extract_norm="group", do_stable_layer_norm=False
    )


CHECKPOINTS: dict[str, tuple[str, Callable[[Path], Path], str]] = {
    **{
        family: ("wav2vec2", lambda folder, f=family: made.stock(folder, f), "projector")
        for family in made.STOCK
    },
    "superb": ("wav2vec2", superb, "projector"),
    "group-norm": ("wav2vec2", group_norm, "projector"),
    "original": ("aniemore", made.original, "dense"),
    "ctc": ("wav2vec2", made.ctc, "ctc"),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_family_and_head_is_exported_verified_and_run(name: str, tmp_path: Path) -> None:
    kind, make, head = CHECKPOINTS[name]
    path, manifest = export(kind, make(tmp_path / name), tmp_path / "models")
    assert manifest["name"] == path.stem == name
    assert manifest["architecture"].endswith(f"-{head}")
    assert manifest["task"] == "speech-emotion"
    assert manifest["inputs"] == [
        {"name": "input_values", "dtype": "float32", "shape": ["batch", "samples"]}
    ]
    classes = len(manifest["labels"])
    assert manifest["outputs"] == [
        {"name": "logits", "dtype": "float32", "shape": ["batch", classes]}
    ]
    assert manifest["opset"] == 17
    assert manifest["preprocess"] == {
        "sample_rate": 16000,
        "normalise": "none" if name == "ctc" else "zero-mean-unit-variance",
        "min_window_s": 0.5,
        "best_window_s": 4.0,
    }
    assert manifest["licence"]["name"] == "mit"
    assert {"torch", "transformers", "optimum", "onnx"} <= set(manifest["producer"])
    (difference,) = figures(manifest, "largest difference")
    assert 0 < difference <= 1e-4
    summary = replay(tmp_path / "statistics", tmp_path / "models", name)
    assert summary["ended_by"] == "end"
    assert summary["models"][-1]["name"] == name
    assert summary["windows"]["analysed"] > summary["windows"]["without_speech"]


def as_transformers_has_it(folder: Path, sound: verify.Floats) -> verify.Floats:
    """What the stock class makes of a window: logits, of a CTC head their mean over time."""
    ctc = "CTC" in json.loads((folder / "config.json").read_text("utf-8"))["architectures"][0]
    cls = transformers.AutoModelForCTC if ctc else transformers.AutoModelForAudioClassification
    with torch.no_grad():
        logits = cls.from_pretrained(folder).eval()(torch.from_numpy(sound)).logits
    return np.asarray((logits.mean(dim=1) if ctc else logits).numpy(), np.float32)


@pytest.mark.parametrize("name", [name for name in CHECKPOINTS if name != "original"])
def test_outputs_are_those_of_the_stock_classes(name: str, tmp_path: Path) -> None:
    kind, make, _ = CHECKPOINTS[name]
    path, _ = export(kind, make(tmp_path / name), tmp_path / "models", verify=False)
    batch = verify.windows(verify.read_sound(), 1.3, 2, 3.0, True)
    ours = verify.as_net(verify.open_session(path))(batch)
    theirs = as_transformers_has_it(tmp_path / name, batch)
    assert np.ptp(theirs, axis=0).max() > 1e-3
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_file_that_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no model")
    with pytest.raises(ExportError, match="cannot be loaded"):
        verify.open_session(tmp_path / "x.onnx")


@pytest.mark.parametrize("name", ["hubert", "original", "ctc"])
def test_half_precision_is_verified(name: str, tmp_path: Path) -> None:
    kind, make, _ = CHECKPOINTS[name]
    source = make(tmp_path / name)
    full, _ = export(kind, source, tmp_path / "models", verify=False)
    path, manifest = export(kind, source, tmp_path / "models", precision="fp16")
    assert path.stem == f"{name}-fp16"
    assert path.stat().st_size < 0.8 * full.stat().st_size
    assert 0 < figures(manifest, "largest difference")[0] <= 1e-2


def test_int8_is_compared_with_fp32_on_speech(tmp_path: Path) -> None:
    source = made.original(tmp_path / "voice")
    path, manifest = export("aniemore", source, tmp_path / "models", precision="int8")
    (share,) = figures(manifest, "agreement")
    assert share >= 0.95
    ops = {node.op_type for node in onnx.load(str(path)).graph.node}
    assert "MatMulInteger" in ops
    assert "ConvInteger" not in ops
    voice = configuration.load(None, [f"models.dir={tmp_path / 'models'}"]).models
    model = models.load("voice-int8", "speech-emotion", voice)
    probs = model.to_emotions(model.run(input_values=np.ones((1, 16000), np.float32))[0][0])
    assert probs.sum() == pytest.approx(1, abs=1e-6)


def test_int8_that_disagrees_is_refused_unless_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = made.original(tmp_path / "voice"), tmp_path / "models"
    monkeypatch.setattr(verify, "agreement", lambda *_: (0.9, 38))
    with pytest.raises(ExportError, match=r"90\.0% of 38 windows.*--allow-disagreement"):
        export("aniemore", source, out, precision="int8")
    assert not out.exists()
    _, manifest = export("aniemore", source, out, precision="int8", allow_disagreement=True)
    assert figures(manifest, "agreement") == [0.9]


def test_an_export_that_differs_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "largest_difference", lambda *_: float("inf"))
    with pytest.raises(ExportError, match="differs from the original by inf"):
        export("aniemore", made.original(tmp_path / "voice"), tmp_path / "models")
    assert not (tmp_path / "models").exists()


def nothing(batch: verify.Floats) -> verify.Floats:
    return np.full((len(batch), 2), np.nan, np.float32)


def test_windows_and_agreement_are_what_they_say() -> None:
    sound = verify.read_sound()
    assert len(sound) == pytest.approx(20.88 * 16000, abs=1100)
    batch = verify.windows(sound, 2.37, 3, 6.0, True)
    assert batch.shape == (3, 37920)
    np.testing.assert_allclose(batch.mean(axis=1), 0, atol=1e-4)
    np.testing.assert_allclose(batch.std(axis=1), 1, atol=1e-2)
    first, second = (lambda x, k=k: np.eye(2, dtype=np.float32)[[k] * len(x)] for k in (0, 1))
    assert verify.agreement(first, first, sound, False) == (1.0, 38)
    assert verify.agreement(first, second, sound, False)[0] == 0.0
    assert verify.largest_difference(first, second, sound, False, False) == 1.0
    assert verify.largest_difference(nothing, first, sound, True, True) == np.inf


def test_large_weights_go_beside_the_model_and_are_checked(tmp_path: Path) -> None:
    source, out = made.stock(tmp_path / "large", "wav2vec2"), tmp_path / "models"
    for precision, name in (("fp32", "large"), ("int8", "large-int8")):
        _, manifest = export("wav2vec2", source, out, precision=precision, limit=50_000)
        (part,) = manifest["parts"]
        data = out / f"{name}.onnx.data"
        assert (part["name"], part["file"], part["bytes"]) == (
            *("weights", data.name),
            data.stat().st_size,
        )
        assert data.stat().st_mode == (out / f"{name}.onnx").stat().st_mode
        replay(tmp_path / "statistics", out, name)
    config = configuration.load(None, [f"models.dir={out}"]).models
    data.write_bytes(data.read_bytes()[:-1] + b"!")
    with pytest.raises(StreamerError, match=r"large-int8\.onnx\.data is altered"):
        models.load("large-int8", "speech-emotion", config)
    data.unlink()
    with pytest.raises(StreamerError, match=r"large-int8\.onnx\.data"):
        models.load("large-int8", "speech-emotion", config)


def rewrite(path: Path, **changes: Any) -> None:
    manifest = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps(manifest), encoding="utf-8")


def test_weights_outside_the_folder_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "models"
    path, manifest = export("wav2vec2", made.stock(tmp_path / "voice", "wav2vec2"), out, limit=1)
    config = configuration.load(None, [f"models.dir={out}"]).models
    (part,) = manifest["parts"]
    rewrite(out / "voice.json", parts=[part | {"file": "../voice.onnx.data"}])
    with pytest.raises(StreamerError, match=r"parts\.0\.file"):
        models.load("voice", "speech-emotion", config)
    model = onnx.load(str(path), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../secret"
    onnx.save(model, str(path))
    size = path.stat().st_size
    rewrite(out / "voice.json", parts=[part], sha256=sha256(path), bytes=size)
    with pytest.raises(StreamerError, match=r"reads '\.\./secret', not in its manifest"):
        models.load("voice", "speech-emotion", config)


# --- labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["enthusiasm", "Enthusiasm", "ENTHUSIASTIC"])
def test_enthusiasm_is_never_surprise(word: str) -> None:
    assert to_emotions([word, "sad"])[word] == "Happy"


def test_the_originals_labels_are_kept_beside_their_mapping(tmp_path: Path) -> None:
    _, manifest = export("aniemore", made.original(tmp_path / "voice"), tmp_path / "m")
    assert manifest["labels"] == RESD
    assert manifest["mapping"]["enthusiasm"] == "Happy"
    assert "Surprise" not in manifest["mapping"].values()


def test_other_is_left_out_and_the_rest_shared(tmp_path: Path) -> None:
    path, manifest = export("wav2vec2", made.ctc(tmp_path / "ctc"), tmp_path / "m")
    assert manifest["mapping"] == {
        "neutral": "Neutral",
        "angry": "Angry",
        "positive": "Happy",
        "sad": "Sad",
        "other": None,
    }
    assert "left out: other" in manifest["description"]
    config = configuration.load(None, [f"models.dir={path.parent}"]).models
    model = models.load("ctc", "speech-emotion", config)
    logits = np.log(np.array([0.1, 0.2, 0.1, 0.1, 0.5], np.float32))
    expected = {"Neutral": 0.2, "Angry": 0.4, "Happy": 0.2, "Sad": 0.2}
    got = dict(zip(EMOTIONS, model.to_emotions(logits).tolist(), strict=True))
    assert got == pytest.approx(dict.fromkeys(EMOTIONS, 0.0) | expected)


def test_labels_that_are_no_emotions_are_refused() -> None:
    with pytest.raises(ExportError, match="LABEL_0, LABEL_1 are not those of emotions"):
        to_emotions(["LABEL_0", "LABEL_1"])


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "no id2label"),
        ({"x": "sad"}, "a key that is no number"),
        ({"0": "sad", "1": "sad"}, "names a class twice"),
        ({"0": "sad", "2": "happy"}, "but the weights have 2"),
    ],
)
def test_broken_label_tables_are_refused(table: dict[str, str], words: str) -> None:
    with pytest.raises(ExportError, match=words):
        native_labels({"id2label": table}, 2)


# --- the model card -----------------------------------------------------------------------------


CARD = """license: cc-by-nc-sa-4.0
model-index:
- name: voice
  results:
  - dataset: {name: RESD}
    metrics:
    - {type: accuracy, value: 72.5}
    - {type: wer, value: 3}"""


def test_licence_and_published_figures_come_from_the_card(tmp_path: Path) -> None:
    source = made.original(tmp_path / "voice", card=CARD)
    with pytest.raises(ExportError, match=r"cc-by-nc-sa-4\.0, non-commercial: --accept-license"):
        export("aniemore", source, tmp_path / "m")
    (source / "LICENSE").write_text("The text.\n", encoding="utf-8")
    _, manifest = export("aniemore", source, tmp_path / "m", accept_license=True)
    assert manifest["licence"] == {
        "name": "cc-by-nc-sa-4.0",
        "research_only": True,
        "notice": "The voice model is under cc-by-nc-sa-4.0: for non-commercial use only.",
        "file": "voice.LICENSE.txt",
    }
    published = [f for f in manifest["accuracy"] if f["origin"] == "published"]
    assert [(f["data"], f["metric"], f["value"]) for f in published] == [
        ("RESD", "accuracy", 0.725)
    ]


def test_a_checkpoint_without_a_card_has_an_unknown_licence(tmp_path: Path) -> None:
    source = made.original(tmp_path / "voice")
    (source / "README.md").unlink()
    _, manifest = export("aniemore", source, tmp_path / "m", verify=False)
    assert manifest["licence"]["name"] == "unknown"
    assert "unknown" in manifest["licence"]["notice"]


def test_audeering_gives_dimensions_once_its_licence_is_accepted(tmp_path: Path) -> None:
    source = made.original(tmp_path / "dims", ["arousal", "dominance", "valence"])
    with pytest.raises(ExportError, match=r"CC BY-NC-SA.*--accept-license"):
        export("audeering", source, tmp_path / "m")
    assert not (tmp_path / "m").exists()
    path, manifest = export("audeering", source, tmp_path / "m", accept_license=True)
    assert manifest["task"] == "speech-dimensions"
    assert manifest["labels"] == ["arousal", "dominance", "valence"]
    assert (manifest["mapping"], manifest["output"]) == (None, "raw")
    assert figures(manifest, "largest difference")[0] <= 1e-4
    config = configuration.load(None, [f"models.dir={path.parent}"]).models
    models.load("dims", "speech-dimensions", config)
    with pytest.raises(StreamerError, match="for speech-dimensions, not for speech-emotion"):
        models.load("dims", "speech-emotion", config)
    with pytest.raises(ExportError, match="not arousal, dominance, valence"):
        export("audeering", made.original(tmp_path / "x"), tmp_path / "n", accept_license=True)


# --- what can go wrong --------------------------------------------------------------------------


def sharded(folder: Path) -> Path:
    """The original's weights in two files and an index."""
    config, weights = made.dense_weights()
    made.write(folder, config, {})
    (folder / "model.safetensors").unlink()
    keys, table = sorted(weights), {}
    for number, part in enumerate((keys[::2], keys[1::2])):
        name = f"model-{number}.safetensors"
        save_file({key: weights[key].contiguous() for key in part}, folder / name)
        table |= dict.fromkeys(part, name)
    index = json.dumps({"weight_map": table})
    (folder / "model.safetensors.index.json").write_text(index, encoding="utf-8")
    return folder


def test_weights_in_several_files_are_read(tmp_path: Path) -> None:
    _, manifest = export("aniemore", sharded(tmp_path / "voice"), tmp_path / "m")
    assert [s["member"] for s in manifest["sources"]] == [
        *("model-0.safetensors", "model-1.safetensors"),
    ]
    assert figures(manifest, "largest difference")[0] <= 1e-4


def test_a_hub_id_is_fetched_without_code_and_named_in_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot, asked = made.original(tmp_path / "0123abc", pickled=True), []

    def fetch(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision, allow_patterns))
        return str(snapshot)

    monkeypatch.setattr(checkpoint, "snapshot_download", fetch)
    _, manifest = export("aniemore", "Somebody/voice@main", tmp_path / "m", verify=False)
    assert [(name, revision) for name, revision, _ in asked] == [("Somebody/voice", "main")] * 2
    # Pickled weights are asked for only where there are no others; code never.
    assert not any(p.startswith("pytorch") for p in asked[0][2])
    for _, _, patterns in asked:
        for code in ("modeling.py", "configuration_w2v2fsr.py", "run.sh", "handler.pkl"):
            assert not any(fnmatch(code, pattern) for pattern in patterns)
    (source,) = manifest["sources"]
    assert source == {
        "package": "Somebody/voice",
        "version": "0123abc",
        "registry": "hub",
        "member": "pytorch_model.bin",
        "sha256": sha256(snapshot / "pytorch_model.bin"),
        "licence": "mit",
        "authors": "Somebody",
    }


def trap(folder: Path) -> Path:
    """The original's weights under the stock class: transformers would leave the head random."""
    config, weights = made.dense_weights()
    return made.write(
        folder, {**config, "architectures": ["Wav2Vec2ForSequenceClassification"]}, weights
    )


def changed(
    folder: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], object]
) -> Path:
    config, weights = made.dense_weights()
    change(config, weights)
    return made.write(folder, config, weights)


def body(key: str) -> str:
    return f"wav2vec2.encoder.layers.1.{key}"


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "trap": (trap, r"lacks projector\.weight: the head's weights are classifier\.dense"),
    "missing": (
        lambda folder: changed(folder, lambda _, w: w.pop(body("attention.k_proj.weight"))),
        r"missing: wav2vec2\.encoder\.layers\.1\.attention\.k_proj\.weight",
    ),
    "extra": (
        lambda folder: changed(folder, lambda _, w: w.update({body("new"): torch.zeros(1)})),
        r"not used: wav2vec2\.encoder\.layers\.1\.new",
    ),
    "extra head": (
        lambda folder: changed(folder, lambda _, w: w.update({"lm_head.bias": torch.zeros(1)})),
        r"not used: lm_head\.bias",
    ),
    "another size": (
        lambda folder: changed(folder, lambda c, _: c.update(intermediate_size=48)),
        "of another size: .* and 2 more",
    ),
    "labels": (
        lambda folder: changed(folder, lambda c, _: c["id2label"].pop(6)),
        r"id2label names 6 classes \(.*\), but the weights have 7",
    ),
    "family": (
        lambda folder: made.write(folder, {"model_type": "bert"}, {"bert.x": torch.zeros(1)}),
        "model_type 'bert' is none of wav2vec2, hubert, wavlm, unispeech-sat",
    ),
    "no head": (
        lambda folder: made.write(
            folder, {"model_type": "hubert"}, {"hubert.masked_spec_embed": torch.zeros(1)}
        ),
        "no known head among the weights",
    ),
    "pooling": (
        lambda folder: changed(folder, lambda c, _: c.update(pooling_mode="attention")),
        "pooling_mode 'attention' is not mean, sum or max",
    ),
    "no network": (
        lambda folder: changed(folder, lambda c, _: c.update(num_hidden_layers="many")),
        "config.json describes no wav2vec2 network",
    ),
    "strange config": (
        lambda folder: changed(folder, lambda c, _: c.update(conv_kernel="wide", architectures=3)),
        "config.json describes no wav2vec2 network",
    ),
    "rate": (lambda folder: made.original(folder, rate=8000), "wants sound of 8000 Hz"),
    "other head": (lambda folder: made.stock(folder, "wavlm"), "this is no aniemore checkpoint"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_broken_and_foreign_checkpoints_are_refused(case: str, tmp_path: Path) -> None:
    make, words = REFUSED[case]
    with pytest.raises(ExportError, match=words) as caught:
        export("aniemore", make(tmp_path / "voice"), tmp_path / "models")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "models").exists()


def test_old_names_of_normalised_weights_and_training_leftovers_are_taken(tmp_path: Path) -> None:
    config, weights = made.dense_weights()
    conv = "wav2vec2.encoder.pos_conv_embed.conv."
    old = dict(weights)
    for half, now in (("weight_g", "original0"), ("weight_v", "original1")):
        old[conv + half] = old.pop(f"{conv}parametrizations.weight.{now}")
    old.pop("wav2vec2.masked_spec_embed")
    found = []
    for name, given in (("new", weights), ("old", old)):
        path, _ = export("aniemore", made.write(tmp_path / name, config, given), tmp_path / "m")
        tensors = onnx.load(str(path)).graph.initializer
        found.append({t.name: numpy_helper.to_array(t) for t in tensors})
    assert found[0].keys() == found[1].keys()
    assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0])


def test_an_interrupted_export_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = made.original(tmp_path / "voice"), tmp_path / "models"
    export("aniemore", source, out, verify=False)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def interrupt(*_: object) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(verify, "largest_difference", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export("aniemore", source, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


class Evil:
    """What a pickle may do: run anything."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch evil",)


def pickle_with_code(folder: Path) -> None:
    config, _ = made.dense_weights()
    made.write(folder, config, {})
    (folder / "model.safetensors").unlink()
    torch.save({"classifier.dense.weight": Evil()}, folder / "pytorch_model.bin")


def no_checkpoint(folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.txt").write_text("mine", encoding="utf-8")


def damaged(folder: Path) -> None:
    made.original(folder)
    (folder / "model.safetensors").write_bytes(b"half a download")


def outside(folder: Path) -> None:
    made.original(folder)
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    index = {"weight_map": {"a": "../model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def no_json(folder: Path) -> None:
    made.original(folder)
    (folder / "config.json").write_text("[1]", encoding="utf-8")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (pickle_with_code, "holds code, which is never run"),
        (no_checkpoint, "it has no config.json"),
        (damaged, "cannot be read as plain weights"),
        (outside, "names missing files"),
        (no_json, "is not a JSON object"),
        (lambda folder: None, "neither a checkpoint's folder nor a hub id"),
    ],
)
def test_command_refuses_in_one_line(
    make: Callable[[Path], None], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "voice")
    refused("wav2vec2", tmp_path / "out", words, "--source", str(tmp_path / "voice"))
    assert not (tmp_path / "evil").exists()


def refused(model: str, out: Path, words: str, *arguments: str) -> None:
    done = CliRunner().invoke(export_cli.app, [model, "--out", str(out), *arguments])
    assert (done.exit_code, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert words in line
    assert not out.exists()


def test_command_asks_for_a_source_and_known_names(tmp_path: Path) -> None:
    refused("wav2vec2", tmp_path / "out", "needs --source")
    source = str(made.original(tmp_path / "voice"))
    refused("aniemore", tmp_path / "out", "--name", "--source", source, "--name", "a/b")
    wavlm = str(made.stock(tmp_path / "wavlm", "wavlm"))
    given = ("--source", wavlm, "--precision", "fp16")
    refused("wav2vec2", tmp_path / "out", "crashes on WavLM", *given)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_module("export_onnx", *arguments, **environment)


def test_without_a_network_there_is_one_line(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("aniemore", "--out", str(out), HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "hub"))
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "cannot fetch Aniemore/wav2vec2-xlsr-53-russian-emotion-recognition" in line
    assert not out.exists()


def test_command_writes_a_model_quietly(tmp_path: Path) -> None:
    source, out = made.stock(tmp_path / "voice", "hubert"), tmp_path / "out"
    done = run("wav2vec2", "--source", str(source), "--out", str(out), "--name", "mine")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == ["mine.json", "mine.onnx"]
    assert "largest difference" in done.stdout.splitlines()[2]


def test_help_has_a_line_for_each_model() -> None:
    lines = run("--help").stdout.splitlines()
    for name in SPEECH_MODELS:
        assert any(line.split()[:1] == [name] for line in lines)
