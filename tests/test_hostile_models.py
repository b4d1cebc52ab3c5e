"""Models from strangers: refused in a line before they run, whatever their manifest says."""

import functools
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from test_manifests import start

from streamer import config as configuration
from streamer import models
from streamer.face import BlazeFace, FaceEmotion
from streamer.mtcnn import Mtcnn
from streamer.resources import models_dir
from streamer.speech import SpeechEmotion, SpeechNetwork
from streamer.types import Face, StreamerError

FACE = "face_emotion_mini_big"
WEIGHTS = np.zeros(7, np.float32).tobytes()


def network(nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto]) -> bytes:
    """A network with the inputs and outputs of the packaged model of the face's emotion."""
    told = json.loads((models_dir() / f"{FACE}.json").read_text(encoding="utf-8"))
    inputs, outputs = (
        [helper.make_tensor_value_info(t["name"], TensorProto.FLOAT, t["shape"]) for t in told[key]]
        for key in ("inputs", "outputs")
    )
    graph = helper.make_graph(nodes, "graph", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("stranger", 1)]
    made: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return made


def names() -> tuple[str, str]:
    """Of the input and the output."""
    told = json.loads((models_dir() / f"{FACE}.json").read_text(encoding="utf-8"))
    return told["inputs"][0]["name"], told["outputs"][0]["name"]


def outside(location: str) -> bytes:
    """A network whose weights lie in another file."""
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1, 7])
    weights.data_location = TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", location
    return network([helper.make_node("Identity", ["w"], [names()[1]])], [weights])


def spelled(entry: Callable[[bytes, bytes], bytes], location: str) -> bytes:
    """The same; its entry is made of how the key and the value are written elsewhere."""
    model = onnx.load_from_string(outside(location))
    value = location.encode()
    written = entry(b"\x0a\x08location", b"\x12" + bytes([len(value)]) + value)
    tensor = model.graph.initializer.pop()
    del tensor.external_data[:]
    inner = tensor.SerializeToString() + b"\x6a" + varint(len(written)) + written
    inner = model.graph.SerializeToString() + b"\x2a" + varint(len(inner)) + inner
    model.ClearField("graph")
    made: bytes = model.SerializeToString() + b"\x3a" + varint(len(inner)) + inner
    return made


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def give(folder: Path, content: bytes, **changes: Any) -> models.Model:
    """Load it with a manifest that fits it."""
    told = json.loads((models_dir() / f"{FACE}.json").read_text(encoding="utf-8"))
    told |= {"name": "mine", "file": "mine.onnx", "bytes": len(content)}
    told |= {"sha256": hashlib.sha256(content).hexdigest(), **changes}
    folder.mkdir(exist_ok=True)
    (folder / "mine.onnx").write_bytes(content)
    (folder / "mine.json").write_text(json.dumps(told), encoding="utf-8")
    config = configuration.load(settings=[f"models.dir={json.dumps(str(folder))}"])
    return models.load("mine", "face-emotion", config.models)


