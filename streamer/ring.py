"""Preallocated rings between a source and its workers: the only locks of the program.

Two policies. Lossless (files as fast as possible): a full ring makes the source wait. Live
(devices, paced replay): the oldest datum is overwritten and counted. A closed ring hands out what
it still holds, then ends.
"""

import math
import threading
from collections.abc import Callable

import numpy as np

from streamer.types import SAMPLE_RATE, AudioChunk, Floats, Frame


class FrameRing:
    """Keeps, of a stream of frames, those that the media-time grid k / rate_hz asks for.

    Grid point t_k wants the newest frame up to t_k. Whether a frame is wanted is known when its
    successor comes, so the newest frame waits outside the slots until then.
    """

    def __init__(self, rate_hz: float, slots: int, lossless: bool) -> None:
        self._rate, self._lossless, self._stride = rate_hz, lossless, 1
        self._slots: list[Frame | None] = [None] * slots
        self._first = self._count = 0
        self._newest: Frame | None = None
        self._quiet: float | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._emptied = threading.Condition(self._lock)
        self.seen = 0
        """Frames that the source has put."""
        self.dropped = 0
        """Wanted frames that were overwritten before the worker took them, or thinned out."""
        self.end = 0.0
        """Where the stream ended, s; until closed, the newest frame's time."""

    def put(self, frame: Frame) -> bool:
        """Take a frame later than the last one. Blocks while full if lossless; False: closed."""
        with self._lock:
            self._pass(frame.t)
            if self._closed:
                return False
            self._newest, self.end, self.seen = frame, frame.t, self.seen + 1
            return True

    def advance(self, t: float) -> bool:
        """No frame before ``t`` s is still to be put. Blocks as put does; False: closed.

        Without it nothing would be known of a long time without frames until the next one comes.
        """
        with self._lock:
            self._pass(t)
            self._quiet = self._newest.t if self._newest else t
            self._filled.notify()
            return not self._closed

    def thin(self, stride: int) -> None:
        """From now on only every ``stride``-th grid point wants a frame (live policy).

        The slots in use become fewer, so that what waits never grows older than before.
        """
        with self._lock:
            self._stride = stride
            while self._count > self._room:
                self._drop()

    def take(self) -> Frame | float | None:
        """The next wanted frame, oldest first. Blocks; None: closed and empty.

        A float t instead: all frames before t s were taken, and time has come that far. Of several
        such times only the last need be told, but that always: also after the end.
        """
        with self._lock:
            self._filled.wait_for(lambda: self._count or self._closed or self._quiet is not None)
            if not self._count:
                quiet, self._quiet = self._quiet, None
                return quiet
            frame, self._slots[self._first] = self._slots[self._first], None
            self._first = (self._first + 1) % len(self._slots)
            self._count -= 1
            if self._count <= len(self._slots) // 2:
                self._emptied.notify()
            return frame

    def close(self, end: float | None = None) -> None:
        """No more frames come; the stream ended at ``end`` s (None: with its last frame).

        The last frame is kept if a grid point before the end wants it.
        """
        with self._lock:
            if self._closed:
                return
            self.end = max(self.end if end is None else end, self.end)
            self._pass(self.end, only=self.seen == 1)
            self._end()

    def abort(self) -> None:
        """End at once: whoever waits is let go."""
        with self._lock:
            self._end()

    def __len__(self) -> int:
        return self._count

    def _end(self) -> None:
        self._closed = True
        self._filled.notify_all()
        self._emptied.notify_all()

    def _pass(self, t: float, only: bool = False) -> None:
        """Keep the newest frame if a grid point before ``t`` wants it, or if it is the ``only``."""
        last = self._newest
        if last is None or self._closed or not (only or self.wanted(last.t, t, self._rate)):
            return
        self._newest = None
        if self._stride == 1 or only or self.wanted(last.t, t, self._rate / self._stride):
            self._keep(last)
        else:
            self.dropped += 1

    @staticmethod
    def wanted(t: float, following: float, rate: float) -> bool:
        """Whether there is a k with t <= k / rate < following."""
        # The slack forgives the last bit of a PTS.
        return math.ceil(t * rate - 1e-6) < following * rate - 1e-6

    @property
    def _room(self) -> int:
        return max(len(self._slots) // self._stride, 1)

    def _drop(self) -> None:
        """Drop the oldest frame."""
        self._slots[self._first] = None
        self._first = (self._first + 1) % len(self._slots)
        self._count -= 1
        self.dropped += 1

    def _keep(self, frame: Frame) -> None:
        if self._count >= self._room:
            if self._lossless:
                # Half empty, not by one slot: each waking of the source costs time.
                self._emptied.wait_for(lambda: self._count <= len(self._slots) // 2 or self._closed)
                if self._closed:
                    return
            else:
                self._drop()
        self._slots[(self._first + self._count) % len(self._slots)] = frame
        self._count += 1
        self._filled.notify()


class AudioRing:
    """The last ``seconds`` of 16 kHz mono sound, addressed by sample index; gaps are silence.

    One thread writes and one waits; readers say with ``hold`` from which sample on they still need
    the sound.
    """

    def __init__(self, seconds: float, lossless: bool, start: int = 0) -> None:
        self._pcm = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
        self._lossless = lossless
        self._held: dict[str, int] = {}
        self._closed = False
        self._awaited = start
        self._lock = threading.Lock()
        self._grown = threading.Condition(self._lock)
        self._freed = threading.Condition(self._lock)
        self.start = start
        """The first sample of the stream."""
        self.end = start
        """One after the newest sample."""

    def write(self, chunk: AudioChunk) -> bool:
        """Append a chunk; a hole before it becomes silence, an overlap is cut. False: closed."""
        if not self.advance(chunk.start):
            return False
        pcm = chunk.pcm[max(self.end - chunk.start, 0) :]
        return all(self._append(part) for part in self._parts(pcm))

    def advance(self, sample: int) -> bool:
        """Fill with silence up to ``sample``. False: closed."""
        step = len(self._pcm) // 4
        while self.end < sample and not self._closed:
            self._append(np.zeros(min(step, sample - self.end), np.float32))
        return not self._closed

    def hold(self, reader: str, sample: int) -> None:
        """``reader`` no longer needs what lies before ``sample``."""
        with self._lock:
            self._held[reader] = sample
            self._freed.notify()

    def wait(self, sample: int, interrupted: Callable[[], bool]) -> bool:
        """Block until the sound reaches ``sample``, the ring is closed, or ``interrupted()``.

        True: no waiting for ``sample`` is needed any more.
        """
        with self._lock:
            self._awaited = sample
            self._grown.wait_for(lambda: self.end >= sample or self._closed or interrupted())
            return self.end >= sample or self._closed

    def pause(self, interrupted: Callable[[], bool]) -> None:
        """Block until ``interrupted()``, whatever the sound does."""
        with self._lock:
            self._grown.wait_for(interrupted)

    def wake(self) -> None:
        """Let the waiting reader look at its ``interrupted`` again."""
        with self._lock:
            self._grown.notify()

    def read(self, start: int, end: int) -> Floats | None:
        """A copy of [start, end), float32; None where it is (partly) not, or no longer, there, or
        holds nothing.
        """
        with self._lock:
            oldest = max(self.end - len(self._pcm), self.start)
            if not oldest <= start < end <= self.end:
                return None
            size = len(self._pcm)
            at, length = start % size, end - start
            return np.concatenate(
                [self._pcm[at : at + length], self._pcm[: max(at + length - size, 0)]]
            )

    def close(self) -> None:
        """No more sound comes: ``end`` is final, and whoever waits is let go."""
        with self._lock:
            self._closed = True
            self._grown.notify()
            self._freed.notify()

    @property
    def closed(self) -> bool:
        """Whether ``end`` is final."""
        return self._closed

    def _parts(self, pcm: Floats) -> list[Floats]:
        step = len(self._pcm) // 4
        return [pcm[at : at + step] for at in range(0, len(pcm), step)]

    def _append(self, pcm: Floats) -> bool:
        size = len(self._pcm)
        with self._lock:
            if self._lossless:
                self._freed.wait_for(
                    lambda: (
                        self._closed
                        or self.end + len(pcm) - min(self._held.values(), default=self.end) <= size
                    )
                )
            if self._closed:
                return False
            at = self.end % size
            first = min(len(pcm), size - at)
            self._pcm[at : at + first] = pcm[:first]
            self._pcm[: len(pcm) - first] = pcm[first:]
            self.end += len(pcm)
            if self.end >= self._awaited:  # not for every chunk: a waking costs time
                self._grown.notify()
            return True
