"""Twelve minutes with every fault there is, in virtual time. Eight: benchmarks/soak.py."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from hours import Faults, Hours, closed_by, missing, rows, run, sound_errors

SECONDS = 720.0


@dataclass(frozen=True)
class Session:
    hours: Hours
    folder: Path


def session(folder: Path, faults: Faults) -> Session:
    hours = Hours(SECONDS, faults, rate=16_000)
    run(folder, hours)
    return Session(hours, folder)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return session(tmp_path_factory.mktemp("clean"), Faults())


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return session(tmp_path_factory.mktemp("faulty"), Faults.all(SECONDS, -500))


def test_sound_stays_in_step_with_pictures(faulty: Session) -> None:
    errors = sound_errors(faulty.hours)
    assert len(errors) > 30
    late = max(faulty.hours.stamped_late)  # by so much pictures are stamped late themselves
    assert max(abs(error) for _, error in errors) + late < 0.040
    assert errors[-1][0] > SECONDS - 60
    assert faulty.hours.source.state.drift_ppm == pytest.approx(-500, abs=30)


def test_every_loss_is_counted(faulty: Session, clean: Session) -> None:
    state, faults = faulty.hours.source.state, faulty.hours.faults
    assert (state.dropped, state.losses) == (len(faults.losses), len(faults.mic_away))
    lost = sum(length for length, _ in faults.losses.values())
    away = sum(end - start for start, end in faults.mic_away)
    found_again = 10.0 * len(faults.mic_away)  # live.retry_s
    assert lost + away - 0.5 < state.lost_s < lost + away + found_again
    state = clean.hours.source.state
    assert (state.dropped, state.losses, state.lost_s) == (0, 0, 0.0)


@pytest.mark.parametrize("table", ["video_intervals", "voice_intervals"])
def test_out_of_the_losses_reach_the_intervals_are_as_without(
    faulty: Session, clean: Session, table: str
) -> None:
    clear = faulty.hours.faults.seen if table == "video_intervals" else faulty.hours.faults.heard
    mine, others = rows(faulty.folder, table), rows(clean.folder, table)
    assert sum(clear(start, end) for _, start, end in mine) > 20
    assert missing(mine, others, clear) == []
    assert missing(others, mine, clear) == []


def test_a_camera_that_was_away_ends_rows(faulty: Session, clean: Session) -> None:
    gaps = [closed_by(s.folder, "video_intervals", "gap") for s in (faulty, clean)]
    assert gaps[0] > gaps[1] > 0


def test_memory_stays_flat(faulty: Session) -> None:
    memory = faulty.hours.memory
    # Live objects: what is kept are the closed intervals, a few each minute.
    assert memory[-1] - memory[3] < 200 * (len(memory) - 4)
