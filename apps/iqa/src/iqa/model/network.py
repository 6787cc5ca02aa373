"""The quality network: a hierarchical backbone and a hyper-network over its four stages.

Source: HyperIQA on a Swin with the stages pooled and joined. What differs: the whole image goes through at once, at any
size; the score is on the scale of the MOS it learnt from and comes with a standard deviation; the judging network may
be written from the means of the stages alone, so that where something is in the image does not count.
"""

from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor, nn

from iqa.model.hypernet import GRID, TARGET, HyperNet, LocalDistortion, StageAttention, target_forward
from iqa.model.pooled import POOLED_TARGET, PooledHyperNet
from polyscale.models.backbones import create_backbone
from polyscale.models.options import Source
from polyscale.models.weights import Pretrained

Fusion = Literal["concat", "attention"]

MIN_SIZE, MAX_SIZE = 32, 8192  # pixels a side
SOFT_CLIP = 0.05  # share of the range at either end into which scores beyond it are mapped
_MIN_LOG_VARIANCE, _MAX_LOG_VARIANCE = -10.0, 2.0


class QualityNet(Pretrained):
    """A network that scores the quality of images.

    Args:
        backbone: any hierarchical timm model.
        multiscale: join all four stages, else take the last alone.
        fusion: "concat", or "attention", which weighs the stages first.
        grid: cells a side of the map that the target network is generated from: 7 as in HyperIQA, or 1, the mean of
            every stage (see pooled.py; for fusion "concat").
        dropout: of the hyper-network and the target network.
        drop_path: stochastic depth of the backbone.
        image_size: larger images are first downscaled to this side squared (`data.network_image`).
        low: lowest score for the user.
        high: highest score for the user, for the best quality.
        pretrained: source of the backbone's first weights, as in `create_backbone`.
        checkpoint_activations: recompute the backbone's activations in the backward pass.

    Attributes:
        frozen_norm: whether the backbone's BatchNorm keeps its statistics in training; False.

    Raises:
        ValueError: image_size, low or high out of range, or a grid that does not go with the fusion.
    """

    shipped = Path(__file__).parents[1] / "weights"
    title = "Blind image quality (iqa)"
    tags = ("image-quality-assessment", "no-reference")
    retired: ClassVar = {"statistics": False, "shrink": 1}
    spread_scale: Tensor

    def __init__(
        self,
        backbone: str = "swin_tiny_patch4_window7_224",
        multiscale: bool = True,
        fusion: Fusion = "concat",
        grid: int = GRID,
        dropout: float = 0.3,
        drop_path: float = 0.2,
        image_size: int = 512,
        low: float = 0.0,
        high: float = 100.0,
        pretrained: Source | bool = False,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        if not MIN_SIZE <= image_size <= MAX_SIZE:
            raise ValueError(f"image_size must be {MIN_SIZE} to {MAX_SIZE}, got {image_size}")
        if not low < high:
            raise ValueError(f"low, high: {low}, {high} given, low must be below high")
        if grid not in (1, GRID) or (grid == 1 and fusion != "concat"):
            raise ValueError(f"grid: {grid} given; it is {GRID}, or 1 with fusion concat")
        regularised: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
        self.backbone = create_backbone(
            backbone, pretrained=pretrained, checkpoint_activations=checkpoint_activations, **regularised
        )
        self.input_size, self.low, self.high, self.dropout = image_size, low, high, dropout
        channels = self.backbone.channels
        self.multiscale = multiscale
        self.attention = StageAttention(channels[-1]) if multiscale and fusion == "attention" else None
        self.frozen_norm = False
        self.register_buffer("spread_scale", torch.ones(()))
        if grid == 1:
            self.pooled: PooledHyperNet | None = PooledHyperNet(
                sum(channels) if multiscale else channels[-1], dropout=dropout
            )
            self.log_variance = nn.Linear(self.pooled.width + POOLED_TARGET[0], 1)
            return
        self.pooled = None
        self.hyper = HyperNet(sum(channels) if multiscale else channels[-1], dropout=dropout)
        self.local = LocalDistortion(channels)
        self.log_variance = nn.Linear(TARGET[1] + TARGET[0], 1)

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; with `frozen_norm` the backbone's BatchNorm stays in eval mode."""
        super().train(mode)
        if self.frozen_norm:
            for module in self.backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, images: Tensor, details: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Score images as shares of the range [low, high], before the ends are bent (see `soft_clip`).

        Args:
            images: [B, 3, H, W], RGB in [0, 1].
            details: return log variances too.

        Returns:
            Scores [B]; with `details` (scores, log variances [B]).
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images: shape {tuple(images.shape)} given, [B, 3, H, W] needed")
        scores, log_variance = self.judge(self.backbone(self.backbone.normalise(images)))
        return (scores, log_variance) if details else scores

    def judge(self, stages: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Score images by the backbone's stages [B, C_i, H_i, W_i]: scores and log variances, as `forward` does."""
        if self.pooled is not None:
            content, vector, layers = self.pooled(stages if self.multiscale else stages[-1:])
        else:
            joined = self.hyper.encode(self._join(stages))
            content, vector, layers = joined.mean((2, 3)), self.local(stages), self.hyper(joined)
        activation = torch.sigmoid if self.pooled is None else F.gelu
        with torch.autocast(content.device.type, enabled=False):  # a score in bf16 would have 256 steps
            vector, layers = vector.float(), [(weight.float(), bias.float()) for weight, bias in layers]
            scores = target_forward(vector, layers, self.dropout, self.training, activation)
            seen = torch.cat([content.float(), vector], 1).detach()
            return scores, self.log_variance(seen)[:, 0].clamp(_MIN_LOG_VARIANCE, _MAX_LOG_VARIANCE)

    def stage_weights(self, images: Tensor) -> Tensor:
        """Return the weights [B, 4] of the stages in attention fusion. Raises ValueError for concat fusion."""
        if self.attention is None:
            raise ValueError("fusion: concat weighs no stages; build the model with fusion='attention'")
        weights: Tensor = self.attention(self.backbone(self.backbone.normalise(images)))
        return weights

    def score(self, images: Tensor) -> Tensor:
        """Score images [B, 3, H, W]: [B] in the units of the MOS, in [low, high]."""
        return self._in_units(self(images))

    def score_with_spread(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores [B] as `score` does, and the standard deviation [B] of the MOS around them, same units.

        The std is calibrated on the validation split: there the error divided by it has unit variance. It is never
        larger than the range allows (see `max_std`).
        """
        scores, log_variance = self(images, details=True)
        return self.in_units(scores, log_variance)

    def in_units(self, scores: Tensor, log_variance: Tensor) -> tuple[Tensor, Tensor]:
        """Bring scores [B] and log variances [B] of `judge` to scores and standard deviations in units of the MOS."""
        std = torch.minimum(self.spread_scale * (log_variance / 2).exp(), max_std(soft_clip(scores)))
        return self._in_units(scores), std * (self.high - self.low)

    @torch.no_grad()
    def calibrate(self, predicted: ArrayLike, truth: ArrayLike, std: ArrayLike) -> None:
        """Scale the std so that error / std has unit size on these images (all [N], in the units of the MOS)."""
        ratio = (np.asarray(truth, np.float64) - np.asarray(predicted)) / np.asarray(std)
        self.spread_scale *= float(np.sqrt(np.mean(ratio**2)))

    def _join(self, stages: list[Tensor]) -> Tensor:
        if not self.multiscale:
            return F.adaptive_avg_pool2d(stages[-1], GRID)
        pooled = [F.adaptive_avg_pool2d(stage, GRID) for stage in stages]
        if self.attention is not None:
            weights = self.attention(stages)
            pooled = [p * weights[:, i, None, None, None] for i, p in enumerate(pooled)]
        return torch.cat(pooled, 1)

    def _in_units(self, scores: Tensor) -> Tensor:
        return self.low + (self.high - self.low) * soft_clip(scores)


def soft_clip(scores: Tensor) -> Tensor:
    """Map scores of any size into [0, 1], strictly rising and unchanged but for the outermost SOFT_CLIP at either end.

    A clamp would make a bad image and a worse one equal.
    """
    low = SOFT_CLIP * ((scores - SOFT_CLIP) / SOFT_CLIP).clamp(max=0).exp()
    high = SOFT_CLIP * ((1 - SOFT_CLIP - scores) / SOFT_CLIP).clamp(max=0).exp()
    return torch.where(scores < SOFT_CLIP, low, torch.where(scores > 1 - SOFT_CLIP, 1 - high, scores))


def max_std(means: Tensor) -> Tensor:
    """Return the largest standard deviation of a variable in [0, 1] with these means (Bhatia and Davis 2000).

    A mean within SOFT_CLIP of an end counts as SOFT_CLIP away from it: no score is that certain.
    """
    means = means.clamp(SOFT_CLIP, 1 - SOFT_CLIP)
    return (means * (1 - means)).sqrt()