def refusal(folder: Path, content: bytes, **changes: Any) -> str:
    with pytest.raises(StreamerError) as caught:
        give(folder, content, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    for path in (tmp_path / "weights", tmp_path / "models" / "weights"):
        path.write_bytes(WEIGHTS)
    return tmp_path / "models"


def test_weights_in_a_file_of_its_manifest_are_taken(folder: Path) -> None:
    part = {"name": "weights", "file": "weights", "sha256": hashlib.sha256(WEIGHTS).hexdigest()}
    model = give(folder, outside("weights"), parts=[part | {"bytes": len(WEIGHTS)}])
    assert model.manifest.name == "mine"


@pytest.mark.parametrize("where", ["weights", "../weights", "{}/weights", "/etc/passwd"])
def test_weights_elsewhere_are_refused(folder: Path, where: str) -> None:
    where = where.format(folder.parent)
    assert f"reads {where!r}, not in its manifest" in refusal(folder, outside(where))


def test_value_before_its_key_is_found(folder: Path) -> None:
    plain, turned = b"\x0a\x08location\x12\x07weights", b"\x12\x07weights\x0a\x08location"
    assert "reads 'weights', not" in refusal(folder, outside("weights").replace(plain, turned))


HIDDEN = {  # in place of what stands before "location"
    "long length": b"\x0a\x88\x00",
    "length with bits that are dropped": b"\x0a\x88\x80\x80\x80\x10",
    "long tag": b"\x8a\x00\x08",
    "longer tag": b"\x8a\x80\x80\x80\x00\x08",
    "tag with a bit that is dropped": b"\x8a\x80\x80\x80\x10\x08",
    "tag with bits that are dropped": b"\x8a\x80\x80\x80\x70\x08",
    "tag of ten bytes": b"\x8a" + b"\x80" * 8 + b"\x00\x08",
    "a group before it": b"\x1b\x1c\x0a\x08",
    "a foreign field before it": b"\x1a\x01x\x0a\x08",
}


@pytest.mark.parametrize("trick", HIDDEN)
def test_weights_that_hide_are_refused(folder: Path, trick: str) -> None:
    entry = HIDDEN[trick] + b"location\x12\x07weights"
    said = refusal(folder, spelled(lambda key, value: entry, "weights"))
    assert "may hide what it reads" in said


def test_the_second_value_of_an_entry_counts_too(folder: Path) -> None:
    """The last one is taken."""
    part = {"name": "listed", "file": "listed", "sha256": hashlib.sha256(WEIGHTS).hexdigest()}
    (folder / "listed").write_bytes(WEIGHTS)
    twice = spelled(lambda key, value: key + b"\x12\x06listed" + value, "weights")
    said = refusal(folder, twice, parts=[part | {"bytes": len(WEIGHTS)}])
    assert "reads 'weights', not in its manifest" in said


def test_weights_of_a_part_are_checked(folder: Path) -> None:
    part = outside("weights")
    (folder / "part.onnx").write_bytes(part)
    told = {"name": "part", "file": "part.onnx", "sha256": hashlib.sha256(part).hexdigest()}
    node = helper.make_node("Identity", ["w"], [names()[1]])
    content = network([node], [numpy_helper.from_array(np.zeros((1, 7), np.float32), "w")])
    assert give(folder, content).manifest.name == "mine"
    said = refusal(folder, content, parts=[told | {"bytes": len(part)}])
    assert "part.onnx reads 'weights', not in its manifest" in said


def test_linked_weights_are_refused(folder: Path) -> None:
    (folder / "link").symlink_to(folder.parent / "weights")
    told = {"name": "link", "file": "link", "sha256": hashlib.sha256(WEIGHTS).hexdigest()}
    said = refusal(folder, outside("link"), parts=[told | {"bytes": len(WEIGHTS)}])
    assert "can't load" in said


def test_foreign_operator_is_refused(folder: Path) -> None:
    node = helper.make_node("Evil", [names()[0]], [names()[1]], domain="stranger")
    assert "stranger:Evil" in refusal(folder, network([node], []))


def test_altered_files_are_refused(folder: Path) -> None:
    node = helper.make_node("Evil", [names()[0]], [names()[1]], domain="stranger")
    content = network([node], [])
    assert "its hash is not" in refusal(folder, content, sha256="0" * 64)
    assert "its size is not" in refusal(folder, content, bytes=len(content) + 1)


def test_huge_files_are_refused_unread(folder: Path) -> None:
    content = outside("weights")
    assert "larger than 8 GiB" in refusal(folder, content, bytes=1 << 40)
    part = {"name": "weights", "file": "weights", "sha256": "", "bytes": 1 << 40}
    assert "larger than 8 GiB" in refusal(folder, content, parts=[part])
    with (folder / "weights").open("r+b") as file:
        file.truncate(1 << 40)  # takes no room, but would take an hour to hash
    assert "its size is not" in refusal(folder, content, parts=[part | {"bytes": 28}])


def test_network_that_asks_for_more_memory_than_there_is_fails_in_a_line(folder: Path) -> None:
    taken, given = names()
    size = numpy_helper.from_array(np.array([1 << 21, 1 << 21], np.int64), "size")
    seven = numpy_helper.from_array(np.zeros((1, 7), np.float32), "seven")
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0),
        helper.make_node("ReduceMean", [taken], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Add", ["mean", "seven"], ["means"]),
        helper.make_node("Add", ["means", "sum"], [given]),
    ]
    told = json.loads((models_dir() / f"{FACE}.json").read_text(encoding="utf-8"))
    shape = [d if isinstance(d, int) else 1 for d in told["inputs"][0]["shape"]]
    model = give(folder, network(nodes, [size, seven]))
    with pytest.raises(StreamerError, match="model mine: it failed"):
        model.run(**{taken: np.zeros(shape, np.float32)})


