"""Face and voice on one line of whole milliseconds: everything that can be counted row by row."""

import math
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.types import EMOTIONS, UNKNOWN, Interval, Modality

Ints = NDArray[np.int64]
CODES = {emotion: code for code, emotion in enumerate(EMOTIONS)}
NIL = len(EMOTIONS)
"""The code of what has no partner in the other modality."""
LAG_STEP_MS = 250
LAGS_MS = np.arange(-3000, 3001, LAG_STEP_MS)
"""What the voice may come after the face by, ms."""
CENSORING = ("end", "stopped", "error", "face")
"""What closes an interval whose emotion was not seen to end."""
MODALITIES: tuple[Modality, Modality] = ("face", "voice")


def milliseconds(t: float) -> int:
    """The whole milliseconds of ``t`` s, as the tables have them."""
    return round(round(t, 3) * 1000)


class Event(NamedTuple):
    """The beginning of an emotion, at ``time`` ms, in both modalities or (NIL) in one of them."""

    time: int
    face: int
    voice: int


@dataclass(slots=True)
class Lane:
    """The closed intervals of one modality in order of time, ms, and what was counted of them.

    totals: int64 (7,), ms of each emotion. changes: int64 (7, 7), from one emotion to another;
    change_times: their ms. final_to: there is no interval yet to come that begins before, ms.
    """

    present: bool
    final_to: float
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    censored: list[bool] = field(default_factory=list)
    totals: Ints = field(default_factory=lambda: np.zeros(NIL, np.int64))
    changes: Ints = field(default_factory=lambda: np.zeros((NIL, NIL), np.int64))
    change_times: list[tuple[int, int, int]] = field(default_factory=list)
    ended: int | None = None
    face_id: int = 0
    """Whose the last interval was."""

    def add(self, start: int, end: int, code: int, censored: bool, face_id: int) -> None:
        """Take the next interval. From one person to another nothing changes."""
        same, self.face_id = face_id == self.face_id, face_id
        if self.codes and self.codes[-1] != code and same:
            self.changes[self.codes[-1], code] += 1
            self.change_times.append((start, self.codes[-1], code))
        self.totals[code] += end - start
        self.starts.append(start)
        self.ends.append(end)
        self.codes.append(code)
        self.censored.append(censored)

    def array(self) -> Ints:
        """int64 (3, n): starts and ends in ms, codes."""
        return np.array([self.starts, self.ends, self.codes], np.int64).reshape(3, -1)


class Timeline:
    """Counts what face and voice do together, at every closed interval.

    All counts are whole numbers, so that the order in which the two modalities come does not
    matter and nothing is lost over hours. An emotion is censored, seen to begin but not to end, if
    the end of the recording or another person cut it. The closed intervals are kept: a few each
    minute, some megabytes for a day.

    tables: int64 (lags, 7, 7), ms in which the face shows i at t and the voice j at t + LAGS_MS.
    events: beginnings, linked where those of face and voice are at most ``tolerance_s`` apart.
    """

    def __init__(self, modalities: list[Modality], start_s: float, tolerance_s: float) -> None:
        self._start = milliseconds(start_s)
        self.tolerance = milliseconds(tolerance_s)
        self.lanes = {
            m: Lane(m in modalities, self._start if m in modalities else math.inf)
            for m in MODALITIES
        }
        self.tables = np.zeros((len(LAGS_MS), NIL, NIL), np.int64)
        self.events: list[Event] = []
        self._unlinked: dict[Modality, deque[tuple[int, int]]] = {m: deque() for m in MODALITIES}

    @property
    def start(self) -> int:
        """Where the session begins, ms."""
        return min([self._start, *(lane.starts[0] for lane in self.lanes.values() if lane.starts)])

    @property
    def complete(self) -> bool:
        """Whether every modality has ended."""
        return all(lane.ended is not None for lane in self.lanes.values() if lane.present)

    @property
    def end(self) -> int:
        """Up to where both modalities are known, ms; in the end, where the later one ended."""
        lanes = [lane for lane in self.lanes.values() if lane.present]
        if self.complete:
            ends = [end for lane in lanes for end in (lane.ended or 0, *lane.ends[-1:])]
            return max([self.start, *ends])
        return int(max(self.start, min(lane.final_to for lane in lanes)))

    def update(self, modality: Modality, closed: list[Interval], final_to: float) -> None:
        """Take what has closed; no interval that did not close yet begins before ``final_to`` s."""
        lane = self.lanes[modality]
        for interval in closed:
            if interval.label == UNKNOWN:  # nothing is known: as a gap
                continue
            start, end = milliseconds(interval.start), milliseconds(interval.end)
            code = CODES[interval.label]
            lane.add(start, end, code, interval.closed_by in CENSORING, interval.face_id)
            self._overlap(modality, start, end, code)
            self._unlinked[modality].append((start, code))
        if final_to > lane.final_to / 1000:
            lane.final_to = milliseconds(final_to) if final_to < math.inf else math.inf
        faces, voices = self._unlinked["face"], self._unlinked["voice"]
        to = (self.lanes["face"].final_to, self.lanes["voice"].final_to)
        self.events += link(faces, voices, self.tolerance, *to)

    def finish(self, modality: Modality, end: float) -> None:
        """A modality has ended at ``end`` s: nothing more of it comes."""
        self.lanes[modality].ended = milliseconds(end)
        self.update(modality, [], math.inf)

    def _overlap(self, modality: Modality, start: int, end: int, code: int) -> None:
        """Count the time that an interval shares, at each lag, with those of the other modality."""
        is_face = modality == "face"
        other = self.lanes["voice" if is_face else "face"]
        lags = LAGS_MS if is_face else -LAGS_MS
        for k in range(bisect_right(other.ends, start + LAGS_MS[0]), len(other.starts)):
            if other.starts[k] >= end + LAGS_MS[-1]:
                break
            last = np.minimum(end + lags, other.ends[k])
            shared = np.maximum(last - np.maximum(start + lags, other.starts[k]), 0)
            face, voice = (code, other.codes[k]) if is_face else (other.codes[k], code)
            self.tables[:, face, voice] += shared


def link(
    faces: deque[tuple[int, int]],
    voices: deque[tuple[int, int]],
    tolerance: int,
    faces_to: float = math.inf,
    voices_to: float = math.inf,
) -> list[Event]:
    """Link beginnings (ms, emotion) of face and voice that are at most ``tolerance`` ms apart.

    Takes from both queues, each in order of time, what can be decided while no beginning before
    ``faces_to`` and ``voices_to`` ms is missing. Linking the earliest two that may be linked gives
    as many links as there can be, none crossing another; what the emotions are does not matter, so
    that agreement is not built in.
    """
    events = []
    while faces or voices:
        face, voice = faces[0][0] if faces else math.inf, voices[0][0] if voices else math.inf
        if abs(face - voice) <= tolerance:
            (time, f), (other, v) = faces.popleft(), voices.popleft()
            events.append(Event(min(time, other), f, v))
        elif face < voice:
            if not voices and face + tolerance >= voices_to:
                break
            time, f = faces.popleft()
            events.append(Event(time, f, NIL))
        else:
            if not faces and voice + tolerance >= faces_to:
                break
            time, v = voices.popleft()
            events.append(Event(time, NIL, v))
    return events
