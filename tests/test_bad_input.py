"""Whatever is wrong with what the program is given: one clear line, an exit status, no loss."""

import csv
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from media import Audio, Video, at_rate, make_clip, speaker_clip

from streamer import cli, inference
from streamer import config as configuration
from streamer.resources import demo_clip, models_dir
from streamer.tables import HEADERS

ROOT = Path(__file__).parents[1]
PCM: dict[str, Any] = {"codec": "pcm_s16le", "format": "s16"}
FACE = "face_emotion_mini_big"


@dataclass(frozen=True)
class Ended:
    """How a run of the program ended."""

    status: int
    stderr: str

    @property
    def complaints(self) -> list[str]:
        return [line for line in self.stderr.splitlines() if line.startswith("streamer:")]


Run = Callable[..., Ended]


@pytest.fixture(autouse=True)
def told(tmp_path: Path) -> None:
    """The notices of the models were shown before."""
    hashes = [json.loads(p.read_text(encoding="utf-8"))["sha256"] for p in manifests(models_dir())]
    notices = tmp_path / "config" / "streamer" / "notices"
    notices.parent.mkdir(parents=True)
    notices.write_text("\n".join(hashes))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`streamer replay … --speed max` in this process, with sessions in out/ of the test; or
    another command.
    """

    def replay(*arguments: str | Path, command: str = "replay") -> Ended:
        options = ["--speed", "max", "--out", tmp_path / "out"] if command == "replay" else []
        monkeypatch.setattr(sys, "argv", ["streamer", command, *map(str, [*options, *arguments])])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        stderr = capsys.readouterr().err
        assert "Traceback" not in stderr
        status = ended.value.code
        assert isinstance(status, int)
        return Ended(status, stderr)

    return replay


def manifests(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json"))


def assert_refused(ended: Ended, *words: str, status: int = 2) -> None:
    """One line that says why, and nothing else."""
    assert ended.status == status, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith("streamer: ")
    for word in words:
        assert word in line


def assert_told(ended: Ended, *words: str) -> None:
    """Analysed as far as it goes, with one line that says what is wrong."""
    assert ended.status == 3, ended.stderr
    (line,) = (c for c in ended.complaints if "tables stay empty" not in c)
    for word in words:
        assert word in line


def session(out: Path) -> Path:
    (folder,) = out.iterdir()
    return folder


def rows(folder: Path, table: str) -> list[dict[str, str]]:
    with (folder / f"{table}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def assert_whole(folder: Path) -> dict[str, object]:
    """All tables are there with headers and whole rows; what session.json says."""
    for name, header in HEADERS.items():
        text = (folder / f"{name}.csv").read_text(encoding="utf-8")
        assert text.endswith("\n")
        first, *lines = text.splitlines()
        assert first == header
        assert all(line.count(",") == header.count(",") for line in lines)
    summary: dict[str, object] = json.loads((folder / "session.json").read_text(encoding="utf-8"))
    return summary


# --- the file


def test_no_such_file(run: Run, tmp_path: Path) -> None:
    assert_refused(run(tmp_path / "none.mp4"), "none.mp4", "no such file")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["replay", "evaluate", "repair", "resume"])
def test_a_name_that_can_not_be_is_told(run: Run, command: str) -> None:
    name = "x" * 300
    assert_refused(run(name, command=command), name, "File name too long")


@pytest.mark.parametrize("command", ["replay", "evaluate", "repair", "resume", "own config"])
def test_a_folder_that_may_not_be_searched_is_told(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    stat = Path.stat

    def locked(path: Path, **how: bool) -> os.stat_result:  # for root no folder is
        if "locked" in path.parts:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, **how)

    monkeypatch.setattr(Path, "stat", locked)
    if command == "own config":
        monkeypatch.setattr(configuration, "user_config", lambda: Path("locked/x"))
        command = "replay"
    assert_refused(run("locked/x", command=command), "locked/x", "ermission")


def test_directory(run: Run, tmp_path: Path) -> None:
    assert_refused(run(tmp_path), str(tmp_path), "is a folder")


def test_empty_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    assert_refused(run(tmp_path / "empty.mp4"), "empty.mp4", "is empty")


@pytest.mark.parametrize("name", ["notes.txt", "notes.mp4", "notes", "noise.mkv", "noise.png"])
def test_not_a_media_file(run: Run, tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(5).bytes(20_000)
    (tmp_path / name).write_bytes(b"Remember the milk.\n" * 50 if "notes" in name else noise)
    assert_refused(run(tmp_path / name), name, "not a media file")


def test_file_without_picture_and_sound(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "subtitles.srt"
    path.write_text("1\n00:00:00,000 --> 00:00:02,000\nHello\n")
    assert_refused(run(path), "subtitles.srt", "neither picture nor sound")


def test_unreadable_name_is_shown_harmlessly(run: Run, tmp_path: Path) -> None:
    ended = run(tmp_path / "\x1b[31mred\n\u202e[bold]x[1] \\[/y]:smile:.mp4")
    assert_refused(ended, "?[31mred??[bold]x[1] \\[/y]:smile:.mp4: no such file")
    assert "\x1b" not in ended.stderr


def test_name_that_is_no_text_is_written_legibly(run: Run, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.wav")
    make_clip(tmp_path / "a.wav", audio=Audio([(0, 1)], **PCM)).rename(path)
    assert run(path).status == 0
    source = assert_whole(session(tmp_path / "out"))["source"]
    assert isinstance(source, dict)
    assert source["name"] == f"{tmp_path}/\ufffd.wav"


def test_odd_name_is_analysed_and_shown_harmlessly(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "\x1b[31m[bold]x[1] \\[:smile:].wav"
    make_clip(path.with_name("a.wav"), audio=Audio([(0, 1)], gain=0, **PCM)).rename(path)
    out = tmp_path / "[red]out[1]"
    ended = run(path, "--out", out)
    assert ended.status == 3
    assert "\x1b" not in ended.stderr
    assert "?[31m[bold]x[1] \\[:smile:].wav" in ended.stderr
    assert f"Tables: {out}" in ended.stderr
    assert session(out).name.endswith("_31m_bold_x_1_smile")


def test_name_that_is_too_long(run: Run, tmp_path: Path) -> None:
    assert_refused(run(tmp_path / ("x" * 300)), "can't be opened", "too long")


@pytest.mark.parametrize("url", ["rtsp://user:secret@host/x", "http://host/x?password=secret"])
def test_password_of_an_address_is_not_shown(run: Run, url: str) -> None:
    ended = run(url)
    assert ended.status == 2
    assert "secret" not in ended.stderr


def test_encrypted_recording(run: Run, tmp_path: Path) -> None:
    cipher = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "7" * 32}
    key = {"encryption_kid": "a" * 32}
    video, audio = Video(at_rate(25, 0, 1)), Audio([(0, 1)])
    path = make_clip(tmp_path / "film.mp4", video, audio, container=cipher | key)
    assert_refused(run(path), "film.mp4: it is encrypted (DRM)")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv"])
def test_truncated_file_is_analysed_up_to_there(run: Run, tmp_path: Path, name: str) -> None:
    path = speaker_clip(tmp_path / name, 6, container={"movflags": "faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    ended = run(path)
    assert_told(ended, name, "cut off: ends at ", "analysed up to there")
    summary = assert_whole(session(tmp_path / "out"))
    assert summary["problems"] == [ended.complaints[0].split(f"{name}: ", 1)[1]]
    last = rows(session(tmp_path / "out"), "video_intervals")[-1]
    assert 1.5 < float(last["end"]) < 5
    said = float(ended.complaints[0].split("ends at ")[1].split()[0])
    assert said == pytest.approx(float(last["end"]), abs=0.2)


def test_truncated_wav_is_analysed_up_to_there(run: Run, tmp_path: Path) -> None:
    path = make_clip(tmp_path / "cut.wav", audio=Audio([(0, 4)], **PCM))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert_told(run(path), "cut off: ends at 1.99", "analysed up to there")


def test_truncated_file_without_index(run: Run, tmp_path: Path) -> None:
    path = speaker_clip(tmp_path / "cut.mp4", 2)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert_refused(run(path), "cut.mp4", "not a media file", "damaged")
    assert not (tmp_path / "out").exists()


def test_damage_in_the_middle_is_left_out(run: Run, tmp_path: Path) -> None:
    path = speaker_clip(tmp_path / "damaged.mp4", 5, container={"movflags": "faststart"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 5000] = np.random.default_rng(1).bytes(5000)
    path.write_bytes(data)
    assert_told(run(path), "damaged.mp4", "packets could not be decoded, left out")
    last = rows(session(tmp_path / "out"), "video_intervals")[-1]
    assert float(last["end"]) == pytest.approx(5, abs=0.2)


def test_longer_stream_that_is_not_read_does_not_make_a_file_cut_off(
    run: Run, tmp_path: Path
) -> None:
    path = tmp_path / "two.mkv"
    with (
        av.open(str(make_clip(tmp_path / "short.wav", audio=Audio([(0, 1)], **PCM)))) as first,
        av.open(str(make_clip(tmp_path / "long.wav", audio=Audio([(0, 4)], **PCM)))) as second,
        av.open(str(path), "w") as out,
    ):
        pairs = [(s, out.add_stream_from_template(s.streams.audio[0])) for s in (first, second)]
        for source, stream in pairs:
            for packet in source.demux():
                if packet.size:
                    packet.stream = stream
                    out.mux(packet)
    ended = run(path)
    assert ended.status == 0
    assert ended.complaints == ["streamer: no picture in this file: the face's tables stay empty"]


def test_sound_that_is_not_numbers_is_silence(run: Run, tmp_path: Path) -> None:
    def spoil(pcm: np.ndarray) -> None:
        pcm[16_000:20_000] = np.nan
        pcm[20_000:20_500] = np.inf

    assert_told(
        run(speaker_clip(tmp_path / "nan.mkv", 3, spoil)),
        "4500 sound samples are not numbers (NaN): taken as silence",
    )
    folder = session(tmp_path / "out")
    assert_whole(folder)
    assert rows(folder, "video_intervals")
    assert rows(folder, "voice_intervals")


def test_silent_sound(run: Run, tmp_path: Path) -> None:
    ended = run(speaker_clip(tmp_path / "silent.mkv", 3, lambda pcm: pcm.fill(0)))
    assert_told(ended, "the sound is silent throughout", "no voice")
    folder = session(tmp_path / "out")
    assert_whole(folder)
    assert rows(folder, "video_intervals")
    assert rows(folder, "voice_intervals") == []
    assert {row["emotion"] for row in rows(folder, "audio_intervals")} == {""}


def test_clip_of_one_frame(run: Run, tmp_path: Path) -> None:
    path = make_clip(tmp_path / "one.mp4", Video([0]), Audio([(0, 0.04)]))
    assert_told(run(path), "only one picture")
    frames = assert_whole(session(tmp_path / "out"))["frames"]
    assert isinstance(frames, dict)
    assert (frames["seen"], frames["analysed"]) == (1, 1)


def test_picture_in_an_unknown_format(run: Run, tmp_path: Path) -> None:
    path = make_clip(tmp_path / "odd.mp4", Video(at_rate(25, 0, 1)), Audio([(0, 1)]))
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz9"))
    ended = run(path)
    assert ended.status == 3
    assert "its picture is in a format that can't be decoded here" in ended.complaints[-1]
    assert_whole(session(tmp_path / "out"))


def test_streams_too_far_apart_end_it_with_what_was_analysed(run: Run, tmp_path: Path) -> None:
    video, audio = Video(at_rate(5, 0, 30)), Audio([(0, 30)], rate=8_000, **PCM)
    path = make_clip(tmp_path / "apart.mkv", video, audio, sound_behind=99)
    assert_refused(run(path), "more than 10 s apart", "ffmpeg -i IN")
    assert assert_whole(session(tmp_path / "out"))["ended_by"] == "error"


@pytest.mark.parametrize("stopped", ["picture", "sound"])
def test_stream_that_stops_does_not_hold_up_the_other(
    run: Run, tmp_path: Path, stopped: str
) -> None:
    ends = {"picture": 45.0, "sound": 45.0, stopped: 3.0}  # longer than any ring
    video, audio = Video(at_rate(5, 0, ends["picture"])), Audio([(0, ends["sound"])], **PCM)
    assert run(make_clip(tmp_path / "half.mkv", video, audio)).status == 0
    summary = assert_whole(session(tmp_path / "out"))
    assert summary["media_s"] == pytest.approx(45, abs=0.3)
    frames, windows = summary["frames"], summary["windows"]
    assert isinstance(frames, dict)
    assert isinstance(windows, dict)
    assert frames["seen"] == pytest.approx(5 * ends["picture"], abs=3)
    assert windows["analysed"] >= 2 * ends["sound"]
    assert frames["dropped"] == windows["dropped"] == 0


# --- where the tables go


def test_output_below_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    ended = run(demo_clip(), "--out", tmp_path / "file" / "sessions")
    assert_refused(ended, "can't write to", "Not a directory")
    assert (tmp_path / "file").read_text() == "mine"


def test_full_disk_ends_it_with_whole_rows(tmp_path: Path) -> None:
    limit = 8000
    code = f"""
