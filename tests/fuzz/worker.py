"""A worker of containers.py: reads paths, analyses each file, prints what became of it.

Everything is the program's own but the networks: pictures and sound are decoded, converted, ringed,
windowed, segmented and written; in place of a face a made-up emotion is seen, so that there are
rows.
"""

import resource
import sys
import tempfile
import threading
import traceback
from pathlib import Path

import numpy as np
import scripted

from streamer import pipeline
from streamer.clock import FreeClock
from streamer.sources.file import FileSource
from streamer.types import EMOTIONS, Image, Reading, StreamerError

QUICK = scripted.config("speech.window_s=2.0", "speech.hop_s=0.5")


class Glance:
    """Stands for FaceReader: the brightness says the emotion."""

    def read(self, image: Image, _t: float) -> tuple[int, Reading | None]:
        assert image.ndim == 3
        level = int(image[::8, ::8].mean()) // 32
        return 1, Reading(scripted.one_hot(EMOTIONS[level])) if level < len(EMOTIONS) else None


def hear(input_values: np.ndarray) -> list[np.ndarray]:
    """Stands for a voice model: the loudness says the emotion."""
    level = min(int(np.abs(input_values).mean() * 14), len(EMOTIONS) - 1)
    return [scripted.one_hot(EMOTIONS[level])[None]]


def analyse(path: Path, folder: Path) -> str:
    """Analyse a file as `streamer replay --speed max` does; its problems."""
    source = FileSource(path, FreeClock(), max_px=QUICK.face.max_px)
    try:
        made, tables = scripted.pipeline(
            folder, source, QUICK, loaded=scripted.models(voice=hear), stop=threading.Event()
        )
        with tables:
            made.run(lambda: None)
    finally:
        source.close()
    assert all("\n" not in problem for problem in source.problems)
    return "; ".join(source.problems)


def main() -> None:
    """Answer each path with kind, growth of memory in bytes and details."""
    space = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    vars(pipeline)["FaceReader"] = lambda *_: Glance()
    print("ready", flush=True)
    for line in sys.stdin:
        before = _peak()
        with tempfile.TemporaryDirectory() as folder:
            try:
                kind, detail = "analysed", analyse(Path(line.rstrip("\n")), Path(folder))
            except StreamerError as error:
                kind, detail = "refused", str(error)
                if "\n" in detail:
                    kind, detail = "many lines", repr(detail)
            except BaseException:
                kind, detail = "traceback", repr(traceback.format_exc())
        print(kind, _peak() - before, detail, sep="\t", flush=True)


def _peak() -> int:
    """The most memory that this process ever held, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
