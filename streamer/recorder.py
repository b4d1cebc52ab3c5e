"""Stores the raw media of a live session while it is analysed, so that it can be replayed."""

# Packet is generic for the type checker alone: annotations must stay text.
from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Literal

import av
import av.logging
import numpy as np
from av.audio.frame import AudioFrame
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamer.sources.file import RECORDING
from streamer.types import (
    SAMPLE_RATE,
    AudioChunk,
    AudioSink,
    Floats,
    Frame,
    FrameSink,
    Image,
    Source,
    StreamerError,
)

Quality = Literal["lossless", "small"]

CODECS: dict[Quality, tuple[str, str, dict[str, str]]] = {
    "lossless": ("libx264rgb", "rgb24", {"preset": "ultrafast", "qp": "0"}),
    "small": ("libx264", "yuv420p", {"preset": "veryfast", "crf": "18"}),
}
"""Encoder, pixel format and options. Exact for RGB and in Matroska, FFV1 makes files half the size
of a noisy camera's, for twice the CPU time: too much beside the models on two cores.
"""

COMMON = {"tune": "zerolatency", "g": "60"}

CLUSTER_MS = 500
"""How much media a cut may cost, ms: Matroska is written in clusters."""

HEADER_WAIT_S = 5.0
"""How long sound waits for the first picture, whose size the file's header needs, s."""

MS = Fraction(1, 1000)


@dataclass(frozen=True, slots=True)
class _Silence:
    """There is no more sound before ``sample``."""

    sample: int


@dataclass(frozen=True, slots=True)
class _End:
    """The pictures ended at ``t`` s; None: with the last one."""

    t: float | None


_Item = Frame | AudioChunk | _Silence | _End


class Recorder:
    """A source that stands before another one and writes what passes to ``path``, as Matroska.

    Pictures are stored as ``quality`` says, stamped in ms (a lossless recording of frames whose
    times are whole ms is replayed to the same tables), sound exactly, from sample 0 on, with
    silence in its holes. A thread of its own writes: capture never waits for the disk. Where more
    than ``room`` pictures wait, further ones are left out of the recording, never out of the
    analysis, and counted in ``lost``. A disk that can't be written ends the recording alone. What
    is wrong with it stands in ``problems``, a line each. Pictures of another size than the first
    are scaled to it; ``size`` (width, height) is taken where none came within HEADER_WAIT_S.
    Raises StreamerError if PyAV lacks the encoder.
    """

    def __init__(
        self,
        source: Source,
        path: Path,
        quality: Quality = "lossless",
        room: int = 32,
        size: tuple[int, int] = (1280, 720),
    ) -> None:
        self.info, self.problems = source.info, source.problems
        self._source, self._room = source, room
        self._queue: queue.Queue[_Item | None] = queue.Queue(maxsize=4096 + room)
        has_picture = source.info.has_video
        self._writer = _Writer(path, quality, has_picture, source.info.has_audio, size)
        self._put = 0
        self.lost = 0
        """Pictures and chunks of sound that are not in the recording."""

    @property
    def failed(self) -> str | None:
        """Why the recording ended early."""
        return self._writer.failed

    def run(self, frames: FrameSink, audio: AudioSink, stop: threading.Event) -> None:
        """Run the source into both sinks and the file."""
        thread = threading.Thread(
            target=self._writer.run, args=[self._queue.get], name="streamer-recorder"
        )
        thread.start()
        try:
            self._source.run(_Frames(frames, self), _Sound(audio, self), stop)
        finally:
            self._queue.put(None)
            thread.join()
        self._check()
        name = self._writer.path.name
        for problem in self._writer.problems:
            self.problems.append(f"{name}: {problem}")
        if self.lost:
            self.problems.append(f"{name}: the disk was too slow, {self.lost} pieces are missing")

    def close(self) -> None:
        """Release the source; may be called twice."""
        self._source.close()

    def take(self, item: _Item) -> None:
        """Record an item if there is room for it. Never waits."""
        self._check()
        if self._writer.failed:
            return
        try:
            if isinstance(item, Frame):
                if self._put - self._writer.taken >= self._room:
                    raise queue.Full
                self._put += 1
            self._queue.put_nowait(item)
        except queue.Full:
            self.lost += 1

    def _check(self) -> None:
        if self._writer.error is not None:
            raise self._writer.error


class _Once:
    """Converts a picture once for the two threads that want it."""

    def __init__(self, load: Callable[[], Image]) -> None:
        self._load = load
        self._image: Image | None = None
        self._lock = threading.Lock()

    def __call__(self) -> Image:
        with self._lock:
            if self._image is None:
                self._image = self._load()
            return self._image


class _Frames:
    """A frame sink before another one."""

    def __init__(self, sink: FrameSink, recorder: Recorder) -> None:
        self._sink, self._recorder = sink, recorder

    def put(self, frame: Frame) -> bool:
        frame = Frame(frame.t, frame.index, _Once(frame.load))
        wanted = self._sink.put(frame)
        self._recorder.take(frame)
        return wanted

    def advance(self, t: float) -> bool:
        return self._sink.advance(t)

    def close(self, end: float | None = None) -> None:
        self._sink.close(end)
        self._recorder.take(_End(end))


class _Sound:
    """An audio sink before another one."""

    def __init__(self, sink: AudioSink, recorder: Recorder) -> None:
        self._sink, self._recorder = sink, recorder

    def write(self, chunk: AudioChunk) -> bool:
        wanted = self._sink.write(chunk)
        self._recorder.take(chunk)
        return wanted

    def advance(self, sample: int) -> bool:
        wanted = self._sink.advance(sample)
        self._recorder.take(_Silence(sample))
        return wanted

    def close(self) -> None:
        self._sink.close()


