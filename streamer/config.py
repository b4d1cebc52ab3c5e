"""config.yaml as a typed, frozen model; what it does not know, it refuses."""

import difflib
import reprlib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from streamer.plain_yaml import NOT_YAML, parse, why
from streamer.resources import default_config, user_config
from streamer.types import StreamerError

Seconds = Annotated[float, Field(gt=0, le=3600)]
Share = Annotated[float, Field(ge=0, le=1)]
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Section(BaseModel):
    """One section: frozen, no unknown keys, no silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class FaceConfig(Section):
    """How often and in which faces emotions are looked for."""

    rate_hz: Annotated[float, Field(gt=0, le=240)]
    rule: Literal["single", "largest"]
    min_score: Share
    stale_s: Seconds
    track_s: Seconds
    max_px: Annotated[int, Field(ge=128, le=8192)]
    detect_hz: Annotated[float, Field(gt=0, le=240)] | None
    detector: ModelName
    emotion: ModelName


class SpeechConfig(Section):
    """The voice's windows and its activity."""

    window_s: Annotated[float, Field(gt=0, le=60)]
    hop_s: Annotated[float, Field(ge=0.05, le=10)]
    min_s: Annotated[float, Field(gt=0, le=60)]
    vad_threshold: Share
    min_voiced: Share
    vad: ModelName
    emotion: ModelName
    dimensions: ModelName | None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_s > self.window_s:
            raise ValueError(f"min_s {self.min_s:g} is longer than window_s {self.window_s:g}")
        if self.hop_s > self.window_s:
            raise ValueError(f"hop_s {self.hop_s:g} is longer than window_s {self.window_s:g}")
        return self


class SegmenterConfig(Section):
    """How predictions become intervals."""

    policy: Literal["changepoint", "hysteresis", "argmax"]
    lag_s: Annotated[float, Field(ge=0, le=10)]
    evidence_s: Annotated[float, Field(ge=0, le=10)]
    min_interval_s: Annotated[float, Field(ge=0, le=60)]
    smoothing_s: Annotated[float, Field(ge=0, le=60)]
    margin: Share
    min_duration_s: Annotated[float, Field(ge=0, le=60)]
    max_gap_s: Annotated[float, Field(ge=0, le=60)]
    min_confidence: Share
    baseline_s: Annotated[float, Field(ge=0, le=600)]


class FusionConfig(Section):
    """How face and voice are weighed where they are taken together."""

    voice_weight: Share


class AgreementConfig(Section):
    """agreement.json: what face and voice have to do with each other."""

    tolerance_s: Annotated[float, Field(ge=0, le=60)]
    refresh_s: Seconds


class ModelsConfig(Section):
    """Where the models are and what runs them."""

    dir: str | None
    provider: Literal["auto", "cpu", "cuda"]
    threads: Annotated[int, Field(ge=1, le=64)]


class RingsConfig(Section):
    """What waits between the source and the workers."""

    audio_s: Annotated[float, Field(gt=0, le=600)]
    max_lag_s: Annotated[float, Field(ge=0.2, le=10)]


class LiveConfig(Section):
    """What is asked of cameras, microphones and network streams."""

    width_px: Annotated[int, Field(ge=16, le=16384)]
    height_px: Annotated[int, Field(ge=16, le=16384)]
    rate_hz: Annotated[float, Field(gt=0, le=1000)]
    pixel_format: Annotated[str, Field(pattern=r"^[A-Za-z0-9 ]{4}$")] | None
    av_offset_s: Annotated[float, Field(ge=-5, le=5)]
    stall_s: Seconds
    retry_s: Seconds
    record: Literal["lossless", "small"]


class DashboardConfig(Section):
    """The live picture in the terminal."""

    rate_hz: Annotated[float, Field(gt=0, le=60)]


