"""A media file: demuxed once, decoded by presentation times, pushed in time order."""

# Packet is generic for the type checker alone: annotations must stay text.
from __future__ import annotations

import heapq
import math
import os
import re
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
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamer.clock import Clock
from streamer.sources.capture import masked
from streamer.sources.decode import (
    BOUNDS,
    Resampler,
    bound,
    has_decoder,
    is_cover,
    loader,
    mono,
    recordings,
)
from streamer.sources.demux import ENCRYPTED, HOLE_S, STEP_S, Demuxer
from streamer.sources.head import is_cut_riff, refusal
from streamer.sources.thrift import Thrift, nothing
from streamer.types import (
    SAMPLE_RATE,
    AudioChunk,
    AudioSink,
    Floats,
    Frame,
    FrameSink,
    SourceInfo,
    StreamerError,
)

JITTER = SAMPLE_RATE // 20
"""Audio timestamps off by no more than this many samples (50 ms) are rounding, not gaps."""

FILL = 10 * SAMPLE_RATE
"""Longer holes in the sound are filled by so many samples at a time: a stop is seen in between."""

RECORDING = "STREAMER_RECORDING"
"""The tag of a file that `streamer.recorder` wrote: its times count from zero, and the tag DURATION
of a stream says where it ended.
"""

Push = tuple[float, Callable[[], bool]]
"""The media time at which something falls due, and what hands it to its ring."""


