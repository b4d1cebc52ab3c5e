"""What is said of a session when it ends: session.json and the closing lines."""

from datetime import datetime

from rich.console import RenderableType
from rich.table import Table

from streamer import __version__
from streamer.config import Config
from streamer.dashboard import milliseconds
from streamer.pipeline import Models, Pipeline
from streamer.types import EMOTIONS


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
        "config": config.model_dump(),
    }


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
        "transitions": analysis.transitions.counts,
        "frames": {
            "seen": pipeline.frames.seen,
            "analysed": face.analysed,
            "dropped": pipeline.frames.dropped,
            "without_face": face.without_face,
            "several_faces": face.several_faces,
        },
        "windows": {
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
            modality: {e: round(counts[e], 3) for e in EMOTIONS if e in counts}
            for modality, counts in agreement.seconds.items()
        },
        "latency_s": {
            modality: {
                "capture_to_prediction": track.prediction_latency.summary(),
                "change_to_row": track.row_latency.summary(),
            }
            for modality, track in analysis.tracks.items()
        },
        "media_s": round(media, 3),
        "wall_s": round(pipeline.wall_s, 3),
        "cpu_s": round(pipeline.cpu_s, 3),
    }


def report(pipeline: Pipeline) -> RenderableType:
    """A short table of the session for the terminal."""
    analysis = pipeline.analysis
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for column in ("", "most of the time"):
        table.add_column(column, no_wrap=True)
    for column in ("changes", "dropped", "p95: seen", "row"):
        table.add_column(column, justify="right", no_wrap=True)
    dropped = {"face": pipeline.frames.dropped, "voice": pipeline.speech.skipped}
    for modality, track in analysis.tracks.items():
        counts = sorted(analysis.agreement.seconds[modality].items(), key=lambda c: -c[1])[:3]
        table.add_row(
            modality,
            ", ".join(f"{name} {s:.1f} s" for name, s in counts) or "none",
            str(analysis.transitions.counts[modality]),
            str(dropped[modality]),
            milliseconds(track.prediction_latency.percentile(95)),
            milliseconds(track.row_latency.percentile(95)),
        )
    return table
