"""Thirty of the kills; `harness.py --kills 1000` does more."""

import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_nothing_that_was_shown_is_lost_in_thirty_kills() -> None:
    command = [sys.executable, str(Path(__file__).with_name("harness.py")), "--kills", "30"]
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["killed"] == 30
    # The kills were such that something could have gone wrong.
    assert min(seen.values()) > 0, seen