def answering(answer: list[float]) -> bytes:
    """A network that says the same of every face; that its size is not 7 is seen when it runs."""
    taken, given = names()
    nodes = [
        helper.make_node("ReduceMean", [taken], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["none"]),
        helper.make_node("Add", ["none", "answer"], ["whole"]),
        helper.make_node("Cast", ["none"], ["start"], to=TensorProto.INT64),
        helper.make_node("Squeeze", ["start"], ["first"]),
        helper.make_node("Unsqueeze", ["first", "axis"], ["begin"]),
        helper.make_node("Slice", ["whole", "begin", "end", "last"], [given]),
    ]
    numbers = {"zero": [[0]], "answer": [answer]}
    places = {"axis": [0], "end": [len(answer)], "last": [1]}
    made = [numpy_helper.from_array(np.array(v, np.float32), k) for k, v in numbers.items()]
    made += [numpy_helper.from_array(np.array(v, np.int64), k) for k, v in places.items()]
    return network(nodes, made)


def read(folder: Path, answer: list[float], **changes: Any) -> Any:
    """What the program makes of a picture by that network."""
    reader = FaceEmotion(give(folder, answering(answer), **changes), {"side": 1, "up": 0})
    return reader.read(np.zeros((64, 64, 3), np.uint8), Face(0, 0, 64, 64, 1))


def test_shares_are_taken_as_they_are(folder: Path) -> None:
    assert read(folder, [1, 1, 0, 0, 0, 0, 2]).probs.sum() == pytest.approx(1)


@pytest.mark.parametrize("output", ["probs", "logits"])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_answers_that_are_not_finite_are_refused(folder: Path, number: float, output: str) -> None:
    with pytest.raises(StreamerError, match="model mine: it answered a number that is not finite"):
        read(folder, [0.1, 0.2, number, 0, 0, 0, 0], output=output)


def test_shares_below_0_are_refused(folder: Path) -> None:
    answer = [0.9, 0.2, -0.1, 0, 0, 0, 0]
    with pytest.raises(StreamerError, match="model mine: it answered a share below 0"):
        read(folder, answer, output="probs")
    assert read(folder, answer, output="logits").probs.sum() == pytest.approx(1)


@pytest.mark.parametrize("count", [0, 6, 9])
def test_answers_of_another_size_are_refused(folder: Path, count: int) -> None:
    with pytest.raises(StreamerError, match=rf"model mine: it answered \(1, {count}\) for"):
        read(folder, [0.1] * count)


def test_texts_for_numbers_are_refused(folder: Path) -> None:
    given = names()[1]
    told = onnx.load_from_string(answering([0.1] * 7))
    told.graph.output[0].type.tensor_type.elem_type = TensorProto.STRING
    told.graph.node[-1].output[0] = "numbers"
    told.graph.node.append(helper.make_node("Cast", ["numbers"], [given], to=TensorProto.STRING))
    assert "is tensor(string), not tensor(float)" in refusal(folder, told.SerializeToString())


def config(folder: Path) -> Any:
    return configuration.load(settings=[f"models.dir={json.dumps(str(folder))}"]).models


