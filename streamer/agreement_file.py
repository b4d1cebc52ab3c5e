"""agreement.json of a session: written now and then, and at the end."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from streamer.clock import monotonic
from streamer.figures import QUICK, Document, Now, document, now
from streamer.tables import replace_file
from streamer.timeline import Timeline

LEAST_PAUSE = 100
"""Between two writings passes at least so many times what one takes: the tables come first."""


class AgreementFile:
    """Replaces a session's agreement.json in one step, at most every ``refresh_s`` wall seconds.

    While the session runs the intervals come from few resamples and nothing is said of chance: that
    takes some tens of milliseconds after an hour, and ``later`` has it written without waiting for
    the disk. ``finish`` writes everything.
    """

    def __init__(
        self,
        folder: Path,
        timeline: Timeline,
        refresh_s: float,
        later: Callable[[Callable[[], None]], None] = lambda write: write(),
    ) -> None:
        self._folder, self._timeline, self._refresh_s = folder, timeline, refresh_s
        self._later = later
        self._next = monotonic() + refresh_s
        self._limits: tuple[float, float] | None = None

    def tick(self) -> None:
        """Have it written if it is time."""
        if (began := monotonic()) < self._next:
            return
        written = document(self._timeline, QUICK, chance=False)
        self._later(partial(self._write, written))
        kappa = written["kappa_time"]
        assert isinstance(kappa, dict)
        self._limits = kappa["interval"] and tuple(kappa["interval"])
        took = monotonic() - began
        self._next = began + max(self._refresh_s, LEAST_PAUSE * took)

    def finish(self) -> None:
        """Write the last word. Raises StreamerError."""
        self._write(document(self._timeline))

    def now(self) -> Now:
        """What the dashboard shows."""
        return now(self._timeline, self._limits)

    def _write(self, written: Document) -> None:
        replace_file(self._folder, "agreement.json", pretty(written) + "\n")


def pretty(value: object, indent: str = "") -> str:
    """JSON with a key on a line, and a list of numbers on one line, as a table has them."""
    inner = indent + "  "
    if isinstance(value, dict) and value:
        lines = [f"{json.dumps(key)}: {pretty(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(inner + line for line in lines) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, list) for item in value):
        return "[\n" + ",\n".join(inner + pretty(item, inner) for item in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
