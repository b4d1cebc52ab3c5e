"""Pipelines that run at once in one process share one set of models, and nothing else."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted import config, contents

from streamer.clock import FreeClock
from streamer.models import Model
from streamer.pipeline import Models, Pipeline
from streamer.resources import demo_clip
from streamer.sources.file import FileSource
from streamer.tables import SessionTables

CONFIG = config("face.rule=largest", "face.rate_hz=5")
PARTS = (2.0, 9.0)
"""Where each of two pipelines begins in the clip, s: other faces' emotions, other words."""
LENGTH_S = 7.0
BOTH = ("face", "voice")
MEETINGS = {"detector": 10, "face": 10, "vad": 2, "voice": 3}
"""How many runs of each model must be beside another one. Speech is looked for twice before a voice
is first heard; later the two pipelines, of which one may be silent, would wait for each other.
"""


class Meeting:
    """A session whose first ``times`` runs begin two at a time, each of another thread: that two
    run together is so by construction, not by luck.
    """

    def __init__(self, session: Any, times: int) -> None:
        self._session, self._times = session, times
        self._barrier = threading.Barrier(2, timeout=60)
        self._runs: dict[int, int] = {}
        self._lock = threading.Lock()

    def run(self, names: Any, inputs: Any, options: Any) -> Any:
        own = threading.get_ident()
        with self._lock:
            self._runs[own] = count = self._runs.get(own, 0) + 1
        if count <= self._times:
            self._barrier.wait()
        return self._session.run(names, inputs, options)

    @property
    def met(self) -> bool:
        """Whether two threads, and no more, ran together as often as they should."""
        return len(self._runs) == 2 and min(self._runs.values()) >= self._times


@pytest.fixture(scope="module")
def loaded() -> Models:
    return Models.load(CONFIG)


def analyse(folder: Path, loaded: Models, start: float) -> dict[str, str]:
    """The tables of a part of the clip, with every prediction."""
    folder.mkdir()
    clock = FreeClock()
    source = FileSource(demo_clip(), clock, start, LENGTH_S)
    with SessionTables(folder, loaded.vocabularies(), predictions=True) as tables:
        Pipeline(source, loaded, CONFIG, clock, tables, threading.Event()).run(lambda: None)
    said = {p.name: p.read_text() for p in sorted(folder.glob("*_predictions.csv"))}
    return contents(folder) | said


def meeting(loaded: Models, name: str) -> Model:
    model: Model = getattr(loaded, name)
    return replace(model, session=Meeting(model.session, MEETINGS[name]))


def test_two_at_once_write_what_each_writes_alone(tmp_path: Path, loaded: Models) -> None:
    alone = [analyse(tmp_path / f"alone{k}", loaded, t) for k, t in enumerate(PARTS)]
    shared = Models(**{name: meeting(loaded, name) for name in MEETINGS})
    folders = [tmp_path / f"shared{k}" for k in range(2)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(analyse, folders, [shared, shared], PARTS))
    assert together == alone
    assert all(alone[0][name] != alone[1][name] for name in alone[0] if "predictions" in name)
    assert all(model.session.met for model in shared.all())
    assert all(len(said[f"{m}_predictions.csv"].splitlines()) > 10 for said in alone for m in BOTH)
