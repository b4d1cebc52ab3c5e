"""Leaves pictures undecoded that nobody looks at and no other picture is built on."""

from bisect import bisect_right, insort
from typing import NoReturn

from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from streamer.ring import FrameRing

KNOWN = 32
"""Times of pictures that are remembered: more than any decoder holds back."""


class Thrift:
    """Tells an H.264 decoder which pictures it may leave out: those for which the grid k / rate_hz
    has no point until the next picture, unless others refer to them.

    The times of all pictures are known still, so the grid takes the same ones. Only where a picture
    is damaged that was to follow a left out one, the one before stands for both. A picture in two
    fields may lie in two packets: interlaced video is decoded whole.
    """

    def __init__(self, decoder: VideoCodecContext, rate_hz: float | None) -> None:
        self._decoder, self._rate = decoder, rate_hz
        self._progressive = False
        self._times: list[float] = []
        self._left_out: list[float] = []

    def see(self, t: float) -> None:
        """The packet of the picture at ``t`` s is decoded next; packets come in decoding order."""
        if self._rate is None or self._decoder.name != "h264":
            return
        after = bisect_right(self._times, t)
        # A picture that was seen is the next one, or comes after it.
        left_out = (
            self._progressive
            and after < len(self._times)
            and not FrameRing.wanted(t, self._times[after], self._rate)
        )
        self._decoder.skip_frame = "NONREF" if left_out else "DEFAULT"
        if left_out:
            insort(self._left_out, t)
        insort(self._times, t)
        del self._times[:-KNOWN]

    def learn(self, frame: VideoFrame) -> None:
        """A decoded picture came out."""
        self._progressive = not frame.interlaced_frame

    def before(self, t: float) -> list[float]:
        """The times of the pictures left out before the decoded one at ``t`` s, that nobody wants
        for sure; each is given once.
        """
        passed = self._left_out[: bisect_right(self._left_out, t)]
        del self._left_out[: len(passed)]
        unwanted, following = [], t
        for u in reversed(passed):
            # One at t was decoded after all: others refer to it.
            if u < t and self._rate and not FrameRing.wanted(u, following, self._rate):
                unwanted.append(u)
                following = u
        return unwanted[::-1]


def nothing() -> NoReturn:
    """Stands where the picture of a frame would be loaded."""
    raise AssertionError("a picture is wanted that was not decoded")
