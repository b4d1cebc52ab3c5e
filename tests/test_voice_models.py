"""Exported voice models in the analyzer: what the tables say of them beyond the seven emotions."""

import csv
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import speech_checkpoints as made
from typer.testing import CliRunner

from export_onnx.errors import ExportError
from export_onnx.speech import Wishes, export_speech
from export_onnx.speech_models import SPEECH_MODELS
from export_onnx.verify import open_session
from streamer import config as configuration
from streamer import models
from streamer.cli import app
from streamer.models import Model
from streamer.pipeline import Models
from streamer.resources import demo_clip
from streamer.speech import SpeechEmotion, SpeechNetwork
from streamer.types import Floats, StreamerError

DIMENSIONS = ["arousal", "dominance", "valence"]


def export(kind: str, source: Path, out: Path, **wishes: Any) -> dict[str, Any]:
    """The manifest."""
    wanted = Wishes(str(source), out, accept_license=True, **wishes)
    files = export_speech(SPEECH_MODELS[kind], wanted, lambda _: nullcontext())
    manifest: dict[str, Any] = json.loads(files[-1].read_text(encoding="utf-8"))
    return manifest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The original's voice model and one of dimensions, tiny."""
    place = tmp_path_factory.mktemp("checkpoints")
    export("aniemore", made.original(place / "voice"), place / "m", verify=False)
    export("audeering", made.original(place / "dims", DIMENSIONS), place / "m", verify=False)
    return place / "m"


def replay(out: Path, *settings: str) -> dict[str, list[dict[str, str]]]:
    """The rows of the tables of the bundled recording's first seconds."""
    overlay = [part for setting in settings for part in ("--set", setting)]
    command = ["replay", str(demo_clip()), "--speed", "max", "--out", str(out), "--session", "s"]
    result = CliRunner().invoke(app, [*command, "--duration", "4", *overlay])
    assert result.exit_code == 0, result.output
    tables = {}
    for path in (out / "s").glob("*_intervals.csv"):
        with path.open(encoding="utf-8") as file:
            tables[path.stem] = list(csv.DictReader(file))
    return tables


def test_native_label_valence_and_arousal_stand_in_the_tables(folder: Path, tmp_path: Path) -> None:
    chosen = [f"models.dir={folder}", "speech.emotion=voice", "speech.dimensions=dims"]
    tables = replay(tmp_path, *chosen)
    vocabulary = models.find("voice", configuration.load(settings=chosen).models)[0].vocabulary
    means = dict(zip(vocabulary.labels, vocabulary.emotions, strict=True))
    spoken = [row for row in tables["audio_intervals"] if row["emotion"]]
    assert spoken
    for row in spoken + tables["voice_intervals"]:
        assert means[row["native_label"]] == row["emotion"]
        assert -1 <= float(row["valence"]) <= 1
        assert -1 <= float(row["arousal"]) <= 1
    for row in tables["video_intervals"]:
        assert row["native_label"]
        assert row["valence"] == row["arousal"] == ""
    session = json.loads((tmp_path / "s" / "session.json").read_text(encoding="utf-8"))
    assert [m["task"] for m in session["models"]][-1] == "speech-dimensions"


def test_shares_of_dimensions_become_signed_values(folder: Path) -> None:
    config = configuration.load(settings=[f"models.dir={folder}", "speech.dimensions=dims"])
    loaded = Models.load(config)
    emotion = SpeechEmotion(loaded.voice, config.speech, loaded.dimensions)
    pcm = np.random.default_rng(1).normal(0, 0.1, 48_000).astype(np.float32)
    normal = ((pcm - pcm.mean()) / pcm.std())[None]
    (outputs,) = open_session(folder / "dims.onnx").run(None, {"input_values": normal})
    arousal, _, valence = outputs[0]
    reading = emotion.read(pcm)
    assert reading is not None
    assert reading.details is not None
    expected = np.clip([2 * valence - 1, 2 * arousal - 1], -1, 1)
    np.testing.assert_allclose(reading.details[-2:], expected, atol=1e-4)


def test_a_model_of_other_dimensions_is_refused(folder: Path, tmp_path: Path) -> None:
    manifest = json.loads((folder / "dims.json").read_text(encoding="utf-8"))
    manifest["labels"] = ["a", "b", "valence"]
    (tmp_path / "dims.json").write_text(json.dumps(manifest), encoding="utf-8")
    (tmp_path / "dims.onnx").write_bytes((folder / "dims.onnx").read_bytes())
    config = configuration.load(settings=[f"models.dir={tmp_path}", "speech.dimensions=dims"])
    with pytest.raises(StreamerError, match="dims: its labels lack valence and arousal"):
        Models.load(config)


