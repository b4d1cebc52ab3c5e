"""Configuration: defaults, overlays, and what is refused."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from streamer.config import load
from streamer.resources import default_config
from streamer.types import StreamerError


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_load_and_every_one_is_in_the_file() -> None:
    assert load().model_dump() == yaml.safe_load(default_config().read_text(encoding="utf-8"))


def test_the_command_line_beats_the_file_beats_the_defaults(tmp_path: Path) -> None:
    path = write(tmp_path, "face: {rate_hz: 5.5, rule: largest}\nmodels: {dir: mine}\n")
    config = load(path, ["face.rate_hz=7.5", " speech.hop_s = 0.25", "face.rate_hz=8.5"])
    assert (config.face.rate_hz, config.face.rule) == (8.5, "largest")
    assert config.models.dir == "mine"
    assert config.speech.hop_s == 0.25
    assert config.face.min_score == load().face.min_score
    assert config.segmenter == load().segmenter


@pytest.mark.parametrize("text", ["", "# nothing\n", "face: {}\n"])
def test_a_file_may_change_nothing(tmp_path: Path, text: str) -> None:
    assert load(write(tmp_path, text)) == load()


@pytest.mark.parametrize(
    "key", ["speech.window_s", "face.rate_hz", "segmenter.smoothing_s", "dashboard.rate_hz"]
)
def test_a_whole_number_is_taken_for_a_float(key: str) -> None:
    section, name = key.split(".")
    value = getattr(getattr(load(settings=[f"{key}=3"]), section), name)
    assert value == 3.0
    assert type(value) is float


@pytest.mark.parametrize(
    "setting",
    [
        "face.rate_hz='10'",
        "face.rate_hz=true",
        "face.rate_hz=.nan",
        "face.rate_hz=.inf",
        "face.rate_hz=",
        "face.rate_hz=0",
        "face.rate_hz=-5",
        "face.rate_hz=[10]",
        "face.max_px=640.0",
        "face.max_px=true",
        "models.threads=1.5",
        "models.threads=0",
        "models.provider=gpu",
        "models.dir=5",
        "segmenter.policy=best",
        "segmenter.margin=1.5",
        "face.detector=../../x",
        "speech.hop_s=0.001",
    ],
)
def test_what_does_not_fit_is_refused_by_its_key(setting: str) -> None:
    with pytest.raises(StreamerError) as caught:
        load(settings=[setting])
    message = str(caught.value)
    assert setting.partition("=")[0] in message
    assert "\n" not in message
    assert caught.value.status == 2


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("face.rate=10", "did you mean face.rate_hz?"),
        ("speech.windows=3", "did you mean speech.window_s?"),
        ("face.hop_s=3", "did you mean speech.hop_s?"),
        ("speach.window_s=3", "unknown section 'speach'; did you mean speech?"),
        ("segmenter.min_duration=3", "unknown key segmenter.min_duration"),
        ("segmenter.min_duration=3", "did you mean segmenter.min_duration_s?"),
        ("zzz.qqq=1", "known: face, speech, segmenter, fusion, agreement, models"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest(setting: str, named: str) -> None:
    with pytest.raises(StreamerError) as caught:
        load(settings=[setting])
    assert named in str(caught.value)


@pytest.mark.parametrize("setting", ["face", "face.rate_hz", "rate_hz=10", "face.=1", "=", ""])
def test_a_setting_needs_section_key_and_value(setting: str) -> None:
    with pytest.raises(StreamerError, match=r"write it as section\.key=value"):
        load(settings=[setting])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("face: [1, 2]", "face must hold keys, not a list"),
        ("face:", "face must hold keys"),
        ("- face", "sections of keys, not a list"),
        ("just words", "not a text"),
        ("face: {rate_hz: 1", "not valid YAML (line 1)"),
        ("face:\n  rate_hz: 1\n rule: x\n", "not valid YAML (line 3)"),
        ("faces: {}", "unknown section 'faces'; did you mean face?"),
        ("5: {}", "unknown section 5"),
        ("face: {5: 6}", "unknown key face.5"),
    ],
)
def test_a_bad_file_is_told_by_its_name(tmp_path: Path, text: str, told: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(StreamerError) as caught:
        load(path)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)


ALIASES = "face:\n  rate_hz: [&a [x, x], &b [*a, *a], &c [*b, *b]]\n"
MERGED = "face:\n  a: &a {x: 1}\n  <<: [*a, *a]\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (ALIASES, "aliases (*name) are not taken (line 2)"),
        (MERGED, "aliases (*name) are not taken (line 3)"),
        ("face: {rate_hz: 5}\nspeech: {}\nface: {min_score: 0.7}", "face is there twice (line 3)"),
        ("face:\n  rate_hz: 5\n  'rate_hz': 6\n", "rate_hz is there twice (line 3)"),
        ("# " + "x" * (1 << 16), "larger than 64 KiB"),
    ],
)
def test_what_would_cost_or_lose_something_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(StreamerError) as caught:
        load(write(tmp_path, text))
    assert told in str(caught.value)
    if text == ALIASES:
        with pytest.raises(StreamerError, match=r"--set face\.rate_hz=.*: aliases"):
            load(settings=["face.rate_hz=[&a 1, *a]"])


def test_a_device_without_an_end_is_no_configuration() -> None:
    with pytest.raises(StreamerError, match="/dev/zero: larger than 64 KiB"):
        load(Path("/dev/zero"))


@pytest.mark.parametrize(
    "setting",
    [
        "face.rate_hz=" + "x" * 100_000,
        "face.rate_hz=" + "[" * 50 + "x" * 100_000 + "]" * 50,
        f"face.rate_hz=[{'[x, x, x, x], ' * 10_000}]",
        "face.rate_hz=!!binary " + "eHh4" * 30_000,
        "face.rate_hz=[" + "x" * 100_000,
        "face.rate_hz=&" + "x" * 100_000,
        "face.rate_hz: {a: 1, " + "x" * 100_000,
        "face." + "x" * 100_000 + "=1",
        "x" * 100_000 + ".rate_hz=1",
        "x" * 100_000,
    ],
)
def test_what_is_quoted_is_short(setting: str) -> None:
    with pytest.raises(StreamerError) as caught:
        load(settings=[setting])
    assert 20 < len(str(caught.value)) < 1000  # all known keys are 900


LONG = "x" * 10_000


@pytest.mark.parametrize(
    "text",
    [
        f"{LONG}: 1",
        f"face: {{? {LONG} : 1}}",
        f"face: {{? {LONG} : 1, ? {LONG} : 2}}",
        f"? {LONG}\n: 1\n? {LONG}\n: 2",
        f"face: {{rate_hz: '{LONG}'}}",
    ],
)
def test_what_is_quoted_of_a_file_is_short(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(StreamerError) as caught:
        load(path)
    assert 20 < len(str(caught.value).removeprefix(str(path))) < 1000


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e1", 10.0), ("1E+1", 10.0), ("25e-1", 2.5), ("010", 10.0), ("+.5", 0.5), ("5.", 5.0)],
)
def test_numbers_are_decimal(text: str, value: float) -> None:
    assert load(settings=[f"face.rate_hz={text}"]).face.rate_hz == value


def test_a_whole_number_may_begin_with_a_zero() -> None:
    assert load(settings=["models.threads=010"]).models.threads == 10


@pytest.mark.parametrize(
    "text", ["0x10", "0o10", "0b1", "1_0", "1:30", "1:30.5", "1:1.0" + "0" * 400, "e1", ".", "--1"]
)
def test_other_numbers_are_words(text: str) -> None:
    with pytest.raises(StreamerError, match=r"face\.rate_hz = '.*should be a valid number"):
        load(settings=[f"face.rate_hz={text}"])


@pytest.mark.parametrize(
    "text", ["!!float 1:1", "!!int 0x10", "!!float x", f"!!float {'1:' * 300}1"]
)
def test_what_is_called_a_number_must_be_one(text: str) -> None:
    with pytest.raises(StreamerError, match="not valid YAML"):
        load(settings=[f"face.rate_hz={text}"])


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(StreamerError, match="No such file"):
        load(tmp_path / "none.yaml")
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"face: {rule: \xe9}")
    with pytest.raises(StreamerError, match="not UTF-8"):
        load(latin)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["speech.min_s=4"], "min_s 4 is longer than window_s 3"),
        (["speech.hop_s=4"], "hop_s 4 is longer than window_s 3"),
        (["rings.audio_s=10"], "rings.audio_s must be at least 22"),
        (["rings.audio_s=22.1", "segmenter.max_gap_s=2"], "rings.audio_s must be at least 23"),
        (["rings.audio_s=22.1", "face.stale_s=2"], "rings.audio_s must be at least 23"),
    ],
)
def test_values_must_fit_together(settings: list[str], told: str) -> None:
    with pytest.raises(StreamerError) as caught:
        load(settings=settings)
    assert told in str(caught.value)


def test_configuration_is_frozen() -> None:
    config = load()
    with pytest.raises(ValidationError, match="frozen"):
        config.face.rate_hz = 3.0
    with pytest.raises(ValidationError, match="frozen"):
        config.face = config.face


def test_loading_twice_shares_nothing() -> None:
    load(settings=["face.rate_hz=3"])
    assert load().face.rate_hz == 10
