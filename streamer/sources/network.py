"""A network stream: picture and sound by FFmpeg, on one clock, connected again when it breaks."""

# Packet is generic for the type checker alone: annotations must stay text.
from __future__ import annotations

import math
from collections.abc import Generator
from threading import Event

import av
import av.logging
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamer.clock import LiveClock, monotonic
from streamer.config import LiveConfig
from streamer.sources.capture import Capture, Datum, masked
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
from streamer.types import (
    SAMPLE_RATE,
    AudioChunk,
    AudioSink,
    DeviceState,
    Frame,
    FrameSink,
    SourceInfo,
    StreamerError,
)

OPEN_S = 10.0
"""How long a server may take to answer, and again to show what it sends, s."""

STORED_READ_S = 10.0
"""How long a read over HTTP may take: a playlist's next segment is awaited in it, s."""

JITTER = SAMPLE_RATE // 50
"""Sound stamped off by no more than this many samples (20 ms) is rounding, not a gap."""

EARLY_S = 0.03
"""A live datum that comes earlier than its time by more shows that the clocks were tied late, s."""

LATE_S = 0.1
WINDOW_S = 5.0
"""Clocks are tied anew if for WINDOW_S nothing came less than LATE_S late: latency never grows."""

JUMP_S = 10.0
"""A stamp off by more than this jumped, s."""

WEB = "http,https,httpproxy,tcp,tls,crypto,data"
PROTOCOLS = {
    "http": WEB,
    "https": WEB,
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,tls,tcp",
    "rtsp": "rtsp,rtp,udp,tcp",
    "rtsps": "rtsps,rtp,udp,tcp,tls",
    "srt": "srt,udp",
    "udp": "udp",
}
"""What FFmpeg may use for a URL of each scheme: never a file of this computer."""

UNSTAMPED = {"mjpeg", "mpjpeg"}
"""Formats without times: a picture's is that of its arrival."""


class Anchor:
    """Ties a connection's own stamps to the monotonic clock: wall = stamp + ``offset``, s.

    What is sent as it happens (``live``) can't come before its time: the earliest arrival ties the
    clocks. What is stored on a server comes in bursts, and waits for its time.
    """

    def __init__(self, live: bool) -> None:
        self._live = live
        self._since = -math.inf
        self._least = 0.0
        self.offset = 0.0
        self.jumps = 0
        """How often the stamps jumped."""

    def wait_s(self, stamp: float, now: float) -> float:
        """How long what is stamped so, and came ``now``, must wait for its time, s."""
        late = now - (stamp + self.offset)
        if self._since == -math.inf or abs(late) > JUMP_S:
            self.jumps += self._since > -math.inf
            self._tie(stamp, now)
            return 0.0
        if self._live and late < -EARLY_S:
            self._tie(stamp, now)
            return 0.0
        self._least = min(self._least, late)
        if now - self._since >= WINDOW_S:
            if self._least > LATE_S:
                self.offset += self._least
                late -= self._least
            self._since, self._least = now, math.inf
        return 0.0 if self._live else max(-late, 0.0)

    def _tie(self, stamp: float, now: float) -> None:
        self.offset, self._since, self._least = now - stamp, now, math.inf