class _Writer:
    """The recorder's own thread: items in, a Matroska file out."""

    def __init__(
        self,
        path: Path,
        quality: Quality,
        has_picture: bool,
        has_sound: bool,
        size: tuple[int, int],
    ) -> None:
        self.path = path
        encoder, self._format, options = CODECS[quality]
        av.logging.set_level(av.logging.PANIC)
        # One write a cluster, at once; and no stream waits in memory for the other one.
        self._out = av.open(
            f"file:{path}",
            "w",
            format="matroska",
            options={
                "cluster_time_limit": str(CLUSTER_MS),
                "flush_packets": "1",
                "max_interleave_delta": "1",
            },
        )
        self._out.metadata[RECORDING] = "1"
        self._video = self._add_video(encoder, options | COMMON) if has_picture else None
        self._audio = None
        if has_sound:
            self._audio = self._out.add_stream("pcm_f32le", rate=SAMPLE_RATE, layout="mono")
        self._default = self._size = size
        self._begun = not has_picture
        self._early: list[Packet[Stream]] = []
        self._samples = 0
        self._last: tuple[float, list[Packet[Stream]]] | None = None
        """The newest picture, s, and its packets: how long it is shown is not known yet."""
        self._end: float | None = None
        self.taken = 0
        """Pictures taken out of the queue."""
        self.problems: list[str] = []
        self.failed: str | None = None
        self.error: BaseException | None = None

    def _add_video(self, encoder: str, options: dict[str, str]) -> VideoStream:
        try:
            video = self._out.add_stream(encoder, rate=30, options=options)
        except ValueError:  # PyAV's UnknownCodecError is one
            raise StreamerError(
                f"--record: this PyAV was built without {encoder}: use the wheel from PyPI"
            ) from None
        assert isinstance(video, VideoStream)
        video.codec_context.time_base = MS
        video.codec_context.thread_count = 1
        video.pix_fmt = self._format
        return video

    def run(self, get: Callable[[], _Item | None]) -> None:
        """Write everything that ``get`` gives, until None."""
        while (item := get()) is not None:
            self._guarded(partial(self._take, item))
            self.taken += isinstance(item, Frame)
        self._guarded(self._finish)
        with suppress(OSError, FFmpegError):
            self._out.close()

    def _guarded(self, step: Callable[[], None]) -> None:
        """Do a step, unless one failed: of a full disk is told, other errors are raised later."""
        if self.failed is not None or self.error is not None:
            return
        try:
            step()
        except (OSError, FFmpegError) as error:
            self.failed = getattr(error, "strerror", None) or str(error)
            self.problems.append(f"the recording ends early: {self.failed}")
        except BaseException as error:  # the source's thread raises it
            self.error = error

    def _take(self, item: _Item) -> None:
        match item:
            case Frame():
                self._picture(item)
            case AudioChunk():
                self._sound(item)
            case _Silence():
                self._silence(item.sample)
            case _End():
                self._end = item.t

    def _finish(self) -> None:
        self._release(self._end)
        self._begin(*self._default)
        self._out.close()

    def _picture(self, frame: Frame) -> None:
        assert self._video is not None
        pts = round(frame.t * 1000)
        if self._last is not None and pts <= round(self._last[0] * 1000):
            return  # within one ms, which Matroska can't tell apart
        image = frame.load()
        height, width = image.shape[:2]
        self._begin(width, height)
        if (width, height) != self._size and not self.problems:
            wide, high = self._size
            self.problems.append(f"pictures of {width}×{height} are scaled to {wide}×{high} in it")
        codec = self._video.codec_context
        picture = VideoFrame.from_ndarray(image, format="rgb24").reformat(
            codec.width, codec.height, self._format, threads=1
        )
        picture.pts, picture.time_base = pts, MS
        self._release(frame.t)
        self._last = frame.t, self._video.encode(picture)

    def _release(self, until: float | None) -> None:
        """Write the newest picture, which is shown until then."""
        if self._last is None:
            return
        t, packets = self._last
        self._last = None
        for packet in packets:
            packet.duration = max(round(((until or t) - t) * 1000), 0)
            self._out.mux_one(packet)

    def _sound(self, chunk: AudioChunk) -> None:
        self._silence(chunk.start)
        self._write(chunk.pcm[max(self._samples - chunk.start, 0) :])

    def _silence(self, sample: int) -> None:
        step = SAMPLE_RATE // 10
        while self._audio is not None and self._samples < sample:
            self._write(np.zeros(min(step, sample - self._samples), np.float32))

    def _write(self, pcm: Floats) -> None:
        if self._audio is None or not len(pcm):
            return
        sound = AudioFrame.from_ndarray(pcm[None], format="flt", layout="mono")
        sound.rate, sound.pts, sound.time_base = SAMPLE_RATE, self._samples, Fraction(1, 16_000)
        self._samples += len(pcm)
        packets = self._audio.encode(sound)
        if self._begun:
            self._out.mux(packets)
            return
        self._early += packets
        if self._samples > HEADER_WAIT_S * SAMPLE_RATE:
            self._begin(*self._default)

    def _begin(self, width: int, height: int) -> None:
        """Fix the pictures' size; the sound that came before is written now."""
        if self._begun:
            return
        self._begun, self._size = True, (width, height)
        if self._video is not None:
            even = self._video.pix_fmt == "yuv420p"  # has one colour for two by two pixels
            self._video.width, self._video.height = (n - n % 2 * even for n in self._size)
        self._out.mux(self._early)
        self._early.clear()
