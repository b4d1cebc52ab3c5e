"""Reads a container once and hands out each stream's packets as they are asked for."""

# Packet is generic for the type checker alone: annotations must stay text.
from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Event

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from streamer.types import StreamerError

SKEW_S = 10.0
"""How far a file may store one stream behind the other, s."""

HOLE_S = 3600.0
"""A packet stamped so much later than all before it is not believed, s; nor are holes of more than
SKEW_S that come to so much more than what lies between them.
"""

ENCRYPTED = "it is encrypted (DRM): only its own player can decode it"

STEP_S = 1.0
"""How often a reader is told that there is nothing for it, s of media."""


@dataclass(slots=True)
class _Waiting:
    """Packet[Stream] packets of one stream that wait while the other stream is read."""

    packets: deque[Packet[Stream]] = field(default_factory=deque)
    newest: float = -math.inf
    given_up: float = -math.inf


class Demuxer:
    """One pass over ``container``, shared by the readers of its streams.

    A reader that runs ahead makes the other streams' packets wait here, compressed. When these are
    SKEW_S past a time and its own stream still shows nothing (a gap, or it ended early) the reader
    is told that there is nothing before that time, so that the others can go on and no more than
    that piles up.
    """

    def __init__(self, container: InputContainer, streams: list[Stream], origin: float) -> None:
        self._source = container.demux(streams)
        self._waiting = {stream.index: _Waiting() for stream in streams}
        self._origin = origin
        self._done = False
        self._reached = self._holes = 0.0
        self.stop = Event()
        """Set when no packet is wanted any more."""
        self.astray = 0
        """Packets left out because their time can't be; the readers add theirs."""
        self.damaged = 0
        """Packets that could not be read or decoded."""
        self.cut = False
        """Whether reading broke off with an error."""

    def begin(self, start: float) -> None:
        """Read the first packet; the container was made to begin near ``start`` s. Raises
        StreamerError if it is encrypted.
        """
        self._reached = start
        self._read()

    def packets(self, stream: Stream) -> Iterator[Packet[Stream] | float]:
        """The packets of ``stream`` in file order, the last one empty (it flushes the decoder).

        A float t between them: no packet from before t s follows. Raises StreamerError if one
        turns up after all. Once ``stop`` is set they end at once, without the empty one.
        """
        mine = self._waiting[stream.index]
        others = [w for index, w in self._waiting.items() if index != stream.index]
        while not self.stop.is_set():
            if mine.packets:
                yield mine.packets.popleft()
            elif self._done:
                yield Packet()
                return
            elif (passed := _newest(others) - SKEW_S) > max(mine.newest, mine.given_up) + STEP_S:
                mine.given_up = passed
                yield passed
            else:
                self._read()

    def decode(self, stream: Stream, packet: Packet[Stream]) -> list[object]:
        """The frames of one packet; a damaged packet gives none and is counted."""
        try:
            if packet.size:
                return list(packet.decode())
            assert isinstance(stream, (VideoStream, AudioStream))
            return list(stream.codec_context.decode(None))
        except FFmpegError:
            self.damaged += packet.size > 0
            return []

    def _read(self) -> None:
        try:
            packet = next(self._source, None)
        except FFmpegError:
            packet, self.cut = None, True
        except IndexError:  # PyAV, at the end of a file in which further streams turned up
            packet = None
        if packet is None:
            self._done = True
        elif packet.size:
            self._keep(packet)

    def _keep(self, packet: Packet[Stream]) -> None:
        if packet.has_sidedata("encryption_info"):
            raise StreamerError(ENCRYPTED)
        queue = self._waiting[packet.stream.index]
        if packet.time_base is not None:
            stamps = [stamp for stamp in (packet.dts, packet.pts) if stamp is not None]
            times = [float(stamp * packet.time_base) - self._origin for stamp in stamps]
            if not self._is_credible(max(times, default=0.0)):
                self.astray += 1
                return
            self._reached = max(self._reached, *times) if times else self._reached
            queue.newest = times[0] if times else queue.newest
        if queue.newest < queue.given_up:
            raise StreamerError(
                f"picture and sound lie more than {SKEW_S:g} s apart in this file: "
                "rewrite it interleaved (ffmpeg -i IN -c copy OUT.mkv)"
            )
        queue.packets.append(packet)

    def _is_credible(self, t: float) -> bool:
        """Whether a packet can be from ``t`` s; then its hole is counted."""
        step = t - self._reached
        holes = self._holes + step * (step > SKEW_S)
        if step > HOLE_S or holes > HOLE_S + self._reached - self._holes:
            return False
        self._holes = holes
        return True


def _newest(queues: list[_Waiting]) -> float:
    """How far the waiting packets of the other streams reach, s."""
    return max((q.newest for q in queues if q.packets), default=-math.inf)
