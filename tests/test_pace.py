"""Overload: the rate falls until the work fits, latency stays bounded, the rate returns."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.pace import LATE_S, STEPS, Pace
from streamer.ring import FrameRing
from streamer.types import Frame, Image

RATE = 10


def no_picture() -> Image:
    raise AssertionError("nobody looks")


def simulate(seconds: float, took: Callable[[float], float]) -> tuple[list[float], list[int], int]:
    """Latencies and strides of a worker behind a real ring, in virtual time; what was dropped."""
    pace, ring = Pace(1 / RATE), FrameRing(RATE, RATE, lossless=False)
    now, latencies, strides = 0.0, [], []
    for k in range(round(seconds * 30)):
        t = k / 30
        while len(ring) and now < t:
            frame = ring.take()
            assert isinstance(frame, Frame)
            began = max(now, (k - 1) / 30)
            now = began + took(t)
            latencies.append(now - frame.t)
            if pace.note(now, now - began, began - frame.t):
                ring.thin(pace.stride)
            strides.append(pace.stride)
        ring.put(Frame(t, k, no_picture))
    return latencies, strides, ring.dropped


def test_work_that_fits_is_never_slowed() -> None:
    latencies, strides, dropped = simulate(60, lambda _: 0.09)
    assert set(strides) == {1}
    assert dropped == 0
    assert max(latencies) < 0.2


@given(st.floats(0.11, 0.7))
def test_latency_stays_bounded_and_the_work_fits(took: float) -> None:
    latencies, strides, dropped = simulate(60, lambda _: took)
    assert max(latencies) <= 1 + 2 / RATE + took  # the ring's second, and the work itself
    assert strides[-1] / RATE >= took * 0.99 or strides[-1] == 2**STEPS
    assert dropped > 0
    settled = latencies[len(latencies) // 2 :]
    assert max(settled) <= LATE_S + 2 * took + 1 / RATE


def test_the_rate_comes_back_when_there_is_room() -> None:
    _, strides, _ = simulate(60, lambda t: 0.35 if t < 20 else 0.02)
    assert max(strides) == 4
    assert strides[-1] == 1
    # Each step up takes calm seconds, no more.
    late = strides[len(strides) // 2 :]
    assert set(late) == {1}


def test_a_short_hitch_slows_nothing_for_long() -> None:
    _, strides, _ = simulate(30, lambda t: 1.5 if 10 <= t < 10.05 else 0.01)
    assert max(strides) <= 2
    assert strides[-1] == 1


@pytest.mark.parametrize("took", [0.04, 0.06])
def test_a_rate_that_just_fits_does_not_swing(took: float) -> None:
    """Twice the rate is only tried where it would fit with room to spare."""
    pace = Pace(0.05)
    pace.stride = 2
    now, steps = 0.0, 0
    for _ in range(2000):
        now += 0.1
        steps += pace.note(now, took, 0.0)
    assert (pace.stride, steps) == (2, 0)
