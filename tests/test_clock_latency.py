"""Clocks on a clock of our own, and percentiles."""

import sys
import threading
import time
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer import clock as module
from streamer.clock import FreeClock, PacedClock
from streamer.latency import Latency


class Wall:
    """A wall clock that goes on only when somebody sleeps, and the event slept on."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def wait(self, timeout: float) -> bool:
        self.slept.append(timeout)
        self.now += timeout
        return False


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    made = Wall()
    monkeypatch.setattr(module, "monotonic", made.monotonic)
    return made


def paced(speed: float, wall: Wall) -> PacedClock:
    return PacedClock(speed, cast(threading.Event, wall))


@pytest.mark.parametrize("before", [0.0, 3.0])
def test_a_replay_goes_on_where_it_was_when_its_machine_slept(wall: Wall, before: float) -> None:
    clock = paced(1, wall)
    clock.wait(0.0)
    wall.now += before  # a source that is late already
    clock.wait(0.5)
    wall.now += 3600
    clock.wait(1.0)
    late = max(before - 0.5, 0.0)
    clock.wait(10.0)
    assert wall.now == pytest.approx(1000 + max(before, 0.5) + 3600 - late + 9.5, abs=0.6)
    assert sum(wall.slept) == pytest.approx(10 - before, abs=0.6)
    assert clock.captured(10.0) == pytest.approx(wall.now)


def test_the_clock_goes_on_while_the_machine_sleeps() -> None:
    if sys.platform == "linux":  # CLOCK_MONOTONIC stops
        before, now = time.clock_gettime(time.CLOCK_BOOTTIME), module.monotonic()
        assert before <= now <= time.clock_gettime(time.CLOCK_BOOTTIME)
    assert module.monotonic() <= module.monotonic()


@pytest.mark.parametrize("speed", [0.5, 1, 4])
def test_paced_media_runs_at_its_speed_from_the_first_wait(wall: Wall, speed: float) -> None:
    clock = paced(speed, wall)
    for t in (5.0, 6.0, 8.0):
        clock.wait(t)
        assert wall.now == pytest.approx(1000 + (t - 5) / speed)
        assert clock.captured(t) == pytest.approx(wall.now)


def test_a_late_source_does_not_sleep_and_catches_up(wall: Wall) -> None:
    clock = paced(1, wall)
    clock.wait(0.0)
    wall.now += 3
    clock.wait(1.0)
    assert wall.slept == []
    assert clock.captured(1.0) == 1001
    clock.wait(4.0)
    assert wall.slept == [1.0]


def test_stop_ends_a_paced_wait() -> None:
    stop = threading.Event()
    clock = PacedClock(1, stop)
    clock.wait(0.0)
    stop.set()
    clock.wait(1e6)


def test_free_media_is_captured_when_handed_over(wall: Wall) -> None:
    clock = FreeClock()
    assert clock.captured(1.0) == 1000
    for t in (0.0, 0.5, 1.0):
        clock.wait(t)
        clock.mark(t)
        wall.now += 10
    assert wall.slept == []
    # A datum is there once the media has come to it, not before.
    got = [clock.captured(t) for t in (0.0, 0.2, 0.5, 0.6, 1.0, 1.1)]
    assert got == [1000, 1010, 1010, 1020, 1020, 1020]


def test_free_clock_forgets_what_is_long_past(wall: Wall) -> None:
    clock = FreeClock()
    for k in range(10_000):
        wall.now = float(k)
        clock.mark(float(k))
    assert clock.captured(9_000.0) == 9_000
    assert clock.captured(0.0) == 10_000 - 4096


def test_only_the_free_clock_makes_the_source_wait() -> None:
    assert FreeClock().lossless
    assert not PacedClock(1, threading.Event()).lossless


@given(
    st.lists(st.floats(1e-4, 900), min_size=1, max_size=200),
    st.one_of(st.sampled_from([0, 50, 95, 99, 100]), st.floats(0, 100)),
)
def test_percentiles_are_numpys_to_two_percent(values: list[float], p: float) -> None:
    latency = Latency()
    for value in values:
        latency.add(value)
    expected = float(np.percentile(values, p, method="inverted_cdf"))
    assert latency.percentile(p) == pytest.approx(expected, rel=0.02)
    assert latency.count == len(values)


def test_extremes_count_and_stay_in_range() -> None:
    latency = Latency()
    assert latency.percentile(50) is None
    assert latency.summary() == {"p50": None, "p95": None, "p99": None}
    for value in (-1.0, 0.0, 1e9):
        latency.add(value)
    assert latency.percentile(50) == pytest.approx(1e-4)
    assert latency.percentile(100) == pytest.approx(1000, rel=0.02)


def test_summary_of_many_is_p50_p95_p99() -> None:
    latency = Latency()
    for k in range(1, 1001):
        latency.add(k / 1000)
    assert latency.summary() == pytest.approx({"p50": 0.5, "p95": 0.95, "p99": 0.99}, rel=0.02)
