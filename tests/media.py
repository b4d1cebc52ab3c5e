"""Media files made at test time, whose content carries its own time.

Each picture shows its number as a bar code (two rows of gray blocks, readable after any codec);
the sound is a chirp: wherever a piece of it is found, its place tells the time.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from operator import itemgetter
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.packet import Packet
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from streamer.resources import demo_clip
from streamer.types import Image

WIDTH, HEIGHT, BLOCK = 128, 64, 16
UPRIGHT = (1, 1, 0, 1, 0, 0, 0, 1)
"""The lower row of blocks: another order means a picture turned, mirrored or cut."""

Sound = NDArray[np.float64]


@dataclass(frozen=True)
class Video:
    """Picture n is shown from ``times[n]`` s on, stored ``turned`` counterclockwise by quarters."""

    times: Sequence[float]
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    size: tuple[int, int] = (WIDTH, HEIGHT)
    aspect: Fraction | None = None
    turned: int = 0
    options: dict[str, str] = field(default_factory=lambda: {"preset": "veryfast", "g": "10"})


@dataclass(frozen=True)
class Audio:
    """Sound during the ``spans`` [start, end) s, with timestamps that jump between them."""

    spans: Sequence[tuple[float, float]]
    codec: str = "aac"
    rate: int = 16_000
    layout: str = "mono"
    format: str = "fltp"
    gain: float = 0.5


def at_rate(fps: float, start: float, end: float) -> list[float]:
    """Times of pictures at a constant rate in [start, end) s."""
    return [start + k / fps for k in range(round((end - start) * fps))]


def chirp(t: Sound) -> Sound:
    """The sound at ``t`` s, −1…1: 300 Hz at zero, 150 Hz higher each second."""
    return np.sin(2 * np.pi * (300 * t + 75 * t * t))


def picture(number: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image:
    """The gray picture (h, w) that shows ``number``, 0…255."""
    bits = [number >> k & 1 for k in range(8)], UPRIGHT
    blocks = np.array(bits, np.uint8) * 200 + 28
    return np.kron(blocks, np.ones((size[1] // 2, size[0] // 8), np.uint8)).astype(np.uint8)


def number_of(image: Image) -> int:
    """The number that an upright RGB picture (h, w, 3) shows; fails on any other."""
    height, width = image.shape[0] // 2, image.shape[1] // 8
    cells = image[: 2 * height, : 8 * width].reshape(2, height, 8, width, 3).mean(axis=(1, 3, 4))
    upper, lower = (cells > 128).astype(int)
    assert tuple(lower) == UPRIGHT, f"not an upright picture: {lower}"
    return int(sum(bit << k for k, bit in enumerate(upper)))


def lag(pcm: NDArray[np.float32], start: float, rate: int = 16_000) -> tuple[int, float]:
    """How many samples later than the chirp at ``start`` s the sound is, and how alike, −1…1."""
    wanted = chirp(start + np.arange(len(pcm)) / rate)
    size = 2 * len(pcm)
    product = np.fft.rfft(pcm, size) * np.conj(np.fft.rfft(wanted, size))
    likeness = np.fft.irfft(product, size) / (np.linalg.norm(pcm) * np.linalg.norm(wanted) + 1e-9)
    best = int(likeness.argmax())
    return (best if best < len(pcm) else best - size), float(likeness[best])


def make_clip(
    path: Path,
    video: Video | None = None,
    audio: Audio | None = None,
    *,
    sound_behind: float = 0.0,
    container: dict[str, str] | None = None,
) -> Path:
    """Write a media file; its format goes by the name.

    sound_behind: how much later than the pictures of its time the sound is stored, s.
    """
    options = dict(container or {})
    if sound_behind:
        options["max_interleave_delta"] = "1"  # else the muxer sorts
    with av.open(str(path), "w", options=options) as out:
        pictures = _encode_video(out, video) if video else []
        sounds = _encode_audio(out, audio) if audio else []
        packets = [(_time(p), p) for p in pictures] + [(_time(p) + sound_behind, p) for p in sounds]
        for _, packet in sorted(packets, key=itemgetter(0)):
            out.mux_one(packet)
    return path


def speaker_clip(
    path: Path,
    seconds: float,
    spoil: Callable[[NDArray[np.float32]], None] | None = None,
    container: dict[str, str] | None = None,
) -> Path:
    """The beginning of the bundled clip, a real face and voice, without encoding it anew; ``spoil``
    may change its sound, float32 (n,) at 16 kHz, in place (for containers that hold float PCM).
    """
    with (
        av.open(str(demo_clip())) as clip,
        av.open(str(path), "w", options=dict(container or {})) as out,
    ):
        copied = [s for s in clip.streams if spoil is None or s.type == "video"]
        streams = {s.index: out.add_stream_from_template(s) for s in copied}
        sound = _encode_pcm(out, spoil, seconds) if spoil else []
        for packet in clip.demux(copied):
            if packet.size and _time(packet) < seconds:
                packet.stream = streams[packet.stream.index]
                out.mux_one(packet)
        for packet in sound:
            out.mux_one(packet)
    return path


def _encode_pcm(
    out: av.container.OutputContainer,
    spoil: Callable[[NDArray[np.float32]], None],
    seconds: float,
) -> list[Packet]:
    with av.open(str(demo_clip())) as clip:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=16_000)
        pieces = [p.to_ndarray()[0] for f in clip.decode(audio=0) for p in resampler.resample(f)]
    pcm = np.concatenate(pieces)[: round(seconds * 16_000)].astype(np.float32)
    spoil(pcm)
    stream = out.add_stream("pcm_f32le", rate=16_000, layout="mono")
    frame = AudioFrame.from_ndarray(pcm[None], format="flt", layout="mono")
    frame.rate, frame.pts, frame.time_base = 16_000, 0, Fraction(1, 16_000)
    return stream.encode(frame) + stream.encode(None)


def turn(path: Path, degrees: int) -> Path:
    """Make an MP4 say, as phones do, that its picture is to be turned clockwise to be shown."""
    cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][degrees // 90]
    matrix = [cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30]
    data = bytearray(path.read_bytes())
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, *matrix)
    path.write_bytes(data)
    return path


def _time(packet: Packet) -> float:
    return float((packet.dts or 0) * (packet.time_base or 0))


def _encode_video(out: av.container.OutputContainer, video: Video) -> list[Packet]:
    stream = out.add_stream(video.codec, rate=25, options=dict(video.options))
    assert isinstance(stream, av.VideoStream)
    stored = [np.rot90(picture(n, video.size), video.turned) for n in range(len(video.times))]
    stream.height, stream.width = stored[0].shape
    stream.pix_fmt = video.pix_fmt
    ticks = 25 if video.codec.startswith("mpeg") else 90_000
    stream.codec_context.time_base = Fraction(1, ticks)
    if video.aspect:
        stream.codec_context.sample_aspect_ratio = video.aspect
    packets = []
    for t, image in zip(video.times, stored, strict=True):
        gray = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="gray")
        frame = gray.reformat(format=video.pix_fmt)
        frame.pts, frame.time_base = round(t * ticks), Fraction(1, ticks)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _encode_audio(out: av.container.OutputContainer, audio: Audio) -> list[Packet]:
    stream = out.add_stream(audio.codec, rate=audio.rate, layout=audio.layout, format=audio.format)
    assert isinstance(stream, av.AudioStream)
    stream.codec_context.open()
    step = stream.codec_context.frame_size or 1024
    packets = []
    for start, end in audio.spans:
        first, last = round(start * audio.rate), round(end * audio.rate)
        for at in range(first, last, step):
            samples = np.arange(at, min(at + step, last))
            packets += stream.encode(
                _sound(samples, audio, stream.codec_context.layout.nb_channels)
            )
    return packets + stream.encode(None)


def _sound(samples: NDArray[np.int64], audio: Audio, channels: int) -> AudioFrame:
    wave = np.tile(audio.gain * chirp(samples / audio.rate), (channels, 1))
    if audio.format.startswith("s16"):
        wave = (wave * 32767).astype(np.int16)
    planar = audio.format.endswith("p")
    data = wave if planar else np.ascontiguousarray(wave.T.reshape(1, -1))
    kind = np.int16 if audio.format.startswith("s16") else np.float32
    frame = AudioFrame.from_ndarray(data.astype(kind), format=audio.format, layout=audio.layout)
    frame.pts, frame.rate, frame.time_base = int(samples[0]), audio.rate, Fraction(1, audio.rate)
    return frame
