"""Looking for faces less often than at them."""

import math

from streamer.mtcnn import Mtcnn
from streamer.types import Face, Image


class SparseDetector:
    """Looks at whole pictures ``rate_hz`` times a second of media, and in between only where the
    faces were that are known.

    At the whole picture too where nobody is known, and at once where a face was lost or two came
    to lie on each other. A newcomer beside a known face is so seen after at most 1 / ``rate_hz`` s.
    A function of media time and pictures alone.

    Source: the detector that starts a tracker, and starts it anew when its score says that it has
    lost what it follows, is that of Bazarevsky et al., "BlazePose: On-device real-time body pose
    tracking", 2020.
    """

    def __init__(self, detector: Mtcnn, rate_hz: float) -> None:
        self._detector, self._rate_hz = detector, rate_hz
        self._turn = -1
        """Of the grid of 1 / rate_hz s: the last one in which a whole picture was looked at."""
        self._known: list[Face] = []

    def detect(self, image: Image, t: float) -> list[Face]:
        """Faces in an RGB picture uint8 (H, W, 3) at ``t`` s, best first. Times must not
        decrease.
        """
        turn = math.floor(t * self._rate_hz + 1e-6)
        if self._known and turn == self._turn:
            faces = self._detector.follow(image, self._known)
            if len(faces) == len(self._known):
                self._known = faces
                return faces
        self._turn, self._known = turn, self._detector.detect(image)
        return self._known
