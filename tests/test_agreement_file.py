"""When agreement.json is written, and that it can be read."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sessions import UNHURRIED, simulated

from streamer import agreement_file
from streamer.agreement_file import AgreementFile, pretty
from streamer.figures import document
from streamer.timeline import Timeline


def test_the_file_is_written_now_and_then_and_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall = 100.0
    monkeypatch.setattr(agreement_file, "monotonic", lambda: wall)
    face, voice = simulated(300, 4, 0.5, np.random.default_rng(7))
    timeline = Timeline(["face", "voice"], 0.0, 1.0)
    file = AgreementFile(tmp_path, timeline, 10.0)
    path = tmp_path / "agreement.json"
    wall = 109.0
    file.tick()
    assert not path.exists()
    assert file.now().kappa_limits is None
    timeline.update("face", face, 300.0)
    timeline.update("voice", voice, 300.0)
    wall = 110.0
    file.tick()
    first = json.loads(path.read_text(encoding="utf-8"))
    assert (first["state"], first["method"]["resamples"]) == ("running", 200)
    assert first["agreement"]["chance"] is None
    assert file.now().kappa_limits == tuple(first["kappa_time"]["interval"])
    timeline.finish("face", 300.0)
    timeline.finish("voice", 300.0)
    wall = 119.0
    file.tick()
    assert json.loads(path.read_text(encoding="utf-8")) == first
    file.finish()
    last = json.loads(path.read_text(encoding="utf-8"))
    assert (last["state"], last["method"]["resamples"]) == ("complete", 1000)
    assert last == document(timeline)
    assert [p.name for p in tmp_path.iterdir()] == ["agreement.json"]


def test_a_long_session_is_written_more_rarely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 10.0, 10.5, 59.0, 60.0, 60.1])  # the first writing takes half a second
    monkeypatch.setattr(agreement_file, "monotonic", lambda: next(clock))
    file = AgreementFile(tmp_path, Timeline(["face"], 0.0, 1.0), 10.0)
    path = tmp_path / "agreement.json"
    file.tick()
    path.unlink()
    file.tick()
    assert not path.exists()
    file.tick()
    assert path.exists()


LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.floats(-9, 9))


KEYS = st.text(max_size=3)


@UNHURRIED
@given(st.recursive(LEAVES, lambda v: st.one_of(st.lists(v), st.dictionaries(KEYS, v))))
def test_what_is_pretty_is_json(value: object) -> None:
    assert json.loads(pretty(value)) == value


def test_a_number_that_json_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        pretty({"kappa": math.nan})
