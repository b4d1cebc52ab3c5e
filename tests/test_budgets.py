"""What judges long runs and budgets: growth is found, and chance is not taken for it."""

import csv
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import soak_live
from budgets import BUDGETS, HISTORY, Figures, Row, last_row, show, too_much
from numpy.typing import NDArray
from soak_live import Sample, judge
from trend import Trend

from streamer import cli, pipeline, run
from streamer.resources import demo_clip

TIMES = np.arange(120) / 720  # ten minutes, every 5 s, h


def wandering(seed: int) -> NDArray[np.float64]:
    """What has no trend, but stays for a while where it is."""
    steps, values = np.random.default_rng(seed).normal(0, 0.1, len(TIMES)), [0.0]
    for step in steps[1:]:
        values.append(0.7 * values[-1] + step)
    return np.array(values)


def test_a_slope_is_found_within_its_interval() -> None:
    trends = [Trend.of(TIMES, 3 * TIMES + wandering(seed)) for seed in range(200)]
    assert np.mean([t.slope for t in trends]) == pytest.approx(3, abs=0.1)
    covered = sum(t.low <= 3 <= t.high for t in trends)
    assert covered > 170  # as if all were independent it would be 118


def test_a_line_without_noise_is_certain() -> None:
    trend = Trend.of(TIMES, 2 * TIMES)
    assert (trend.low, trend.slope, trend.high) == pytest.approx((2, 2, 2))
    with pytest.raises(ValueError, match="too few"):
        Trend.of(TIMES[:7], TIMES[:7])


def sampled(**growth: float) -> list[Sample]:
    """Ten minutes of samples of which some figures grow by so much an hour."""
    level = {"rss": 230.0, "anonymous": 130.0, "threads": 13, "fds": 24, "face": 60, "voice": 90}
    noise = {name: wandering(k) * 0.03 for k, name in enumerate(level)}
    noise["threads"] = noise["fds"] = np.zeros(len(TIMES))
    return [
        {"t": 3600 * t}
        | {
            n: math.floor((v + noise[n][k] + growth.get(n, 0) * t) * 100) / 100
            for n, v in level.items()
        }
        for k, t in enumerate(TIMES)
    ]


def test_a_flat_session_is_let_pass() -> None:
    assert judge(sampled(), 0.0) == []


@pytest.mark.parametrize(
    ("figure", "an_hour", "told"),
    [
        ("rss", 4.0, "resident memory"),
        ("fds", 12.0, "file descriptors"),
        ("threads", 12.0, "threads"),
        ("face", 120.0, "face's latency"),
        ("voice", 200.0, "voice's latency"),
    ],
)
def test_what_grows_is_told(figure: str, an_hour: float, told: str) -> None:
    (line,) = judge(sampled(**{figure: an_hour}), 0.0)
    assert line.startswith(told)


def test_a_sampled_session_is_the_program_and_leaves_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = cli.main

    def replayed() -> None:
        sys.argv = ["streamer", "replay", str(demo_clip()), "--duration", "1", "--speed", "max"]
        sys.argv += ["--out", str(tmp_path / "out")]
        program()

    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(run, "Pipeline", run.Pipeline)  # it is put back
    monkeypatch.setattr(cli, "main", replayed)
    monkeypatch.setattr(pipeline, "TICK_S", 0.0)  # also where it is over at once
    monkeypatch.setattr(soak_live, "EVERY_S", 0.0)
    with pytest.raises(SystemExit) as ended:
        soak_live.session(tmp_path, "", 1.0, 2.0, traced=False)
    assert ended.value.code == 0
    samples = soak_live.samples(tmp_path)
    assert samples
    assert all(sample["rss"] > 10 and sample["threads"] >= 1 for sample in samples)


def test_what_costs_more_than_in_the_last_row_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    here = {"python": "3.11", "processor": "A"}
    old, last = ({b.name: str(v) for b in BUDGETS} | here for v in (1.0, 2.0))
    same = {b.name: 2.0 for b in BUDGETS}

    def told(now: Figures, here: Row, rows: list[Row]) -> list[str]:
        held = last_row(here, rows)
        show(now, *held)
        over = [line.split()[0] for line in capsys.readouterr().out.splitlines() if "MUCH" in line]
        assert over == too_much(now, *held)
        return over

    assert told(same, here, []) == []
    assert told(same, here, [old, last]) == []
    assert told(same | {"peak_mb": 2.2}, here, [old, last]) == []
    much = same | {"peak_mb": 2.4, "pipeline_cost": 2.4}
    assert told(much, here, [old, last]) == ["pipeline_cost", "peak_mb"]
    there = here | {"processor": "B"}
    assert told(much, there, [old, last]) == ["peak_mb"]
    assert too_much({"pipeline_cost": 2.4}, *last_row(here, [old, last])) == ["pipeline_cost"]


def test_the_history_has_every_figure() -> None:
    with HISTORY.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    assert all(float(row[budget.name]) > 0 for row in rows for budget in BUDGETS)
