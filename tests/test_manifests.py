"""Whatever a manifest says: the model starts and runs, or one line says which entry is wrong."""

import copy
import io
import json
import re
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from streamer import catalog, models
from streamer import config as configuration
from streamer.face import FaceEmotion, FaceReader
from streamer.resources import demo_clip, models_dir
from streamer.ring import AudioRing
from streamer.speech import SpeechNetwork, VoiceActivity
from streamer.types import SAMPLE_RATE, AudioChunk, Face, Image, StreamerError

NAMES = sorted(path.stem for path in models_dir().glob("*.json"))
ORIGINAL = {
    name: json.loads((models_dir() / f"{name}.json").read_text(encoding="utf-8")) for name in NAMES
}
CONFIG = configuration.load()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged models' files, without manifests."""
    folder = tmp_path_factory.mktemp("models")
    for path in models_dir().glob("*.onnx"):
        (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="module")
def image() -> Image:
    with av.open(str(demo_clip())) as clip:
        frame = next(clip.decode(video=0)).to_ndarray(format="rgb24")
    return np.asarray(cv2.resize(frame, (160, 120), interpolation=cv2.INTER_AREA), np.uint8)


def start(manifest: dict[str, Any], folder: Path, image: Image) -> None:
    """Load a model with this manifest and run it once, as the program does."""
    (folder / "mine.json").write_text(json.dumps(manifest), encoding="utf-8")
    own = CONFIG.models.model_copy(update={"dir": str(folder)})
    config = CONFIG.model_copy(update={"models": own})
    found, _ = models.find("mine", own)
    for shown in (catalog.details("mine", config), catalog.listing(config, 80)[0]):
        Console(file=io.StringIO()).print(shown)
    model = models.load("mine", found.task, own)
    sound = np.random.default_rng(1).normal(0, 0.1, 2 * SAMPLE_RATE).astype(np.float32)
    match found.task:
        case "face-detection":
            emotion = models.load("face_emotion_mini_big", "face-emotion", CONFIG.models)
            FaceReader(model, emotion, CONFIG.face).read(image, 0.0)
        case "face-emotion":
            FaceEmotion(model, {"side": 1, "up": 0}).read(image, Face(40, 20, 60, 60, 1))
        case "voice-activity":
            ring = AudioRing(2, lossless=False)
            ring.write(AudioChunk(0, sound))
            VoiceActivity(model, 0.5, ring, 2).advance(SAMPLE_RATE)
        case _:
            SpeechNetwork(model, CONFIG.speech).outputs(sound)


@pytest.mark.parametrize("name", NAMES)
def test_packaged_manifests_start(name: str, folder: Path, image: Image) -> None:
    start(ORIGINAL[name], folder, image)


BLAZE, FACE, MTCNN, VAD, VOICE = NAMES
WRONG: list[tuple[str, str, Any, str]] = [
    (BLAZE, "size", "big", "valid list"),
    (BLAZE, "size", [], "at least 1"),
    (BLAZE, "size", [64, 64], "does not fit"),
    (BLAZE, "size", [128.5], "valid integer"),
    (BLAZE, "scale", [1], "valid number"),
    (BLAZE, "scale", float("nan"), "finite"),
    (BLAZE, "crop", {"side": 1}, "crop.up: Field required"),
    (BLAZE, "crop", {"side": 0, "up": 0}, "crop.side"),
    (BLAZE, "fit", "stretch", "letterbox"),
    (MTCNN, "factor", 1.0, "less than or equal to 0.95"),
    (MTCNN, "min_face_px", 0, "greater than or equal to 10"),
    (MTCNN, "thresholds", [0.5], "at least 3"),
    (MTCNN, "size", [12, 24, 40], "[12, 24, 48]"),
    (FACE, "size", None, "valid list"),
    (FACE, "size", [True, True], "valid integer"),
    (FACE, "color", "cmyk", "'gray' or 'rgb'"),
    (FACE, "layout", 3, "'NCHW' or 'NHWC'"),
    (FACE, "std", [0.0], "std.0"),
    (FACE, "mean", "0", "valid list"),
    (FACE, "center_crop", [0, 9], "center_crop.0"),
    (FACE, "dark_std", -1, "greater than or equal to 0"),
    (FACE, "sizes", [1, 1], "sizes: Extra inputs are not permitted"),
    (VAD, "chunk", -1, "greater than or equal to 1"),
    (VAD, "chunk", 511, "do not fit"),
    (VAD, "context", "64", "valid integer"),
    (VAD, "sample_rate", 8000, "16000"),
    (VOICE, "sample_rate", None, "valid integer"),
    (VOICE, "sample_rate", 8000, "wants 8000 Hz"),
    (VOICE, "normalise", "foo", "'none' or 'zero-mean-unit-variance'"),
    (VOICE, "min_window_s", "x", "valid number"),
    (VOICE, "min_window_s", 0, "greater than 0"),
    (VOICE, "best_window_s", 1e9, "less than or equal to 60"),
]