def test_dimensions_are_listed_and_chosen(folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "config.yaml"
    chosen = ["--config", str(mine), "--dir", str(folder)]
    result = CliRunner().invoke(app, ["models", "use", "dims", *chosen])
    assert result.exit_code == 0, result.output
    assert configuration.load(mine).speech.dimensions == "dims"
    listed = CliRunner().invoke(app, ["models", "list", "--config", str(mine)]).stdout
    (row,) = (line for line in listed.splitlines() if " dims " in line)
    assert row.startswith("●")


# --- split --------------------------------------------------------------------------------------


def stream(count: int, seed: int = 3) -> Floats:
    """Sound whose loudness and colour change, float32 (count,)."""
    random = np.random.default_rng(seed)
    noise = random.normal(0, 0.1, count).astype(np.float32)
    slow = np.interp(np.arange(count), np.arange(99) * 8000, random.uniform(0.1, 1, 99))
    return np.asarray(noise * slow, np.float32)


class Counted:
    """A model that notes how much sound its front end hears."""

    def __init__(self, model: Model) -> None:
        self._model, self.manifest, self.run = model, model.manifest, model.run
        self.parts = model.parts
        self.samples: list[int] = []

    def run_part(self, name: str, **inputs: Floats) -> dict[str, Any]:
        self.samples.append(inputs["input_values"].shape[1])
        return self._model.run_part(name, **inputs)


def softmax(logits: Floats) -> Floats:
    e = np.exp(logits - logits.max())
    return np.asarray(e / e.sum())


@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "wavlm", "unispeech-sat"])
def test_split_windows_equal_whole_ones(family: str, tmp_path: Path) -> None:
    source = made.stock(tmp_path / "voice", family, normalise=False)
    whole = export("wav2vec2", source, tmp_path / "m")
    parted = export("wav2vec2", source, tmp_path / "m", split=True)
    assert parted["name"] == "voice-split"
    for manifest in (whole, parted):
        (found,) = (f for f in manifest["accuracy"] if f["metric"] == "largest difference")
        assert found["value"] <= 1e-4
    config = configuration.load(settings=[f"models.dir={tmp_path / 'm'}"])
    models_ = [models.load(m["name"], "speech-emotion", config.models) for m in (whole, parted)]
    pcm = stream(16_000 * 12)
    calls: Any = Counted(models_[1])
    networks = [SpeechNetwork(model, config.speech) for model in (models_[0], calls)]
    # As the worker places them: cut at the beginning, with one left out, and cut at the end.
    centres = [*range(0, 96_000, 8000), *range(120_000, len(pcm), 8000)]
    for centre in centres:
        start, end = max(centre - 24_000, 0), min(centre + 24_000, len(pcm))
        one, other = (n.outputs(pcm[start:end], start) for n in networks)
        assert one is not None
        assert other is not None
        np.testing.assert_allclose(softmax(other), softmax(one), atol=1e-4)
    heard = sum(calls.samples) / len(pcm)
    assert 1 <= heard < 1.1  # each step once, but for the 5 ms that two steps share


def test_split_windows_take_the_loudness_of_the_window_they_came_in(tmp_path: Path) -> None:
    source = made.original(tmp_path / "voice")
    export("aniemore", source, tmp_path / "m", split=True)
    config = configuration.load(settings=[f"models.dir={tmp_path / 'm'}"])
    model = models.load("voice-split", "speech-emotion", config.models)
    pcm = stream(64_000)
    network = SpeechNetwork(model, config.speech)
    fresh = SpeechNetwork(model, config.speech)
    steady = np.tile(pcm[:8000], 8)  # each window has the same mean and variance
    for start in (0, 8000, 16_000):
        window = steady[start : start + 48_000]
        known, anew = network.outputs(window, start), fresh.outputs(window)
        assert known is not None
        assert anew is not None
        np.testing.assert_allclose(softmax(known), softmax(anew), atol=1e-4)
    # A question of the owner is none of the stream's windows.
    alone = fresh.outputs(pcm[:32_000])
    between = network.outputs(pcm[:32_000])
    np.testing.assert_array_equal(alone, between)


def test_a_front_end_that_is_not_local_is_refused(tmp_path: Path) -> None:
    source = made.stock(tmp_path / "voice", "hubert", feat_extract_norm="group")
    with pytest.raises(ExportError, match=r"--split: .*feat_extract_norm 'group'"):
        export("wav2vec2", source, tmp_path / "m", split=True)
    assert not (tmp_path / "m").exists()


def test_a_split_model_without_its_front_end_is_refused(tmp_path: Path) -> None:
    manifest = export("aniemore", made.original(tmp_path / "voice"), tmp_path / "m", split=True)
    (tmp_path / "m" / "voice-split.json").write_text(json.dumps(manifest | {"parts": []}))
    chosen = [f"models.dir={tmp_path / 'm'}", "speech.emotion=voice-split"]
    with pytest.raises(StreamerError, match=r"voice-split: .*no part 'features'"):
        Models.load(configuration.load(settings=chosen))


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_split_in_other_precisions_replays(precision: str, tmp_path: Path) -> None:
    source = made.original(tmp_path / "voice")
    manifest = export(
        "aniemore", source, tmp_path / "m", split=True, precision=precision, limit=1000
    )
    assert {p["name"] for p in manifest["parts"]} == {"features", "weights", "features weights"}
    tables = replay(
        tmp_path, f"models.dir={tmp_path / 'm'}", f"speech.emotion=voice-{precision}-split"
    )
    assert tables["voice_intervals"]
