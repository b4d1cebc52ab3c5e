"""Kills replays at random moments and holds their tables to what was acknowledged.

    PYTHONPATH=.:tests python tests/crash/harness.py --kills 1000 --seed 1

A replay of scripted media runs in a forked process and says on a pipe which pairs it shows as
closed. It is killed with SIGKILL: from outside at a random moment, or by itself inside a random
write, of which only a random part is done. Then every acknowledged row must be there, `repair` must
leave tables that agree and are a beginning of the uninterrupted run's, twice the same; and the
session goes on, killed again and again, until it ends with the uninterrupted run's bytes.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path

import scripted
from scripted import ScriptedReader, ScriptedSource, at_rate, sound

from streamer import journal as files
from streamer import pipeline as wiring
from streamer.clock import FreeClock
from streamer.journal import JOURNAL, Journal
from streamer.pipeline import Pipeline
from streamer.repair import repair, repaired
from streamer.tables import HEADERS, SessionTables, write_summary
from streamer.types import EMOTIONS

LENGTH = 40.0
SETTINGS = scripted.config("segmenter.policy=argmax")
NAMES = [*HEADERS, "face_predictions", "voice_predictions"]


def script(rng: random.Random, mean: float) -> list[tuple[float, float, str]]:
    """Stretches of one emotion with gaps between some."""
    stretches, t = [], 0.0
    while t < LENGTH:
        length = round(rng.expovariate(1 / mean), 1) + 0.1
        if rng.random() < 0.85:
            stretches.append((t, min(t + length, LENGTH), rng.choice(EMOTIONS)))
        t += length
    return stretches


FACE, VOICE = script(random.Random(7), 0.6), script(random.Random(8), 2.0)
FRAMES, PCM = at_rate(25, LENGTH, FACE), sound(LENGTH, VOICE)


def run(folder: Path, journal: Journal | None, acknowledge: Callable[[int], object]) -> None:
    """Replay the scripted media into ``folder``; say how many pairs are shown as closed."""
    wiring.FaceReader = lambda *_: ScriptedReader()  # type: ignore[assignment, misc]
    wiring.TICK_S = 0.002  # a short run has as many writes as a long one
    source = ScriptedSource(FRAMES, PCM, end=LENGTH)
    with SessionTables(folder, predictions=True, journal=journal) as tables:
        stop = threading.Event()
        pipeline = Pipeline(source, scripted.models(), SETTINGS, FreeClock(), tables, stop)

        def tick() -> None:
            if not tables.catching_up:
                acknowledge(pipeline.analysis.agreement.rows - tables.unsaved)

        write_summary(folder, {"state": "running", "source": {"audio": "scripted"}})
        pipeline.run(tick)
        tick()
        write_summary(folder, {"state": "complete", "ended_by": "end"})


def go_on(folder: Path, acknowledge: Callable[[int], object]) -> None:
    """Begin the session, or go on with it."""
    if (folder / "session.json").exists():
        with repaired(folder) as (journal, _):
            run(folder, journal, acknowledge)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        run(folder, None, acknowledge)


def die_in_write(number: int, share: float) -> None:
    """Have the process die in its write ``number``, of which only a share is done."""
    count, write = 0, files._write

    def deadly(file: FileIO, data: bytes, sync: bool = True) -> None:
        nonlocal count
        count += 1
        if count == number:
            file.write(data[: round(share * len(data))])
            os.kill(os.getpid(), signal.SIGKILL)
        write(file, data, sync)

    files._write = deadly


def killed(folder: Path, rng: random.Random, took: float) -> tuple[bool, int]:
    """One forked run that is killed; whether it came to its end before, and the pairs it showed."""
    reading, writing = os.pipe()
    inside = rng.random() < 0.5
    number, share, moment = rng.randint(1, 120), rng.random(), rng.uniform(0, took)
    if (child := os.fork()) == 0:
        status = 1
        try:
            os.close(reading)
            if inside:
                die_in_write(number, share)
            go_on(folder, lambda pairs: os.write(writing, pairs.to_bytes(4, "big")))
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    killer = threading.Timer(moment, os.kill, (child, signal.SIGKILL))
    if not inside:
        killer.start()
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()  # to its end, whichever way
    killer.cancel()
    if not inside:
        killer.join()  # before the child's number may be another's
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0, "the run failed"
    shown = int.from_bytes(said[-4:], "big") if said else 0
    return not os.WIFSIGNALED(status), shown


def lines(folder: Path, name: str) -> list[str]:
    return (folder / f"{name}.csv").read_text(encoding="utf-8").splitlines()


def rows(folder: Path, name: str) -> list[list[str]]:
    return [line.split(",") for line in lines(folder, name)[1:]]


def assert_agree(folder: Path) -> None:
    """Durations are the video's and the audio's rows, mismatches those of them that differ."""
    video, audio = rows(folder, "video_intervals"), rows(folder, "audio_intervals")
    spans = [(v[1], v[2], v[0], a[0]) for v, a in zip(video, audio, strict=True)]
    assert [a[1:3] for a in audio] == [v[1:3] for v in video]
    durations = rows(folder, "modality_duration")
    assert [tuple(d[1:]) for d in durations] == spans
    differing = [s for s in spans if s[3] not in ("", s[2])]
    assert [tuple(m[:4]) for m in rows(folder, "modality_mismatch")] == differing


def check(folder: Path, reference: dict[str, bytes], shown: int) -> dict[str, int]:
    """Hold a killed session to its word, before and after its repair."""
    if not (folder / "session.json").exists():
        assert shown == 0
        return {}
    tables = ("video_intervals", "audio_intervals", "modality_duration")
    for name in tables:  # without any repair
        whole = (folder / f"{name}.csv").read_bytes()
        acknowledged = b"".join(reference[name].splitlines(keepends=True)[: shown + 1])
        assert whole.startswith(acknowledged), f"{name}: an acknowledged row is missing"
    torn = sum(not (folder / f"{n}.csv").read_bytes().endswith(b"\n") for n in NAMES)
    apart = len({len(lines(folder, name)) for name in tables}) > 1
    done = repair(folder)
    assert repair(folder) == []
    assert not (folder / JOURNAL).exists()
    for name in NAMES:
        text = (folder / f"{name}.csv").read_bytes()
        assert text.endswith(b"\n"), f"{name}: torn"
        assert reference[name].startswith(text), f"{name}: not a beginning of the whole"
    assert_agree(folder)
    return {"torn": torn, "apart": apart, "repaired": bool(done)}


def sessions(work: Path, rng: random.Random) -> Iterator[dict[str, int]]:
    """Kill after kill; a session that ends is held to the reference, then a new one begins."""
    whole = work / "whole"
    began = time.monotonic()
    go_on(whole, lambda _: None)
    took = time.monotonic() - began
    reference = {name: (whole / f"{name}.csv").read_bytes() for name in NAMES}
    assert all(text.count(b"\n") > 5 for text in reference.values())
    folder, shown = work / "session", 0
    while True:
        ended, now = killed(folder, rng, took)
        shown = max(shown, now)
        if not ended:
            yield check(folder, reference, shown) | {"killed": 1, "shown": shown > 0}
            continue
        for name in NAMES:
            assert (folder / f"{name}.csv").read_bytes() == reference[name], name
        assert {p.suffix for p in folder.iterdir()} == {".csv", ".json"}
        shutil.rmtree(folder)
        shown = 0
        yield {"resumed to the end": 1}


def main() -> None:
    """Kill ``--kills`` replays; print what was seen, as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    seen = dict.fromkeys(("killed", "shown", "torn", "apart", "repaired", "resumed to the end"), 0)
    with tempfile.TemporaryDirectory() as work:
        for found in sessions(Path(work), random.Random(asked.seed)):
            seen = {key: value + found.get(key, 0) for key, value in seen.items()}
            if seen["killed"] >= asked.kills:
                break
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
