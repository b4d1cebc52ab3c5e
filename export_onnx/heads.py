"""The heads that speech checkpoints carry on top of a transformer, and what joins the two.

Written from the shapes that published checkpoints have; no code of theirs is run. Backbones:
wav2vec 2.0 (Baevski et al. 2020, arXiv 2006.11477), HuBERT (Hsu et al. 2021, arXiv 2106.07447),
WavLM (Chen et al. 2022, arXiv 2110.13900), UniSpeech-SAT (Chen et al. 2022, arXiv 2110.05752).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from export_onnx.errors import ExportError

HeadKind = Literal["projector", "dense", "ctc"]

SHAPES: dict[HeadKind, str] = {
    "projector": "projector, mean, classifier",
    "dense": "mean, dense, tanh, out_proj",
    "ctc": "mean of a CTC head's logits",
}
_MARKS: dict[str, HeadKind] = {
    "projector.weight": "projector",
    "classifier.dense.weight": "dense",
    "lm_head.weight": "ctc",
}


def head_kind(architecture: str, keys: Collection[str]) -> HeadKind:
    """Tell a checkpoint's head from its class, if that is a stock one, else from its keys.

    A stock class is taken at its word: where the weights are not its own, loading them says so.

    Raises:
        ExportError: the keys are those of no known head.

    """
    if architecture.endswith("ForSequenceClassification"):
        return "projector"
    if architecture.endswith("ForCTC"):
        return "ctc"
    for mark, kind in _MARKS.items():
        if mark in keys:
            return kind
    raise ExportError(
        f"no known head among the weights: there should be one of {', '.join(_MARKS)}"
    )


class ProjectorHead(nn.Module):
    """Linear over each step, mean over time, linear: hidden (B, T, H) to logits (B, C).

    With `layers`, hidden is (layers, B, T, H) and its softmax-weighted sum is taken first
    (Yang et al. 2021, SUPERB, arXiv 2105.01051).
    """

    def __init__(self, sizes: Mapping[str, tuple[int, ...]], layers: int = 0) -> None:
        super().__init__()
        if layers:
            self.layer_weights = nn.Parameter(torch.zeros(layers))
        self.weighted = layers > 0
        self.projector = _linear(sizes, "projector")
        self.classifier = _linear(sizes, "classifier")

    def forward(self, hidden: Tensor) -> Tensor:
        """Return logits float32 (B, C)."""
        if self.weighted:
            shares = torch.softmax(self.layer_weights, dim=-1)
            hidden = (hidden * shares.view(-1, 1, 1, 1)).sum(dim=0)
        logits: Tensor = self.classifier(self.projector(hidden).mean(dim=1))
        return logits


class _Dense(nn.Module):
    def __init__(self, sizes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        self.dense = _linear(sizes, "classifier.dense")
        self.out_proj = _linear(sizes, "classifier.out_proj")


class DenseHead(nn.Module):
    """Pooling over time without a mask, dense, tanh, out_proj: hidden (B, T, H) to (B, C)."""

    def __init__(self, sizes: Mapping[str, tuple[int, ...]], pooling: str) -> None:
        super().__init__()
        if pooling not in ("mean", "sum", "max"):
            raise ExportError(f"the config's pooling_mode {pooling!r} is not mean, sum or max")
        self.pooling = pooling
        self.classifier = _Dense(sizes)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return logits, or values of a regression, float32 (B, C)."""
        pooled = hidden.amax(dim=1) if self.pooling == "max" else hidden.sum(dim=1)
        if self.pooling == "mean":
            pooled = hidden.mean(dim=1)
        values: Tensor = self.classifier.out_proj(torch.tanh(self.classifier.dense(pooled)))
        return values


class CtcHead(nn.Module):
    """Linear over each step, mean of the logits over time: hidden (B, T, H) to (B, C)."""

    def __init__(self, sizes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        self.lm_head = _linear(sizes, "lm_head")

    def forward(self, hidden: Tensor) -> Tensor:
        """Return logits float32 (B, C)."""
        logits: Tensor = self.lm_head(hidden).mean(dim=1)
        return logits


class SpeechClassifier(nn.Module):
    """A backbone and a head: input_values float32 (B, samples) to logits float32 (B, C).

    `config` is the backbone's, as optimum's exporter wants to read it here.
    """

    def __init__(self, backbone: Any, head: nn.Module) -> None:
        super().__init__()
        self.config = backbone.config
        self.backbone = backbone
        self.head = head

    @property
    def device(self) -> torch.device:
        """Where the weights are, for optimum's exporter."""
        return next(self.parameters()).device

    def forward(self, input_values: Tensor) -> dict[str, Tensor]:
        """Return {"logits": float32 (B, C)}."""
        outputs = self.backbone(
            input_values, output_hidden_states=self._is_weighted, return_dict=True
        )
        return {"logits": self._judge(outputs.hidden_states, outputs.last_hidden_state)}

    def classify(self, features: Tensor) -> Tensor:
        """Return logits float32 (B, C) for what the front end makes of sound, (B, T, H)."""
        outputs = self.backbone.encoder(
            features, output_hidden_states=self._is_weighted, return_dict=True
        )
        last, adapter = outputs.last_hidden_state, getattr(self.backbone, "adapter", None)
        return self._judge(outputs.hidden_states, adapter(last) if adapter else last)

    @property
    def _is_weighted(self) -> bool:
        return bool(getattr(self.head, "weighted", False))

    def _judge(self, layers: tuple[Tensor, ...] | None, last: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.stack(layers) if self._is_weighted and layers else last)
        return logits


def make_head(
    kind: HeadKind, config: Mapping[str, Any], sizes: Mapping[str, tuple[int, ...]], layers: int
) -> nn.Module:
    """Return a head whose sizes are those of the checkpoint's own weights.

    Args:
        kind: which head.
        config: the checkpoint's config.json.
        sizes: shape of each weight by its key.
        layers: the backbone's transformer layers.

    Raises:
        ExportError: a weight of the head is missing or is no matrix; an unknown pooling mode.

    """
    if kind == "dense":
        return DenseHead(sizes, str(config.get("pooling_mode", "mean")))
    if kind == "ctc":
        return CtcHead(sizes)
    # The input of the first layer is a state to be weighted too.
    return ProjectorHead(sizes, layers + 1 if config.get("use_weighted_layer_sum") else 0)


def _linear(sizes: Mapping[str, tuple[int, ...]], name: str) -> nn.Linear:
    size = sizes.get(f"{name}.weight")
    if size is None:
        others = sorted(key for key in sizes if key.startswith(("classifier", "proj", "lm_head")))
        found = f"the head's weights are {', '.join(others)}" if others else "there is no head"
        raise ExportError(f"the checkpoint lacks {name}.weight: {found}")
    if len(size) != 2:
        raise ExportError(f"the checkpoint's {name}.weight is no matrix but {tuple(size)}")
    return nn.Linear(size[1], size[0], bias=f"{name}.bias" in sizes)
