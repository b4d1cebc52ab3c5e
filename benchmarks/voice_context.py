"""Weighs overlapping voice windows, and normalises each session as it runs: does either help?

    python benchmarks/voice_context.py STREAMS_DIR

STREAMS_DIR holds NAME.csv (the truth) and NAME_voice.csv: time, rms_db and the seven probabilities
of windows of 3 s that end at `time`, 0.25 s apart. The default segmenter makes the intervals. No
model runs. Every rule sees only what is known so long after a grid point as its latency says.

The sessions give each emotion about the same time, which people do not. So each rule is also
judged on sessions put together from the same clips in which one emotion takes about two thirds of
the time.
"""

import argparse
import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from voice_windows import judge, line

from streamer import config as configuration
from streamer.config import Config
from streamer.evaluation.metrics import NONE, Span, Tally, total
from streamer.evaluation.sessions import Truth, read_truth
from streamer.types import EMOTIONS, NEUTRAL, Prediction

HALF_WINDOW_S, HOP_S, SILENT_DB = 1.5, 0.5, -50.0
Numbers = NDArray[np.float64]
Rule = Callable[[list[Prediction]], list[Prediction]]


@dataclass(frozen=True, slots=True)
class Stream:
    """What a voice model said of one session, and what is known of it."""

    name: str
    said: list[Prediction]
    truth: Truth


def read(path: Path, hop: float) -> Stream:
    """A stored stream; a window speaks for the cell of ``hop`` s around its middle."""
    name, said = path.stem.removesuffix("_voice"), []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            end = float(row["time"])
            middle = end - HALF_WINDOW_S
            if middle < 0 or abs(middle / hop - round(middle / hop)) > 1e-6:
                continue
            values = np.array([row[e.lower()] for e in EMOTIONS], np.float32)
            probs = values if float(row["rms_db"]) >= SILENT_DB else None
            start = max(middle - hop / 2, 0.0)
            said.append(Prediction("voice", start, max(end - 3, 0.0), end, probs))
    return Stream(name, said, read_truth(path.with_name(f"{name}.csv")))


def one_sided(stream: Stream, emotion: int) -> Stream | None:
    """The clips of a session put together anew: two of ``emotion``, one of another, and so on."""
    spans = [s for s in stream.truth.spans["voice_emotion"] if s.label != NONE]
    main, others = ([s for s in spans if (s.label == emotion) is same] for same in (True, False))
    if not main or len(others) < 2:
        return None
    order = [s for k, other in enumerate(others[:3]) for s in (*[main[k % len(main)]] * 2, other)]
    return _joined(stream, [*order, main[0]])


def _joined(stream: Stream, clips: list[Span]) -> Stream:
    said, found, t = [], [], 0.0
    for clip in clips:
        for p in stream.said:
            if clip.start <= p.time < clip.end:
                by = t - clip.start
                said.append(replace(p, time=p.time + by, start=p.start + by, end=p.end + by))
        found.append(Span(t, t + clip.end - clip.start, clip.label))
        t = found[-1].end
    return Stream(stream.name, said, Truth(stream.name, round(t * 100), {"voice_emotion": found}))


