"""How right the default voice model is, by corpus and voice, and CREMA-D's own raters beside it.

    python benchmarks/voices.py STREAMS_DIR PERCEIVED.csv RECORDING… --sessions DIR

STREAMS_DIR is as for voice_context.py. Beside each RECORDING stands its truth, NAME.csv, whose
columns face_actor and voice_actor name the people; DIR/NAME/ holds the tables that `streamer
evaluate` made. PERCEIVED.csv: intended, face_vote, voice_vote of the clips of crema1001. Only
windows that lie wholly within one clip are judged: what is left is the model's own.
"""

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
from accuracy import Said, accuracy, ece, per_class, tempered
from voice_context import read as read_stream
from voice_windows import Recording, hear
from voice_windows import read as read_recording

from streamer import config as configuration
from streamer import models
from streamer.evaluation.metrics import STEP_S, grid
from streamer.evaluation.sessions import read_intervals
from streamer.types import EMOTIONS, Prediction

CORPORA = {"crema": "CREMA-D (English)", "rav": "RAVDESS (English)", "mead": "MEAD (English)"}
OTHER = "nEMO (Polish)"
Clip = dict[str, str]


def corpus(voice: str) -> str:
    """The corpus that a voice is from."""
    return next((name for start, name in CORPORA.items() if voice.startswith(start)), OTHER)


def clips(path: Path) -> list[Clip]:
    """The rows of a truth."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def inside(said: list[Prediction], rows: list[Clip]) -> dict[str, list[tuple[int, Prediction]]]:
    """By voice: the true emotion and the prediction of each window within one clip."""
    names, out = [e.lower() for e in EMOTIONS], defaultdict(list)
    for row in rows:
        if row["voice_emotion"] in names:
            within = float(row["start"]) - 1e-6, float(row["end"]) + 1e-6
            for p in said:
                if p.probs is not None and within[0] <= p.start and p.end <= within[1]:
                    out[row["voice_actor"]].append((names.index(row["voice_emotion"]), p))
    return out


def gather(pairs: list[tuple[int, Prediction]]) -> Said:
    """Truths and probabilities as arrays."""
    return Said(
        np.array([true for true, _ in pairs]), np.array([p.probs for _, p in pairs], np.float64)
    )


def figures(said: Said) -> str:
    """Accuracy, UAR of the emotions that are there, calibration."""
    with np.errstate(invalid="ignore", divide="ignore"):
        uar = np.nanmean(per_class(said)[1])
    return f"{accuracy(said):.3f} | {uar:.3f} | {ece(said):.3f}".replace("0.", ".")


def by_corpus(streams: Path) -> None:
    """Print a row for each corpus and for all of them, from stored predictions."""
    found: dict[str, list[tuple[int, Prediction]]] = defaultdict(list)
    voices: dict[str, set[str]] = defaultdict(set)
    for path in sorted(streams.glob("*_voice.csv")):
        stream = read_stream(path, 0.25)
        for voice, pairs in inside(stream.said, clips(streams / f"{stream.name}.csv")).items():
            found[corpus(voice)] += pairs
            voices[corpus(voice)].add(voice)
    print(f"| corpus | voices | windows | accuracy | UAR | ECE |\n{'| --- ' * 6}|")
    for name, pairs in sorted(found.items()):
        print(f"| {name} | {len(voices[name])} | {len(pairs)} | {figures(gather(pairs))} |")
    everything = gather([pair for pairs in found.values() for pair in pairs])
    print(f"| all | {sum(map(len, voices.values()))} | {len(everything.true)} | ", end="")
    print(f"{figures(everything)} |\n\n| | precision | recall | F1 | windows |")
    print("| --- | --- | --- | --- | --- |")
    counts = everything.confusion.sum(1)
    for emotion, *row, n in zip(EMOTIONS, *per_class(everything), counts, strict=True):
        print(f"| {emotion} | {' | '.join(f'{v:.3f}'[1:] for v in row)} | {n} |")


def calibration(recordings: list[Recording], paths: list[Path]) -> None:
    """Print the error before and after the manifest's temperature, on windows of real sound."""
    config = configuration.load(None, ["speech.hop_s=0.25"])
    vad = models.load(config.speech.vad, "voice-activity", config.models)
    voice = models.load(config.speech.emotion, "speech-emotion", config.models)
    pairs = []
    for recording, path in zip(recordings, paths, strict=True):
        said, _ = hear(recording, config, vad, voice)
        for found in inside(said, clips(path.with_suffix(".csv"))).values():
            pairs += found
    after = gather(pairs)
    temperature = voice.manifest.temperature
    before = tempered(after, 1 / temperature)
    print(
        f"\n{len(pairs)} windows of sound: accuracy {accuracy(after):.3f}, ECE at temperature 1 ",
        end="",
    )
    print(f"{ece(before):.4f}, at the manifest's {temperature:g} {ece(after):.4f}")


def perceived(table: Path, paths: list[Path], sessions: Path) -> None:
    """Print what crema1001's clips are said to be, by instruction, by raters and by the program."""
    votes = {row["intended"]: row for row in clips(table)}
    columns = {"face": ("video_intervals", "face"), "voice": ("voice_intervals", "voice")}
    for modality, (file, key) in columns.items():
        seconds: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for path in paths:
            rows = clips(path.with_suffix(".csv"))
            spans = read_intervals(sessions / path.stem / f"{file}.csv") or []
            track = grid(spans, round(max(float(r["end"]) for r in rows) / STEP_S))
            for row in rows:
                if row.get(f"{key}_actor") == "crema1001":
                    part = track[
                        round(float(row["start"]) / STEP_S) : round(float(row["end"]) / STEP_S)
                    ]
                    for label in part:
                        name = [*EMOTIONS, "none"][label].lower()
                        seconds[row[f"{key}_emotion"]][name] += STEP_S
        _print_perceived(modality, votes, seconds, f"{key}_vote")


def _print_perceived(
    modality: str, votes: dict[str, Clip], seconds: dict[str, dict[str, float]], vote: str
) -> None:
    print(f"\n| {modality}: told to show | raters | said (share of the time) | s |")
    print("| --- | --- | --- | --- |")
    right = dict.fromkeys(("instruction", "raters"), 0.0)
    for intended, said in seconds.items():
        whole = sum(said.values())
        shares = sorted(said.items(), key=lambda item: -item[1])
        shown = ", ".join(f"{name} {share / whole:.2f}" for name, share in shares[:3])
        print(f"| {intended} | {votes[intended][vote]} | {shown} | {whole:.0f} |")
        right["instruction"] += said.get(intended, 0.0)
        right["raters"] += said.get(votes[intended][vote], 0.0)
    every = sum(sum(said.values()) for said in seconds.values())
    told = ", ".join(f"{name} {share / every:.3f}" for name, share in right.items())
    print(f"\nshare of the time in accord with: {told}")


def main() -> None:
    """Read the arguments, print the tables."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("streams", type=Path)
    ask.add_argument("perceived", type=Path)
    ask.add_argument("recordings", type=Path, nargs="+")
    ask.add_argument("--sessions", type=Path, required=True)
    asked = ask.parse_args()
    by_corpus(asked.streams)
    calibration([read_recording(p, asked.sessions) for p in asked.recordings], asked.recordings)
    perceived(asked.perceived, asked.recordings, asked.sessions)


if __name__ == "__main__":
    main()
