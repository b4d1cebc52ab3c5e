"""The rooms of the house and the doors between them, as docs and design say."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("streamer", "export_onnx")
    for path in sorted((ROOT / package).rglob("*.py"))
}

# A module may import what stands on a line above its own, and nothing else of ours.
LAYERS = [
    ["streamer", "streamer.types", "streamer.resources", "streamer.clock", "streamer.latency"],
    [
        "streamer.text",
        "streamer.plain_yaml",
        "streamer.processor",
        "streamer.weights",
        "streamer.memory",
    ],
    ["streamer.inference"],
    ["streamer.config", "streamer.ring", "streamer.sources", "streamer.pace", "streamer.drift"],
    ["streamer.preprocess", "streamer.evaluation", "streamer.evaluation.metrics"],
    ["streamer.journal"],
    ["streamer.writer", "streamer.catchup"],
    ["streamer.evaluation.sessions"],
    ["streamer.evaluation.judge"],
    ["streamer.evaluation.figures", "streamer.evaluation.report"],
    [
        *(
            f"streamer.sources.{name}"
            for name in ("head", "demux", "decode", "thrift", "capture", "live")
        )
    ],
    ["streamer.sources.portaudio", "streamer.sources.placer"],
    ["streamer.models", "streamer.segmenter", "streamer.pairing", "streamer.sources.file"],
    ["streamer.sources.network", "streamer.sources.microphone"],
    ["streamer.sources.camera"],
    ["streamer.timeline", "streamer.concordance", "streamer.predictions"],
    [
        "streamer.mtcnn",
        "streamer.tracking",
        "streamer.speech",
        "streamer.agreement",
        "streamer.changepoint",
    ],
    ["streamer.sparse"],
    ["streamer.face", "streamer.fusion", "streamer.liveview", "streamer.resampling"],
    ["streamer.rowview"],
    ["streamer.figures"],
    [
        "streamer.tables",
        "streamer.dashboard",
        "streamer.workers",
        "streamer.recorder",
        "streamer.baseline",
        "streamer.calibrate",
        "streamer.consent",
        "streamer.devices",
        "streamer.keys",
        "streamer.preview",
    ],
    ["streamer.analysis", "streamer.agreement_file", "streamer.mending"],
    ["streamer.pipeline"],
    ["streamer.summary"],
    ["streamer.screen"],
    ["streamer.run", "streamer.catalog", "streamer.resegment", "streamer.repair"],
    ["streamer.evaluation.command", "streamer.live", "streamer.resume"],
    ["streamer.cli_live"],
    ["streamer.cli"],
    ["streamer.__main__"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
STREAMER = [name for name in MODULES if name in LEVEL]


def tree(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def imports(name: str) -> Iterator[tuple[str, str | None]]:
    """(module, name in it or None) of every import, also those inside functions."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            assert node.module is not None
            yield from ((node.module, alias.name) for alias in node.names)


def own(name: str) -> set[str]:
    """The modules of ours that a module imports."""
    return {
        f"{module}.{part}" if f"{module}.{part}" in MODULES else module
        for module, part in imports(name)
        if module.partition(".")[0] in {"streamer", "export_onnx"}
    }


def used(name: str, module: str) -> set[str]:
    """What a module takes from a standard one, as ``module.X`` or ``from module import X``."""
    taken = {part for source, part in imports(name) if source == module and part}
    return taken | {
        node.attr
        for node in ast.walk(tree(name))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == module
    }


def test_every_room_has_its_place() -> None:
    rooms = {n for n in MODULES if n.startswith("streamer") and ".demo" not in n}
    assert rooms == set(LEVEL)


@pytest.mark.parametrize("name", STREAMER)
def test_imports_go_one_way(name: str) -> None:
    wrong = {other for other in own(name) if LEVEL[other] >= LEVEL[name]}
    # Within one level nobody knows his neighbour, but a layer may be one package's inner one.
    assert not wrong, f"{name} imports {sorted(wrong)}"


def test_types_know_nothing_of_the_rest() -> None:
    assert own("streamer.types") == set()


def test_program_and_exporter_never_meet() -> None:
    for name in MODULES:
        package = name.partition(".")[0]
        assert {other.partition(".")[0] for other in own(name)} <= {package}


def test_the_user_interface_is_the_cli_alone() -> None:
    users = {name for name in STREAMER if any(m.startswith("typer") for m, _ in imports(name))}
    assert users <= {
        "streamer.cli",
        "streamer.cli_live",
        "streamer.resources",
    }  # resources: the user's own folder


def test_one_room_draws() -> None:
    users = {n for n in MODULES if any(m.startswith("matplotlib") for m, _ in imports(n))}
    assert users == {"streamer.evaluation.figures"}


def test_only_the_clock_reads_wall_time() -> None:
    for name in STREAMER:
        if name == "streamer.clock":
            continue
        assert "time" not in {module for module, _ in imports(name)}, name
        assert not used(name, "datetime") & {
            "now",
            "today",
            "utcnow",
            "fromtimestamp",
            "date",
            "time",
        }, name


def test_only_the_rings_lock() -> None:
    locks = {"Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "Barrier"}
    found = {name: used(name, "threading") & locks for name in MODULES}
    few = {"streamer.clock", "streamer.recorder"}  # marks; a picture that two threads want
    assert {name for name, kinds in found.items() if kinds} == {"streamer.ring"} | few
    assert {kind for name in few for kind in found[name]} == {"Lock"}


@pytest.mark.parametrize("name", MODULES)
def test_modules_and_functions_are_short(name: str) -> None:
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) < 400
    for node in ast.walk(tree(name)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 60, f"{name}.{node.name}"