def mostly(stream: Stream, emotion: int, each: int) -> Stream | None:
    """Thirty clips of a session: of ``emotion``, but for each ``each``-th (0: none); None: it has
    no such clip.
    """
    spans = [s for s in stream.truth.spans["voice_emotion"] if s.label != NONE]
    main, others = ([s for s in spans if (s.label == emotion) is same] for same in (True, False))
    if not main or not others:
        return None
    order = [
        others[k // each % len(others)] if each and k % each == each - 1 else main[k % len(main)]
        for k in range(30)
    ]
    return _joined(stream, order)


def overlapping(said: list[Prediction], past_s: float, future_s: float) -> list[Prediction]:
    """Each cell takes the mean of the windows around it; their weights fall linearly to 0 at
    ``past_s`` before and ``future_s`` after it. A silent cell stays silent.
    """
    times = np.array([p.time for p in said])
    probs = np.array([np.zeros(7) if p.probs is None else p.probs for p in said])
    spoken = np.array([p.probs is not None for p in said], float)
    out = []
    for prediction, t in zip(said, times, strict=True):
        if prediction.probs is None:
            out.append(prediction)
            continue
        reach = np.where(times <= t, past_s, future_s) + 1e-9
        weights = np.maximum(1 - np.abs(times - t) / reach, 0) * spoken
        mean = weights @ probs / weights.sum()
        out.append(replace(prediction, probs=mean.astype(np.float32)))
    return out


def running_prior(
    said: list[Prediction], tau_s: float, strength: float, only_lower: bool = False
) -> list[Prediction]:
    """Each prediction is divided by (7 × running mean) ** ``strength``: what this voice always
    sounds like says nothing. The mean starts even, as if heard for 10 s; it forgets with ``tau_s``.

    only_lower: as `segmenter.baseline_s` does, lower the six emotions that are above their mean.
    """
    mean, heard, out = np.full(7, 1 / 7), 10.0, []
    for prediction in said:
        if prediction.probs is None:
            out.append(prediction)
            continue
        heard = min(heard + HOP_S, tau_s)
        mean = mean + (prediction.probs - mean) * HOP_S / heard
        factor = (1 / 7 / mean) ** strength
        if only_lower:
            level = (1 - mean[NEUTRAL]) / 6
            factor = np.minimum(level / mean, 1.0) ** strength
            factor[NEUTRAL] = 1.0
        probs = prediction.probs * factor
        out.append(replace(prediction, probs=(probs / probs.sum()).astype(np.float32)))
    return out


def standardised(said: list[Prediction], tau_s: float, with_variance: bool) -> list[Prediction]:
    """The logarithms of the probabilities less their running mean, over their running deviation
    (scaled to 1.3, about what the model's have), and back. The first 5 s only teach it.
    """
    mean, square, heard, out = np.zeros(7), np.zeros(7), 0.0, []
    for prediction in said:
        if prediction.probs is None:
            out.append(prediction)
            continue
        heard = min(heard + HOP_S, tau_s)
        logs = np.log(np.maximum(prediction.probs, 1e-6))
        logs = logs - logs.mean()
        rate = HOP_S / heard
        mean, square = mean + (logs - mean) * rate, square + (logs**2 - square) * rate
        if heard >= 5:
            logs = logs - mean
            if with_variance:
                logs = logs / np.sqrt(np.maximum(square - mean**2, 0.1)) * 1.3
        probs = np.exp(logs - logs.max())
        out.append(replace(prediction, probs=(probs / probs.sum()).astype(np.float32)))
    return out


RULES: dict[str, Rule] = {
    "a window speaks for its cell (now)": list,
    **{
        f"triangle, {past:g} s before, {future:g} s after": partial(
            overlapping, past_s=past, future_s=future
        )
        for past, future in ((1.5, 0), (3, 0), (1, 1), (1.5, 1.5), (3, 1.5), (3, 3))
    },
    **{
        f"running prior, {tau:g} s, strength {strength:g}": partial(
            running_prior, tau_s=tau, strength=strength
        )
        for tau in (30, 60, 1e9)
        for strength in (0.25, 0.5, 1)
    },
    **{
        f"running baseline, whole session, strength {s:g}": partial(
            running_prior, tau_s=1e9, strength=s, only_lower=True
        )
        for s in (0.5, 1)
    },
    **{
        f"running mean{' and deviation' * both} of log p, {tau:g} s": partial(
            standardised, tau_s=tau, with_variance=both
        )
        for tau in (30, 1e9)
        for both in (False, True)
    },
}


def main() -> None:
    """Read the streams, apply each rule, print its figures and what held-out sessions gain."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("streams", type=Path)
    asked = ask.parse_args()
    config = configuration.load()
    paths = sorted(asked.streams.glob("*_voice.csv"))
    for hop in (0.25, 0.5, 1.0):
        tallies = [judge(s.said, s.truth, config) for s in (read(p, hop) for p in paths)]
        each = " ".join(f"{t.eder:.3f}" for t in tallies)
        print(f"hop {hop:g} s: {line(total(tallies))}; eder of each session {each}")
    streams = [read(path, HOP_S) for path in paths]
    sided = [s for stream in streams for e in range(7) if (s := one_sided(stream, e))]
    found = {
        name: [judge(rule(s.said), s.truth, config) for s in streams]
        for name, rule in RULES.items()
    }
    now = found[next(iter(RULES))]
    print(
        "\n| | time_acc | macro_f1 | eder | missed | boundary_f1 | a minute | better | one-sided |"
    )
    print("| --- " * 9 + "|")
    for name, tallies in found.items():
        better = sum(t.eder < n.eder for t, n in zip(tallies, now, strict=True))
        other = total(judge(RULES[name](s.said), s.truth, config) for s in sided).eder
        print(f"| {name} | {line(total(tallies))} | {better} of {len(now)} | {other:.3f} |")
    for group in ("triangle", "running"):
        print(f"| best {group} on the others | {line(held_out(found, now, group))} | | |")
    print(f"{len(sided)} one-sided sessions")
    calm(streams, config)


def calm(streams: list[Stream], config: Config) -> None:
    """Print how the running prior fares where people are mostly of one mind."""
    for title, emotions in (("neutral", [NEUTRAL]), ("another emotion", others())):
        for each, share in ((3, "two thirds"), (10, "nine tenths"), (0, "all")):
            found = [s for one in streams for e in emotions if (s := mostly(one, e, each))]
            for strength in (0.0, 0.5, 1.0):
                rule = partial(running_prior, tau_s=1e9, strength=strength)
                tally = total(judge(rule(s.said), s.truth, config) for s in found)
                rates = " of ".join(f"{rate:.1f}" for rate in tally.switches_per_min)
                print(f"{share} {title}, strength {strength}: eder {tally.eder:.3f}, {rates}")


def others() -> list[int]:
    """All emotions but Neutral."""
    return [e for e in range(len(EMOTIONS)) if e != NEUTRAL]


def held_out(found: dict[str, list[Tally]], now: list[Tally], group: str) -> Tally:
    """Each session with the rule of the group, or none, that is best on the other sessions."""
    names = [name for name in found if name.startswith(group) or found[name] is now]
    picked = []
    for k in range(len(now)):
        others = {n: total(t for i, t in enumerate(found[n]) if i != k).eder for n in names}
        picked.append(found[min(others, key=lambda n: others[n])][k])
    return total(picked)


if __name__ == "__main__":
    main()
