"""The figures of benchmarks/accuracy.md come from code that is right."""

import csv
from pathlib import Path

import numpy as np
import pytest
import voice_context
import voice_windows
from accuracy import Said, ece, fit_temperature, per_class, tempered
from conditions import echoing, noisy, telephone
from sklearn.metrics import precision_recall_fscore_support
from typer.testing import CliRunner

from streamer import cli, models
from streamer import config as configuration
from streamer.evaluation.metrics import Span
from streamer.evaluation.sessions import Truth
from streamer.resources import demo_clip
from streamer.types import EMOTIONS, SAMPLE_RATE, Floats, Prediction


def drawn(count: int = 20_000) -> Said:
    """Truths drawn from the very probabilities that are said: perfectly calibrated."""
    random = np.random.default_rng(0)
    probs = random.dirichlet(np.full(7, 0.4), count)
    true = (probs.cumsum(1) > random.random((count, 1))).argmax(1)
    return Said(true, probs)


def test_precision_recall_and_f1_are_scikit_learns() -> None:
    said = drawn(2000)
    expected = precision_recall_fscore_support(said.true, said.probs.argmax(1))[:3]
    np.testing.assert_allclose(per_class(said), expected)


def test_the_temperature_that_was_put_in_is_found_and_calibrates() -> None:
    said = drawn()
    assert ece(said) < 0.015
    bold = tempered(said, 1 / 1.5)
    assert ece(bold) > 0.1
    assert fit_temperature(bold) == pytest.approx(1.5, abs=0.05)
    assert ece(tempered(bold, 1.5)) == pytest.approx(ece(said))


def windows(rows: list[Floats | None]) -> list[Prediction]:
    return [Prediction("voice", k / 2, k / 2, k / 2, row) for k, row in enumerate(rows)]


def test_no_rule_looks_beyond_its_latency_or_speaks_where_nobody_does() -> None:
    random = np.random.default_rng(1)
    rows: list[Floats | None] = list(random.dirichlet(np.ones(7), 60).astype(np.float32))
    rows[20:24] = [None] * 4
    cut = 40
    for name, rule in voice_context.RULES.items():
        whole, part = rule(windows(rows)), rule(windows(rows[:cut]))
        ahead = float(name.rpartition("before, ")[2].split()[0]) if "before" in name else 0.0
        settled = cut - round(ahead / 0.5)
        assert [p.probs is None for p in whole] == [row is None for row in rows], name
        for early, late in zip(part[:settled], whole[:settled], strict=True):
            if early.probs is not None and late.probs is not None:
                np.testing.assert_array_equal(early.probs, late.probs, name)
                assert late.probs.sum() == pytest.approx(1, abs=1e-5)


def test_a_session_put_together_anew_is_one_sided() -> None:
    spans = [Span(10.0 * k, 10.0 * (k + 1), k) for k in range(4)]
    rows: list[Floats | None] = [np.eye(7, dtype=np.float32)[min(k // 20, 3)] for k in range(80)]
    stream = voice_context.Stream("s", windows(rows), Truth("s", 4000, {"voice_emotion": spans}))
    sided = voice_context.one_sided(stream, 2)
    assert sided is not None
    found = sided.truth.spans["voice_emotion"]
    assert [s.label for s in found] == [2, 2, 0, 2, 2, 1, 2, 2, 3, 2]
    for prediction in sided.said:
        assert prediction.probs is not None
        (label,) = [s.label for s in found if s.start <= prediction.time < s.end]
        assert label == prediction.probs.argmax()
    assert voice_context.one_sided(stream, 6) is None


def test_noise_band_and_echo_are_as_strong_as_they_say() -> None:
    t = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    low, high = (np.sin(2 * np.pi * f * t).astype(np.float32) for f in (1000, 5000))
    assert 10 * np.log10(np.var(low) / np.var(noisy(low, 10) - low)) == pytest.approx(10, abs=0.1)
    np.testing.assert_allclose(telephone(low + high), low, atol=1e-3)
    click = np.zeros(SAMPLE_RATE, np.float32)
    click[0] = 1
    echo = echoing(click, 0.4, -6)
    assert 10 * np.log10(1 / (echo[1:] ** 2).sum()) == pytest.approx(-6, abs=0.1)


def test_the_voice_alone_is_heard_as_in_a_replay(tmp_path: Path) -> None:
    out = ["--out", str(tmp_path), "--session", "demo", "--speed", "max", "--save-predictions"]
    assert CliRunner().invoke(cli.app, ["replay", str(demo_clip()), *out]).exit_code == 0
    config = configuration.load()
    vad = models.load(config.speech.vad, "voice-activity", config.models)
    voice = models.load(config.speech.emotion, "speech-emotion", config.models)
    recording = voice_windows.read(demo_clip(), tmp_path)
    said, pairs = voice_windows.hear(recording, config, vad, voice)
    with (tmp_path / "demo" / "voice_predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:-1]  # the last one is the end of the stream
    assert [p.time for p in said] == [float(row["time"]) for row in rows]
    for prediction, row in zip(said, rows, strict=True):
        saved = [row[e.lower()] for e in EMOTIONS]
        heard = [] if prediction.probs is None else prediction.probs.tolist()
        assert heard == pytest.approx([float(value) for value in saved if value])
    with (tmp_path / "demo" / "audio_intervals.csv").open(encoding="utf-8") as file:
        assert [p.voice.label or "" for p in pairs] == [r["emotion"] for r in csv.DictReader(file)]
