"""What agreement.json says: a session worked out by hand, and the poorest sessions."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sessions import UNHURRIED, interval, lanes, played, simulated

from streamer.figures import document, now
from streamer.timeline import Timeline
from streamer.types import EMOTIONS, Interval, Modality

HAPPY, SAD = EMOTIONS.index("Happy"), EMOTIONS.index("Sad")


def said(modality: Modality, *parts: tuple[str, float, float]) -> list[Interval]:
    return [interval(modality, *part) for part in parts]


def example() -> Timeline:
    """The session of docs/agreement.md."""
    timeline = Timeline(["face", "voice"], 0.0, 1.0)
    last = Interval("face", "Happy", 14.4, 20.0, 0.9, 0.9, 5, "end")
    face = said("face", ("Happy", 0, 6), ("Sad", 6, 12), ("Happy", 12, 14))
    voice = said("voice", ("Happy", 0, 4), ("Sad", 6.5, 9), ("Neutral", 9, 12), ("Happy", 15, 20))
    timeline.update("face", [*face, last], 20.0)
    timeline.update("voice", voice, 20.0)
    timeline.finish("face", 20.0)
    timeline.finish("voice", 20.0)
    return timeline


def test_the_example_of_the_manual() -> None:
    told: Any = document(example())
    assert told["state"] == "complete"
    assert (told["start_s"], told["end_s"]) == (0, 20)
    assert told["agreement"]["share"] == 0.7931  # 11.5 of 14.5 s
    assert told["agreement"]["both_s"] == 14.5
    chance = (9 * 9 + 5.5 * 2.5) / 14.5**2
    assert told["kappa_time"]["kappa"] == round((11.5 / 14.5 - chance) / (1 - chance), 4)
    assert told["contingency"]["seconds"][HAPPY][HAPPY] == 9
    assert told["contingency"]["seconds"][SAD][SAD] == 2.5
    assert told["contingency"]["by_chance"][HAPPY][SAD] == 13.6 * 2.5 / 20
    events = told["kappa_event"]
    assert [events[k] for k in ("linked", "agreeing", "face_only", "voice_only")] == [3, 3, 1, 1]
    chance = 3 / 5 * (3 / 4 * 2 / 4 + 1 / 4 * 1 / 4)
    assert events["kappa"] == round((3 / 5 - chance) / (1 - chance), 4)
    coverage = told["coverage"]
    assert [coverage[m]["share"] for m in ("face", "voice", "both")] == [0.98, 0.725, 0.725]
    assert (coverage["face"]["none_s"], coverage["voice"]["none_s"]) == (0.4, 5.5)
    transitions = told["face"]["transitions"]
    assert transitions["counts"][HAPPY][SAD] == transitions["counts"][SAD][HAPPY] == 1
    assert transitions["per_minute"][SAD][HAPPY] == 10
    happy = told["face"]["dwell_s"]["Happy"]
    assert (happy["intervals"], happy["censored"]) == (3, 1)
    # Of three, one ended after 2 s, one was cut after 5.6 s, and the one left ended after 6 s.
    assert (happy["median"], happy["iqr"]) == (6, [2, 6])
    assert told["face"]["dwell_s"]["Fear"] is None
    assert told["lag"]["best_s"] == 0
    assert told["agreement"]["interval"] is None  # 20 s are too few for blocks
    assert told["method"]["no_intervals"]


def test_a_late_voice_is_found_at_its_lag() -> None:
    face, _ = simulated(600, 4, 0, np.random.default_rng(3))
    late = [interval("voice", i.label, i.start + 1.25, i.end + 1.25) for i in face[:-1]]
    told: Any = document(played(face, late))
    lag = told["lag"]
    assert lag["best_s"] == 1.25
    assert (lag["kappa"], lag["interval"]) == (1, [1.25, 1.25])
    assert lag["kappa_by_lag"][lag["lags_s"].index(1.25)] == 1
    assert lag["chance"]["p"] < 0.02
    assert now(played(face, late)).lag == 1.25


@pytest.mark.parametrize("chance", [True, False])
def test_the_figures_lie_in_their_intervals(chance: bool) -> None:
    face, voice = simulated(900, 4, 0.5, np.random.default_rng(5))
    told: Any = document(played(face, voice, end=900.0), chance=chance)
    for part, key in [("agreement", "share"), ("kappa_time", "kappa"), ("kappa_event", "kappa")]:
        low, high = told[part]["interval"]
        assert low < told[part][key] < high, part
        assert (told[part]["chance"] is not None) == chance
    for name in ("face", "voice", "both"):
        low, high = told["coverage"][name]["interval"]
        assert low < told["coverage"][name]["share"] < high
    for where, what in [
        (told["contingency"], "seconds"),
        (told["face"]["transitions"], "per_minute"),
        (told["voice"]["transitions"], "per_minute"),
    ]:
        values, bounds = np.array(where[what], float), where["interval"]
        low, high = np.array(bounds["low"], float), np.array(bounds["high"], float)
        used = values > 0
        assert used.sum() >= 6
        assert (low[used] <= values[used]).all()
        assert (values[used] <= high[used]).all()
    dwell = told["face"]["dwell_s"]["Angry"]
    assert dwell["median_interval"][0] <= dwell["median"] <= dwell["median_interval"][1]
    (first, third), bounds = dwell["iqr"], dwell["iqr_intervals"]
    assert bounds[0][0] <= first <= bounds[0][1] < bounds[1][0] <= third <= bounds[1][1]


@pytest.mark.parametrize(
    ("modalities", "face", "voice", "reason"),
    [
        (["face"], [("Sad", 0, 4)], [], "the source has no voice"),
        (["voice"], [], [("Sad", 0, 4)], "the source has no face"),
        (["face", "voice"], [("Sad", 0, 4)], [], "no emotion of the voice"),
        (["face", "voice"], [], [], "no emotion of the face"),
        (["face", "voice"], [("Sad", 0, 4)], [("Sad", 5, 9)], "never show an emotion at the same"),
        (["face", "voice"], [("Sad", 4, 4)], [("Sad", 4, 4)], "never show an emotion at the same"),
        (["face", "voice"], [("Sad", 0, 4)], [("Sad", 0, 4)], "one and the same emotion"),
        (["face", "voice"], [("Sad", 0, 4)], [("Fear", 0, 4)], None),
    ],
)
@pytest.mark.parametrize("end", [None, 9.0, 600.0])
def test_a_poor_session_says_why_it_has_no_kappa(
    modalities: list[Modality],
    face: Sequence[tuple[str, float, float]],
    voice: Sequence[tuple[str, float, float]],
    reason: str | None,
    end: float | None,
) -> None:
    timeline = Timeline(modalities, 0.0, 1.0)
    spoken: dict[Modality, list[Interval]] = {"face": said("face", *face)}
    spoken["voice"] = said("voice", *voice)
    for modality in modalities:
        for closed in spoken[modality]:
            timeline.update(modality, [closed], closed.end)
    running = document(timeline)
    for modality in modalities:
        last = max([i.end for i in spoken[modality]], default=0.0)
        timeline.finish(modality, last if end is None else end)
    for told in (running, document(timeline)):
        kappa: Any = told["kappa_time"]
        assert json.loads(json.dumps(told, allow_nan=False)) == told
        if reason is None:
            assert (kappa["kappa"], kappa["reason"]) == (0, None)
        else:
            assert kappa["kappa"] is None
            assert reason in kappa["reason"]
    assert now(timeline).kappa == (0 if reason is None else None)


def test_figures_by_now_are_those_of_the_document() -> None:
    face, voice = simulated(300, 4, 0.5, np.random.default_rng(7))
    timeline = played(face, voice, end=300.0)
    told: Any = document(timeline)
    by_now = now(timeline, (0.1, 0.2))
    assert by_now.share == told["agreement"]["share"]
    assert by_now.kappa == told["kappa_time"]["kappa"]
    assert by_now.lag == told["lag"]["best_s"]
    assert by_now.face == told["coverage"]["face"]["share"]
    assert by_now.voice == told["coverage"]["voice"]["share"]
    assert by_now.kappa_limits == (0.1, 0.2)


@UNHURRIED
@given(lanes("face", 30), lanes("voice", 30), st.floats(0, 30), st.floats(0, 30))
def test_a_running_session_is_told_up_to_where_both_are_known(
    face: list[Interval], voice: list[Interval], face_to: float, voice_to: float
) -> None:
    timeline = Timeline(["face", "voice"], 0.0, 1.0)
    timeline.update("face", [i for i in face if i.end <= face_to], face_to)
    timeline.update("voice", [i for i in voice if i.end <= voice_to], voice_to)
    told: Any = document(timeline, resamples=20)
    assert told["state"] == "running"
    assert told["end_s"] == round(min(face_to, voice_to), 3)
    for name, to in (("face", face_to), ("voice", voice_to)):
        part = told["coverage"][name]
        assert part["seconds"] + part["none_s"] == pytest.approx(round(to, 3))
    assert told["coverage"]["both"]["seconds"] <= min(face_to, voice_to) + 1e-3
