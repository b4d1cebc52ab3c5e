"""`streamer models`: what is there, whether it is whole, and which one is used."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.progress import track
from rich.table import Table
from rich.text import Text

from streamer import models
from streamer.config import Config, load
from streamer.models import Task
from streamer.plain_yaml import NOT_YAML, parse
from streamer.text import printable
from streamer.types import StreamerError

SETTINGS: dict[Task, tuple[str, str]] = {
    "face-detection": ("face", "detector"),
    "face-emotion": ("face", "emotion"),
    "voice-activity": ("speech", "vad"),
    "speech-emotion": ("speech", "emotion"),
    "speech-dimensions": ("speech", "dimensions"),
}
"""The configuration's section and key that name the model for a task."""

GAP = 2
"""Between two columns, characters."""
CUT = (3, 4)
"""The columns of the list whose words may be cut: task and licence."""
LEAST = 8
"""What is left of these, characters."""


def listing(config: Config, width: int) -> tuple[RenderableType, list[str]]:
    """A table of all models, at most ``width`` characters wide, the ones in use marked; and what
    is wrong with those that are not in it.

    A narrow one leaves out the last columns: names are whole, so that each can be copied.
    """
    wrong = []
    rows = [("", "model", "MB", "task", "licence", "measured")]
    for name in models.known(config.models):
        try:
            manifest, _ = models.find(name, config.models)
        except StreamerError as error:
            wrong.append(str(error))
            continue
        rows.append(
            (
                "●" if _used(config, manifest.task) == name else "",
                name,
                f"{(manifest.bytes + sum(part.bytes for part in manifest.parts)) / 1e6:.1f}",
                manifest.task,
                "research only" if manifest.licence.research_only else manifest.licence.name,
                next((f"{a.metric} {a.value:.3g}" for a in manifest.accuracy), ""),
            )
        )
    widths = _fitted([max(map(cell_len, column)) for column in zip(*rows, strict=True)], width)
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="dim")
    for heading, size in zip(rows[0], widths, strict=False):
        side: Literal["left", "right"] = "right" if heading == "MB" else "left"
        table.add_column(heading, justify=side, no_wrap=True, width=size)
    for row in rows[1:]:
        table.add_row(*(Text(printable(cell)) for cell in row[: len(widths)]))
    return table, wrong


def _fitted(natural: list[int], width: int) -> list[int]:
    """The widths of as many of the columns as fit, the words of some of them cut."""
    for count in range(len(natural), 2, -1):
        widths = natural[:count]
        excess = sum(widths) + GAP * (count - 1) - width
        for _ in range(excess):
            longest = max((k for k in CUT if k < count), key=lambda k: widths[k], default=None)
            if longest is None or widths[longest] <= LEAST:
                break
            widths[longest] -= 1
        else:
            return widths
    return [natural[0], max(min(natural[1], width - natural[0] - GAP), 1)]


def details(name: str, config: Config) -> RenderableType:
    """Everything that the manifest of one model says."""
    manifest, path = models.find(name, config.models)
    table = Table.grid(padding=(0, GAP))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in (*_said(manifest), ("path", path)):
        if value not in (None, [], {}):
            table.add_row(Text(key, "bold"), Text(printable(_plain(value))))
    return table


def _said(manifest: models.Manifest) -> Iterator[tuple[str, object]]:
    """Each entry of a manifest that is there, in words."""
    apart = {"manifest", "inputs", "outputs", "preprocess", "mapping", "licence", "sources"}
    yield from manifest.model_dump(exclude={*apart, "producer", "accuracy", "parts"}).items()
    for key, tensors in (("input", manifest.inputs), ("output", manifest.outputs)):
        for tensor in tensors:
            yield f"{key} tensor", f"{tensor.name}: {tensor.dtype}, {_shape(tensor.shape)}"
    for key, value in manifest.preprocess.items():
        if value is not None:
            yield "preprocess", f"{key}: {_plain(value)}"
    means = (manifest.mapping or {}).items()
    yield "mapping", [f"{label} → {emotion or 'none of the seven'}" for label, emotion in means]
    licence = manifest.licence
    yield "licence", licence.name + (", for research only" if licence.research_only else "")
    yield "notice", licence.notice
    yield "licence file", licence.file
    yield "producer", manifest.producer
    for part in manifest.parts:
        yield "part", f"{part.name}: {part.file}, {part.bytes} bytes, sha256 {part.sha256}"
    for source in manifest.sources:
        where = f"{source.package} {source.version} ({source.registry}), {source.member}"
        yield "source", f"{where}; {source.licence}, {source.authors}"
    for figure in manifest.accuracy:
        note = f" ({figure.note})" if figure.note else ""
        what = f"{figure.metric} {figure.value:g} on {figure.data}, {figure.origin}{note}"
        yield "accuracy", what


