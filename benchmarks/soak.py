"""Hours of a live session with every fault there is, in virtual time.

python benchmarks/soak.py [HOURS] [PPM]      default: 8 -500

A microphone whose clock is off by PPM, whose callbacks come up to 200 ms late, that loses chunks,
told and untold, and goes away; a camera whose stamps come up to 15 ms late, whose rate halves and
which goes away. The real microphone source, rings, workers, segmenters and tables run behind them,
and once more behind faultless devices. Prints what came of it; the exit status is 1 if sound and
picture are ever 40 ms out of step, a loss is not counted, memory grows, or intervals differ out of
the losses' reach.
"""

import resource
import sys
import tempfile
from pathlib import Path

from trend import Trend

ROOT = Path(__file__).parents[1]


def resident_kb() -> int:
    """Memory in use, kB; where the system does not tell, the most that was in use."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * resource.getpagesize() // 1024


def main() -> None:
    """Run both sessions, compare and print."""
    sys.path.insert(0, str(ROOT / "tests"))
    from hours import Faults, Hours, closed_by, missing, rows, run, sound_errors

    from streamer.clock import monotonic

    hours, ppm = (float(sys.argv[k]) if len(sys.argv) > k else d for k, d in ((1, 8.0), (2, -500)))
    seconds, wrong = hours * 3600, []

    def hold(what: str, right: bool) -> None:
        print(("" if right else "WRONG: ") + what, flush=True)
        wrong.extend([] if right else [what])

    def analyse(folder: Path, media: Hours) -> None:
        began = monotonic()
        run(folder, media)
        print(f"{folder.name}: {hours:g} h in {monotonic() - began:.0f} s", flush=True)

    with tempfile.TemporaryDirectory() as place:
        clean, faulty = Path(place) / "clean", Path(place) / "faulty"
        session = Hours(seconds, Faults.all(seconds, ppm), weigh=resident_kb)
        analyse(faulty, session)
        errors, late = sound_errors(session), max(session.stamped_late)
        worst = [max(abs(e) for _, e in part) + late for part in (errors, errors[-20:])]
        said = f"picture and sound out of step: {worst[0]:.4f} s at most, {worst[1]:.4f} at the end"
        hold(f"{said} ({len(errors)} changes)", worst[0] < 0.040)
        state, faults = session.source.state, session.faults
        hold(f"drift: {state.drift_ppm:+.1f} of {ppm:+g} ppm", abs(state.drift_ppm - ppm) < 30)
        for what, told, true in (
            ("sound lost", state.dropped, faults.losses),
            ("microphone away", state.losses, faults.mic_away),
        ):
            hold(f"{what}: {told} of {len(true)} times counted", told == len(true))
        steady = [kb / 1024 for kb in session.memory[len(session.memory) // 8 :]]
        growth = Trend.of([minute / 60 for minute in range(len(steady))], steady)
        said = f"memory: {steady[0]:.0f} MB after an eighth, {steady[-1]:.0f} MB at the end"
        hold(f"{said}; {growth} MB an hour", growth.slope < 1)
        analyse(clean, Hours(seconds, Faults()))
        for table, clear in (("video_intervals", faults.seen), ("voice_intervals", faults.heard)):
            mine, others = rows(faulty, table), rows(clean, table)
            lacking = missing(mine, others, clear) + missing(others, mine, clear)
            far = sum(clear(start, end) for _, start, end in mine)
            gaps = closed_by(faulty, table, "gap")
            said = f"{table}: {len(mine)} rows, {gaps} closed by a gap, {far} far from losses"
            hold(f"{said}; of these other than without faults: {lacking}", not lacking)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
