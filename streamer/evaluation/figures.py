"""Pictures of an evaluation, as PNG in memory. Nothing is shown on a screen, nothing read.

The emotions have the dashboard's hues in a scheme that colour-blind people can tell apart: "bright"
of Paul Tol, "Colour schemes", SRON/EPS/TN/09-002, 2021. Where there is room they are named too.
"""

import io
import warnings

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from streamer.evaluation.judge import Evaluation, Judged, number
from streamer.evaluation.metrics import BINS, NONE, STEP_S, Span, Tally
from streamer.evaluation.sessions import Lane
from streamer.text import printable
from streamer.types import EMOTIONS

COLOURS = {
    "Angry": "#EE6677",
    "Disgust": "#228833",
    "Fear": "#AA3377",
    "Happy": "#CCBB44",
    "Sad": "#4477AA",
    "Surprise": "#66CCEE",
    "Neutral": "#BBBBBB",
}
INK, FAINT, BAR, GAP = "#222222", "#8a8a8a", COLOURS["Sad"], COLOURS["Angry"]
matplotlib.rcdefaults()  # a style of the user's own might hide what is meant
ROW_S = 120.0
"""A timeline is broken into rows of about so many seconds."""
MAX_ROWS = 8


def confusions(evaluation: Evaluation) -> bytes:
    """A matrix for each lane: shares of each true emotion's time, by what was said."""
    lanes = evaluation.lanes
    figure = Figure(figsize=(5.6 * len(lanes), 5.4), layout="constrained")
    for at, lane in enumerate(lanes):
        _confusion(figure.add_subplot(1, len(lanes), at + 1), lane, evaluation.tallies[lane.key])
    return _png(figure)


def reliability(evaluation: Evaluation) -> bytes:
    """For each lane, how often what is said with some probability is right; and how much time."""
    lanes = evaluation.lanes
    figure = Figure(figsize=(4.6 * len(lanes), 5.2), layout="constrained")
    axes = figure.subplots(2, len(lanes), squeeze=False, sharex=True, height_ratios=[3, 1])
    for at, lane in enumerate(lanes):
        tally = evaluation.tallies[lane.key]
        _reliability(axes[0, at], axes[1, at], lane, tally)
    axes[0, 0].set_ylabel("share of the time that is right")
    axes[0, 0].legend(loc="upper left", frameon=False, fontsize=9)
    axes[1, 0].set_ylabel("share of time")
    return _png(figure)


def timeline(evaluation: Evaluation, session: Judged) -> bytes:
    """One session's emotions over time, true and found, as bars of colour."""
    bars = _bars(evaluation, session)
    length = session.truth.length * STEP_S
    rows = int(np.clip(np.ceil(length / ROW_S), 1, MAX_ROWS))
    height = 0.34 * len(bars) + 0.55
    figure = Figure(figsize=(12, rows * height + 0.75), layout="constrained")
    axes = figure.subplots(rows, 1, squeeze=False)[:, 0]
    for at, ax in enumerate(axes):
        _lanes(ax, bars, at * length / rows, (at + 1) * length / rows)
    axes[-1].set_xlabel("seconds")
    name = printable(session.truth.name)
    figure.suptitle(name, x=0.01, ha="left", fontweight="bold", color=INK, parse_math=False)
    shown = [Patch(color=colour, label=name) for name, colour in COLOURS.items()]
    figure.legend(handles=shown, loc="outside lower center", ncols=len(shown), frameon=False)
    return _png(figure)


def _confusion(ax: Axes, lane: Lane, tally: Tally) -> None:
    labels = [*EMOTIONS, "none"]
    seconds = tally.confusion * STEP_S
    rows = NONE + bool(seconds[NONE].sum())
    whole = seconds[:rows].sum(axis=1, keepdims=True)
    shares = np.divide(seconds[:rows], whole, out=np.zeros((rows, NONE + 1)), where=whole > 0)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(shares):
        if value >= 0.005:
            colour = "white" if value > 0.55 else INK
            weight = "bold" if i == j else "normal"
            ax.text(j, i, f"{value:.0%}", ha="center", va="center", color=colour, weight=weight)
    ax.set_xticks(range(NONE + 1), labels, rotation=40, ha="right", rotation_mode="anchor")
    names = [f"{labels[i]} ({whole[i, 0]:.0f} s)" for i in range(rows)]
    ax.set_yticks(range(rows), names)
    ax.set_xlabel("said")
    ax.set_ylabel("true")
    title = f"{lane.title}\nright {tally.time_acc:.0%} of the time, UAR {number(tally.uar)}"
    ax.set_title(title, color=INK, fontsize=11)
    ax.set_xticks(np.arange(NONE) + 0.5, minor=True)
    ax.set_yticks(np.arange(rows - 1) + 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=1.5)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)


