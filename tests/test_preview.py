"""The picture in the terminal: right colours in the right places, and its shape kept."""

from io import StringIO

import numpy as np
import pytest
from rich.console import Console
from rich.segment import Segment

from streamer.preview import Preview


def lines(preview: Preview, width: int = 80) -> list[list[Segment]]:
    console = Console(file=StringIO(), width=width, color_system="truecolor")
    return console.render_lines(preview, pad=False)


def colours(segments: list[Segment]) -> list[tuple[object, object]]:
    made = []
    for segment in segments:
        assert segment.style is not None
        assert segment.style.color is not None
        assert segment.style.bgcolor is not None
        above, below = segment.style.color.triplet, segment.style.bgcolor.triplet
        made += [(tuple(above or ()), tuple(below or ()))] * len(segment.text)
    return made


def test_each_character_shows_two_pixels() -> None:
    image = np.array(
        [
            [[255, 0, 0], [0, 255, 0]],
            [[0, 0, 255], [9, 8, 7]],
            [[1, 2, 3], [4, 5, 6]],
            [[0, 0, 0], [255, 255, 255]],
        ],
        np.uint8,
    )
    first, second = lines(Preview(image, 2, 2))
    assert colours(first) == [((255, 0, 0), (0, 0, 255)), ((0, 255, 0), (9, 8, 7))]
    assert colours(second) == [((1, 2, 3), (0, 0, 0)), ((4, 5, 6), (255, 255, 255))]
    assert "".join(s.text for s in first) == "▀▀"


@pytest.mark.parametrize(
    ("size", "room", "shown"),
    [
        ((720, 1280), (40, 40), (40, 11)),
        ((720, 1280), (80, 10), (36, 10)),
        ((1280, 720), (80, 10), (11, 10)),
        ((480, 640), (16, 6), (16, 6)),
        ((1, 1), (8, 8), (8, 4)),
        ((2, 2000), (10, 10), (10, 1)),
    ],
)
def test_the_picture_keeps_its_shape(
    size: tuple[int, int], room: tuple[int, int], shown: tuple[int, int]
) -> None:
    rows = lines(Preview(np.zeros((*size, 3), np.uint8), *room))
    assert {len(colours(row)) for row in rows} == {shown[0]}
    assert len(rows) == shown[1]


def test_a_terminal_without_colours_still_shows_something() -> None:
    console = Console(file=StringIO(), width=20, force_terminal=True, no_color=True)
    with console.capture() as capture:
        console.print(Preview(np.zeros((8, 8, 3), np.uint8), 4, 2))
    assert "▀▀▀▀" in capture.get()
