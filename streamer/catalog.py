"""`streamer models`: what is there, whether it is whole, and which one is used."""

import re
from pathlib import Path
from typing import Literal

import yaml
from rich.console import Console, RenderableType
from rich.progress import track
from rich.table import Table
from rich.text import Text

from streamer import models
from streamer.config import Config, load
from streamer.models import Task
from streamer.types import StreamerError

SETTINGS: dict[Task, tuple[str, str]] = {
    "face-detection": ("face", "detector"),
    "face-emotion": ("face", "emotion"),
    "voice-activity": ("speech", "vad"),
    "speech-emotion": ("speech", "emotion"),
    "speech-dimensions": ("speech", "dimensions"),
}
"""The configuration's section and key that name the model for a task."""


def listing(config: Config) -> RenderableType:
    """A table of all models; the ones in use are marked."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("", "model", "task", "MB", "licence", "measured"):
        # A narrow terminal cuts the others, so that each name can be copied.
        least = {"": 1, "MB": 3, "model": max(map(len, models.known(config.models)))}.get(column)
        side: Literal["left", "right"] = "right" if column == "MB" else "left"
        table.add_column(column, justify=side, no_wrap=True, min_width=least)
    for name in models.known(config.models):
        manifest, _ = models.find(name, config.models)
        cells = (
            "●" if _used(config, manifest.task) == name else "",
            name,
            manifest.task,
            f"{manifest.bytes / 1e6:.1f}",
            "research only" if manifest.licence.research_only else manifest.licence.name,
            next((f"{a.metric} {a.value:.3g}" for a in manifest.accuracy), ""),
        )
        table.add_row(*map(Text, cells))
    return table


def details(name: str, config: Config) -> RenderableType:
    """Everything that the manifest of one model says."""
    manifest, path = models.find(name, config.models)
    table = Table.grid(padding=(0, 2))
    said = manifest.model_dump(exclude={"manifest", "accuracy", "sources"})
    rows = [(key, str(value)) for key, value in said.items()]
    for source in manifest.sources:
        where = f"{source.package} {source.version} ({source.registry}), {source.member}"
        rows.append(("source", f"{where}; {source.licence}, {source.authors}"))
    for figure in manifest.accuracy:
        note = f" ({figure.note})" if figure.note else ""
        what = f"{figure.metric} {figure.value:g} on {figure.data}, {figure.origin}{note}"
        rows.append(("accuracy", what))
    for key, value in (*rows, ("path", str(path))):
        table.add_row(Text(key, "bold"), Text(value))
    return table


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
    settings = {(section, key): name}
    if config.models.dir:
        settings["models", "dir"] = str(Path(config.models.dir).resolve())
    try:
        old = file.read_text(encoding="utf-8") if file.exists() else ""
        text, expected = old, yaml.safe_load(old) or {}
        for (part, its_key), value in settings.items():
            text = with_setting(text, part, its_key, value)
            expected[part] = {**(expected.get(part) or {}), its_key: value}
        if yaml.safe_load(text) != expected:  # its YAML is written in another style
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
