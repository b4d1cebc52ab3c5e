"""What travels between the threads, and the protocols that the stages keep.

Times are media seconds from the recording's common origin; sample indices count 16 kHz samples
from the same origin.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
Modality = Literal["face", "voice", "fused"]
ClosedBy = Literal["change", "face", "gap", "end", "stopped", "error"]

EMOTIONS = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
NEUTRAL = EMOTIONS.index("Neutral")
UNKNOWN = "Unknown"
"""The label of an interval whose most probable emotion is not probable enough."""
SAMPLE_RATE = 16_000


class StreamerError(Exception):
    """An error that a user can mend: one line that says what is wrong and what to do.

    ``status`` is the exit status: 2 for bad input or usage, 1 for a failure while running.
    """

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture at time ``t``. ``load`` converts it to uint8 (H, W, 3) RGB when first needed:
    a frame that no grid point asks for is never converted.
    """

    t: float
    index: int
    load: Callable[[], Image]


@dataclass(frozen=True, slots=True)
class Face:
    """A detected face: box in pixels of the picture, score 0…1, and ``roll``: by how many degrees
    the line of the eyes is turned clockwise (0 too where the detector gives no eyes).
    """

    x: float
    y: float
    width: float
    height: float
    score: float
    roll: float = 0.0


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """Mono sound, float32 (n,) in −1…1 at 16 kHz; ``start`` is the index of its first sample."""

    start: int
    pcm: Floats


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model reads off one face or stretch of sound.

    probs: float32 (7,) in the order of EMOTIONS.
    details: float32 (C + 2,): the shares of the model's own C labels, then valence and arousal,
    −1…1, NaN where no model gives them; None: nothing but ``probs`` is known.
    face_id: whose face, from 1; 0: faces are not told apart.
    """

    probs: Floats
    details: Floats | None = None
    face_id: int = 0


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A model's own labels, and the one of EMOTIONS that each means (None: none of them)."""

    labels: tuple[str, ...]
    emotions: tuple[str | None, ...]

    def native(self, emotion: str, details: tuple[float, ...]) -> str:
        """The model's own label with the largest share of those that mean ``emotion``, or ""."""
        shares = zip(details, self.labels, self.emotions, strict=False)
        found = [(share, label) for share, label, meant in shares if meant == emotion]
        return max(found, default=(0.0, ""), key=lambda item: item[0])[1]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one moment.

    time: the moment from which it speaks (a frame's time; the start of a voice window's cell), s.
    start, end: the stretch of data it looked at, s. A frame has both at its own time.
    probs: float32 (7,) in the order of EMOTIONS, or None: no face, more than one, or nobody speaks.
    voiced: share of the looked-at time in which somebody speaks, 0…1 (voice only).
    captured: monotonic wall time at which the newest datum it used was captured, s.
    details, face_id: as in Reading.
    passed: it says no more than that time went on since the last one, which said None too. When
    that is said depends on the threads: it is no row.
    """

    modality: Modality
    time: float
    start: float
    end: float
    probs: Floats | None
    voiced: float = 0.0
    captured: float = 0.0
    details: Floats | None = None
    face_id: int = 0
    passed: bool = False


@dataclass(frozen=True, slots=True)
class Interval:
    """A closed stretch of one emotion. ``score`` is the label's mean probability, ``intensity`` the
    mean probability of anything but Neutral (both 0…1), ``samples`` the predictions behind it,
    ``details`` the mean of theirs (empty: they have none), ``face_id`` as in Reading.
    """

    modality: Modality
    label: str
    start: float
    end: float
    score: float
    intensity: float
    samples: int
    closed_by: ClosedBy
    details: tuple[float, ...] = ()
    face_id: int = 0


@dataclass(frozen=True, slots=True)
class Running:
    """The interval that is still open: it may yet change, so no table has it."""

    label: str
    start: float


@dataclass(frozen=True, slots=True)
class SpanRequest:
    """Asks the speech worker for the voice during [start, end) s; ``key`` comes back with it."""

    key: int
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class SpanReply:
    """The answer to a SpanRequest: ``reading`` is None where nobody spoke."""

    key: int
    reading: Reading | None
    voiced: float


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """A worker has seen everything of its modality; ``t`` is where its stream ended, s."""

    modality: Modality
    t: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A thread died of ``error``."""

    thread: str
    error: BaseException


Message = Prediction | SpanReply | StreamEnd | Failure


@dataclass(slots=True)
class SourceInfo:
    """What a source is. ``duration`` is None where it has no end known beforehand."""

    name: str
    has_video: bool
    has_audio: bool
    start: float = 0.0
    duration: float | None = None
    description: dict[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class DeviceState:
    """What a capture device is doing: written by its own thread alone, read by the dashboard.

    detail: what it gives, for people ("1280×720 MJPG, 30/s").
    losses, lost_s: how often and for how long it was away, s.
    dropped: data that the device itself or its driver lost (frames, or overflows of sound).
    level: of the sound, dBFS. drift_ppm: by how much its clock is faster than the monotonic one;
    drift_ms: the error that is left after the correction.
    """

    name: str
    kind: Literal["camera", "microphone", "stream"]
    status: Literal["opening", "running", "lost", "ended"] = "opening"
    detail: str = ""
    losses: int = 0
    lost_s: float = 0.0
    dropped: int = 0
    level: float | None = None
    drift_ppm: float | None = None
    drift_ms: float | None = None


class FrameSink(Protocol):
    """Where a source puts its frames."""

    def put(self, frame: Frame) -> bool:
        """Take a frame; False: nobody wants more."""

    def advance(self, t: float) -> bool:
        """There is no frame before ``t`` s that was not put yet. False: as in put."""

    def close(self, end: float | None = None) -> None:
        """No more frames come; the stream ended at ``end`` s."""


class AudioSink(Protocol):
    """Where a source puts its sound."""

    def write(self, chunk: AudioChunk) -> bool:
        """Take a chunk; what is missing before it is silence. False: nobody wants more."""

    def advance(self, sample: int) -> bool:
        """There is no sound before ``sample`` that was not written yet. False: as in write."""

    def close(self) -> None:
        """No more sound comes."""


class Source(Protocol):
    """Media stamped with its own time, pushed into two sinks until it ends."""

    info: SourceInfo
    problems: list[str]
    """What was wrong with the media, a line each; complete after ``run``."""

    def run(self, frames: FrameSink, audio: AudioSink, stop: Event) -> None:
        """Push everything, in time order; close both sinks at the end, or soon after ``stop``."""

    def close(self) -> None:
        """Release the device or file; may be called twice."""


class Segmenter(Protocol):
    """An online segmenter of one modality: predictions in time order in, closed intervals out."""

    @property
    def settled(self) -> float:
        """No interval that is not open yet begins before this time, s, and the open one does not
        end before it.
        """

    @property
    def running(self) -> Running | None:
        """The open interval."""

    def push(self, prediction: Prediction) -> list[Interval]:
        """Take the next prediction; return what it closes."""

    def finish(self, end: float, closed_by: ClosedBy) -> list[Interval]:
        """Close what is open at ``end``."""
