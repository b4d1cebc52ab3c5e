"""A media file: demuxed once, decoded by presentation times, pushed in time order."""

import heapq
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from operator import itemgetter
from pathlib import Path
from threading import Event

import av
import av.logging
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamer.clock import Clock
from streamer.sources.demux import Demuxer
from streamer.types import (
    SAMPLE_RATE,
    AudioChunk,
    AudioSink,
    Floats,
    Frame,
    FrameSink,
    Image,
    SourceInfo,
    StreamerError,
)

JITTER = SAMPLE_RATE // 20
"""Audio timestamps off by no more than this many samples (50 ms) are rounding, not gaps."""


Push = tuple[float, Callable[[], bool]]
"""The media time at which something falls due, and what hands it to its ring."""


class FileSource:
    """Reads one video and one audio stream of a file, from ``start`` s for ``duration`` s.

    Both streams keep one origin, the earlier of their first presentation times, so that an offset
    between them survives. Pictures are scaled to at most ``max_px`` on their longer side. After
    ``run``, ``problems`` says in a line each what was wrong with the recording.
    Raises StreamerError where the file can't be read as media.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        start: float = 0.0,
        duration: float | None = None,
        max_px: int = 1280,
    ) -> None:
        self._clock, self._start, self._max_px = clock, start, max_px
        self._stop = math.inf if duration is None else start + duration
        self._container = _open(path)
        videos = [s for s in self._container.streams.video if not _is_cover(s)]
        self._video = videos[0] if videos else None
        self._audio = next(iter(self._container.streams.audio), None)
        streams: list[Stream] = [s for s in (self._video, self._audio) if s is not None]
        total = self._container.duration
        self._total = math.inf if total is None else total / av.time_base
        refusal = None
        if not streams:
            refusal = "neither picture nor sound in this file"
        elif start >= self._total:
            refusal = f"--start {start:g} lies behind the file's end at {self._total:.3f} s"
        if refusal:
            self.close()
            raise StreamerError(f"{path}: {refusal}")
        self._origin = _first_time(self._container, streams)
        self._demuxer = Demuxer(self._container, streams, self._origin)
        self._video_end = self._audio_end = start
        self._frames_seen = self._bad_samples = 0
        self._peak = 0.0
        self.problems: list[str] = []
        self.info = self._describe(path)

    def run(self, frames: FrameSink, audio: AudioSink, stop: Event) -> None:
        """Push everything into the sinks in time order, until ``stop``; then close both."""
        if self._start > 0:
            at = self._start + self._origin - 0.5
            self._container.seek(math.floor(at * av.time_base), backward=True)
        tracks = [
            *([self._frames(self._video, frames)] if self._video else []),
            *([self._chunks(self._audio, audio)] if self._audio else []),
        ]
        for due, push in heapq.merge(*tracks, key=itemgetter(0)):
            self._clock.wait(due)
            self._clock.mark(due)
            if stop.is_set() or not push():
                break
        else:
            self._judge()
        frames.close(self._video_end)
        audio.close()

    def close(self) -> None:
        """Release the file; may be called twice."""
        self._container.close()

    def _frames(self, stream: VideoStream, sink: FrameSink) -> Iterator[Push]:
        last = -math.inf
        for packet in self._demuxer.packets(stream):
            if isinstance(packet, float):
                yield packet, lambda: True
                continue
            for frame in self._demuxer.decode(stream, packet):
                assert isinstance(frame, VideoFrame)
                length = _length(frame, stream)
                stamp = frame.pts if frame.pts is not None else frame.dts
                if stamp is None:
                    t = last + length if self._frames_seen else self._start
                else:
                    t = round(float(stamp * (stream.time_base or 0)) - self._origin, 6)
                if t <= last or t < self._start:
                    continue
                if t >= self._stop:
                    return
                index, last = self._frames_seen, t
                self._frames_seen += 1
                self._video_end = min(t + length, self._stop)
                yield t, partial(sink.put, Frame(t, index, _loader(frame, self._max_px)))

    def _chunks(self, stream: AudioStream, sink: AudioSink) -> Iterator[Push]:
        first = round(self._start * SAMPLE_RATE)
        stop = math.inf if self._stop == math.inf else round(self._stop * SAMPLE_RATE)
        for begin, pcm in self._pieces(stream):
            if pcm is None:
                yield begin / SAMPLE_RATE, partial(sink.advance, begin)
                continue
            start = max(begin, first)
            if start >= stop:
                return
            part = pcm[start - begin : int(min(stop - begin, len(pcm)))]
            if len(part):
                self._audio_end = (start + len(part)) / SAMPLE_RATE
                yield self._audio_end, partial(sink.write, AudioChunk(start, part))

    def _pieces(self, stream: AudioStream) -> Iterator[tuple[int, Floats | None]]:
        """(first sample, sound) as decoded; without sound: there is none before the sample."""
        resampler, layout, expected = None, None, None
        for packet in self._demuxer.packets(stream):
            if isinstance(packet, float):
                yield round(packet * SAMPLE_RATE), None
                continue
            decoded: list[AudioFrame | None] = []
            for frame in self._demuxer.decode(stream, packet):
                assert isinstance(frame, AudioFrame)
                now = (frame.format.name, frame.layout.name, frame.sample_rate)
                if now != layout:
                    resampler, layout = AudioResampler(format="fltp", rate=SAMPLE_RATE), now
                decoded.append(frame)
            if not packet.size:
                decoded.append(None)  # lets out what the resampler still holds
            for piece in (p for f in decoded if resampler for p in resampler.resample(f)):
                start = expected
                if piece.pts is not None and piece.time_base is not None:
                    t = float(piece.pts * piece.time_base) - self._origin
                    start = round(t * SAMPLE_RATE)
                if start is None or (expected is not None and abs(start - expected) <= JITTER):
                    start = expected or 0
                expected = start + piece.samples
                yield start, self._mono(piece)

    def _mono(self, piece: AudioFrame) -> Floats:
        """Float32 (n,), the mean of all channels; what is not a number becomes silence."""
        pcm = piece.to_ndarray().mean(axis=0, dtype=np.float32)
        bad = ~np.isfinite(pcm)
        if bad.any():
            self._bad_samples += int(bad.sum())
            pcm[bad] = 0
        self._peak = max(self._peak, float(np.abs(pcm).max(initial=0)))
        clipped: Floats = np.clip(pcm, -1, 1)
        return clipped

    def _judge(self) -> None:
        """Note what was wrong with the recording, once it was read to its end."""
        reached = max(self._video_end, self._audio_end)
        expected = min(self._total, self._stop)
        say = self.problems.append
        if self._demuxer.cut or (expected < math.inf and reached < expected - 1):
            say(f"cut off: ends at {reached:.3f} s of {expected:.3f} s; analysed up to there")
        if self._demuxer.damaged:
            say(f"damaged: {self._demuxer.damaged} packets could not be decoded, left out")
        if self._video and self._frames_seen == 0:
            say("not one picture could be decoded: no face was looked for")
        if self._video and self._frames_seen == 1:
            say("only one picture: its emotion can't be followed in time")
        if self._bad_samples:
            say(f"{self._bad_samples} sound samples are not numbers (NaN): taken as silence")
        if self._audio and self._peak == 0:
            say("the sound is silent throughout: no voice could be analysed")

    def _describe(self, path: Path) -> SourceInfo:
        about: dict[str, object] = {"container": self._container.format.name}
        if self._video:
            v = self._video.codec_context
            rate = self._video.average_rate
            about |= {"video": v.name, "width": v.width, "height": v.height}
            about["fps"] = round(float(rate), 3) if rate else None
            # The models want the second core; one thread decodes 720p ten times in real time.
            v.thread_count = 1
        if self._audio:
            a = self._audio.codec_context
            about |= {"audio": a.name, "rate_hz": a.sample_rate, "channels": a.channels}
        end = min(self._total, self._stop)
        length = end - self._start if end < math.inf else None
        return SourceInfo(
            str(path), self._video is not None, self._audio is not None, self._start, length, about
        )


def _open(path: Path) -> InputContainer:
    av.logging.set_level(av.logging.PANIC)
    refusal = None
    if not path.exists():
        refusal = "no such file"
    elif path.is_dir():
        refusal = "is a folder; name a video or sound file in it"
    elif path.is_file() and path.stat().st_size == 0:
        refusal = "is empty"
    if refusal:
        raise StreamerError(f"{path}: {refusal}")
    try:
        # A playlist must not reach beyond this machine: the file protocol alone.
        return av.open(
            f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="ignore"
        )
    except PermissionError:
        raise StreamerError(f"{path}: no permission to read it") from None
    except (FFmpegError, OSError, ValueError):
        raise StreamerError(
            f"{path}: not a media file that FFmpeg can read, or its header is damaged"
        ) from None


def _is_cover(stream: Stream) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


def _first_time(container: InputContainer, streams: list[Stream]) -> float:
    starts = [
        s.start_time * s.time_base for s in streams if s.start_time is not None and s.time_base
    ]
    if starts:
        return float(min(starts))
    return (container.start_time or 0) / av.time_base


def _length(frame: VideoFrame, stream: VideoStream) -> float:
    """How long the frame is shown, s."""
    if frame.duration and stream.time_base:
        return float(frame.duration * stream.time_base)
    return float(1 / (stream.average_rate or Fraction(25)))


def _loader(frame: VideoFrame, max_px: int) -> Callable[[], Image]:
    """Converts when called: scaled to ``max_px``, square pixels, upright."""

    def load() -> Image:
        scale = min(1.0, max_px / max(frame.width, frame.height))
        rgb = frame.to_ndarray(
            width=max(round(frame.width * scale), 1),
            height=max(round(frame.height * scale), 1),
            format="rgb24",
        )
        return np.ascontiguousarray(np.rot90(rgb, frame.rotation // 90))

    return load