def test_huge_manifest_is_refused_unread(folder: Path) -> None:
    with (folder / "huge.json").open("wb") as file:
        file.truncate(1 << 40)  # takes no room, but more memory than there is
    with pytest.raises(StreamerError, match=r"huge\.json: larger than 1 MiB"):
        models.find("huge", config(folder))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_what_is_no_regular_file_is_refused_unread(folder: Path) -> None:
    """To open a pipe would wait for ever."""
    os.mkfifo(folder / "pipe.json")
    (folder / "folder.json").mkdir()
    (folder / "zeros.json").symlink_to("/dev/zero")
    for name in ("pipe", "folder", "zeros"):
        with pytest.raises(StreamerError, match=rf"{name}\.json: not a regular file"):
            models.find(name, config(folder))
    os.mkfifo(folder / "pipe")
    part = {"name": "pipe", "file": "pipe", "sha256": "", "bytes": 0}
    assert "pipe: not a regular file" in refusal(folder, network([], []), parts=[part])


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000])
def test_names_that_no_file_can_have_are_refused_in_a_line(folder: Path, name: str) -> None:
    for search in (
        lambda: models.find("blazeface", config(folder / name)),
        lambda: models.known(config(folder / name)),
        lambda: models.find(name, config(folder)),
    ):
        with pytest.raises(StreamerError) as caught:
            search()
        assert str(caught.value).endswith("File name too long")
    if "/" not in name:
        assert "File name too long" in refusal(folder, network([], []), file=name)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="every user may search every folder")
def test_folder_that_may_not_be_searched_is_refused_in_a_line(folder: Path) -> None:
    (folder / "inner").mkdir()
    asked = [config(folder), config(folder / "inner")]
    folder.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may search all of them
    try:
        for each in asked:
            for search in (models.known, functools.partial(models.find, "mine")):
                with pytest.raises(StreamerError, match="Permission denied"):
                    search(each)
    finally:
        os.seteuid(user)
        folder.chmod(0o700)


# --- models that agree with their manifests, but not with the program ---------------------------

PICTURE = np.full((120, 160, 3), 90, np.uint8)
SMALL = PICTURE[:24, :24]  # MTCNN looks at it once
Answers = dict[str, NDArray[Any]]
REG, PROB = np.zeros((1, 4, 1, 1), np.float32), np.ones((1, 2, 1, 1), np.float32)
STATE = np.zeros((1, 1, 128), np.float32)
BOXES, SCORES = np.zeros((1, 896, 16), np.float32), np.full((1, 896, 1), 50, np.float32)


def constant(answers: Answers, inputs: dict[str, list[Any]]) -> bytes:
    """A network that answers the same to everything."""
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))
        for name, value in answers.items()
    ]
    taken = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()]
    given = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for name, v in answers.items()
    ]
    graph = helper.make_graph(nodes, "graph", taken, given)
    opset = [helper.make_opsetid("", 17)]
    made: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return made


def written(
    folder: Path, base: str, answers: Answers, inputs: dict[str, list[Any]] | None = None
) -> dict[str, Any]:
    """The manifest of such a network, which takes what a packaged model does; it lies beside it."""
    told: dict[str, Any] = json.loads((models_dir() / f"{base}.json").read_text(encoding="utf-8"))
    taken = inputs or {t["name"]: t["shape"] for t in told["inputs"]}
    content = constant(answers, taken)
    (folder / "mine.onnx").write_bytes(content)
    told |= {"name": "mine", "file": "mine.onnx", "bytes": len(content)}
    told |= {"sha256": hashlib.sha256(content).hexdigest(), "parts": []}
    told["inputs"] = [{"name": n, "dtype": "float32", "shape": s} for n, s in taken.items()]
    told["outputs"] = [
        {"name": n, "dtype": v.dtype.name, "shape": list(v.shape)} for n, v in answers.items()
    ]
    return told


def part(folder: Path, name: str, answers: Answers, inputs: dict[str, list[Any]]) -> dict[str, Any]:
    """The entry of a manifest for such a network."""
    content = constant(answers, inputs)
    (folder / f"{name}.onnx").write_bytes(content)
    entry = {"name": name, "file": f"{name}.onnx", "bytes": len(content)}
    return entry | {"sha256": hashlib.sha256(content).hexdigest()}


def loaded(folder: Path, told: dict[str, Any]) -> models.Model:
    (folder / "mine.json").write_text(json.dumps(told), encoding="utf-8")
    return models.load("mine", told["task"], config(folder))


def said(folder: Path, told: dict[str, Any]) -> str:
    """Of a model that is started, and run once, as the program does."""
    with pytest.raises(StreamerError) as caught:
        start(told, folder, PICTURE)
    line = str(caught.value)
    assert "\n" not in line
    assert "model mine" in line or "mine.onnx" in line
    return line


def zeros(*shape: int) -> NDArray[np.float32]:
    return np.zeros(shape, np.float32)