def _shape(shape: list[int | str]) -> str:
    return " × ".join(map(str, shape)) or "one value"


def _plain(value: object) -> str:
    """A value as people write it."""
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return repr(value).removesuffix(".0")
        case list():
            return ", ".join(map(_plain, value))
        case dict():
            there = {k: v for k, v in value.items() if v is not None}
            return ", ".join(f"{k} {_plain(v)}" for k, v in there.items())
        case _:
            return str(value)


def verify(names: list[str], config: Config, console: Console) -> list[str]:
    """Hash every file of the named models (none named: of all); one line for each bad one."""
    wrong = []
    wanted = names or list(models.known(config.models))
    quiet = not console.is_terminal
    for name in track(wanted, "Hashing", console=console, transient=True, disable=quiet):
        try:
            models.check(*models.find(name, config.models))
        except StreamerError as error:
            wrong.append(str(error))
    return wrong


def use(name: str, file: Path, config: Config) -> str:
    """Write the choice of a model into the configuration at ``file``; the setting that was written.

    What else stands there stays as it is. Raises StreamerError, and writes nothing, if the model is
    unknown, altered, or does not fit the rest of the configuration.
    """
    manifest, path = models.find(name, config.models)
    models.check(manifest, path)
    section, key = SETTINGS[manifest.task]
    settings, safe = {(section, key): name}, False
    if config.models.dir:
        settings["models", "dir"] = str(Path(config.models.dir).resolve())
    try:
        old = file.read_text(encoding="utf-8") if file.exists() else ""
        text, expected = old, parse(old) or {}
        for (part, its_key), value in settings.items():
            text = with_setting(text, part, its_key, value)
            expected[part] = {**(expected.get(part) or {}), its_key: value}
        with suppress(*NOT_YAML):
            safe = parse(text) == expected
        if not safe:  # its YAML is written in another style, or a folder's name can't be
            raise StreamerError(f"{file}: can't be changed safely; set {section}.{key} by hand")
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f".{file.name}.part")
        beside.write_text(text, encoding="utf-8")
        try:
            load(beside)  # refuses what would not start
        except StreamerError:
            beside.unlink()
            raise
        beside.replace(file)
    except OSError as error:
        raise StreamerError(f"can't write {file}: {error.strerror}", status=1) from None
    return f"{section}.{key} = {name}"


def with_setting(text: str, section: str, key: str, value: str) -> str:
    """YAML ``text`` with ``section.key`` set to a plain string; comments and order stay."""
    quoted = "'" + value.replace("'", "''") + "'"
    head = re.search(rf"^{section}:[ \t]*(#.*)?$", text, re.MULTILINE)
    if head is None:
        start = text if not text or text.endswith("\n") else text + "\n"
        return f"{start}{section}:\n  {key}: {quoted}\n"
    following = re.compile(r"^\S", re.MULTILINE).search(text, head.end() + 1)
    end = following.start() if following else len(text)
    body = text[head.end() : end]
    line = re.search(rf"^([ \t]+){key}:[ \t]*('[^']*'|[^#\n]*?)(?=[ \t]*(#|$))", body, re.MULTILINE)
    if line:
        body = f"{body[: line.start()]}{line[1]}{key}: {quoted}{body[line.end() :]}"
    else:
        indent = re.search(r"^([ \t]+)\S", body, re.MULTILINE)
        body = f"\n{indent[1] if indent else '  '}{key}: {quoted}{body}"
    return text[: head.end()] + body + text[end:]


def _used(config: Config, task: Task) -> str:
    section, key = SETTINGS[task]
    return str(getattr(getattr(config, section), key))
