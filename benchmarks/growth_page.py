"""What benchmarks/growth.py found: tables for the terminal and growth.md, and growth.png."""

import math
import os
import platform
import re
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from streamer.evaluation.figures import COLOURS, FAINT, INK

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
FULL = 0.8
"""The share of the machine that cameras may take together: the rest is for its other work."""
FACE, VOICE = COLOURS["Sad"], COLOURS["Angry"]
Times = tuple[float, float]
"""Median and 95th percentile, s."""


@dataclass(frozen=True, slots=True)
class Cameras:
    """``count`` of them at once: CPU seconds for each second of life, latencies of the worst of
    them, and how many times as fast as life they are together at full speed.
    """

    count: int
    cpu: float
    faces: int
    faces_dropped: int
    windows: int
    windows_skipped: int
    face: Times
    voice: Times
    peak_mb: float
    times_real: float
    same: bool

    @classmethod
    def of(cls, count: int, seconds: float, live: dict[str, float], free: dict[str, float]) -> Self:
        """From what growth_run.py said of them."""
        counts = (live[k] for k in ("faces", "faces_dropped", "windows", "windows_skipped"))
        latencies = (tuple(live[m]) for m in ("face", "voice"))
        ends = live["peak_mb"], free["times_real"], free["same"]
        return cls(count, live["cpu_s"] / seconds, *counts, *latencies, *ends)

    @property
    def lossless(self) -> bool:
        """Whether nothing was left out."""
        return not (self.faces_dropped or self.windows_skipped)

    @property
    def fit(self) -> int:
        """How many fit into FULL of the machine by their CPU time."""
        return math.floor(FULL * cores() * self.count / self.cpu)

    @property
    def more(self) -> int:
        """How many more would fit."""
        return max(self.fit - self.count, 0) if self.lossless else 0


@dataclass(slots=True)
class Cost:
    """CPU seconds for a second of media, one a round, and the peaks, MB. ``at``: where it stands
    on its axis.
    """

    name: str
    at: float
    cpu: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)

    def add(self, result: dict[str, float]) -> None:
        """Take what growth_run.py said."""
        self.cpu.append(result["cpu_share"])
        self.peaks.append(result["peak_mb"])

    @property
    def median(self) -> Times:
        """CPU seconds, and MB."""
        return statistics.median(self.cpu), statistics.median(self.peaks)


@dataclass(frozen=True, slots=True)
class Page:
    """All that was found; ``about``: on what machine."""

    about: str
    cameras: list[Cameras]
    lengths: list[Cost]
    rates: list[Cost]
    sizes: list[Cost]


Sheet = tuple[str, list[str], list[list[str]], str]
"""Title, heads and rows of a table, and what is to be said below it."""


