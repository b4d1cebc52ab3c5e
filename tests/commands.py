"""Running the project's modules as a user does: in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run_module(
    module: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`python -m module arguments` in the checkout, with more in its environment."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
