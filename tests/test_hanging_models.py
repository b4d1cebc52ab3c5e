"""A model that never answers: the session can be stopped all the same."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from scripted import (
    ScriptedReader,
    ScriptedSource,
    at_rate,
    config,
    contents,
    models,
    pipeline,
    sound,
)

from streamer import pipeline as module
from streamer.models import Model
from streamer.types import StreamerError


def endless() -> onnx.ModelProto:
    """Voice activity that turns round 2⁶² times before it answers."""
    names = {"input": ["N", 576], "h": [1, 1, 128], "c": [1, 1, 128]}
    inputs = [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in names.items()]
    told = {"speech_probs": ["N"], "hn": [1, 1, 128], "cn": [1, 1, 128]}
    outputs = [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in told.items()]
    body = helper.make_graph(
        [helper.make_node("Identity", [a], [b]) for a, b in (("on", "on_"), ("x", "x_"))],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on_", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x_", TensorProto.FLOAT, None),
        ],
    )
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Loop", ["turns", "true", "mean"], ["speech_probs"], body=body),
        helper.make_node("Identity", ["h"], ["hn"]),
        helper.make_node("Identity", ["c"], ["cn"]),
    ]
    made = [
        numpy_helper.from_array(np.array(1 << 62, np.int64), "turns"),
        numpy_helper.from_array(np.array(True), "true"),
    ]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class Endless:
    """Its session. ``begun`` is set when it is run."""

    def __init__(self) -> None:
        quiet = ort.SessionOptions()
        quiet.log_severity_level = 4
        self._session = ort.InferenceSession(endless().SerializeToString(), quiet)
        self.begun = threading.Event()

    def run(self, names: Any, inputs: Any, options: Any) -> Any:
        self.begun.set()
        return self._session.run(names, inputs, options)


def analyse(folder: Path, act: Callable[[threading.Event], None]) -> None:
    """A face, and a voice whose model hangs; ``act`` is called once it does."""
    hanging, stop = Endless(), threading.Event()
    loaded = models()
    loaded = replace(loaded, vad=replace(loaded.vad, session=hanging))
    source = ScriptedSource(at_rate(10, 6.0, [(0, 6.0, "Sad")]), sound(6.0, [(0, 6.0, "Happy")]))
    made, tables = pipeline(folder, source, config(), stop=stop, loaded=loaded)
    made.face._reader = ScriptedReader()  # type: ignore[assignment]

    def tick() -> None:
        if hanging.begun.is_set() and made.analysis.tracks["face"].ended:
            act(stop)

    with tables:
        made.run(tick)


def assert_all_ended_and_saved(folder: Path) -> None:
    assert not [t.name for t in threading.enumerate() if t.name.startswith("streamer-")]
    assert contents(folder)["video_intervals"].count("\nSad,0.000,5.900,") == 1


def test_told_to_stop_it_is_waited_for_no_longer_than_the_grace_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.2)
    with pytest.raises(StreamerError, match="silero_vad: it was stopped before") as caught:
        analyse(tmp_path, threading.Event.set)
    assert caught.value.status == 1
    assert_all_ended_and_saved(tmp_path)


def test_an_interrupt_ends_it_at_once(tmp_path: Path) -> None:
    def interrupt(_: threading.Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        analyse(tmp_path, interrupt)
    assert_all_ended_and_saved(tmp_path)


def test_pipelines_that_share_models_are_stopped_by_themselves() -> None:
    shared = models()
    one, other = shared.own(), shared.own()
    for model in one.all():
        model.stop()

    def stopped(model: Model) -> bool:
        return bool(model.options.terminate)

    assert all(map(stopped, one.all()))
    assert not any(map(stopped, [*other.all(), *shared.all()]))
    assert [m.session for m in one.all()] == [m.session for m in shared.all()]
