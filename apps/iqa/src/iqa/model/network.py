"""The quality network: a hierarchical backbone, a hyper-network over its four stages, and scene statistics beside them.

Source: the seed (HyperIQA on a Swin with the stages pooled and joined). What differs: the whole image goes through at
once, at any size; the score is on the scale of the opinions it learnt from and comes with a spread; the natural scene
statistics that hand-made measures use may enter beside the backbone, which then may see the image shrunk.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor, nn

from iqa.features.spatial import SceneStatistics
from iqa.model.ensemble import STATISTICS_WIDTH, StatisticsBranch
from iqa.model.hypernet import GRID, TARGET, HyperNet, LocalDistortion, StageAttention, judge
from polyscale.models.backbones import create_backbone
from polyscale.models.weights import Pretrained

Fusion = Literal["concat", "attention"]

MAX_SHRINK = 64
MIN_SIZE, MAX_SIZE = 32, 8192  # pixels a side
RIM = 0.05  # of the range at either end, within which scores beyond it are gathered
_LEAST_LOG_VARIANCE, _MOST_LOG_VARIANCE = -10.0, 2.0


class QualityNet(Pretrained):
    """Quality scores of images.

    forward: RGB in [0, 1] [B, 3, H, W], any H and W -> scores [B], 0 for `low` and 1 for `high` of the opinions' range
    (a score may lie a little outside); with `statistics` given (what `look` returns) the images are those of `look`.

    backbone: any hierarchical timm model. multiscale: join all four stages, else the last alone. fusion: concat, or
    attention, which weighs the stages first. statistics: take in SceneStatistics. shrink: the backbone sees the
    image shrunk by this whole number, the statistics see all of it. image_size: larger images are first shrunk to
    this side squared (`data.network_image`). low, high: range of the scores for the user, higher is better.
    """

    shipped = Path(__file__).parents[1] / "weights"
    title = "Blind image quality (iqa)"
    tags = ("image-quality-assessment", "no-reference")
    spread_scale: Tensor

    def __init__(
        self,
        backbone: str = "swin_tiny_patch4_window7_224",
        multiscale: bool = True,
        fusion: Fusion = "concat",
        statistics: bool = False,
        shrink: int = 1,
        dropout: float = 0.3,
        drop_path: float = 0.2,
        image_size: int = 512,
        low: float = 0.0,
        high: float = 100.0,
        pretrained: bool = False,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        if not 1 <= shrink <= MAX_SHRINK:
            raise ValueError(f"shrink must be 1 to {MAX_SHRINK}, got {shrink}")
        if not MIN_SIZE <= image_size <= MAX_SIZE:
            raise ValueError(f"image_size must be {MIN_SIZE} to {MAX_SIZE}, got {image_size}")
        if not low < high:
            raise ValueError(f"low, high: {low}, {high} given, low must lie below high")
        regularised: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
        self.backbone = create_backbone(
            backbone, pretrained=pretrained, checkpoint_activations=checkpoint_activations, **regularised
        )
        self.input_size, self.low, self.high, self.shrink, self.dropout = image_size, low, high, shrink, dropout
        channels = self.backbone.channels
        self.multiscale = multiscale
        self.attention = StageAttention(channels[-1]) if multiscale and fusion == "attention" else None
        self.hyper = HyperNet(sum(channels) if multiscale else channels[-1], dropout=dropout)
        self.local = LocalDistortion(channels, TARGET[0] - STATISTICS_WIDTH * statistics)
        self.statistics = StatisticsBranch(dropout) if statistics else None
        self.register_buffer("spread_scale", torch.ones(()))
        self.log_variance = nn.Linear(TARGET[1] + TARGET[0], 1)

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The part of the network that never changes: see `look`."""
        return look(images, None if self.statistics is None else self.statistics.measure, self.shrink)

    def forward(
        self, images: Tensor, statistics: Tensor | None = None, details: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor], Tensor]:
        """Scores [B]; with `details` (scores, those of each reader [B], log variances [B]).

        The readers are the written network and, with statistics, a committee that sees those alone; each learns the
        opinions by itself. The score is the mean of the written network's and the committee's mean.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images: shape {tuple(images.shape)} given, [B, 3, H, W] needed")
        if statistics is None:
            images, statistics = self.look(images)
        stages = self.backbone(self.backbone.normalise(images))
        content, vector = self.hyper.read(self._joined(stages)), self.local(stages)
        readers: list[Tensor] = []
        if self.statistics is not None:
            said, shift, committee = self.statistics(statistics)
            content, vector = content + shift[..., None, None], torch.cat([vector, said], 1)
            readers += committee.float().unbind(1)
        layers = self.hyper(content)
        with torch.autocast(images.device.type, enabled=False):  # a score in bf16 would have 256 steps
            vector, layers = vector.float(), [(weight.float(), bias.float()) for weight, bias in layers]
            written = judge(vector, layers, self.dropout, self.training)
            scores = (written + torch.stack(readers).mean(0)) / 2 if readers else written
            readers.append(written)
            if not details:
                return scores
            seen = torch.cat([content.float().mean((2, 3)), vector], 1).detach()
            log_variance = self.log_variance(seen)[:, 0].clamp(_LEAST_LOG_VARIANCE, _MOST_LOG_VARIANCE)
            return scores, readers, log_variance

    def stage_weights(self, images: Tensor) -> Tensor:
        """[B, 4]: how attention fusion weighs the stages of each image. Raises ValueError for concat fusion."""
        if self.attention is None:
            raise ValueError("fusion: concat weighs no stages; build the model with fusion='attention'")
        weights: Tensor = self.attention(self.backbone(self.backbone.normalise(self.look(images)[0])))
        return weights

    def score(self, images: Tensor, statistics: Tensor | None = None) -> Tensor:
        """[B, 3, H, W] (or what `look` gives) -> scores [B] in the opinions' units, within [low, high]."""
        return self._in_units(self(images, statistics))

    def score_with_spread(self, images: Tensor, statistics: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Scores [B] as `score` gives them, and the standard deviation [B] of the opinions around them, same units.

        The spread is calibrated on the validation split: there the error divided by the spread has unit variance. It
        is never larger than opinions of that mean can be spread over their range (see `widest`).
        """
        scores, _, log_variance = self(images, statistics, details=True)
        spread = torch.minimum(self.spread_scale * (log_variance / 2).exp(), widest(bounded(scores)))
        return self._in_units(scores), spread * (self.high - self.low)

    @torch.no_grad()
    def calibrate(self, predicted: ArrayLike, truth: ArrayLike, spread: ArrayLike) -> None:
        """Scale the spread so that error / spread has unit size on these images (all [N], in users' units)."""
        ratio = (np.asarray(truth, np.float64) - np.asarray(predicted)) / np.asarray(spread)
        self.spread_scale *= float(np.sqrt(np.mean(ratio**2)))

    @torch.no_grad()
    def quality_map(self, images: Tensor, tile: int = 128, step: int = 64, batch_size: int = 16) -> Tensor:
        """[B, 3, H, W] -> [B, h, w]: the scores of overlapping tiles, one every `step` pixels, in users' units."""
        height, width = images.shape[-2:]
        tile_h, tile_w = min(tile, height), min(tile, width)
        tops, lefts = _starts(height, tile_h, step), _starts(width, tile_w, step)
        tiles = [images[..., top : top + tile_h, left : left + tile_w] for top in tops for left in lefts]
        scores = [self.score(part) for part in torch.cat(tiles).split(batch_size)]
        return torch.cat(scores).view(len(tops), len(lefts), -1).permute(2, 0, 1)

    def _joined(self, stages: list[Tensor]) -> Tensor:
        if not self.multiscale:
            return F.adaptive_avg_pool2d(stages[-1], GRID)
        pooled = [F.adaptive_avg_pool2d(stage, GRID) for stage in stages]
        if self.attention is not None:
            weights = self.attention(stages)
            pooled = [p * weights[:, i, None, None, None] for i, p in enumerate(pooled)]
        return torch.cat(pooled, 1)

    def _in_units(self, scores: Tensor) -> Tensor:
        return self.low + (self.high - self.low) * bounded(scores)


def look(images: Tensor, measure: SceneStatistics | None, shrink: int) -> tuple[Tensor, Tensor]:
    """[B, 3, H, W] -> (the images shrunk by the whole number `shrink`, their statistics [B, K], K = 0 for none).

    Gradients reach the images through the shrunk ones alone.
    """
    statistics = images.new_zeros(images.shape[0], 0) if measure is None else measure(images)
    if shrink > 1:
        images = F.avg_pool2d(images, min(shrink, *images.shape[-2:]), ceil_mode=True)
    return images, statistics


def bounded(scores: Tensor) -> Tensor:
    """Scores of any size -> [0, 1], strictly rising; unchanged but for the outermost RIM at either end.

    A clamp would call a bad image and a worse one equal.
    """
    low, high = RIM * ((scores - RIM) / RIM).clamp(max=0).exp(), RIM * ((1 - RIM - scores) / RIM).clamp(max=0).exp()
    return torch.where(scores < RIM, low, torch.where(scores > 1 - RIM, 1 - high, scores))


def widest(shares: Tensor) -> Tensor:
    """The largest standard deviation of anything within [0, 1] whose mean is `shares` (Bhatia and Davis 2000).

    A mean within RIM of an end counts as RIM away from it: no score is that certain.
    """
    means = shares.clamp(RIM, 1 - RIM)
    return (means * (1 - means)).sqrt()


def _starts(length: int, tile: int, step: int) -> list[int]:
    """Starts of tiles that reach both borders, about `step` apart."""
    count = -(-(length - tile) // step) + 1
    return [round(i * (length - tile) / max(count - 1, 1)) for i in range(count)]
