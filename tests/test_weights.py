"""Where a model's weights lie is found, or the file refused, however its bytes are written."""

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto, TensorProto

from streamer import weights
from streamer.resources import models_dir
from streamer.types import StreamerError

REPEATED = "external_data"


def test_the_known_fields_are_onnxs() -> None:
    """All of every message that can hold a tensor: a new one must be looked at."""
    every: dict[str, Any] = {}
    left = [onnx.ModelProto.DESCRIPTOR]
    while left:
        if (message := left.pop()).name not in every:
            every[message.name] = message
            left += [field.message_type for field in message.fields if field.message_type]
    holding = {"TensorProto"}
    for _ in every:
        holding |= {
            name
            for name, message in every.items()
            if any(f.message_type and f.message_type.name in holding for f in message.fields)
        }
    assert {f"{name}Proto" for name in weights.INNER} - {"StringStringEntryProto"} == holding
    for name, inner in weights.INNER.items():
        fields = {field.number: field for field in every[f"{name}Proto"].fields}
        assert inner.keys() | weights.PLAIN[name] == fields.keys(), name
        assert inner == {
            number: field.message_type.name.removesuffix("Proto")
            for number, field in fields.items()
            if field.message_type and (field.message_type.name in holding or field.name == REPEATED)
        }


# --- models that hold tensors anywhere ------------------------------------------------------------


def tensor(chance: Random, made: TensorProto) -> None:
    made.name = chance.choice(["w", "location"])
    if chance.random() < 0.3:
        made.raw_data = b"\x0a\x08location\x12\x01x"
    for _ in range(chance.choice([0, 1, 1, 2])):
        entry = made.external_data.add()
        entry.key = chance.choice(["location", "location", "offset", "Location"])
        entry.value = chance.choice(["a", "b" * 200, "../c", ""])


def node(chance: Random, made: NodeProto, depth: int) -> None:
    made.op_type, made.name = "Constant", chance.choice(["", "location"])
    for _ in range(chance.choice([0, 1, 2])):
        attribute(chance, made.attribute.add(), depth)


def attribute(chance: Random, made: AttributeProto, depth: int) -> None:
    made.name = chance.choice(["value", "location"])
    match chance.randrange(6 if depth else 4):
        case 0:
            tensor(chance, made.t)
        case 1:
            tensor(chance, made.tensors.add())
        case 2:
            tensor(chance, made.sparse_tensor.values)
        case 3:
            tensor(chance, made.sparse_tensors.add().indices)
        case 4:
            graph(chance, made.g, depth - 1)
        case 5:
            graph(chance, made.graphs.add(), depth - 1)


def graph(chance: Random, made: GraphProto, depth: int) -> None:
    for _ in range(chance.choice([0, 1, 2])):
        node(chance, made.node.add(), depth)
    for _ in range(chance.choice([0, 1])):
        tensor(chance, made.initializer.add())
    if chance.random() < 0.3:
        tensor(chance, made.sparse_initializer.add().values)
    if chance.random() < 0.3:
        made.input.add().name = "location"


def function(chance: Random, made: FunctionProto) -> None:
    node(chance, made.node.add(), 1)
    attribute(chance, made.attribute_proto.add(), 1)


def model(chance: Random) -> onnx.ModelProto:
    made = onnx.ModelProto(ir_version=8, producer_name=chance.choice(["", "location"]))
    graph(chance, made.graph, 2)
    if chance.random() < 0.3:
        function(chance, made.functions.add())
    if chance.random() < 0.3:
        graph(chance, made.training_info.add().initialization, 1)
        graph(chance, made.training_info[0].algorithm, 1)
    return made


def locations(message: Message) -> set[str]:
    """What ONNX's own reader finds."""
    found = set()
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for inner in value if field.is_repeated else [value]:
            if field.name == REPEATED and inner.key == "location":
                said = inner.value  # as bytes where they are no text
                found.add(said if isinstance(said, str) else said.decode(errors="replace"))
            found |= locations(inner)
    return found


# --- and their bytes, as no exporter writes them --------------------------------------------------


