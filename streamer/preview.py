"""A small picture in the terminal, by half blocks: two pixels in each character."""

import cv2
import numpy as np
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style

from streamer.types import Image


class Preview:
    """Shows an RGB picture, uint8 (H, W, 3), in at most ``width`` × ``height`` characters.

    The picture keeps its shape: a character is taken for twice as high as wide. Colours are the
    terminal's: rich takes the nearest where there are few.
    """

    def __init__(self, image: Image, width: int, height: int) -> None:
        rows, columns = image.shape[:2]
        scale = min(width / columns, 2 * height / rows)
        size = max(round(columns * scale), 1), max(round(rows * scale / 2), 1) * 2
        self._pixels = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for upper, lower in zip(self._pixels[::2], self._pixels[1::2], strict=True):
            for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
                yield Segment("▀", Style(color=_colour(above), bgcolor=_colour(below)))
            yield Segment.line()

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        width = self._pixels.shape[1]
        return Measurement(width, width)


def _colour(rgb: list[int]) -> Color:
    red, green, blue = rgb
    return Color.from_rgb(red, green, blue)
