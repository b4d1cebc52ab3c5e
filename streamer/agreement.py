"""What the two modalities say together, from intervals as they come: changes and mismatches."""

import heapq
from dataclasses import dataclass, field

from streamer.pairing import Pair
from streamer.types import UNKNOWN, Interval, Modality


@dataclass(frozen=True, slots=True, order=True)
class Transition:
    """A change from one emotion to another at ``time`` s, after ``gap`` s without any."""

    time: float
    modality: Modality
    source: str
    target: str
    gap: float


class Transitions:
    """Changes of both modalities in one order, whichever thread was faster.

    A change is final when the interval that it leads to closes, for only then its emotion is. The
    order is that of those closings: a change is given out once no earlier closing of the other
    modality can come. The same emotion in two intervals, touching or not, is no change, and
    neither is another person. An Unknown interval is a gap: it neither ends nor begins a change.
    """

    def __init__(self, modalities: list[Modality]) -> None:
        self._settled = {m: float("-inf") for m in modalities}
        self._last: dict[Modality, Interval] = {}
        self._waiting: list[tuple[float, Transition]] = []
        self.counts: dict[Modality, int] = {"face": 0, "voice": 0}

    def update(
        self, modality: Modality, closed: list[Interval], settled: float
    ) -> list[Transition]:
        """Take what a push closed; nothing more of its modality ends before ``settled`` s."""
        for interval in closed:
            if interval.label == UNKNOWN:
                continue
            last, self._last[modality] = self._last.get(modality), interval
            if last and last.label != interval.label and last.face_id == interval.face_id:
                gap = interval.start - last.end
                change = Transition(interval.start, modality, last.label, interval.label, gap)
                heapq.heappush(self._waiting, (interval.end, change))
        self._settled[modality] = settled
        ready = []
        while self._waiting and self._waiting[0][0] < min(self._settled.values()):
            ready.append(heapq.heappop(self._waiting)[1])
            counted = ready[-1].modality
            self.counts[counted] = self.counts.get(counted, 0) + 1
        return ready


@dataclass(slots=True)
class Agreement:
    """Seconds of face intervals, with a voice, in mismatch; and seconds of each emotion."""

    face_s: float = 0.0
    both_s: float = 0.0
    mismatch_s: float = 0.0
    rows: int = 0
    mismatches: int = 0
    seconds: dict[Modality, dict[str, float]] = field(
        default_factory=lambda: {"face": {}, "voice": {}}
    )

    def add(self, pair: Pair) -> None:
        """Take the next pair."""
        length = pair.face.end - pair.face.start
        self.rows += 1
        self.face_s += length
        self.both_s += length * pair.both
        self.mismatch_s += length * pair.mismatch
        self.mismatches += pair.mismatch

    def add_interval(self, interval: Interval) -> None:
        """Take the next interval of either modality."""
        totals = self.seconds.setdefault(interval.modality, {})
        totals[interval.label] = totals.get(interval.label, 0.0) + interval.end - interval.start

    @property
    def mismatch_share(self) -> float:
        """Share of the time with both emotions in which they differ, 0…1."""
        return self.mismatch_s / self.both_s if self.both_s else 0.0
