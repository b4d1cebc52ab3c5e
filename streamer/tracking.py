"""Who is who from picture to picture, by where the faces are: nothing of a person is stored."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from streamer.segmenter import Mapped
from streamer.types import Face, Interval, Prediction, Segmenter

GATE = 1.5
"""A face is not taken for one that is further off: distance in sides plus |log| of the sizes'
ratio."""
INERTIA_S = 0.5
"""A face goes on as it went for about so long, s."""
LARGER = 1.25
"""A face is clearly larger if its side is so many times the other's."""
MOST = 64
"""No more faces are known at a time."""


@dataclass(frozen=True, slots=True)
class Track:
    """A face that is known: its ``id`` from 1, and what it was when last ``seen``, s: its middle
    and the mean of its sides in pixels, and how fast it moved, pixels a second.
    """

    id: int
    seen: float
    x: float
    y: float
    side: float
    vx: float = 0.0
    vy: float = 0.0

    def distance(self, t: float, x: float, y: float, side: float) -> float:
        """How far a face is off from where this one should be at ``t`` s, as for GATE."""
        way = INERTIA_S * (1 - math.exp(-(t - self.seen) / INERTIA_S))
        off = math.hypot(self.x + way * self.vx - x, self.y + way * self.vy - y)
        return off / max(self.side, side) + abs(math.log(side / self.side))

    def moved(self, t: float, x: float, y: float, side: float) -> "Track":
        """The same face, seen again."""
        if (passed := t - self.seen) <= 0:
            return replace(self, x=x, y=y, side=side)
        new = 1 - math.exp(-passed / INERTIA_S)
        vx = self.vx + new * ((x - self.x) / passed - self.vx)
        vy = self.vy + new * ((y - self.y) / passed - self.vy)
        return Track(self.id, t, x, y, side, vx, vy)


class Tracker:
    """Gives every face an id, from 1, that it keeps while it moves steadily or is lost for at most
    ``track_s``.

    The faces known are expected to go on at their speed, which fades out while they are not seen.
    Faces and expectations are matched from the closest pair on, each once. A face that matches
    none is new. A function of media time and boxes alone, whose order does not matter.

    Sources: Bewley et al., "Simple online and realtime tracking" (SORT), 2016; Zhou, Koltun,
    Krähenbühl, "Tracking objects as points", 2020 (greedy matching by distance of the middles,
    which holds where boxes of a low rate do not overlap); Gardner and McKenzie, "Forecasting trends
    in time series", 1985 (the damped trend).
    """

    def __init__(self, track_s: float) -> None:
        self._track_s = track_s
        self._known: dict[int, Track] = {}
        self._newest = 0

    @property
    def known(self) -> dict[int, Track]:
        """The faces seen in the last ``track_s``, by id."""
        return self._known

    def update(self, t: float, faces: Sequence[Face]) -> list[int]:
        """The ids of the faces in a picture at ``t`` s, in their order; 0: beyond the MOST largest.

        Times must not decrease.
        """
        self._known = {i: k for i, k in self._known.items() if t - k.seen <= self._track_s + 1e-9}
        boxes = [(f.x + f.width / 2, f.y + f.height / 2, (f.width + f.height) / 2) for f in faces]
        wanted = sorted(range(len(boxes)), key=lambda k: (-boxes[k][2], boxes[k]))[:MOST]
        wanted = [k for k in wanted if boxes[k][2] > 0]
        pairs = sorted(
            (cost, track.id, *boxes[k], k)
            for track in self._known.values()
            for k in wanted
            if (cost := track.distance(t, *boxes[k])) < GATE
        )
        ids, taken = [0] * len(boxes), set()
        for _, known, _, _, _, k in pairs:
            if not ids[k] and known not in taken:
                ids[k] = known
                taken.add(known)
                self._known[known] = self._known[known].moved(t, *boxes[k])
        for k in wanted:
            if not ids[k]:
                self._newest = ids[k] = self._newest + 1
                self._known[ids[k]] = Track(ids[k], t, *boxes[k])
        newest = sorted(self._known.values(), key=lambda track: (-track.seen, track.id))
        self._known = {track.id: track for track in newest[:MOST]}
        return ids


class Follower:
    """Whose emotion counts: of ``single``, the only face's; of ``largest``, one person's.

    ``largest`` begins with the largest face and stays with it, however the sizes shake: until it
    is gone for more than ``track_s``, or another one was clearly larger for so long. While it is
    gone nobody's counts.
    """

    def __init__(self, rule: Literal["single", "largest"], track_s: float) -> None:
        self._single, self._track_s = rule == "single", track_s
        self._tracker = Tracker(track_s)
        self._followed = 0
        self._larger: dict[int, float] = {}
        """Since when the faces that are clearly larger than the followed one are so, s."""

    def follow(self, t: float, faces: Sequence[Face]) -> tuple[Face, int] | None:
        """The face that counts in a picture at ``t`` s, and its id."""
        present = dict(zip(self._tracker.update(t, faces), faces, strict=True))
        present.pop(0, None)
        if self._single:
            return (faces[0], next(iter(present))) if len(faces) == 1 and present else None
        sizes = {known.id: known.side for known in self._tracker.known.values()}
        if (side := sizes.get(self._followed)) is not None:
            larger = [i for i, other in sizes.items() if other > LARGER * side]
            self._larger = {i: self._larger.get(i, t) for i in larger}
            long = [i for i in larger if t - self._larger[i] >= self._track_s - 1e-9]
        else:
            long = list(present)
        if rivals := [i for i in long if i in present]:
            self._followed = max(rivals, key=lambda i: (sizes[i], -i))
            self._larger = {}
        face = present.get(self._followed)
        return (face, self._followed) if face else None


class PerFace(Mapped):
    """A segmenter none of whose intervals holds two people: another face_id closes the open one.

    A prediction without a face_id does not tell people apart and changes nothing.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__(segmenter, lambda row: replace(row, face_id=self._id))
        self._id = 0

    def push(self, prediction: Prediction) -> list[Interval]:
        """Take the next prediction; return what it closes."""
        closed = []
        if prediction.face_id not in (0, self._id):
            closed = self.finish(prediction.time, "face")
            self._id = prediction.face_id
        return closed + super().push(prediction)