def cores() -> int:
    """How many this process may use; where the system does not tell, how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> str:
    """What it is measured on, and how busy that was before."""
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    name = found[1] if found else platform.machine()
    load = os.getloadavg()[0]
    busy = " (busy with other work: trust CPU seconds and memory alone)" if load > 1 else ""
    told = f"{cores()} cores of {name}, Python {platform.python_version()}"
    return f"{told}; load average before: {load:.1f}{busy}"


def sheets(page: Page) -> list[Sheet]:
    """The tables."""
    heads = ["cameras", "CPU ÷ (media time × cores)", "CPU s per media s, each", "faces dropped"]
    heads += [
        "windows skipped",
        "face p50, p95 ms",
        "voice p50, p95 ms",
        "peak MB",
        "more would fit",
    ]
    rows = [
        [
            f"{n.count}",
            f"{n.cpu / cores():.0%}",
            f"{n.cpu / n.count:.3f}",
            f"{n.faces_dropped}/{n.faces}",
            f"{n.windows_skipped}/{n.windows}",
            *(f"{t[0] * 1000:.0f}, {t[1] * 1000:.0f}" for t in (n.face, n.voice)),
            f"{n.peak_mb:.0f}",
            f"{n.more}",
        ]
        for n in page.cameras
    ]
    free = [
        [f"{n.count}", f"{n.times_real:.1f}×", "the same bytes" if n.same else "DIFFERENT"]
        for n in page.cameras
    ]
    made: list[Sheet] = [
        ("Cameras at once, at the speed of life", heads, rows, overload(page)),
        (
            "Lossless pipelines at once, as fast as they can",
            ["pipelines", "together, × real time", "tables, against one alone"],
            free,
            "",
        ),
    ]
    for title, head, costs in (
        ("Length of the recording", "length", page.lengths),
        ("Faces looked at a second", "`face.rate_hz`", page.rates),
        ("Resolution at 25 fps", "picture", page.sizes),
    ):
        lines = []
        for cost in costs:
            cpu, peak = cost.median
            spread = f"{min(cost.cpu):.3f} to {max(cost.cpu):.3f}"
            lines.append([cost.name, f"{cpu:.3f}", spread, f"{peak:.0f}"])
        made.append((title, [head, "CPU s per media s", "range", "peak MB"], lines, ""))
    return made


def overload(page: Page) -> str:
    """How many cameras lost data, and what more than 100 % are; empty: nothing of that."""
    said = []
    if lost := [f"{n.count}" for n in page.cameras if not n.lossless]:
        said.append(f"{' and '.join(lost)} cameras at once lost data.")
    if any(n.cpu > cores() for n in page.cameras):
        said.append(
            "CPU time is divided by the media's, not by the run's: over 100% the run took longer "
            "than its media."
        )
    return " ".join(said)


def facts(page: Page) -> list[str]:
    """What the figures say, a line each."""
    said = []
    if whole := [n for n in page.cameras if n.lossless]:
        most, one = whole[-1], page.cameras[0]
        each = (most.peak_mb - one.peak_mb) / max(most.count - one.count, 1)
        said.append(
            f"{most.count} cameras at once lost nothing and took {most.cpu / cores():.0%} of the "
            f"machine, each further one {each:.0f} MB. By the CPU time of {most.count}, {most.fit} "
            f"fill {FULL:.0%} of it."
        )
    for what, costs in (
        ("length", page.lengths),
        ("face rate", page.rates),
        ("resolution", page.sizes),
    ):
        first, last = costs[0], costs[-1]
        (cpu, peak), (cpu_last, peak_last) = first.median, last.median
        said.append(
            f"From {first.name} to {last.name} of {what}: CPU {cpu_last / cpu:.2f} times, "
            f"memory {peak_last / peak:.2f} times."
        )
    return said


def show(page: Page, console: Console) -> None:
    """Print everything."""
    console.print(f"\n{page.about}", highlight=False)
    for title, heads, rows, below in sheets(page):
        table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
        table.padding, table.pad_edge = (0, 1, 0, 0), False  # fits 80 columns
        for head, *cells in zip(heads, *rows, strict=True):
            widest = max(len(word) for text in (head, *cells) for word in text.split())
            table.add_column(head.strip("`"), justify="right", min_width=widest)
        for row in rows:
            table.add_row(*row)
        console.print("", table)
        if below:
            console.print(below, highlight=False)
    for fact in facts(page):
        console.print(fact, highlight=False)


def write(page: Page, folder: Path) -> None:
    """The part of growth.md between the two markers, and growth.png."""
    path = folder / "growth.md"
    path.write_text(placed(path.read_text(encoding="utf-8"), markdown(page)), encoding="utf-8")
    draw(page).savefig(folder / "growth.png", dpi=110, metadata={"Software": None})


def placed(text: str, part: str) -> str:
    """``text`` with ``part`` between the markers."""
    before, _, rest = text.partition(BEGIN)
    _, marker, after = rest.partition(END)
    if not marker:
        raise SystemExit(f"growth.md has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{part}{END}{after}"


def markdown(page: Page) -> str:
    """The tables and what they say."""
    lines = [f"Measured on {page.about}.", ""]
    for title, heads, rows, below in sheets(page):
        lines += [f"**{title}**", ""]
        lines += [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)] + [""]
        lines += [below, ""] if below else []
    return "\n".join([*lines, *(f"- {fact}" for fact in facts(page)), ""])


def draw(page: Page) -> Figure:
    """Cameras above, with open circles where data was lost; below them cost and memory over
    length, rate and resolution.
    """
    figure = Figure(figsize=(9.5, 8.4), layout="constrained")
    axes = figure.subplots(3, 3)
    counts = [n.count for n in page.cameras]
    used, late, memory = axes[0]
    shares = [100 * n.cpu / cores() for n in page.cameras]
    _cameras(used, page, shares, "-", FACE)
    if not all(n.lossless for n in page.cameras):
        used.plot([], [], "o", color=FACE, mfc="white", label="lost data")
    guide = {"color": FAINT, "linestyle": "--", "linewidth": 1, "label": "so many times one"}
    used.plot([0, counts[-1]], [0, counts[-1] * shares[0] / counts[0]], **guide)
    top = max(100, 20 * math.ceil(max(shares) / 20))
    used.set(title="CPU ÷ (media time × cores), %", ylim=(0, top))
    used.legend(frameon=False, fontsize=8)
    for name, colour in (("face", FACE), ("voice", VOICE)):
        for k, (style, which) in enumerate((("-", "p50"), (":", "p95"))):
            times = [1000 * getattr(n, name)[k] for n in page.cameras]
            _cameras(late, page, times, style, colour, f"{name} {which}")
    late.set(title="latency of predictions, ms", yscale="log", ylim=(10, None))
    late.yaxis.set_major_formatter("{x:,.0f}")
    late.legend(frameon=False, fontsize=8)
    _cameras(memory, page, [n.peak_mb for n in page.cameras], "-", FACE)
    memory.set(title="peak memory, MB", ylim=(0, None))
    for ax in axes[0]:
        ax.set(xlabel="cameras at once", xlim=(0, None), xticks=[0, *counts])
    groups = (
        (page.lengths, "minutes of media"),
        (page.rates, "faces looked at a second"),
        (page.sizes, "lines of the picture, set by its pixels"),
    )
    highest = [max(cost.median[k] for costs, _ in groups for cost in costs) for k in (0, 1)]
    for column, (costs, label) in enumerate(groups):
        for row, title in ((1, "CPU s per media s"), (2, "peak memory, MB")):
            ax = axes[row, column]
            _line(ax, costs, row - 1)
            ax.set(xlabel=label, ylim=(0, 1.15 * highest[row - 1]))
            if column == 0:
                ax.set_ylabel(title)
    for ax in axes[1:, 2]:
        heights = [cost.name.partition("×")[2] for cost in page.sizes]
        ax.set_xticks([cost.at for cost in page.sizes], heights)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
        ax.xaxis.label.set(size=9, color=INK)
        ax.yaxis.label.set(size=9, color=INK)
        ax.title.set(size=10, color=INK)
    return figure


def _cameras(
    ax: Axes, page: Page, values: list[float], style: str, colour: str, label: str = ""
) -> None:
    """A line over the numbers of cameras, its circles open where data was lost."""
    counts = [n.count for n in page.cameras]
    ax.plot(counts, values, f"o{style}", color=colour, label=label or None)
    lost = [k for k, n in enumerate(page.cameras) if not n.lossless]
    ax.plot([counts[k] for k in lost], [values[k] for k in lost], "o", color=colour, mfc="white")


def _line(ax: Axes, costs: list[Cost], which: int) -> None:
    """The medians over their numbers; of the CPU the range of the rounds too."""
    at = [cost.at for cost in costs]
    if which == 0:
        ax.vlines(at, [min(c.cpu) for c in costs], [max(c.cpu) for c in costs], color=FAINT)
    ax.plot(at, [cost.median[which] for cost in costs], "o-", color=FACE)
    ax.set_xlim(0, None)
