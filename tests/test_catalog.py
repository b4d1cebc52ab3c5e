"""`streamer models`: what is there, whether it is whole, which one is used."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from streamer import config as configuration
from streamer.catalog import with_setting
from streamer.cli import app
from streamer.resources import default_config, models_dir, user_config
from streamer.types import StreamerError

NAMES = ["blazeface", "face_emotion_mini_big", "silero_vad", "speech_emotion_moonshine"]


def run(*arguments: str, width: int = 80) -> str:
    result = CliRunner(env={"COLUMNS": str(width)}).invoke(
        app, ["models", *arguments], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of one's own with a copy of the face model under another name."""
    own = tmp_path / "own models"
    own.mkdir()
    source = models_dir() / "face_emotion_mini_big"
    manifest = source.with_suffix(".json").read_text(encoding="utf-8")
    (own / "mine.json").write_text(
        manifest.replace('"name": "face_emotion_mini_big"', '"name": "mine"'), encoding="utf-8"
    )
    shutil.copy(source.with_suffix(".onnx"), own)
    return own


def test_list_shows_every_model_and_marks_those_in_use(folder: Path) -> None:
    lines = run("list", "--dir", str(folder)).splitlines()
    used = [line.split()[1] for line in lines if line.startswith("●")]
    assert used == NAMES
    assert any("mine" in line and not line.startswith("●") for line in lines)
    assert any("research only" in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_list_counts_all_files_of_a_model() -> None:
    (line,) = (line for line in run("list").splitlines() if line.split()[0] == "mtcnn")
    assert line.split()[1] == "2.0"  # as models/README.md says


def test_list_cuts_nothing_at_eighty_columns() -> None:
    shown = run("list")
    assert "…" not in shown
    assert "accuracy 0.696" in shown


@pytest.mark.parametrize("width", [10, 20, 27, 33, 40, 52, 60, 70, 79, 80, 200])
def test_list_fits_any_width_and_keeps_the_marks(width: int) -> None:
    lines = run("list", width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert [line[0] for line in lines] == [" ", "●", "●", " ", "●", "●"]
    names = [line[1:].split()[0] for line in lines]
    if width >= 27:
        assert names == ["model", *sorted([*NAMES, "mtcnn"])]
    else:
        assert names[3] == "mtcnn"


def test_list_cuts_words_before_it_leaves_out_columns() -> None:
    first = run("list", width=70).splitlines()
    assert first[0].split() == ["model", "MB", "task", "licence", "measured"]
    assert "recall 0.958" in first[1]
    assert "face-det…" in first[1]
    assert run("list", width=60).splitlines()[0].split() == ["model", "MB", "task", "licence"]
    assert run("list", width=40).splitlines()[0].split() == ["model", "MB"]


def test_info_shows_hash_licence_sources_and_accuracy() -> None:
    shown = run("info", "face_emotion_mini_big")
    for needed in ("sha256", "MIT", "fer 25.10.3", "0.6963", "FER2013 PrivateTest", "Surprise"):
        assert needed in shown


@pytest.mark.parametrize("name", [*NAMES, "mtcnn"])
def test_info_is_written_for_people(name: str) -> None:
    shown = run("info", name, width=300)
    for never in ("None", "True", "False", "{", "[", "'", "…"):
        assert never not in shown.replace(str(models_dir()), "")
    manifest = json.loads((models_dir() / f"{name}.json").read_text(encoding="utf-8"))
    rows = [" ".join(line.split()) for line in shown.splitlines()]
    for part in manifest.get("parts", []):
        assert f"part {part['name']}: {part['file']}, {part['bytes']} bytes" in "\n".join(rows)
        assert part["sha256"] in shown
    assert f"licence file {manifest['licence']['file']}" in rows
    assert all(source["member"] in shown for source in manifest["sources"])
    assert ("labels" in shown) == (manifest["labels"] is not None)


def test_info_of_mtcnn_in_plain_words() -> None:
    rows = [" ".join(line.split()) for line in run("info", "mtcnn", width=300).splitlines()]
    for row in (
        "input tensor x: float32, N × 3 × H × W",
        "temperature 1",
        "preprocess size: 12, 24, 48",
        "preprocess crop: side 0.95, up 0",
        "licence MIT",
    ):
        assert row in rows


def test_info_cuts_nothing_in_a_narrow_terminal() -> None:
    wide, narrow = (run("info", "blazeface", width=width) for width in (300, 40))
    assert "…" not in narrow
    # Words may go on in the next line, but no letter is lost.
    assert sorted(narrow.replace("\n", "").replace(" ", "")) == sorted(
        wide.replace("\n", "").replace(" ", "")
    )


def test_a_label_that_is_none_of_the_seven_says_so(folder: Path) -> None:
    file = folder / "mine.json"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('"fear": "Fear"', '"fear": null'), encoding="utf-8")
    shown = run("info", "mine", "--dir", str(folder), width=300)
    assert "fear → none of the seven" in shown


def test_verify_passes_whole_models_and_names_each_altered_one(folder: Path) -> None:
    assert "as their manifests say" in run("verify")
    path = folder / "face_emotion_mini_big.onnx"
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(StreamerError, match=r"mini_big\.onnx is altered"):
        run("verify", "--dir", str(folder))


def test_use_is_remembered_by_the_next_start(folder: Path) -> None:
    run("use", "mine", "--dir", str(folder))
    config = configuration.load()
    assert config.face.emotion == "mine"
    assert Path(config.models.dir or "") == folder.resolve()
    assert config.speech.emotion == "speech_emotion_moonshine"
    assert yaml.safe_load(user_config().read_text()) == {
        "face": {"emotion": "mine"},
        "models": {"dir": str(folder.resolve())},
    }


def test_use_writes_into_a_file_of_ones_own_and_keeps_its_comments(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    shutil.copy(default_config(), file)
    run("use", "silero_vad", "--config", str(file))
    changed = file.read_text()
    assert changed == default_config().read_text().replace("vad: silero", "vad: 'silero").replace(
        "silero_vad\n", "silero_vad'\n"
    )
    assert not user_config().exists()


def test_list_goes_on_after_a_broken_manifest(folder: Path) -> None:
    (folder / "a\x1b]0;broken.json").write_text("{}")
    result = CliRunner().invoke(app, ["models", "list", "--dir", str(folder)])
    assert isinstance(result.exception, StreamerError)
    assert "broken" in str(result.exception)
    assert "mine" in result.output
    assert "\x1b" not in result.output


def test_use_refuses_a_folder_that_no_configuration_can_name(folder: Path) -> None:
    strange = folder.rename(folder.with_name("a\x1b]0;b"))
    with pytest.raises(StreamerError, match="by hand"):
        run("use", "mine", "--dir", str(strange))
    assert not user_config().exists()


@pytest.mark.parametrize("name", ["nothing", "../blazeface"])
def test_use_refuses_an_unknown_model_and_writes_nothing(name: str) -> None:
    with pytest.raises(StreamerError, match="no model"):
        run("use", name)
    assert not user_config().exists()


def test_use_refuses_to_write_into_a_broken_configuration(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("face: {rate_hz: 10}\n")
    with pytest.raises(StreamerError, match="by hand"):
        run("use", "face_emotion_mini_big", "--config", str(file))
    assert file.read_text() == "face: {rate_hz: 10}\n"
    assert list(tmp_path.glob(".*")) == []


@given(
    st.sampled_from(
        [(s, k) for s, keys in yaml.safe_load(default_config().read_text()).items() for k in keys]
    ),
    st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), min_size=1),
)
def test_a_setting_changes_that_key_alone(place: tuple[str, str], value: str) -> None:
    text = default_config().read_text(encoding="utf-8")
    section, key = place
    expected = yaml.safe_load(text)
    expected[section][key] = value
    assert yaml.safe_load(with_setting(text, section, key, value)) == expected
    again = with_setting(with_setting(text, section, key, "x"), section, key, value)
    assert yaml.safe_load(again) == expected


@pytest.mark.parametrize(
    "text", ["", "# mine\n", "face:\n  rate_hz: 5", "face: # why\n    rule: largest\n"]
)
def test_a_setting_is_added_where_it_was_not(text: str) -> None:
    expected = yaml.safe_load(text) or {}
    expected.setdefault("face", {})["emotion"] = "m"
    changed = with_setting(text, "face", "emotion", "m")
    assert yaml.safe_load(changed) == expected
    assert changed.startswith(text.rstrip("\n").split("\n")[0])
