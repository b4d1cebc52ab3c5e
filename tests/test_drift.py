"""The device's clock against the monotonic one, over hours of virtual time."""

import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from streamer import drift
from streamer.drift import BUCKETS, MOST, STEP_S, ClockFit, Steering
from streamer.types import SAMPLE_RATE

Lateness = Callable[[float, np.random.Generator], float]
"""(time, chance) → how late the callback is, s."""


def punctual(_t: float, _chance: np.random.Generator) -> float:
    return 0.0


def exponential(_t: float, chance: np.random.Generator) -> float:
    return min(chance.exponential(0.05), 0.2)


def uniform(_t: float, chance: np.random.Generator) -> float:
    """In order, these are hardly ever punctual: the worst that 200 ms can be."""
    return chance.uniform(0, 0.2)


def busy(t: float, chance: np.random.Generator) -> float:
    """Mostly punctual; every other second nothing comes for 200 ms, then all at once."""
    return max(0.2 - t % 2.0, 0) + chance.exponential(0.002)


JITTERS = [punctual, exponential, uniform, busy]


@dataclass
class Device:
    """Its clock is ``ppm`` fast; losses: how much sound is missing at which time, s."""

    ppm: float
    lateness: Lateness = punctual
    rate: int = 48_000
    block_s: float = 0.02
    losses: dict[float, float] = field(default_factory=dict)

    def blocks(self, seconds: float) -> Iterator[tuple[int, float, float]]:
        """(sample count, when it was captured, when the callback came), s."""
        chance = np.random.default_rng(7)
        frames, lost, came = round(self.rate * self.block_s), 0.0, 0.0
        pending = sorted(self.losses.items())
        for k in range(1, round(seconds / self.block_s)):
            true = k * frames / (self.rate * (1 + 1e-6 * self.ppm)) + lost
            while pending and pending[0][0] <= true:
                lost += pending[0][1]
                true += pending.pop(0)[1]
            came = max(came, true + self.lateness(true, chance))
            yield k * frames, true, came


@dataclass
class Run:
    """What came of following a device, block by block."""

    fit: ClockFit
    times: list[float]
    errors: list[float]
    breaks: list[float]


def follow(device: Device, seconds: float, flagged: bool = False) -> Run:
    """As a microphone does it, but for the sound itself. flagged: the driver tells of losses."""
    fit = ClockFit(device.rate)
    steering = Steering(fit, 0.0, SAMPLE_RATE)
    run = Run(fit, [], [], [])
    frames, before, waiting = round(device.rate * device.block_s), 0.0, 0.0
    for count, true, came in device.blocks(seconds):
        if flagged and true - before > device.block_s + 0.02:
            fit.restart()
            run.breaks.append(true)
            waiting = true
        before = true
        stepped = fit.add(count, came)
        if true < waiting + 0.5:
            steering.position = steering.place(count)
            continue
        if stepped or steering.ratio(count, frames) is None:
            run.breaks.append(true)
            steering.position = steering.place(count)
        run.times.append(true)
        run.errors.append(steering.position / SAMPLE_RATE - true)
    return run


def worst(run: Run, begin: float, end: float = np.inf) -> float:
    times = np.array(run.times)
    return float(np.abs(np.array(run.errors)[(times >= begin) & (times < end)]).max())


@pytest.mark.parametrize("ppm", [0, 37, -500, 500])
def test_a_punctual_device_is_known_exactly(ppm: float) -> None:
    run = follow(Device(ppm), 120)
    assert run.fit.ppm == pytest.approx(ppm, abs=0.01)
    assert run.fit.rate == pytest.approx(48_000 * (1 + 1e-6 * ppm))
    assert run.fit.time(48_000 * 120) == pytest.approx(120 / (1 + 1e-6 * ppm), abs=1e-5)
    assert worst(run, 0) < 0.010  # while nothing is known of its clock yet
    assert worst(run, 100) < 0.001
    assert run.breaks == []


@pytest.mark.parametrize("jitter", JITTERS)
@pytest.mark.parametrize("ppm", [-500, 500])
def test_sound_stays_in_step_whatever_the_jitter(ppm: float, jitter: Lateness) -> None:
    run = follow(Device(ppm, jitter), 600)
    assert worst(run, 60) < 0.040
    assert run.fit.ppm == pytest.approx(ppm, abs=25 if jitter is uniform else 2)
    assert run.breaks == []