UNFIT: dict[str, tuple[str, Answers, dict[str, list[Any]] | None, str]] = {
    "no axis for valence and arousal": (
        FACE,
        {"probs": zeros(1, 7), "valence_arousal": zeros(1)},
        None,
        "its valence_arousal is [1], not [N, 2]",
    ),
    "valence alone": (
        FACE,
        {"probs": zeros(1, 7), "valence_arousal": zeros(1, 1)},
        None,
        "its valence_arousal is [1, 1], not [N, 2]",
    ),
    "one face's shares": (FACE, {"probs": zeros(7)}, None, "answers any name [*, *]; this"),
    "boxes alone": ("blazeface", {"b": BOXES}, None, "this one answers b [1, 896, 16]"),
    "boxes without eyes": ("blazeface", {"b": BOXES[..., :4], "s": SCORES}, None, "[1, 896, 4]"),
    "too few boxes": ("blazeface", {"b": BOXES[:, 1:], "s": SCORES}, None, "does not fit"),
    "too few scores": ("blazeface", {"b": BOXES, "s": SCORES[:, 1:]}, None, "does not fit"),
    "no states": ("silero_vad", {"p": zeros(8)}, None, "this one answers p [8]"),
    "small states": (
        "silero_vad",
        {"p": zeros(8), "hn": STATE[..., :64], "cn": STATE[..., :64]},
        {"input": ["n", 576], "h": [1, 1, 64], "c": [1, 1, 64]},
        "takes input [*, *], h [1, 1, 128], c [1, 1, 128]; this one takes input [n, 576], h [1",
    ),
    "states by other names": (
        "silero_vad",
        {"p": zeros(8), "hn": STATE, "cn": STATE},
        {"input": ["n", 576], "a": [1, 1, 128], "b": [1, 1, 128]},
        "this one takes input [n, 576], a [1, 1, 128]",
    ),
    "float64": (
        "speech_emotion_moonshine",
        {"logits": np.full((1, 7), 1e300)},
        None,
        "logits is tensor(double), not tensor(float)",
    ),
    "no shares at all": (
        "speech_emotion_moonshine",
        {"logits": np.float32(1).reshape(())},
        None,
        "this one answers logits []",
    ),
    "no parts' names": ("mtcnn", {"a": REG, "b": PROB}, None, "this one answers a [1, 4, 1, 1]"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_model_that_answers_what_its_task_does_not_is_refused(case: str, folder: Path) -> None:
    base, answers, inputs, words = UNFIT[case]
    assert words in said(folder, written(folder, base, answers, inputs))


@pytest.mark.parametrize("extra", [{}, {"valence_arousal": zeros(1, 2)}, {"features": zeros(3)}])
@pytest.mark.parametrize("number", [np.float16, np.float32])
def test_model_that_answers_what_its_task_does_is_taken(
    extra: Answers, number: type[np.floating[Any]], folder: Path
) -> None:
    start(written(folder, FACE, {"probs": zeros(1, 7).astype(number), **extra}), folder, PICTURE)


def cascade(folder: Path, **answers: Answers) -> dict[str, Any]:
    """Of MTCNN; its last two networks answer what is told, or a face for one picture."""
    told = written(folder, "mtcnn", {"reg": REG, "prob": PROB})
    for name, side in (("rnet", 24), ("onet", 48)):
        own = answers.get(name, {"reg": REG[..., 0, 0], "prob": PROB[..., 0, 0]})
        told["parts"].append(part(folder, name, own, {"x": ["N", 3, side, side]}))
    return told


def test_part_that_answers_what_its_task_does_not_is_refused(folder: Path) -> None:
    told = cascade(folder, rnet={"a": zeros(1, 4), "b": zeros(1, 2)})
    assert "its part rnet: rnet answers reg [*, 4], prob [*, 2]" in said(folder, told)


@pytest.mark.parametrize("name", ["rnet", "onet"])
def test_part_that_answers_for_too_many_is_refused(name: str, folder: Path) -> None:
    told = cascade(folder, **{name: {"reg": zeros(1, 4), "prob": zeros(9, 2)}})
    with pytest.raises(StreamerError, match=rf"{name} answered \(9, 2\) and \(1, 4\) for 1 pic"):
        Mtcnn(loaded(folder, told), 0.5).detect(SMALL)


@pytest.mark.parametrize("far", [600.0, 1e6, 3e38, -3e38])
def test_face_that_no_picture_holds_is_left_out_by_blazeface(folder: Path, far: float) -> None:
    """Cut out and scaled, it would take terabytes."""
    boxes = BOXES.copy()
    boxes[..., 2:4] = far
    boxes[..., 4] = -far
    told = written(folder, "blazeface", {"boxes": boxes, "scores": SCORES})
    assert BlazeFace(loaded(folder, told), 0.5).detect(PICTURE) == []
    boxes[...] = [10_000, 0, 40, 40, *[0] * 12]
    told = written(folder, "blazeface", {"boxes": boxes, "scores": SCORES})
    assert BlazeFace(loaded(folder, told), 0.5).detect(PICTURE) == []


@pytest.mark.parametrize("far", [3e38, 100.0, -100.0])
def test_face_that_no_picture_holds_is_left_out_by_mtcnn(folder: Path, far: float) -> None:
    reg = np.array([[-far, -far, far, far]], np.float32)
    told = cascade(folder, onet={"reg": reg, "prob": zeros(1, 2) + 1})
    detector = Mtcnn(loaded(folder, told), 0.5)
    assert detector.detect(SMALL) == detector.follow(SMALL, [Face(0, 0, 20, 20, 1)]) == []


@pytest.mark.parametrize("roll", [0.0, 45.0])
@pytest.mark.parametrize("x", [-20_000.0, 20_000.0])
def test_no_more_is_cut_than_the_largest_picture_has(folder: Path, x: float, roll: float) -> None:
    told = written(folder, FACE, {"probs": zeros(1, 7)})
    reader = FaceEmotion(loaded(folder, told), {"side": 10, "up": 5})
    cut = reader.cut(PICTURE, Face(x, 0, 30_000, 30_000, 1, roll))
    assert cut.shape == (8192, 8192, 3)
    small = FaceEmotion(loaded(folder, told), {"side": 0.1, "up": 5})
    assert small.cut(PICTURE, Face(x, 0, 30_000, 30_000, 1, roll)).shape == (3000, 3000, 3)


def split(folder: Path, answers: Answers, **geometry: int) -> dict[str, Any]:
    """Of a voice model whose features come from a part."""
    told = written(
        folder, "speech_emotion_moonshine", {"logits": zeros(1, 7)}, {"features": ["N", "n", 3]}
    )
    told["preprocess"]["split"] = {"hop": 320, "field": 400} | geometry
    told["parts"] = [part(folder, "features", answers, {"input_values": ["N", "n"]})]
    return told


def test_split_that_fits_no_window_is_refused(folder: Path) -> None:
    told = split(folder, {"f": zeros(1, 9, 3)}, field=7681)
    assert "split.hop and split.field together are longer than min_window_s" in said(folder, told)


@pytest.mark.parametrize("answer", [zeros(3), zeros(9, 3), zeros(1, 0, 3), np.float32(1)])
def test_features_that_are_no_vectors_are_refused(folder: Path, answer: NDArray[Any]) -> None:
    told = split(folder, {"f": np.asarray(answer)})
    speech = configuration.load().speech
    network = SpeechNetwork(loaded(folder, told), speech)
    for start_ in (None, 0):
        with pytest.raises(StreamerError, match="model mine: its part features answered"):
            network.outputs(np.ones(16_000, np.float32), start_)


def test_dimensions_that_are_not_all_there_are_refused(folder: Path) -> None:
    """The manifest leaves their number free, the file answers one."""
    told = written(folder, "speech_emotion_moonshine", {"d": zeros(1, 1)})
    told |= {"task": "speech-dimensions", "labels": ["arousal", "valence"], "mapping": None}
    told["outputs"][0]["shape"] = [1, "n"]
    speech = configuration.load().speech
    voice = models.load("speech_emotion_moonshine", "speech-emotion", config(folder))
    emotion = SpeechEmotion(voice, speech, loaded(folder, told))
    with pytest.raises(StreamerError, match=r"model mine: it answered \(1,\) for its 2 labels"):
        emotion.read(np.ones(48_000, np.float32))