def _reliability(ax: Axes, below: Axes, lane: Lane, tally: Tally) -> None:
    steps, probability, right = tally.reliability
    there = steps > 0
    mean, accuracy = probability[there] / steps[there], right[there] / steps[there]
    time = steps / max(steps.sum(), 1)
    centres = (np.arange(BINS) + 0.5) / BINS
    ax.plot([0, 1], [0, 1], color=FAINT, linestyle="--", linewidth=1, label="perfectly calibrated")
    if there.any():  # what is drawn beyond the axes must not be empty
        ax.vlines(mean, mean, accuracy, color=GAP, linewidth=3, clip_on=False, label="gap")
        ax.plot(mean, accuracy, "o", color=BAR, markersize=7, clip_on=False, label="measured")
    else:
        ax.text(0.5, 0.3, "nothing to judge", ha="center", color=FAINT)
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.set_title(
        f"{lane.title}\nexpected calibration error {number(tally.ece)}", fontsize=11, pad=9
    )
    below.bar(centres, time, width=0.92 / BINS, color=BAR)
    below.set(xlabel="probability of the said emotion", ylim=(0, 1))
    for x, share in zip(centres, time, strict=True):
        if share >= 0.005:
            below.text(x, share, f"{share:.0%}", ha="center", va="bottom", fontsize=8, color=INK)
    for axis in (ax, below):
        axis.spines[["top", "right"]].set_visible(False)


def _bars(evaluation: Evaluation, session: Judged) -> list[tuple[str, list[Span]]]:
    """Names and spans of the timeline's bars, from above: each truth above what was said of it."""
    bars: list[tuple[str, list[Span]]] = []
    drawn = set()
    for lane in evaluation.lanes:
        if lane.truth not in session.truth.spans:
            continue
        if lane.truth not in drawn:
            drawn.add(lane.truth)
            bars.append((f"{lane.short}: true", session.truth.spans[lane.truth]))
        bars.append((f"{lane.short}: found", session.said.get(lane.key, [])))
    return bars


def _lanes(ax: Axes, bars: list[tuple[str, list[Span]]], start: float, end: float) -> None:
    places = _places(bars)
    for y, (title, spans) in zip(places, bars, strict=True):
        height = 0.62 if title.endswith("true") else 0.8
        parts = [
            (EMOTIONS[span.label], max(span.start, start), min(span.end, end))
            for span in spans
            if span.label != NONE and span.end > start and span.start < end
        ]
        ax.broken_barh(
            [(left, right - left) for _, left, right in parts],
            (y - height / 2, height),
            facecolors=[COLOURS[name] for name, _, _ in parts],
            edgecolor="white",
            linewidth=0.8 if len(parts) < 60 else 0,
        )
        for name, left, right in parts:
            if right - left > (end - start) * 0.065:
                colour = _on(COLOURS[name])
                ax.text(
                    (left + right) / 2,
                    y,
                    name,
                    ha="center",
                    va="center_baseline",
                    fontsize=8,
                    color=colour,
                )
    ax.set(xlim=(start, end), ylim=(places[-1] + 0.55, -0.55))
    ax.set_yticks(places, [title for title, _ in bars])
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)


def _places(bars: list[tuple[str, list[Span]]]) -> list[float]:
    """Where the bars lie: each truth a little below what is above it."""
    truths = np.cumsum([title.endswith("true") for title, _ in bars])
    return [k + 0.35 * (int(above) - 1) for k, above in enumerate(truths)]


def _on(colour: str) -> str:
    """Black or white, whichever reads better on ``colour`` (WCAG's relative luminance, about)."""
    red, green, blue = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
    bright = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2 > 0.18
    return "black" if bright else "white"


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    file = io.BytesIO()
    with warnings.catch_warnings():
        # A session's name may be in a script that the font has not: it has boxes then.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(file, format="png", dpi=130, metadata={"Software": None})
    return file.getvalue()
