"""From what FFmpeg decodes to what travels: RGB pictures and 16 kHz mono sound."""

import ctypes
import errno
from collections.abc import Callable
from contextlib import suppress
from functools import cache

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.error import InvalidDataError
from av.format import ContainerFormat
from av.stream import Disposition, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamer.types import SAMPLE_RATE, Floats, Image

PLAYLISTS = {"concat", "dash", "hls", "imf", "mlv", "sdp", "tty", "vobsub"}
"""FFmpeg's formats that open other files, or draw text: no recording is in one of them."""

MOST_PIXELS = 1 << 26
"""Of one picture: 8192 × 8192. A few kilobytes can hold a picture that fills the memory."""

MOST_SAMPLES = 1 << 20
"""Of one packet's sound, in each channel: a lossless codec stores millions in a few bytes."""

BOUNDS = {"max_pixels": str(MOST_PIXELS), "max_samples": str(MOST_SAMPLES)}
"""What a container is told; `bound` tells its decoders: a picture may also grow on the way."""

MOST_BYTES = 5 * MOST_PIXELS
"""What FFmpeg may allocate at once: of the largest pictures, up to four bytes a pixel."""

LEAST_RATE, MOST_RATE, MOST_CHANNELS = 1000, 768_000, 64
"""Of sound. What is stored at a few Hz is resampled to thousands of times its size."""


@cache
def recordings() -> frozenset[str]:
    """FFmpeg's formats in which a recording is, and in the one file: no device, screen or list.

    From then on FFmpeg allocates no more than MOST_BYTES at once, where it can be told so.
    """
    with suppress(AttributeError, OSError):  # Windows looks for no function in a library's own
        ctypes.CDLL(av._core.__file__).av_max_alloc(ctypes.c_size_t(MOST_BYTES))
    return frozenset(n for n in av.formats_available - PLAYLISTS if not _is_device(n))


class Resampler:
    """Sound of any rate and layout, which may change on the way, as 16 kHz pieces in their places.

    Stamps off by no more than ``jitter`` samples are rounding, not gaps.
    """

    def __init__(self, jitter: int) -> None:
        self._jitter = jitter
        self._resampler: AudioResampler | None = None
        self._layout: tuple[str, str, int] | None = None
        self._expected: int | None = None

    def feed(self, frame: AudioFrame) -> list[AudioFrame]:
        """What comes out for ``frame``: packed float at 16 kHz. Raises FFmpegError."""
        if not _is_sound(frame.sample_rate, frame.layout.nb_channels):
            raise InvalidDataError(errno.EINVAL, "no sound that can be resampled")
        pieces: list[AudioFrame] = []
        layout = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or layout != self._layout:
            pieces = self.flush()
            self._resampler = AudioResampler(format="flt", rate=SAMPLE_RATE)
            self._layout = layout
        assert self._resampler is not None
        return pieces + self._resampler.resample(frame)

    def flush(self) -> list[AudioFrame]:
        """What is still inside."""
        pieces = self._resampler.resample(None) if self._resampler else []
        self._resampler = None
        return pieces

    def place(self, piece: AudioFrame, origin: float) -> int:
        """The first sample of the next piece, where the stamps' ``origin`` s is sample 0."""
        start = self._expected
        if piece.pts is not None and piece.time_base is not None:
            start = round((float(piece.pts * piece.time_base) - origin) * SAMPLE_RATE)
        expected = self._expected
        if start is None or (expected is not None and abs(start - expected) <= self._jitter):
            start = expected or 0
        self._expected = start + piece.samples
        return start


def mono(piece: AudioFrame) -> tuple[Floats, int]:
    """Float32 (n,) in −1…1, the mean of all channels, and how many samples were not numbers:
    those become silence.
    """
    # Packed: PyAV would read the planes beyond the eighth channel from nowhere.
    channels = piece.to_ndarray().reshape(-1, piece.layout.nb_channels)
    pcm = channels.mean(axis=1, dtype=np.float32)
    bad = ~np.isfinite(pcm)
    if bad.any():
        pcm[bad] = 0
    return np.clip(pcm, -1, 1), int(bad.sum())


def loader(frame: VideoFrame, aspect: float, max_px: int) -> Callable[[], Image]:
    """Converts when called: scaled to ``max_px``, square pixels, upright."""

    def load() -> Image:
        width = frame.width * aspect
        scale = min(1.0, max_px / max(width, frame.height))
        # One thread: handing 640×480 pixels around several costs three times the conversion.
        rgb = frame.reformat(
            width=max(round(width * scale), 1),
            height=max(round(frame.height * scale), 1),
            format="rgb24",
            threads=1,
        ).to_ndarray()
        return np.ascontiguousarray(np.rot90(rgb, frame.rotation // 90))

    return load


def bound(context: VideoCodecContext | AudioCodecContext) -> None:
    """Tell a decoder, before its first packet, how large what it makes of one may be."""
    plain = context.name.startswith("pcm_")  # this takes its room in the file, too
    context.options = BOUNDS | ({"max_samples": str((1 << 31) - 1)} if plain else {})


def is_cover(stream: Stream) -> bool:
    """Whether it is a picture attached to a song, not a video."""
    return bool(stream.disposition & Disposition.attached_pic)


def has_decoder(stream: VideoStream | AudioStream) -> bool:
    """Whether it can be decoded here, within these bounds."""
    if stream.codec_context is None:  # whatever PyAV's types say
        return False
    if isinstance(stream, AudioStream):
        sound = stream.codec_context
        return not sound.sample_rate or _is_sound(sound.sample_rate, sound.layout.nb_channels)
    return stream.codec_context.width * stream.codec_context.height <= MOST_PIXELS


def _is_device(name: str) -> bool:
    try:
        return ContainerFormat(name, "r").no_file
    except ValueError:  # only written
        return True


def _is_sound(rate: int, channels: int) -> bool:
    return LEAST_RATE <= rate <= MOST_RATE and channels <= MOST_CHANNELS
