"""Sessions of closed intervals, as strategies and as simulations, and an oracle by millisecond."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamer.timeline import CODES, Timeline
from streamer.types import EMOTIONS, Interval, Modality

LABELS = EMOTIONS[:3]
# How long an example takes says more about the machine than about the code.
UNHURRIED = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def interval(modality: Modality, label: str, start: float, end: float) -> Interval:
    return Interval(modality, label, start, end, 0.9, 0.9, 5, "change")


@st.composite
def lanes(draw: st.DrawFn, modality: Modality, most: int = 8) -> list[Interval]:
    """Intervals in whole milliseconds, touching or not, some without any length."""
    gaps = st.one_of(st.just(0), st.integers(0, 3000))
    parts = draw(
        st.lists(st.tuples(gaps, st.integers(0, 4000), st.sampled_from(LABELS)), max_size=most)
    )
    out, t = [], 0
    for gap, length, label in parts:
        out.append(interval(modality, label, (t + gap) / 1000, (t + gap + length) / 1000))
        t += gap + length
    return out


def played(
    face: Sequence[Interval],
    voice: Sequence[Interval],
    choices: Sequence[bool] = (),
    tolerance_s: float = 1.0,
    end: float | None = None,
) -> Timeline:
    """A session whose intervals come as ``choices`` (True: the face's next) say, then the rest."""
    timeline = Timeline(["face", "voice"], 0.0, tolerance_s)
    waiting: dict[Modality, list[Interval]] = {"face": list(face), "voice": list(voice)}
    last = max([0.0, *(i.end for i in [*face, *voice])]) if end is None else end
    for choice in [*choices, *[True] * len(face), *[False] * len(voice)]:
        modality: Modality = "face" if choice else "voice"
        if queue := waiting[modality]:
            closed = queue.pop(0)
            before = list(timeline.events)
            timeline.update(modality, [closed], queue[0].start if queue else closed.end)
            assert timeline.events[: len(before)] == before  # nothing is taken back
    timeline.finish("face", last)
    timeline.finish("voice", last)
    return timeline


def by_millisecond(intervals: Sequence[Interval], length: int) -> NDArray[np.int64]:
    """What is shown in each millisecond; −1: nothing."""
    shown = np.full(length, -1)
    for i in intervals:
        shown[round(i.start * 1000) : round(i.end * 1000)] = CODES[i.label]
    return shown


def simulated(
    length: float, mean: float, copied: float, rng: np.random.Generator
) -> tuple[list[Interval], list[Interval]]:
    """Face and voice, a quarter of the time silent; the voice takes over so much of the face."""

    def lane(modality: Modality) -> list[Interval]:
        steps = np.ceil(rng.exponential(mean * 1000, round(3 * length / mean) + 20)) / 1000
        edges = np.minimum(np.concatenate([[0.0], np.cumsum(steps)]), length).round(3)
        return [
            interval(modality, LABELS[rng.integers(3)], a, b)
            for a, b in pairwise(edges.tolist())
            if b > a and rng.random() < 0.75
        ]

    face, voice = lane("face"), lane("voice")
    shown = by_millisecond(face, round(length * 1000))
    for k, heard in enumerate(voice):
        middle = shown[round((heard.start + heard.end) * 500)]
        if middle >= 0 and rng.random() < copied:
            voice[k] = interval("voice", EMOTIONS[middle], heard.start, heard.end)
    return face, voice