class Writer:
    """Writes a message; each of ``tricks`` now and then."""

    def __init__(self, chance: Random, tricks: list[str]) -> None:
        self._chance, self._tricks = chance, tricks

    def message(self, message: Message) -> bytes:
        return b"".join(self._parts(message))

    def _parts(self, message: Message) -> list[bytes]:
        parts = []
        for field, value in message.ListFields():
            alone = type(message)()
            if field.message_type is None:
                if field.is_repeated:
                    getattr(alone, field.name).extend(value)
                else:
                    setattr(alone, field.name, value)
                parts.append(self._string(field, value) or alone.SerializeToString())
                continue
            for inner in value if field.is_repeated else [value]:
                parts += self._inner(field.number, self._parts(inner))
        if self._does("shuffle"):
            self._chance.shuffle(parts)
        if self._does("unknown"):
            parts.insert(0, self._number(15 << 3 | 2) + b"\x02\x0a\x00")
        if self._does("group"):
            parts.insert(0, b"\xfb\x01" + b"\x0a\x08location" + b"\xfc\x01")
        if self._does("number for bytes"):
            parts.append(b"\x28\x0a")
        return parts

    def _string(self, field: Any, value: Any) -> bytes:
        if not isinstance(value, str):
            return b""
        said = [value]
        if self._does("twice"):
            said.insert(self._chance.randrange(2), self._chance.choice(["location", "d"]))
        return b"".join(self._bytes(field.number, text.encode()) for text in said)

    def _inner(self, number: int, parts: list[bytes]) -> list[bytes]:
        """One message; where it is cut in two, a field that is no list is read as both together."""
        at = self._chance.randrange(len(parts) + 1) if self._does("cut") else 0
        whole = [parts[:at], parts[at:]] if at else [parts]
        return [self._bytes(number, b"".join(half)) for half in whole]

    def _bytes(self, number: int, content: bytes) -> bytes:
        return self._number(number << 3 | 2) + self._number(len(content)) + content

    def _number(self, value: int) -> bytes:
        least = max((value.bit_length() + 6) // 7, 1)
        count = least
        if self._does("long"):
            count = self._chance.randint(least, 5)
        digits = [value >> 7 * place & 0x7F for place in range(count)]
        return bytes([*(digit | 0x80 for digit in digits[:-1]), digits[-1]])

    def _does(self, trick: str) -> bool:
        return trick in self._tricks and self._chance.random() < 0.2


TRICKS = ["shuffle", "unknown", "group", "twice", "cut", "long", "number for bytes"]
RANDOM = st.randoms(use_true_random=False)


def read(file: Path, content: bytes) -> set[str]:
    file.write_bytes(content)
    return weights.external(file)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("model") / "model.onnx"


@settings(max_examples=300, deadline=None)
@given(RANDOM)
def test_what_an_exporter_writes_is_read_as_onnx_reads_it(file: Path, chance: Random) -> None:
    made = model(chance)
    found = read(file, made.SerializeToString())
    assert found == locations(onnx.load_from_string(made.SerializeToString()))


def assert_nothing_hides(file: Path, content: bytes) -> None:
    try:
        meant = locations(onnx.ModelProto.FromString(content))
    except DecodeError:
        return
    try:
        found = read(file, content)
    except StreamerError as error:
        assert "may hide what it reads" in str(error)  # noqa: PT017 - either is right
    else:
        assert meant <= found


@settings(max_examples=300, deadline=None)
@given(RANDOM, st.lists(st.sampled_from(TRICKS), min_size=1, max_size=3, unique=True))
def test_nothing_hides_in_odd_spellings(file: Path, chance: Random, tricks: list[str]) -> None:
    assert_nothing_hides(file, Writer(chance, tricks).message(model(chance)))


@settings(max_examples=300, deadline=None)
@given(RANDOM, st.integers(1, 3))
def test_nothing_hides_in_spoiled_bytes(file: Path, chance: Random, count: int) -> None:
    content = bytearray(model(chance).SerializeToString())
    for _ in range(count):
        at, new = chance.randrange(len(content)), chance.randbytes(chance.randint(0, 2))
        content[at : at + chance.randint(0, 2)] = new
    assert_nothing_hides(file, bytes(content))


@pytest.mark.parametrize("trick", TRICKS)
def test_the_tricks_are_read_by_onnx(trick: str) -> None:
    """Else the tests above show nothing."""
    known = 0
    for seed in range(100):
        chance = Random(seed)
        made = model(chance)
        content = Writer(chance, [trick]).message(made)
        if content == Writer(chance, []).message(made):
            continue
        try:
            known += bool(locations(onnx.ModelProto.FromString(content)))
        except DecodeError:
            continue
    assert known >= 10


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40))
@example(b"\x8a" * 30)
@example(b"\x3a\x7f")
def test_any_bytes_are_read_or_refused(file: Path, content: bytes) -> None:
    assert_nothing_hides(file, content + b"location")
    assert_nothing_hides(file, content)


def test_networks_in_networks_without_end_are_refused(file: Path) -> None:
    made = onnx.ModelProto()
    inner = made.graph
    for _ in range(40):
        inner = inner.node.add().attribute.add().g
    tensor(Random(0), inner.initializer.add())
    inner.name = "location"
    with pytest.raises(StreamerError, match="may hide"):
        read(file, made.SerializeToString())


def test_packaged_models_have_all_weights_in_them() -> None:
    for path in models_dir().glob("*.onnx"):
        assert weights.external(path) == set()


def test_weights_of_a_large_network_are_found_soon(file: Path) -> None:
    made = onnx.ModelProto()
    for number in range(2000):
        made.graph.node.add(op_type="Add", name=f"n{number}", input=["a", "location"])
    made.graph.initializer.add(raw_data=np.zeros(1 << 20, np.uint8).tobytes())
    made.graph.initializer.add().external_data.add(key="location", value="w")
    assert read(file, made.SerializeToString()) == {"w"}
