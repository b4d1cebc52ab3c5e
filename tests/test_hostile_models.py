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
from onnx import TensorProto, helper, numpy_helper

from streamer import config as configuration
from streamer import models
from streamer.face import FaceEmotion
from streamer.resources import models_dir
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
    assert "is tensor(string), no numbers" in refusal(folder, told.SerializeToString())


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
