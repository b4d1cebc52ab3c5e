"""The wheel carries models, default configuration and demo clip, and runs from any folder."""

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(folder)]
    subprocess.run([*pip, str(ROOT)], check=True, cwd=folder)
    (wheel,) = folder.glob("streamer-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def test_every_dependency_is_pinned_to_a_version_that_is_allowed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()[2:]
    pinned = {canonicalize_name(name): version for name, version in (x.split("==") for x in lines)}
    extras = project["optional-dependencies"].values()
    wanted = [Requirement(line) for line in chain(project["dependencies"], *extras)]
    here = [r for r in wanted if r.name != "streamer" and (not r.marker or r.marker.evaluate())]
    assert len(here) > 20
    for requirement in here:
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement


def test_the_wheel_has_every_model_with_manifest_and_licence(unpacked: Path) -> None:
    packed = {p.name for p in (unpacked / "streamer" / "data" / "models").iterdir()}
    assert packed == {p.name for p in (ROOT / "models").iterdir()}
    assert (unpacked / "streamer" / "data" / "config.yaml").is_file()


def test_the_program_runs_from_the_wheel_in_another_folder(unpacked: Path, tmp_path: Path) -> None:
    where = "import streamer.resources as r; print(r.demo_clip())"
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}

    def run(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, *arguments],
            check=True,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        ).stdout

    clip = run("-c", where).strip()
    assert Path(clip).is_relative_to(unpacked)
    replay = ["-m", "streamer", "replay", clip, "--duration", "3", "--speed", "max", "--json"]
    assert json.loads(run(*replay))["frames"]["analysed"] == 30
