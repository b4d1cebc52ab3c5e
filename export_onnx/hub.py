"""Single files of the hub, by name."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils.tqdm import disable_progress_bars

from export_onnx.errors import ExportError

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_FILE = re.compile(rf"({_PART}/{_PART})(?:@({_PART}))?/((?:{_PART}/)*{_PART})")


def find_file(source: str) -> Path:
    """Return the file `source`, or fetch what the hub has there (`owner/name[@revision]/file`).

    Raises:
        ExportError: no such file; the hub cannot be reached or has no such file.

    """
    path, there = Path(source), _FILE.fullmatch(source)
    if path.exists() or there is None:
        return path  # whoever reads it says what is wrong with it
    name, revision, file = there.groups()
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        return Path(hf_hub_download(name, file, revision=revision))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ExportError(reason_of(source, error)) from None


def reason_of(source: str, error: Exception) -> str:
    """Return one line that says why `source` could not be fetched."""
    told = str(error).strip().splitlines()
    reason = told[0] if told else type(error).__name__
    return (
        f"cannot fetch {source} from the hub ({reason[:160]}): check the id and the network, "
        "or name what you have on the disk"
    )