@pytest.mark.parametrize(("ppm", "jitter"), [(500, exponential), (-500, uniform)])
def test_eight_hours_of_jitter_and_told_losses(ppm: float, jitter: Lateness) -> None:
    losses = {1000.0 * k: 0.04 * k for k in range(1, 28)}
    run = follow(Device(ppm, jitter, block_s=0.1, losses=losses), 8 * 3600, flagged=True)
    assert abs(run.errors[-1]) < 0.040
    assert len(run.breaks) == len(losses)
    for at, length in losses.items():
        assert worst(run, at + length + 30, at + 999) < 0.040
    assert run.fit.ppm == pytest.approx(ppm, abs=10)


def test_eight_hours_take_no_more_memory_than_one() -> None:
    fit, own = ClockFit(48_000), tracemalloc.Filter(True, drift.__file__)
    tracemalloc.start()
    try:
        sizes = []
        for count, _, came in Device(500, uniform, block_s=10.0).blocks(8 * 3600):
            fit.add(count, came)
            if count in (48_000 * 3600, 48_000 * (8 * 3600 - 20)):
                # The clock's own: other tests' threads may allocate, too.
                traces = tracemalloc.take_snapshot().filter_traces([own])
                sizes.append(sum(trace.size for trace in traces.traces))
    finally:
        tracemalloc.stop()
    assert len(sizes) == 2
    assert sizes[0] > 0
    assert sizes[1] - sizes[0] < 10_000  # a number kept of each stamp would be ten times that
    assert len(fit._past) <= BUCKETS


@pytest.mark.parametrize("jitter", [punctual, busy, exponential])
@pytest.mark.parametrize("length", [0.2, 1.0, 30.0])
def test_lost_sound_that_nobody_tells_of_is_found(jitter: Lateness, length: float) -> None:
    losses = {100.0: length, 200.0: length}
    run = follow(Device(-300, jitter, losses=losses), 300)
    assert len(run.breaks) == len(losses)
    for at, found in zip(sorted(losses), run.breaks, strict=True):
        assert found - at - length < 3.5
        assert worst(run, found + 0.1, at + 95) < 0.040


def test_sound_given_twice_is_found_at_once() -> None:
    run = follow(Device(100, losses={100.0: -0.5}), 200)
    assert 99.5 < min(run.breaks) <= max(run.breaks) < 100.1
    assert worst(run, 101) < 0.100  # so little is stretched away
    assert worst(run, 150) < 0.001


def test_a_clock_that_warms_up_is_followed() -> None:
    fit, rate, true = ClockFit(48_000), 48_000, 0.0
    steering = Steering(fit, 0.0, SAMPLE_RATE)
    for k in range(1, 36_000):
        true += 0.1 / (1 + 1e-6 * 100 * min(k / 18_000, 1))
        fit.add(k * 4800, true)
        assert steering.ratio(k * 4800, 4800) is not None
        assert abs(steering.position / SAMPLE_RATE - true) < 0.010, true
    assert fit.ppm == pytest.approx(100, abs=2)
    assert fit.rate == pytest.approx(rate * 1.0001, rel=1e-5)


def test_a_restart_keeps_the_rate_and_forgets_the_place() -> None:
    run = follow(Device(400), 100)
    run.fit.restart()
    run.fit.add(0, 5000.0)
    assert run.fit.ppm == pytest.approx(400, abs=0.1)
    assert run.fit.time(0) == 5000.0


def test_an_absurd_clock_is_not_believed() -> None:
    fit = ClockFit(48_000)
    for k in range(1, 3000):
        fit.add(k * 960, k * 0.0201)  # 5000 ppm slow
    assert abs(fit.ppm) <= 1.001e6 * MOST


def test_little_is_made_good_by_stretching_and_much_is_not() -> None:
    fit = ClockFit(48_000)
    fit.add(0, 1.0)
    steering = Steering(fit, 0.0, SAMPLE_RATE)
    steering.position = 0.95 * SAMPLE_RATE
    ratio = steering.ratio(960, 960)
    assert steering.error_s == pytest.approx(0.05)
    assert ratio == pytest.approx(3 / 1.005)  # more output than input lasts
    steering.position = 0.8 * SAMPLE_RATE
    assert steering.ratio(1920, 960) is None


def test_stamps_a_little_late_for_long_are_no_step() -> None:
    fit = ClockFit(48_000)
    for k in range(1, 5000):
        late = STEP_S * 0.9 if k > 1000 else 0.0
        assert not fit.add(k * 960, k * 0.02 + late)
    # The last minute's line is the new one.
    assert fit.time(5000 * 960) == pytest.approx(100 + STEP_S * 0.9, abs=0.005)
