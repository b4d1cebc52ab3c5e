"""What recording costs: CPU time and size of a picture with each encoder that suits.

    python benchmarks/recording.py

Pictures: the demo clip at 1280×720, with a camera's noise (normal, of the given deviation) and
through JPEG at quality 85, as webcams give them. One thread; conversion included.
"""

from fractions import Fraction

import av
import cv2
import numpy as np

from streamer.clock import cpu
from streamer.recorder import CODECS, COMMON
from streamer.resources import demo_clip
from streamer.types import Image

PICTURES = 60
OTHERS = {
    "FFV1": ("ffv1", "bgr0", {"level": "3", "coder": "0", "slicecrc": "0"}),
    "Ut Video (not in Matroska)": ("utvideo", "gbrp", {}),
}


def pictures(noise: float) -> list[Image]:
    """RGB, uint8 (720, 1280, 3)."""
    rng, made = np.random.default_rng(0), []
    with av.open(str(demo_clip())) as clip:
        for frame in clip.decode(video=0):
            image = cv2.resize(frame.to_ndarray(format="bgr24"), (1280, 720))
            dirty = np.clip(image + rng.normal(0, noise, image.shape), 0, 255).astype(np.uint8)
            jpeg = cv2.imencode(".jpg", dirty, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
            decoded = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
            assert decoded is not None
            made.append(np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8))
            if len(made) == PICTURES:
                break
    return made


def main() -> None:
    """Print one line for each encoder and noise."""
    for noise in (0.0, 3.0, 6.0):
        images = pictures(noise)
        for name, (encoder, pix_fmt, options) in [*CODECS.items(), *OTHERS.items()]:
            codec = av.CodecContext.create(encoder, "w")
            assert isinstance(codec, av.VideoCodecContext)
            codec.width, codec.height, codec.pix_fmt = 1280, 720, pix_fmt
            codec.time_base, codec.thread_count = Fraction(1, 1000), 1
            codec.options = options | (COMMON if name in CODECS else {})
            began, size = cpu(), 0
            for k, image in enumerate(images):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame = frame.reformat(format=pix_fmt, threads=1)
                frame.pts, frame.time_base = round(k * 1000 / 30), Fraction(1, 1000)
                size += sum(p.size for p in codec.encode(frame))
            size += sum(p.size for p in codec.encode(None))
            each = (cpu() - began) / len(images)
            hourly = size / len(images) * 30 * 3600 / 1e9
            print(
                f"noise {noise:g}  {name:27} {each * 1000:5.1f} ms  "
                f"{size / len(images) / 1000:6.0f} kB a picture, {hourly:5.1f} GB an hour at 30/s"
            )


if __name__ == "__main__":
    main()
