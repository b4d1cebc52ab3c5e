"""The tables and the picture of benchmarks/growth.md say what was measured."""

import io
from dataclasses import replace
from pathlib import Path

import growth
import growth_run
import pytest
from growth_page import Cameras, Cost, Page, cores, draw, facts, markdown, placed
from media import speaker_clip
from scripted import config


def cameras(count: int, cpu: float, dropped: int = 0) -> Cameras:
    live = {"cpu_s": cpu * 30, "faces": 300 * count, "faces_dropped": dropped}
    live |= {"windows": 60 * count, "windows_skipped": 0, "peak_mb": 200 + 20 * count}
    times = {"face": [0.0471, 0.05], "voice": [0.021, 0.0344]}
    free = {"times_real": 17.0, "same": count != 2}
    return Cameras.of(count, 30, live | times, free)


def costs(names: list[str], *cpu: float) -> list[Cost]:
    made = [Cost(name, k) for k, name in enumerate(names)]
    for cost in made:
        for share in cpu:
            cost.add({"cpu_share": share, "peak_mb": 200.0})
    return made


@pytest.fixture
def page() -> Page:
    two = [cameras(1, 0.1), cameras(2, 0.2), cameras(4, 0.4, dropped=3)]
    rest = ["1 min", "10 min"], ["2 Hz", "25 Hz"], ["320×240", "1920×1080"]
    return Page("here", two, *(costs(names, 0.12, 0.1, 0.3) for names in rest))


def test_what_fits_goes_by_cpu_time_and_nothing_fits_where_data_is_lost() -> None:
    whole = 0.8 * cores()
    one = cameras(2, 2 * whole / 10.5)
    assert (one.fit, one.more) == (10, 8)
    assert cameras(2, 2 * whole / 10.5, dropped=1).more == 0
    assert cameras(20, 1.5 * whole).more == 0


def test_the_tables_hold_medians_losses_and_differing_bytes(page: Page) -> None:
    text = markdown(page)
    assert "| 4 | " in text
    assert "| 3/1200 |" in text
    assert "| 47, 50 | 21, 34 | 220 |" in text
    assert "| 25 Hz | 0.120 | 0.100 to 0.300 | 200 |" in text
    assert text.count("DIFFERENT") == 1
    assert "\n\n4 cameras at once lost data.\n\n" in text
    assert facts(page)[0].startswith("2 cameras at once lost nothing")
    for block in text.split("\n\n"):
        assert len({line.count("|") for line in block.splitlines() if line.startswith("|")}) <= 1


def test_more_than_the_whole_machine_is_explained(page: Page) -> None:
    over = replace(page, cameras=[cameras(1, 0.1), cameras(40, 1.2 * cores(), dropped=3)])
    text = markdown(over)
    assert "| 40 | 120% |" in text
    assert "40 cameras at once lost data. CPU time is divided by the media's" in text
    assert "lost data" not in markdown(replace(page, cameras=page.cameras[:2]))


def test_the_picture_is_drawn(page: Page) -> None:
    file = io.BytesIO()
    draw(page).savefig(file, format="png", dpi=30)
    assert file.getvalue().startswith(b"\x89PNG")


def test_cameras_that_lost_data_are_open_circles_within_every_panel(page: Page) -> None:
    over = replace(page, cameras=[cameras(1, 0.1), cameras(40, 1.17 * cores(), dropped=3)])
    panels = draw(over).axes[:3]
    for panel, lines in zip(panels, (1, 4, 1), strict=True):
        hollow = [n for n in panel.lines if n.get_markerfacecolor() == "white"]
        points = [point for n in hollow for point in n.get_xydata().tolist()]
        assert len(points) == lines
        assert all(x == 40 and y < panel.get_ylim()[1] for x, y in points)
    assert panels[0].get_ylim() == (0, 120)


def test_only_what_stands_between_the_markers_is_written() -> None:
    text = Path(growth.__file__).with_suffix(".md").read_text(encoding="utf-8")
    new = placed(text, "some words\n")
    before, after = new.split("some words\n")
    assert text.startswith(before)
    assert text.endswith(after)
    assert placed(new, "some words\n") == new
    with pytest.raises(SystemExit, match="has no <!-- measured"):
        placed("nothing here", "x")


def test_pipelines_measured_together_write_what_one_alone_does(tmp_path: Path) -> None:
    clip = speaker_clip(tmp_path / "clip.mkv", 4.0)
    bench = growth_run.Bench(clip, config(), tmp_path)
    found = growth_run.together(bench, 2)
    assert found["same"] is True
    with (tmp_path / "1" / "transitions.csv").open("a") as file:
        file.write("x\n")
    assert bench.tables("1") != bench.tables("alone") == bench.tables("0")