class FileSource:
    """Reads one video and one audio stream of a file, from ``start`` s for ``duration`` s.

    Both streams keep one origin, the earlier of their first presentation times, so that an offset
    between them survives. Pictures are scaled to at most ``max_px`` on their longer side. After
    ``run``, ``problems`` says in a line each what was wrong with the recording. With ``rate_hz``
    only the frames that this grid asks for can be loaded (see Thrift).
    Raises StreamerError where the file can't be read as media.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        start: float = 0.0,
        duration: float | None = None,
        max_px: int = 1280,
        rate_hz: float | None = None,
    ) -> None:
        self._clock, self._start, self._max_px = clock, start, max_px
        self._rate = rate_hz
        self._stop = math.inf if duration is None else start + duration
        self._container = _open(path)
        videos = [s for s in self._container.streams.video if not is_cover(s)]
        sounds = self._container.streams.audio
        self._video = next((s for s in videos if has_decoder(s)), None)
        self._audio = next((s for s in sounds if has_decoder(s)), None)
        streams: list[Stream] = [s for s in (self._video, self._audio) if s is not None]
        starts = _first_times(self._container, streams)
        self._is_recording = RECORDING in self._container.metadata
        self._origin, self._all_begun = 0.0 if self._is_recording else min(starts), max(starts)
        self._total = _duration(self._container, self._origin)
        # Another stream, of subtitles say, may outlast these.
        self._is_total = all(s in streams or _has_no_end(s) for s in self._container.streams)
        self._is_cut = is_cut_riff(path)
        self.problems = [
            f"its {what} is in a format that can't be decoded here, or too large"
            for what, there, used in (
                ("picture", videos, self._video),
                ("sound", sounds, self._audio),
            )
            if there and used is None
        ]
        why = None
        if not streams:
            why = "; ".join(self.problems) or "neither picture nor sound in this file"
        elif any("enc_key_id" in s.metadata for s in streams):
            why = ENCRYPTED
        elif start >= self._total:
            why = f"--start {start:g} lies behind the file's end at {self._total:.3f} s"
        if why:
            self.close()
            raise StreamerError(f"{path}: {why}")
        self._demuxer = Demuxer(self._container, streams, self._origin)
        self._video_end = self._audio_end = start
        self._first = 0.0  # the time of the first picture, if no stamp tells
        self._frames_seen = self._bad_samples = 0
        self._peak = 0.0
        self.info = self._describe(path)
        try:
            self._seek()
            self._demuxer.begin(start)
        except StreamerError as error:
            self.close()
            raise StreamerError(f"{path}: {error}") from None

    def run(self, frames: FrameSink, audio: AudioSink, stop: Event) -> None:
        """Push everything into the sinks in time order, until ``stop``; then close both."""
        self._demuxer.stop = stop  # up to --start, much may be decoded of which nothing comes here
        tracks = [
            *([self._frames(self._video, frames)] if self._video else []),
            *([self._chunks(self._audio, audio, stop)] if self._audio else []),
        ]
        last = self._start
        for due, push in heapq.merge(*tracks, key=itemgetter(0)):
            self._clock.wait(due)
            if due > last + STEP_S:  # sound after a hole in both would fill its ring, and wait
                frames.advance(due)
            last = due
            self._clock.mark(due)
            if stop.is_set() or not push():
                self._video_end = min(self._video_end, due)  # what was read ahead is not counted
                break
        else:
            if not stop.is_set():  # else the recording may go on
                self._end()
        frames.close(self._video_end)
        audio.close()

    def close(self) -> None:
        """Release the file; may be called twice."""
        self._container.close()

    def _seek(self) -> None:
        """Go to shortly before ``start``."""
        at = self._start + self._origin - 0.5
        if at <= self._all_begun:  # a seek to there would skip the stream that begins earlier
            return
        try:
            self._container.seek(math.floor(at * av.time_base), backward=True)
            self._first = self._start
        except FFmpegError:
            raise StreamerError(
                "--start: nothing can be found by time in this file: "
                "rewrite it (ffmpeg -i IN -c copy OUT.mkv)"
            ) from None

    def _frames(self, stream: VideoStream, sink: FrameSink) -> Iterator[Push]:
        last, nothing_before = -math.inf, self._start
        stamped, unstamped = self._first, -1
        thrift = Thrift(stream.codec_context, self._rate)
        for packet in self._demuxer.packets(stream):
            if isinstance(packet, float):
                if packet >= self._stop:
                    return
                # Where the sound is stored first, that is told of a time before the beginning too.
                if packet > nothing_before:
                    nothing_before = packet
                    yield packet, partial(sink.advance, packet)
                continue
            for frame in self._pictures(stream, packet, thrift):
                length = _length(frame, stream)
                stamp = frame.pts if frame.pts is not None else frame.dts
                if stamp is None:
                    unstamped += 1
                else:
                    stamped = float(stamp * (stream.time_base or 0)) - self._origin
                    unstamped = 0
                shown = round(stamped + unstamped * length, 6)
                load = loader(frame, float(stream.sample_aspect_ratio or 1), self._max_px)
                undecoded = [(t, nothing) for t in thrift.before(shown)]
                for t, picture in [*undecoded, (shown, load)]:
                    # What a decoder held back, for its order, over a long hole comes too late.
                    if t <= last or t < nothing_before:
                        self._demuxer.astray += t < last - STEP_S
                        continue
                    if t >= self._stop:
                        return
                    index, last = self._frames_seen, t
                    self._frames_seen += 1
                    self._video_end = min(t + length, self._stop)
                    yield t, partial(sink.put, Frame(t, index, picture))

    def _pictures(
        self, stream: VideoStream, packet: Packet[Stream], thrift: Thrift
    ) -> Iterator[VideoFrame]:
        if packet.pts is not None and stream.time_base is not None:
            thrift.see(round(float(packet.pts * stream.time_base) - self._origin, 6))
        for frame in self._demuxer.decode(stream, packet):
            assert isinstance(frame, VideoFrame)
            thrift.learn(frame)
            yield frame

    def _chunks(self, stream: AudioStream, sink: AudioSink, stop: Event) -> Iterator[Push]:
        reached = first = round(self._start * SAMPLE_RATE)
        end = math.inf if self._stop == math.inf else round(self._stop * SAMPLE_RATE)
        for begin, pcm in self._pieces(stream):
            start = max(begin, first)
            if start >= end:
                return
            if pcm is None:
                push = partial(sink.advance, start)
                yield start / SAMPLE_RATE, partial(_past_hole, sink, reached, start, stop, push)
                reached = max(reached, start)
                continue
            if begin + len(pcm) < (self._audio_end - STEP_S) * SAMPLE_RATE and begin >= first:
                self._demuxer.astray += 1
                continue
            part = pcm[start - begin : int(min(end - begin, len(pcm)))]
            if len(part):
                write = partial(sink.write, AudioChunk(start, part))
                push = partial(_past_hole, sink, reached, start, stop, write)
                reached = start + len(part)
                self._audio_end = reached / SAMPLE_RATE
                yield self._audio_end, push

    def _pieces(self, stream: AudioStream) -> Iterator[tuple[int, Floats | None]]:
        """(first sample, sound) as decoded; without sound: there is none before the sample."""
        resampler = Resampler(JITTER)
        for packet in self._demuxer.packets(stream):
            pieces: list[AudioFrame] = []
            for frame in [] if isinstance(packet, float) else self._demuxer.decode(stream, packet):
                assert isinstance(frame, AudioFrame)
                try:
                    pieces += resampler.feed(frame)
                except FFmpegError:
                    self._demuxer.damaged += 1
            if isinstance(packet, float) or not packet.size:
                pieces += resampler.flush()
            for piece in pieces:
                pcm, bad = mono(piece)
                self._bad_samples += bad
                self._peak = max(self._peak, float(np.abs(pcm).max(initial=0)))
                yield resampler.place(piece, self._origin), pcm
            if isinstance(packet, float):
                yield round(packet * SAMPLE_RATE), None

    def _end(self) -> None:
        """Note where the recording ended and what was wrong with it, once all of it was read."""
        if self._video and self._is_recording:
            shown = _said_end(self._video) or self._video_end
            last = max(self._video_end, self._audio_end) + HOLE_S
            self._video_end = min(max(shown, self._start), self._stop, last)
        reached = max(self._video_end, self._audio_end)
        expected = min(self._total, self._stop)
        missing = self._is_total and reached < expected - 1 and expected < math.inf
        short = missing or self._demuxer.cut or (self._is_cut and reached < self._stop)
        say = self.problems.append
        if short:
            of = f" of {expected:.3f} s" if missing else ""
            say(f"cut off: ends at {reached:.3f} s{of}; analysed up to there")
        if self._demuxer.damaged > short:  # one that the cut went through is told already
            say(f"damaged: {self._demuxer.damaged} packets could not be decoded, left out")
        if self._demuxer.astray:
            say(f"its time stamps jump: {self._demuxer.astray} packets far off were left out")
        if self._video and self._frames_seen == 0:
            say("not one picture was found: no face was looked for")
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
            bound(v)
            rate = self._video.average_rate
            about |= {"video": v.name, "width": v.width, "height": v.height}
            about["fps"] = round(float(rate), 3) if rate else None
            # The models want the second core; one thread decodes 720p ten times in real time.
            v.thread_count = 1
        if self._audio:
            a = self._audio.codec_context
            bound(a)
            about |= {"audio": a.name, "rate_hz": a.sample_rate, "channels": a.channels}
        end = min(self._total, self._stop)
        length = end - self._start if end < math.inf else None
        name = os.fsencode(path).decode(errors="replace")
        return SourceInfo(
            name, self._video is not None, self._audio is not None, self._start, length, about
        )


def _past_hole(
    sink: AudioSink, reached: int, until: int, stop: Event, push: Callable[[], bool]
) -> bool:
    """Do ``push``; before it, fill a long hole a little at a time: a stop is not to wait for it."""
    steps = range(reached + FILL, until, FILL)
    return all(not stop.is_set() and sink.advance(step) for step in steps) and push()


def _open(path: Path) -> InputContainer:
    av.logging.set_level(av.logging.PANIC)
    name = masked(str(path)) if re.match(r"\w\w+:/", str(path)) else path
    if why := refusal(path):
        raise StreamerError(f"{name}: {why}")
    try:
        # A file must not make FFmpeg reach for another one, here or elsewhere.
        formats = ",".join(sorted(recordings()))
        options = {"protocol_whitelist": "file", "format_whitelist": formats, **BOUNDS}
        return av.open(f"file:{path}", options=options, metadata_errors="ignore")
    except PermissionError:
        raise StreamerError(f"{name}: no permission to read it") from None
    except (FFmpegError, OSError, ValueError):
        raise StreamerError(
            f"{name}: not a media file that FFmpeg can read, or its header is damaged"
        ) from None


def _has_no_end(stream: Stream) -> bool:
    return is_cover(stream) or stream.type == "attachment"


def _first_times(container: InputContainer, streams: list[Stream]) -> list[float]:
    """When each stream begins, s, in the file's own time."""
    starts = [
        float(s.start_time * s.time_base)
        for s in streams
        if s.start_time is not None and s.time_base
    ]
    return starts or [(container.start_time or 0) / av.time_base]


def _duration(container: InputContainer, origin: float) -> float:
    """From ``origin`` to the end, s, as the header says; infinite where it says nothing."""
    if container.duration is None:
        return math.inf
    # Matroska counts from zero, wherever its first packet lies.
    before = origin if "matroska" in container.format.name else 0
    return container.duration / av.time_base - before


def _said_end(stream: Stream) -> float | None:
    """Where a stream of Matroska ends by its tag DURATION, s; None: its writer was cut off."""
    said = re.fullmatch(r"(\d+):(\d\d):(\d\d\.\d+)", stream.metadata.get("DURATION", ""))
    if not said:
        return None
    hours, minutes, seconds = said.groups()
    return round(int(hours) * 3600 + int(minutes) * 60 + float(seconds), 6)


def _length(frame: VideoFrame, stream: VideoStream) -> float:
    """How long the frame is shown, s."""
    length = 1 / (stream.average_rate or Fraction(25))
    if frame.duration and stream.time_base:
        length = frame.duration * stream.time_base
    return min(max(float(length), 0.0), HOLE_S)
