"""An evaluation for people: tables for the terminal, and one page that needs nothing else."""

import base64
import html
from string import Template

from rich.console import RenderableType
from rich.table import Table

from streamer import __version__
from streamer.evaluation.judge import Evaluation, number
from streamer.evaluation.metrics import STEP_S, TOLERANCE_S, Hits, Tally
from streamer.text import printable
from streamer.types import EMOTIONS

COLUMNS = {
    "time acc.": "share of the labelled time whose emotion is right",
    "macro F1": "mean of F1, by time, over the emotions that are true at some time",
    "UAR": "unweighted average recall: mean of recall, by time, over the same emotions",
    "eder": "emotion diarization error rate: missed, falsely alarmed and confused time, over the "
    "labelled time (lower is better)",
    "boundary F1": f"changes of emotion found within {TOLERANCE_S:g} s, one to one",
    "switches/min": "changes of emotion a minute, found (true)",
    "coverage": "share of the labelled time in which any emotion was said",
    "ECE": "expected calibration error of the intervals' probability (lower is better)",
}

ALIKE = (
    "of the time in which the true emotion of face and voice is the same: the share that is right "
    "in the face's intervals, in the voice's own, and in those of both together (fused: "
    "fused_intervals.csv)"
)
"""What ``together`` says."""
_TABLES = {"both": "fused"}


def figures(tally: Tally) -> list[str]:
    """The values of COLUMNS."""
    found, true = tally.switches_per_min
    values = [tally.time_acc, tally.macro_f1, tally.uar, tally.eder, tally.boundaries.f1]
    shown = [number(v) for v in values]
    return [*shown, f"{found:.1f} ({true:.1f})", number(tally.coverage), number(tally.ece)]


def listing(evaluation: Evaluation) -> list[RenderableType]:
    """For a terminal of 80 columns: all figures, each emotion, the mismatches."""
    lanes, tallies = evaluation.lanes, evaluation.tallies
    main = _table("", [lane.short for lane in lanes])
    columns = [figures(tallies[lane.key]) for lane in lanes]
    for name, *values in zip(COLUMNS, *columns, strict=True):
        main.add_row(name, *values)
    each = _table("precision recall F1", [lane.short for lane in lanes])
    for emotion in EMOTIONS:
        said = [tallies[lane.key].emotions.get(emotion) for lane in lanes]
        if any(said):
            each.add_row(emotion, *(_three(hits) if hits else "–" for hits in said))
    result: list[RenderableType] = [main, each]
    if evaluation.mismatch:
        precision, recall, both = _three(evaluation.mismatch).split()
        result.append(f"mismatch by time: precision {precision}, recall {recall}, F1 {both}")
    if line := together(evaluation):
        result.append(line)
    return result


def together(evaluation: Evaluation) -> str:
    """How right each is where face and voice are meant to show the same; empty: nowhere."""
    hits = evaluation.together
    longest = max((h.true for h in hits.values()), default=0) * STEP_S
    if not longest:
        return ""
    said = ", ".join(f"{_TABLES.get(n, n)} {number(h.recall)}" for n, h in hits.items())
    return f"right where face and voice are alike ({longest:.1f} s): {said}"


def heading(evaluation: Evaluation) -> str:
    """What was judged, in one line."""
    count = len(evaluation.sessions)
    missing = evaluation.missing
    without = f"; without tables: {', '.join(missing)}" if missing else ""
    return f"{count} session{'s' * (count != 1)}, {evaluation.minutes:.1f} minutes{without}"


def page(evaluation: Evaluation, title: str, pictures: dict[str, bytes]) -> str:
    """The whole evaluation as one HTML page; ``pictures`` are PNGs by their captions."""
    lanes = [[lane.title, *figures(evaluation.tallies[lane.key])] for lane in evaluation.lanes]
    each = [
        [lane.title, name, *_hits(hits)]
        for lane in evaluation.lanes
        for name, hits in evaluation.tallies[lane.key].emotions.items()
    ]
    if evaluation.mismatch:
        each.append(["Mismatch of face and voice", "", *_hits(evaluation.mismatch)])
    sessions = [
        [session.truth.name, lane.title, *figures(session.tallies[lane.key])]
        for session in evaluation.sessions
        for lane in evaluation.lanes
        if lane.key in session.tallies
    ]
    meanings = COLUMNS | ({"right where alike": ALIKE} if together(evaluation) else {})
    return _PAGE.substitute(
        title=_escape(title),
        heading=_escape(heading(evaluation)),
        version=_escape(__version__),
        main=_html(["", *COLUMNS], lanes),
        legend="".join(f"<dt>{_escape(k)}</dt><dd>{_escape(v)}</dd>" for k, v in meanings.items()),
        together=_escape(together(evaluation)),
        each=_html(["", "emotion", "true", "said", "precision", "recall", "F1"], each),
        sessions=_html(["session", "", *COLUMNS], sessions),
        pictures="".join(_picture(caption, png) for caption, png in pictures.items()),
    )


def _hits(hits: Hits) -> list[str]:
    times = [f"{steps * STEP_S:.1f} s" for steps in (hits.true, hits.found)]
    return [*times, number(hits.precision), number(hits.recall), number(hits.f1)]


def _three(hits: Hits) -> str:
    values = [hits.precision, hits.recall, hits.f1]
    return " ".join(f"{number(v):>5}" for v in values)


def _table(first: str, columns: list[str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _html(columns: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{_escape(c)}</th>" for c in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{_escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _picture(caption: str, png: bytes) -> str:
    data = base64.b64encode(png).decode("ascii")
    text = _escape(caption)
    image = f'<img alt="{text}" src="data:image/png;base64,{data}">'
    return f"<figure><figcaption>{text}</figcaption>{image}</figure>"


_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>$title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff;
  max-width: 1180px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; }
h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 600; color: #666; font-size: .85rem; }
th, td { padding: .25rem .8rem; border-bottom: 1px solid #e4e4e4; white-space: nowrap; }
td { text-align: right; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; color: #555; }
dd { margin: 0; }
figure { margin: 1.5rem 0; }
figcaption { font-weight: 600; margin-bottom: .4rem; }
img { max-width: 100%; height: auto; }
footer { margin-top: 3rem; color: #777; font-size: .85rem; }
</style>
</head>
<body>
<h1>$title</h1>
<p>$heading</p>
<div class="wide">$main</div>
<h2>What the figures mean</h2>
<dl>$legend</dl>
<h2>Each emotion, by time</h2>
<div class="wide">$each</div>
<p>$together</p>
<h2>Pictures</h2>
$pictures
<h2>Each session</h2>
<div class="wide">$sessions</div>
<footer>streamer $version. Known emotions are what actors were asked to show, or what raters saw:
not what anybody felt.</footer>
</body>
</html>
""")


def _escape(text: str) -> str:
    return html.escape(printable(text))
