"""Checkpoints of real architectures, made on the spot: tiny, with random weights."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file

LABELS = ["anger", "disgust", "enthusiasm", "fear", "happiness", "neutral", "sadness"]
TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": [32] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": 16,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
}
STOCK = {
    "wav2vec2": (transformers.Wav2Vec2Config, transformers.Wav2Vec2ForSequenceClassification),
    "hubert": (transformers.HubertConfig, transformers.HubertForSequenceClassification),
    "wavlm": (transformers.WavLMConfig, transformers.WavLMForSequenceClassification),
    "unispeech-sat": (
        transformers.UniSpeechSatConfig,
        transformers.UniSpeechSatForSequenceClassification,
    ),
}


def network(cls: Any, make_config: Any, labels: list[str], **settings: Any) -> Any:
    """A stock network whose random weights are large enough to tell one sound from another."""
    torch.manual_seed(3)
    named = {"id2label": dict(enumerate(labels)), "label2id": {n: i for i, n in enumerate(labels)}}
    net = cls(make_config(**{**TINY, **named, **settings})).eval()
    with torch.no_grad():
        for name, value in net.named_parameters():
            if (value.dim() == 2 and "layers" in name) or (
                name.startswith(("projector", "classifier", "lm_head")) and value.dim() == 2
            ):
                value.normal_(0, 0.3)
    return net


def write(
    folder: Path,
    config: dict[str, Any],
    weights: dict[str, torch.Tensor],
    *,
    pickled: bool = False,
    card: str = "license: mit",
    normalise: bool = True,
    rate: int = 16_000,
) -> Path:
    """A folder in the hub's layout."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    extractor = {"do_normalize": normalise, "sampling_rate": rate}
    (folder / "preprocessor_config.json").write_text(json.dumps(extractor), encoding="utf-8")
    (folder / "README.md").write_text(f"---\n{card}\n---\n# A model\n", encoding="utf-8")
    plain = {key: value.detach().clone().contiguous() for key, value in weights.items()}
    if pickled:
        torch.save(plain, folder / "pytorch_model.bin")
    else:
        save_file(plain, folder / "model.safetensors")
    return folder


def stock(
    folder: Path,
    family: str,
    labels: list[str] = LABELS,
    *,
    normalise: bool = True,
    **settings: Any,
) -> Path:
    """projector, mean, classifier; with use_weighted_layer_sum, of the layers' weighted sum."""
    make_config, cls = STOCK[family]
    net = network(cls, make_config, labels, **settings)
    config = {**net.config.to_dict(), "architectures": [cls.__name__]}
    return write(folder, config, net.state_dict(), normalise=normalise)


def dense_weights(labels: list[str] = LABELS) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Config and weights of the original's class: mean, dense, tanh, out_proj."""
    net = network(transformers.Wav2Vec2Model, transformers.Wav2Vec2Config, labels)
    weights = {f"wav2vec2.{key}": value for key, value in net.state_dict().items()}
    for name, size in (("dense", (32, 32)), ("out_proj", (len(labels), 32))):
        weights[f"classifier.{name}.weight"] = torch.randn(size)
        weights[f"classifier.{name}.bias"] = torch.randn(size[0]) * 0.1
    config = {
        **net.config.to_dict(),
        "architectures": ["Wav2Vec2ForSpeechClassification"],
        "auto_map": {"AutoConfig": "configuration_w2v2fsr.W2V2FSRConfig"},
        "pooling_mode": "mean",
    }
    return config, weights


def original(folder: Path, labels: list[str] = LABELS, **how: Any) -> Path:
    """The original's class in a folder; `how` goes to write."""
    return write(folder, *dense_weights(labels), **how)


def ctc(folder: Path) -> Path:
    """A CTC network whose tokens are emotions."""
    labels = ["neutral", "angry", "positive", "sad", "other"]
    cls = transformers.HubertForCTC
    net = network(cls, transformers.HubertConfig, labels, vocab_size=5)
    config = {**net.config.to_dict(), "architectures": [cls.__name__]}
    return write(folder, config, net.state_dict(), pickled=True, normalise=False)
