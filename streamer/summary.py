"""What is said of a session when it ends: session.json and the closing lines."""

import hashlib
import os
from datetime import datetime
from pathlib import Path

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from streamer import __version__
from streamer.analysis import Track
from streamer.config import Config
from streamer.dashboard import milliseconds
from streamer.figures import now
from streamer.pipeline import Models, Pipeline
from streamer.text import counted
from streamer.types import EMOTIONS, UNKNOWN, StreamerError

SAMPLE = 1 << 20
"""Bytes at each end of a file that tell it from others."""


def opening(
    pipeline: Pipeline, loaded: Models, config: Config, speed: str, started: datetime
) -> dict[str, object]:
    """session.json as it is while the session runs."""
    info = pipeline.source.info
    return {
        "streamer": __version__,
        "state": "running",
        "started": started.isoformat(timespec="seconds"),
        "source": {
            "name": info.name,
            "start_s": info.start,
            "duration_s": info.duration,
            "has_video": info.has_video,
            "has_audio": info.has_audio,
            **info.description,
        },
        "speed": speed,
        "models": [
            {
                "name": model.manifest.name,
                "task": model.manifest.task,
                "sha256": model.manifest.sha256,
                "licence": model.manifest.licence.name,
                "research_only": model.manifest.licence.research_only,
                "provider": model.provider,
            }
            for model in loaded.all()
        ],
        "config": _settled(config),
    }


def _settled(config: Config) -> dict[str, object]:
    """The configuration, as it is from any folder."""
    folder = config.models.dir
    models = config.models.model_copy(update={"dir": folder and str(Path(folder).absolute())})
    return config.model_copy(update={"models": models}).model_dump()


def replayed(
    file: Path, start: float, duration: float | None, predictions: bool
) -> dict[str, object]:
    """What session.json keeps of a replay, to be able to go on with it. Raises StreamerError."""
    return {
        "file": os.fsencode(file.absolute()).decode(errors="replace"),
        "start_s": start,
        "duration_s": duration,
        "predictions": predictions,
        "fingerprint": fingerprint(file),
    }


def fingerprint(file: Path) -> str:
    """Tells a recording from others: SHA-256 of its size, its first and last MiB. Raises
    StreamerError.
    """
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            digest = hashlib.sha256(str(size).encode())
            for start in (0, max(size - SAMPLE, 0)):
                stream.seek(start)
                digest.update(stream.read(SAMPLE))
    except OSError as error:
        raise StreamerError(f"can't read {file}: {error.strerror or error}") from None
    return digest.hexdigest()


def closing(pipeline: Pipeline, ended_by: str, error: str | None) -> dict[str, object]:
    """What session.json is told at the end. Times in seconds; latencies in wall seconds."""
    analysis, agreement = pipeline.analysis, pipeline.analysis.agreement
    face, voice = pipeline.face, pipeline.speech
    media = max((t.time for t in analysis.tracks.values()), default=0) - pipeline.source.info.start
    return {
        "state": "error" if ended_by == "error" else "complete",
        "ended_by": ended_by,
        "error": error,
        "problems": pipeline.source.problems,
        "disk": pipeline.tables.writer.notes(),
        "transitions": analysis.transitions.counts
        | ({"fused": analysis.fused_changes.counts.get("fused", 0)} if analysis.fused else {}),
        "frames": {
            "seen": pipeline.frames.seen,
            "analysed": face.analysed,
            "dropped": pipeline.frames.dropped,
            "without_face": face.without_face,
            "several_faces": face.several_faces,
            "face_switches": face.face_switches,
            "face_switches_per_min": round(60 * face.face_switches / media, 4)
            if media > 0
            else 0.0,
        },
        "windows": {
            "seen": voice.windows + voice.skipped,
            "analysed": voice.windows,
            "dropped": voice.skipped,
            "without_speech": voice.without_speech,
        },
        "agreement": {
            "rows": agreement.rows,
            "mismatches": agreement.mismatches,
            "face_s": round(agreement.face_s, 3),
            "both_s": round(agreement.both_s, 3),
            "mismatch_s": round(agreement.mismatch_s, 3),
            "mismatch_share": round(agreement.mismatch_share, 4),
        },
        "seconds": {
            modality: {e: round(counts[e], 3) for e in (*EMOTIONS, UNKNOWN) if e in counts}
            for modality, counts in agreement.seconds.items()
        },
        "latency_s": {modality: _track(track) for modality, track in analysis.tracks.items()}
        | ({"fused": _track(analysis.fused)} if analysis.fused else {}),
        "media_s": round(media, 3),
        "wall_s": round(pipeline.wall_s, 3),
        "cpu_s": round(pipeline.cpu_s, 3),
    }


def _track(track: Track) -> dict[str, object]:
    return {
        "capture_to_prediction": track.prediction_latency.summary(),
        "change_to_row": track.row_latency.summary(),
    }


def report(pipeline: Pipeline) -> RenderableType:
    """What a session came to: two lines for each modality, one for both together."""
    analysis = pipeline.analysis
    lines = Table.grid(padding=(0, 2))
    dropped = {"face": pipeline.frames.dropped, "voice": pipeline.speech.skipped}
    for modality, track in analysis.tracks.items():
        changes = analysis.transitions.counts[modality]
        lines.add_row(f"[bold]{modality}[/]", _times(analysis.agreement.seconds[modality]))
        lines.add_row(
            "",
            f"[dim]{counted(changes, 'transition')}, {dropped[modality]} dropped; p95 latency: "
            f"prediction {milliseconds(track.prediction_latency.percentile(95))}, "
            f"row {milliseconds(track.row_latency.percentile(95))}[/]",
        )
    if analysis.fused:
        changes = analysis.fused_changes.counts.get("fused", 0)
        lines.add_row("[bold]both[/]", _times(analysis.agreement.seconds.get("fused", {})))
        lines.add_row("", f"[dim]{counted(changes, 'transition')}[/]")
    both = now(analysis.timeline)
    if both.share is not None:
        kappa = "not defined" if both.kappa is None else f"{both.kappa:.2f}"
        lines.add_row("", f"agree {both.share:.0%} of the time with both, kappa {kappa}")
    for note in pipeline.tables.writer.notes():
        lines.add_row("[bold yellow]disk[/]", Text(note))
    return lines


def _times(seconds: dict[str, float]) -> str:
    """How long each emotion lasted, the longest first."""
    times = sorted(seconds.items(), key=lambda item: -item[1])
    return ", ".join(f"{emotion} {s:.1f} s" for emotion, s in times) or "nothing said"
