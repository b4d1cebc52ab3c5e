"""What a manifest may say of the preprocessing for each task: keys, types and ranges.

A key without a default must be there. To add one, add a field.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Side = Annotated[int, Field(ge=1, le=4096)]
Pair = Annotated[list[Side], Field(min_length=2, max_length=2)]
Real = Annotated[float, Field(ge=-1e4, le=1e4)]
Seconds = Annotated[float, Field(gt=0, le=60)]
Colour = Literal["gray", "rgb"]
Layout = Literal["NCHW", "NHWC"]


class Preprocess(BaseModel):
    """Frozen, no unknown keys, no silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class Crop(Preprocess):
    """The square that the emotion's model is given, in shares of the box's longer side."""

    side: Annotated[float, Field(ge=0.1, le=10)]
    up: Annotated[float, Field(ge=-5, le=5)]


class FaceDetection(Preprocess):
    """Sides of the networks' pictures in pixels, values by pixel × scale + shift, the crop; the
    last three are MTCNN's.
    """

    size: Annotated[list[Side], Field(min_length=1, max_length=3)]
    scale: Real
    shift: Real
    crop: Crop
    fit: Literal["letterbox"] = "letterbox"
    color: Literal["rgb"] = "rgb"
    layout: Layout = "NCHW"
    min_face_px: Annotated[int, Field(ge=10, le=4096)] = 20
    factor: Annotated[float, Field(ge=0.1, le=0.95)] = 0.709
    thresholds: Annotated[
        list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=3, max_length=3)
    ] = [0.6, 0.7, 0.7]


class FaceEmotion(Preprocess):
    """Sides (width, height) in pixels; values by (pixel × scale − mean) / std. A picture whose
    standard deviation is under ``dark_std`` is stretched first.
    """

    size: Pair
    center_crop: Pair | None = None
    color: Colour = "gray"
    layout: Layout = "NCHW"
    scale: Real = 1.0
    mean: Annotated[list[Real], Field(min_length=1, max_length=3)] = [0.0]
    std: Annotated[
        list[Annotated[float, Field(ge=1e-4, le=1e4)]], Field(min_length=1, max_length=3)
    ] = [1.0]
    dark_std: Annotated[float, Field(ge=0, le=255)] = 0.0


class VoiceActivity(Preprocess):
    """Samples of a step and of what is repeated from the one before."""

    chunk: Annotated[int, Field(ge=1, le=16_000)]
    context: Annotated[int, Field(ge=1, le=16_000)]
    sample_rate: Literal[16_000] = 16_000


class Split(Preprocess):
    """Of a part ``features``: samples from one vector to the next, and samples that each sees."""

    hop: Annotated[int, Field(ge=1, le=16_000)]
    field: Annotated[int, Field(ge=1, le=160_000)]


class Speech(Preprocess):
    """Hz, what each window is made to have, and its shortest and best length in seconds."""

    sample_rate: Annotated[int, Field(ge=1, le=384_000)]
    normalise: Literal["none", "zero-mean-unit-variance"]
    min_window_s: Seconds
    best_window_s: Seconds | None = None
    split: Split | None = None