@pytest.mark.parametrize(("name", "key", "value", "words"), WRONG)
def test_wrong_value_is_refused_in_one_line(
    name: str, key: str, value: Any, words: str, folder: Path, image: Image
) -> None:
    manifest = copy.deepcopy(ORIGINAL[name])
    manifest["preprocess"][key] = value
    with pytest.raises(StreamerError) as caught:
        start(manifest, folder, image)
    line = str(caught.value)
    assert "\n" not in line
    assert words in line
    assert key in line or words.startswith("wants")
    assert "mine.json" in line or manifest["name"] in line


def test_brackets_are_shown_as_they_are(folder: Path, image: Image) -> None:
    start(ORIGINAL[FACE] | {"name": "[/x]", "description": "[/bold] [red]"}, folder, image)
    own = CONFIG.models.model_copy(update={"dir": str(folder)})
    page = io.StringIO()
    details = catalog.details("mine", CONFIG.model_copy(update={"models": own}))
    Console(file=page).print(details)
    assert "[/x]" in page.getvalue()
    assert "[/bold] [red]" in page.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_missing_key_is_named(name: str, folder: Path, image: Image) -> None:
    for key in models.PREPROCESS[ORIGINAL[name]["task"]].model_fields:
        manifest = copy.deepcopy(ORIGINAL[name])
        if manifest["preprocess"].pop(key, None) is None:
            continue
        try:
            start(manifest, folder, image)
        except StreamerError as error:
            assert key in str(error)  # noqa: PT017 - the others have defaults


CONTRADICTIONS: dict[str, tuple[str, dict[str, Any], str]] = {
    "another input": (
        VOICE,
        {"inputs": [{"name": "x", "dtype": "float32", "shape": ["N", "n"]}]},
        "the file has ",
    ),
    "no inputs": (VOICE, {"inputs": []}, "inputs"),
    "another size": (
        FACE,
        {"inputs": [{"name": "face", "dtype": "float32", "shape": ["N", 1, 48, 48]}]},
        "the file has face",
    ),
    "too few labels": (FACE, {"labels": ["happy", "sad"]}, "2 labels for [7] outputs"),
    "foreign voice activity": (FACE, {"task": "voice-activity"}, "preprocess"),
    "no temperature": (FACE, {"temperature": float("inf")}, "temperature"),
    "escape codes": (FACE, {"description": "\x1b[31m"}, "can't be printed"),
    "escape codes in labels": (FACE, {"labels": ["\a"]}, "can't be printed"),
    "text for a number": (FACE, {"bytes": "12"}, "bytes"),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_manifest_that_contradicts_its_file_is_refused(
    case: str, folder: Path, image: Image
) -> None:
    name, changes, words = CONTRADICTIONS[case]
    with pytest.raises(StreamerError, match=re.escape(words)):
        start(ORIGINAL[name] | changes, folder, image)


# --- anything at all ----------------------------------------------------------------------------

Place = tuple[str | int, ...]


def places(value: Any, at: Place = ()) -> list[Place]:
    """Where anything stands in a manifest."""
    found = [at] if at else []
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in inner:
            found += places(part, (*at, key))
    return found


NUMBERS = st.one_of(
    st.sampled_from([-1, 0, 1, 2, 3, 12, 16, 63, 64, 128, 512, 4096, 10**400, -0.0, 1e-300, 1e300]),
    st.integers(),
    st.floats(),
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(st.characters(), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
VALUES = st.one_of(NUMBERS, st.lists(NUMBERS, max_size=4), ANYTHING)
REMOVED = object()


@st.composite
def spoiled(draw: st.DrawFn) -> dict[str, Any]:
    """A packaged manifest in which one to three entries are anything, or not there."""
    manifest = copy.deepcopy(ORIGINAL[draw(st.sampled_from(NAMES))])
    for _ in range(draw(st.integers(1, 3))):
        everywhere = places(manifest)
        inside = [place for place in everywhere if place[0] == "preprocess"]
        *path, last = draw(st.sampled_from(inside or everywhere) | st.sampled_from(everywhere))
        part: Any = manifest
        for key in path:
            part = part[key]
        value = draw(st.just(REMOVED) | VALUES)
        if value is REMOVED:
            del part[last]
        else:
            part[last] = value
    return manifest


@settings(max_examples=300, deadline=None)
@given(spoiled())
@example(ORIGINAL[FACE] | {"output": "logits", "temperature": 1e-300})
def test_any_manifest_starts_or_is_refused(
    folder: Path, image: Image, manifest: dict[str, Any]
) -> None:
    try:
        start(manifest, folder, image)
    except StreamerError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either is right


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | ANYTHING.map(lambda value: json.dumps(value).encode()))
@example(b"[" * 100_000)
@example(b'{"manifest": 1, "manifest": 2}')
def test_any_bytes_for_a_manifest_are_refused(folder: Path, content: bytes) -> None:
    (folder / "mine.json").write_bytes(content)
    with pytest.raises(StreamerError, match=r"mine\.json"):
        models.find("mine", CONFIG.models.model_copy(update={"dir": str(folder)}))
