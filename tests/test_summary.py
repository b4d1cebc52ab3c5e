"""The closing lines, and what is shown of one modality alone."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from scripted import ScriptedReader, ScriptedSource, at_rate, config, pipeline, sound

from streamer import pipeline as module
from streamer.figures import now
from streamer.pairing import Pair
from streamer.pipeline import Pipeline
from streamer.screen import view
from streamer.summary import closing, report
from streamer.types import Interval

Script = list[tuple[float, float, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Script, Script], Pipeline]:
    """Runs what the face (none: no picture) and the voice (none: no sound) show in 4 s."""
    monkeypatch.setattr(module, "FaceReader", lambda *_: ScriptedReader())

    def ran(face: Script, voice: Script) -> Pipeline:
        pictures = at_rate(10, 4, face) if face else []
        source = ScriptedSource(pictures, sound(4 if voice else 0, voice), end=4.0)
        made, tables = pipeline(tmp_path, source, config("segmenter.policy=argmax"))
        with tables:
            made.run(lambda: None)
        return made

    return ran


@pytest.mark.parametrize(
    ("face", "words"),
    [
        ([(0, 4, "Happy")], "0 transitions, "),
        ([(0, 2, "Happy"), (2, 4, "Sad")], "1 transition, "),
        ([(0, 1, "Happy"), (1, 2, "Sad"), (2, 4, "Happy")], "2 transitions, "),
    ],
)
def test_the_closing_lines_count_transitions(
    run: Callable[[Script, Script], Pipeline], face: Script, words: str
) -> None:
    console = Console(file=StringIO(), width=120)
    console.print(report(run(face, [])))
    assert f" {words}0 dropped" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_part_without_a_picture_is_no_negative_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FaceReader", lambda *_: ScriptedReader())
    source = ScriptedSource([(0.0, "Happy")], sound(0, []), end=31.0)
    source.frames = []
    source.info.start = 31.0
    made, tables = pipeline(tmp_path, source, predictions=True)
    with tables:
        made.run(lambda: None)
    assert closing(made, "end", None)["media_s"] == 0
    assert view(made, "t", "max", "CPU", now(made.analysis.timeline)).t == 31
    assert (tmp_path / "face_predictions.csv").read_text().splitlines()[-1].startswith("31.0,")


def test_without_sound_the_rows_shown_know_it(
    run: Callable[[Script, Script], Pipeline],
) -> None:
    made = run([(0, 2, "Happy"), (2, 4, "Sad")], [])
    shown = view(made, "t", "max", "CPU", now(made.analysis.timeline))
    assert [isinstance(row, Pair) and row.sound for row in shown.rows] == [False, False]
    assert (shown.closed, shown.voice) == (2, None)


def test_without_a_picture_the_voices_rows_are_shown(
    run: Callable[[Script, Script], Pipeline],
) -> None:
    made = run([], [(0, 4, "Sad")])
    shown = view(made, "t", "max", "CPU", now(made.analysis.timeline))
    assert [(type(row), getattr(row, "label", "")) for row in shown.rows] == [(Interval, "Sad")]
    assert (shown.closed, shown.face) == (1, None)


def test_session_json_counts_a_row_with_its_whole_length(
    run: Callable[[Script, Script], Pipeline],
) -> None:
    """As docs/tables.md says, beside agreement.json, which counts the time in common alone."""
    made = run([(0, 4, "Happy")], [(0, 2, "Sad")])
    told = closing(made, "end", None)["agreement"]
    assert told == {
        "rows": 1,
        "mismatches": 1,
        "face_s": 4.0,
        "both_s": 4.0,
        "mismatch_s": 4.0,
        "mismatch_share": 1.0,
    }
    assert 1.5 < made.analysis.timeline.tables[:, 3, 4].max() / 1000 < 3.5