class NetworkStream:
    """Reads an RTSP, HTTP (MJPEG, HLS…), SRT, RTMP or UDP address until told to stop.

    It is connected, and the first datum has come, when the constructor returns; StreamerError if
    not. A connection that breaks is made again; time goes on meanwhile. Both streams keep the
    distance that the sender's stamps give them. Pictures are scaled to ``max_px`` when needed.
    """

    def __init__(self, url: str, clock: LiveClock, config: LiveConfig, max_px: int = 1280) -> None:
        self._clock, self._config, self._max_px = clock, config, max_px
        name = masked(url)
        scheme, there, rest = url.partition("://")
        self._scheme = scheme.lower()
        self._url = self._scheme + there + rest  # FFmpeg knows them in lower case
        if self._scheme not in PROTOCOLS or not there:
            raise StreamerError(f"{name}: give a URL that begins with {', '.join(PROTOCOLS)}")
        self.state = DeviceState(name, "stream")
        self.problems: list[str] = []
        self.info = SourceInfo(name, False, False)
        self._index = self._jumps = 0
        self._capture = Capture(self.state, clock, config, self._read, room=64)
        self._capture.begin(2 * OPEN_S + STORED_READ_S)
        self.state.detail = self._capture.format

    def run(self, frames: FrameSink, audio: AudioSink, stop: Event) -> None:
        """Push everything until ``stop``, then close both sinks; time goes on without data."""
        try:
            self._capture.run(frames, audio, stop)
        finally:
            if self._capture.damaged:
                self.problems.append(f"{self._capture.damaged} packets could not be decoded")
            if self._jumps:
                self.problems.append(f"its time stamps jumped {self._jumps} times")

    def close(self) -> None:
        """Disconnect; may be called twice."""
        self._capture.close()

    def _read(self) -> Generator[Datum, None, None]:
        try:
            with self._open() as container:
                yield from self._decode(container)
        except (FFmpegError, OSError, IndexError) as error:  # the last: see the file's Demuxer
            raise StreamerError(f"{self.state.name}: {_reason(error)}") from None

    def _open(self) -> InputContainer:
        av.logging.set_level(av.logging.PANIC)
        formats = recordings() | {"hls", "rtsp"}
        options = {
            "protocol_whitelist": PROTOCOLS[self._scheme],
            "format_whitelist": ",".join(sorted(formats)),
            "rtsp_flags": "prefer_tcp",  # datagrams get lost
            "overrun_nonfatal": "1",
            "fpsprobesize": "0",
            **BOUNDS,
        }
        if self._is_live():
            # What comes while FFmpeg finds out what it is would be a delay for good.
            options["fflags"] = "+nobuffer"
        reading = self._config.stall_s if self._is_live() else STORED_READ_S
        return av.open(
            self._url,
            options=options,
            metadata_errors="ignore",
            timeout=(OPEN_S, max(reading, self._config.stall_s)),
        )

    def _is_live(self) -> bool:
        return not self._scheme.startswith("http")

    def _decode(self, container: InputContainer) -> Generator[Datum, None, None]:
        videos = [s for s in container.streams.video if not is_cover(s) and has_decoder(s)]
        sounds = [s for s in container.streams.audio if has_decoder(s)]
        streams: list[Stream] = [*videos[:1], *sounds[:1]]
        if not streams:
            raise StreamerError(f"{self.state.name}: neither picture nor sound in it")
        self._describe(container, videos[:1], sounds[:1])
        stamped = container.format.name not in UNSTAMPED
        anchor, resampler = Anchor(self._is_live()), Resampler(JITTER)
        begun, last = not videos, 0.0
        for packet in container.demux(streams):
            now = monotonic()
            stamp = packet.dts if packet.dts is not None else packet.pts
            if not packet.size or stamp is None or packet.time_base is None:
                continue
            # Until the first whole picture, a decoder would only show debris.
            is_video = isinstance(packet.stream, VideoStream)
            if is_video and not (begun := begun or packet.is_keyframe):
                continue
            arrived = float(stamp * packet.time_base)
            if not stamped:  # each a later one, also in a burst
                last = max(now, last + 0.001)
                anchor.offset = last - arrived
            elif self._capture.leaving.wait(anchor.wait_s(arrived, now)):
                return
            for frame in self._frames(packet):
                if isinstance(frame, VideoFrame):
                    yield from self._picture(frame, packet.stream, anchor.offset)
                elif isinstance(frame, AudioFrame):
                    origin = -self._clock.media(anchor.offset)
                    for piece in resampler.feed(frame):
                        pcm, _ = mono(piece)
                        yield AudioChunk(resampler.place(piece, origin), pcm)
            self._jumps += anchor.jumps
            anchor.jumps = 0
        raise StreamerError(f"{self.state.name}: the stream ended")

    def _frames(self, packet: Packet[Stream]) -> list[object]:
        try:
            return list(packet.decode())
        except FFmpegError:
            self._capture.damaged += 1
            return []

    def _picture(
        self, frame: VideoFrame, stream: Stream, offset: float
    ) -> Generator[Frame, None, None]:
        assert isinstance(stream, VideoStream)
        if frame.pts is None or frame.time_base is None:
            return
        wall = float(frame.pts * frame.time_base) + offset
        # To the millisecond, as a recording stores it.
        t = round(self._clock.media(wall) + self._config.av_offset_s, 3)
        aspect = float(stream.sample_aspect_ratio or 1)
        yield Frame(t, self._index, loader(frame, aspect, self._max_px))
        self._index += 1

    def _describe(
        self, container: InputContainer, video: list[VideoStream], audio: list[AudioStream]
    ) -> None:
        about: dict[str, object] = {"container": container.format.name}
        parts = []
        for v in video:
            context = v.codec_context
            bound(context)
            context.thread_count = 1  # the models want the second core; and several hold pictures
            about |= {"video": context.name, "width": context.width, "height": context.height}
            parts.append(f"{context.width}×{context.height} {context.name}")
        for a in audio:
            sound = a.codec_context
            bound(sound)
            about |= {"audio": sound.name, "rate_hz": sound.sample_rate, "channels": sound.channels}
            parts.append(f"{sound.name} {sound.sample_rate / 1000:g} kHz")
        self._capture.format = ", ".join(parts)
        if not (self.info.has_video or self.info.has_audio):  # as the first connection shows it
            self.info = SourceInfo(self.state.name, bool(video), bool(audio), 0.0, None, about)


def _reason(error: FFmpegError | OSError | IndexError) -> str:
    """Why there is no connection, without the address: that may hold a password."""
    name = type(error).__name__
    known = {
        "HTTPNotFoundError": "the server does not know it (404)",
        "HTTPUnauthorizedError": "the server wants another user name or password (401)",
        "HTTPForbiddenError": "the server does not permit it (403)",
        "ConnectionRefusedError": "connection refused: is it running?",
        "InvalidDataError": "not media that FFmpeg can read",
        "ProtocolNotFoundError": "this build of FFmpeg can't read such addresses",
        "ExitError": "no answer in time",
        "EOFError": "the stream ended",
        "IndexError": "the stream ended",
    }
    return known.get(name) or f"can't be read: {getattr(error, 'strerror', None) or name}"