class Config(Section):
    """The whole configuration; each component is given its own section."""

    face: FaceConfig
    speech: SpeechConfig
    segmenter: SegmenterConfig
    fusion: FusionConfig
    agreement: AgreementConfig
    models: ModelsConfig
    rings: RingsConfig
    live: LiveConfig
    dashboard: DashboardConfig

    @model_validator(mode="after")
    def _room_for_windows(self) -> Self:
        # The sound of a short face interval decided late, while sound comes 10 s ahead of pictures.
        speech, segmenter = self.speech, self.segmenter
        delay = max(segmenter.lag_s, segmenter.min_duration_s) + segmenter.max_gap_s
        needed = 2 * (speech.window_s + speech.hop_s) + delay + self.face.stale_s + 12
        if self.rings.audio_s < needed:
            raise ValueError(f"rings.audio_s must be at least {needed:g} for these windows")
        return self


LARGEST = 1 << 16
"""Bytes of a configuration: ten times the packaged one, read in a second at worst."""
_QUOTED = reprlib.Repr()
_QUOTED.maxstring = _QUOTED.maxlong = _QUOTED.maxother = 60
_QUOTED.maxlevel = 2


def load(path: Path | None = None, settings: list[str] | None = None) -> Config:
    """The packaged defaults, then the user's own config.yaml, then the file at ``path``, then the
    ``settings`` (``section.key=value``), each over the ones before.

    Raises StreamerError with one line naming the key and, for an unknown one, the nearest known.
    """
    values = _read(default_config())
    for file in (user_config() if user_config().is_file() else None, path):
        if file is not None:
            _merge(values, _read(file), str(file))
    for setting in settings or []:
        key, equals, text = setting.partition("=")
        section, dot, name = key.strip().partition(".")
        origin = f"--set {_short(setting)}"
        if not (equals and dot and name):
            raise StreamerError(f"{origin}: write it as section.key=value")
        try:
            value = parse(text)
        except NOT_YAML as error:
            what = why(error, "the value is not valid YAML")
            raise StreamerError(f"{origin}: {what}") from None
        _merge(values, {section: {name: value}}, origin)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise StreamerError(f"configuration: {_explain(error)}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)  # a device may never end
        if len(data) > LARGEST:
            raise StreamerError(f"{path}: larger than 64 KiB: not a configuration")
        values = parse(data.decode())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise StreamerError(f"{path}: can't read the configuration: {reason}") from None
    except NOT_YAML as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise StreamerError(f"{path}: {why(error, 'not valid YAML')}{where}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise StreamerError(f"{path}: a configuration is sections of keys, not a {_kind(values)}")
    return values


def _merge(values: dict[str, Any], changes: dict[str, Any], origin: str) -> None:
    for section, keys in changes.items():
        if section not in values:
            what = f"unknown section {_QUOTED.repr(section)}{_nearest(section, values)}"
            raise StreamerError(f"{origin}: {what}")
        if not isinstance(keys, dict):
            raise StreamerError(f"{origin}: {section} must hold keys, not a {_kind(keys)}")
        for key, value in keys.items():
            if key not in values[section]:
                everywhere = {f"{s}.{k}": 0 for s in values for k in values[s]}
                elsewhere = [k for k in everywhere if k.endswith(f".{key}")]
                hint = _nearest(elsewhere[0] if elsewhere else f"{section}.{key}", everywhere)
                raise StreamerError(f"{origin}: unknown key {section}.{_short(key)}{hint}")
            values[section][key] = value


def _nearest(name: object, known: dict[str, Any]) -> str:
    near = difflib.get_close_matches(_short(name), list(known), n=1, cutoff=0.4)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    what = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{key}: {what}" if key else what
    return f"{key} = {_QUOTED.repr(first['input'])}: {what[:1].lower()}{what[1:]}"


def _short(text: object) -> str:
    """What is quoted in a line that is to be read."""
    shown = str(text)
    return shown if len(shown) <= 80 else f"{shown[:79]}…"


def _kind(value: object) -> str:
    return {list: "list", str: "text", int: "number", float: "number"}.get(type(value), "value")
