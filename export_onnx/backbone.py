"""A checkpoint's weights in a network of ours: every one used and none missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import (
    HubertConfig,
    HubertModel,
    UniSpeechSatConfig,
    UniSpeechSatModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)
from transformers.modeling_utils import no_init_weights

from export_onnx.errors import ExportError
from export_onnx.heads import SHAPES, SpeechClassifier, head_kind, make_head

# model_type of config.json: its config, its backbone, the prefix of the backbone's keys.
FAMILIES: dict[str, tuple[Any, Any, str]] = {
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model, "wav2vec2"),
    "hubert": (HubertConfig, HubertModel, "hubert"),
    "wavlm": (WavLMConfig, WavLMModel, "wavlm"),
    "unispeech-sat": (UniSpeechSatConfig, UniSpeechSatModel, "unispeech_sat"),
}
# Only training masks its input: the embedding may be there or not, inference never reads it.
_TRAINING_ONLY = "masked_spec_embed"
# How torch named the two halves of a normalised weight before and after version 2.0.
_RENAMES = {
    "weight_g": "parametrizations.weight.original0",
    "weight_v": "parametrizations.weight.original1",
}


def family_of(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> str:
    """Return the key of FAMILIES that the config names, or else the weights' own prefix.

    Raises:
        ExportError: another architecture.

    """
    if (named := config.get("model_type")) in FAMILIES:
        return str(named)
    for family, (_, _, prefix) in FAMILIES.items():
        if any(key.startswith(f"{prefix}.") for key in weights):
            return family
    raise ExportError(f"model_type {named!r} is none of {', '.join(FAMILIES)}")


def build(config: Mapping[str, Any], weights: dict[str, Tensor]) -> tuple[SpeechClassifier, str]:
    """Return the checkpoint's network, in eval mode, and its head's kind.

    `weights` is emptied: a large model is not to be in memory twice.

    Raises:
        ExportError: another architecture or head; a weight is missing, not used or of another size.

    """
    family = family_of(config, weights)
    make_config, make_backbone, prefix = FAMILIES[family]
    named = config.get("architectures")
    architecture = str(named[0]) if isinstance(named, list) and named else ""
    kind = head_kind(architecture, weights)
    try:
        settings = make_config.from_dict({k: v for k, v in config.items() if k != "auto_map"})
        settings._attn_implementation = "eager"
        with no_init_weights():
            backbone = make_backbone(settings)
    except (ArithmeticError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise ExportError(f"config.json describes no {family} network: {error}") from None
    sizes = {key: tuple(value.shape) for key, value in weights.items()}
    model = SpeechClassifier(backbone, make_head(kind, config, sizes, settings.num_hidden_layers))
    _load(model, weights, prefix, f"{architecture or family} ({SHAPES[kind]})")
    for module in model.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
    return model.eval(), kind


def _load(model: nn.Module, weights: dict[str, Tensor], prefix: str, what: str) -> None:
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    given = {}
    for key in list(weights):
        place, _, rest = key.partition(".")
        ours = f"backbone.{rest}" if place == prefix else f"head.{key}"
        given[_renamed(ours, expected)] = (key, weights.pop(key))
    missing = [key for key in expected if key not in given and not key.endswith(_TRAINING_ONLY)]
    unused = [key for key in given if key not in expected and not key.endswith(_TRAINING_ONLY)]
    wrong = [k for k in given if k in expected and tuple(given[k][1].shape) != expected[k]]
    told = {
        "missing": [_native(key, prefix) for key in missing],
        "not used": [given[key][0] for key in unused],
        "of another size": [given[key][0] for key in wrong],
    }
    if found := [f"{why}: {_some(keys)}" for why, keys in told.items() if keys]:
        raise ExportError(f"the weights are not those of a {what}; {'; '.join(found)}")
    fitting = {key: value for key, (_, value) in given.items() if key in expected}
    model.load_state_dict(fitting, strict=False, assign=True)


def _renamed(key: str, expected: Mapping[str, object]) -> str:
    stem, _, last = key.rpartition(".")
    if key not in expected and last in _RENAMES:
        return f"{stem}.{_RENAMES[last]}"
    for old, new in _RENAMES.items():
        if key not in expected and key.endswith(new):
            return key.removesuffix(new) + old
    return key


def _native(key: str, prefix: str) -> str:
    if key.startswith("head."):
        return key.removeprefix("head.")
    return key.replace("backbone", prefix, 1)


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - 4} more" if len(keys) > 4 else ""
    return ", ".join(sorted(keys)[:4]) + more
