"""Files that come with the program, in a wheel inside the package, in a checkout beside it; and
where the user's own are kept.
"""

from pathlib import Path

import typer

_PACKAGE = Path(__file__).parent
_DATA = _PACKAGE / "data" if (_PACKAGE / "data").is_dir() else _PACKAGE.parent


def default_config() -> Path:
    """The packaged config.yaml."""
    return _DATA / "config.yaml"


def user_dir() -> Path:
    """The user's own folder for this program, where the system keeps such."""
    return Path(typer.get_app_dir("streamer"))


def user_config() -> Path:
    """The user's own config.yaml, read over the packaged one if it exists."""
    return user_dir() / "config.yaml"


def models_dir() -> Path:
    """The folder of the packaged models."""
    return _DATA / "models"


def demo_clip() -> Path:
    """The bundled recording of one speaker with known emotions."""
    return _PACKAGE / "demo" / "demo.mp4"