import resource, sys
from streamer import cli, run

def begin(folder, summary, write=run.write_summary):
    write(folder, summary)
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))

run.write_summary = begin
sys.argv = ["streamer", "replay", *sys.argv[1:]]
cli.main()
"""
    arguments = ["--speed", "max", "--session", "s", "--out", str(tmp_path / "out")]
    rates = ["--set", "face.rate_hz=25", "--set", "segmenter.policy=argmax"]
    done = subprocess.run(
        [sys.executable, "-c", code, str(demo_clip()), *arguments, *rates],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    *_, last = Ended(done.returncode, done.stderr).complaints
    assert done.returncode == 1, done.stderr
    assert "can't write to" in last
    assert "too large" in last
    assert "rows are missing" in last
    assert "Traceback" not in done.stderr
    summary = assert_whole(tmp_path / "out" / "s")
    assert "rows are missing" in str(summary["error"])
    sizes = {p.name: p.stat().st_size for p in (tmp_path / "out" / "s").iterdir()}
    assert set(sizes) == {"session.json", "rows.journal", *(f"{name}.csv" for name in HEADERS)}
    assert limit / 2 < max(sizes.values()) <= limit


def test_earlier_session_is_not_touched(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out" / "mine").mkdir(parents=True)
    (tmp_path / "out" / "mine" / "video_intervals.csv").write_text("precious")
    ended = run(demo_clip(), "--session", "mine")
    assert_refused(ended, "mine exists already")
    (kept,) = (tmp_path / "out" / "mine").iterdir()
    assert kept.read_text() == "precious"


@pytest.mark.parametrize("name", ["a/b", "..", ".", "", "../x", "/x", "a\nb", ".hidden", "x" * 300])
def test_session_name_stays_in_the_folder(run: Run, tmp_path: Path, name: str) -> None:
    assert_refused(run(demo_clip(), "--session", name), "--session", "letters, digits")
    assert list(tmp_path.glob("*/*session*")) == []


# --- the configuration

CONFIGS = {
    "unknown section": ("fase:\n  rule: single\n", "unknown section 'fase'; did you mean face?"),
    "unknown key": (
        "speech:\n  windows_s: 2.0\n",
        "unknown key speech.windows_s; did you mean speech.window_s?",
    ),
    "key in the wrong section": (
        "face:\n  vad_threshold: 0.5\n",
        "unknown key face.vad_threshold; did you mean speech.vad_threshold?",
    ),
    "key without section": ("rate_hz: 5\n", "unknown section 'rate_hz'"),
    "wrong type": ("face:\n  rate_hz: fast\n", "face.rate_hz = 'fast'"),
    "yes for a number": ("face:\n  rate_hz: yes\n", "face.rate_hz = True"),
    "a whole number for a name": ("face:\n  emotion: 5\n", "face.emotion = 5"),
    "a list for a section": ("face: [1, 2]\n", "face must hold keys, not a list"),
    "nothing for a value": ("face:\n  rate_hz:\n", "face.rate_hz = None"),
    "out of range": ("speech:\n  vad_threshold: 1.5\n", "speech.vad_threshold = 1.5"),
    "not a number": ("speech:\n  hop_s: .nan\n", "speech.hop_s = nan"),
    "negative": ("face:\n  rate_hz: -1\n", "face.rate_hz = -1"),
    "unknown word": ("segmenter:\n  policy: hmm\n", "segmenter.policy = 'hmm'"),
    "path for a model's name": ("face:\n  emotion: ../x\n", "face.emotion = '../x'"),
    "not YAML": ("face:\n  rate_hz: [1\n", "not valid YAML (line 3)"),
    "a list": ("- face\n- speech\n", "sections of keys, not a list"),
    "a word": ("face\n", "sections of keys, not a text"),
    "a Python object": ("face: !!python/object/apply:os.getcwd []\n", "not valid YAML (line 1)"),
    "not text": ("\udcff\udcfe", "not UTF-8 text"),
    "nested without end": ("[" * 5000, "not valid YAML"),
}


@pytest.mark.parametrize(("text", "words"), CONFIGS.values(), ids=list(CONFIGS))
def test_config_file_is_refused(run: Run, tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    assert_refused(run(demo_clip(), "--config", path), words)
    assert not (tmp_path / "out").exists()


def test_config_file_is_missing(run: Run, tmp_path: Path) -> None:
    ended = run(demo_clip(), "--config", tmp_path / "none.yaml")
    assert_refused(ended, "none.yaml", "can't read the configuration", "No such file")


SETTINGS = {
    "unknown section": ("fase.rule=single", "unknown section 'fase'; did you mean face?"),
    "unknown key": ("face.rate=5", "unknown key face.rate; did you mean face.rate_hz?"),
    "no value": ("face.rate_hz", "write it as section.key=value"),
    "no section": ("rate_hz=5", "write it as section.key=value"),
    "empty value": ("face.rate_hz=", "face.rate_hz = None"),
    "wrong type": ("face.rate_hz=fast", "face.rate_hz = 'fast'"),
    "out of range": ("models.threads=0", "models.threads = 0"),
    "not YAML": ("face.rate_hz=[", "not valid YAML"),
    "a Python object": ("face.rule=!!python/name:os.system", "not valid YAML"),
    "too large for a number": (f"face.rate_hz=1{'0' * 400}", "face.rate_hz"),
    "voice window shorter than its step": ("speech.hop_s=3.5", "hop_s 3.5 is longer than window_s"),
    "ring too short": ("rings.audio_s=5", "rings.audio_s must be at least"),
}


@pytest.mark.parametrize(("setting", "words"), SETTINGS.values(), ids=list(SETTINGS))
def test_setting_is_refused(run: Run, tmp_path: Path, setting: str, words: str) -> None:
    assert_refused(run(demo_clip(), "--set", setting), words)
    assert not (tmp_path / "out").exists()


def test_window_shorter_than_the_model_takes(run: Run, tmp_path: Path) -> None:
    short = [f"speech.{key}=0.4" for key in ("window_s", "min_s", "hop_s")]
    arguments = [argument for setting in short for argument in ("--set", setting)]
    ended = run(demo_clip(), *arguments)
    assert_refused(ended, "speech.window_s = 0.4 is shorter than the 0.5 s", "moonshine")
    assert not (tmp_path / "out").exists()


OPTIONS = {
    "speed is a word": (["--speed", "fast"], "--speed fast: use max, or a number"),
    "speed is zero": (["--speed", "0"], "--speed 0"),
    "speed is negative": (["--speed", "-1"], "--speed -1"),
    "speed is no number": (["--speed", "nan"], "--speed nan"),
    "speed is infinite": (["--speed", "inf"], "--speed inf"),
    "start is negative": (["--start", "-1"], "--start -1: use 0 or more"),
    "start is no number": (["--start", "nan"], "--start nan"),
    "start is a word": (["--start", "soon"], "'--start'"),
    "start is behind the end": (["--start", "21"], "--start 21 lies behind the file's end"),
    "start is beyond any file": (["--start", "5e14"], "--start 5e+14: use 0 or more"),
    "start is infinite": (["--start", "inf"], "--start inf: use 0 or more"),
    "duration is beyond any file": (["--duration", "1e308"], "--duration 1e+308: use 0.1 or more"),
    "duration is zero": (["--duration", "0"], "--duration 0: use 0.1 or more"),
    "duration is no number": (["--duration", "nan"], "--duration nan"),
    "option is unknown": (["--sped", "2"], "--sped"),
}


@pytest.mark.parametrize(("options", "words"), OPTIONS.values(), ids=list(OPTIONS))
def test_option_is_refused(run: Run, tmp_path: Path, options: list[str], words: str) -> None:
    assert_refused(run(demo_clip(), *options), words)
    assert not (tmp_path / "out").exists()


def test_an_infinite_duration_is_up_to_the_end(run: Run, tmp_path: Path) -> None:
    assert run(demo_clip(), "--start", "20", "--duration", "inf").status == 0
    text = (session(tmp_path / "out") / "session.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=pytest.fail)["replay"]["duration_s"] is None


# --- the models


@pytest.fixture
def own_models(tmp_path: Path) -> Path:
    """A copy of the packaged models, to be spoiled."""
    return Path(shutil.copytree(models_dir(), tmp_path / "models"))


def use(folder: Path) -> list[str]:
    return [str(demo_clip()), "--set", f"models.dir={folder}"]


def test_unknown_model(run: Run) -> None:
    ended = run(demo_clip(), "--set", "face.emotion=vgg19")
    assert_refused(ended, "no model 'vgg19'", "there are: ", FACE)


def test_model_of_another_task(run: Run) -> None:
    ended = run(demo_clip(), "--set", "face.emotion=silero_vad")
    assert_refused(ended, "silero_vad is for voice-activity, not for face-emotion")


def test_models_folder_is_missing(run: Run, tmp_path: Path) -> None:
    assert_refused(run(*use(tmp_path / "none")), "models.dir", "none: no such folder")


def test_model_file_is_missing(run: Run, own_models: Path) -> None:
    (own_models / f"{FACE}.onnx").unlink()
    assert_refused(run(*use(own_models)), f"{FACE}.onnx is missing")


def test_model_file_is_altered(run: Run, own_models: Path) -> None:
    path = own_models / f"{FACE}.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert_refused(run(*use(own_models)), f"{FACE}.onnx is altered", "hash")


def test_model_file_is_no_model(run: Run, own_models: Path) -> None:
    (own_models / f"{FACE}.onnx").write_bytes(b"not ONNX")
    change(own_models, bytes=8, sha256=hashlib.sha256(b"not ONNX").hexdigest())
    assert_refused(run(*use(own_models)), f"{FACE}.onnx", "can't load")


def change(folder: Path, **entries: object) -> None:
    path = folder / f"{FACE}.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(manifest | entries), encoding="utf-8")


MANIFESTS: dict[str, tuple[dict[str, object], str]] = {
    "unknown key": ({"colour": "red"}, "colour"),
    "unknown task": ({"task": "magic"}, "task"),
    "file elsewhere": ({"file": "../stolen.onnx"}, "file"),
    "file anywhere": ({"file": "/elsewhere.onnx"}, "file"),
    "future version": ({"manifest": 2}, "manifest"),
    "unknown emotion": ({"mapping": {"0": "Bored"}}, "maps no label"),
    "nothing to prepare": ({"preprocess": {}}, "preprocess"),
}


@pytest.mark.parametrize(("entries", "word"), MANIFESTS.values(), ids=list(MANIFESTS))
def test_manifest_is_refused(
    run: Run, tmp_path: Path, own_models: Path, entries: dict[str, object], word: str
) -> None:
    change(own_models, **entries)
    assert_refused(run(*use(own_models)), FACE, word)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_manifest_is_no_manifest(run: Run, own_models: Path, text: str) -> None:
    (own_models / f"{FACE}.json").write_text(text)
    assert_refused(run(*use(own_models)), f"model manifest {own_models}", FACE)


def test_cuda_without_a_device(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver(_: str) -> None:
        raise OSError

    monkeypatch.setattr(inference, "ctypes", SimpleNamespace(CDLL=no_driver))
    ended = run(demo_clip(), "--set", "models.provider=cuda")
    assert_refused(ended, "models.provider is cuda", "no CUDA device", "use auto")


def test_two_runtimes_side_by_side(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(name: str) -> list[str]:
        return [name] if name in ("onnxruntime-gpu", "onnxruntime") else []

    monkeypatch.setattr(inference, "distributions", installed)
    ended = run(demo_clip())
    assert_refused(ended, "onnxruntime and onnxruntime-gpu are both installed", "pip uninstall")
