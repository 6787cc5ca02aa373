"""The camouflage segmenter: a hierarchical backbone seen at several input scales, and a lean top-down decoder.

Source: camoXpert's MultiScaleProcessor and ZoomNeXt (Pang et al., TPAMI 2024) for the three input scales. What
differs: the fused features keep the backbone's channels and cost a few per cent of its parameters, and the decoder
works at one width on strides 4 to 32 (ZoomNeXt's costs more than one pass of its backbone).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyscale.blocks import MultiScaleInputProcessor
from polyscale.models.backbones import create_backbone
from polyscale.models.options import Source
from polyscale.models.weights import Pretrained

Fusion = Literal["hierarchical", "absi"]
MAX_SCALES, MAX_SCALE = 8, 4.0
MIN_SIZE, MAX_SIZE = 32, 8192  # pixels a side


class CamoSegmenter(Pretrained):
    """Foreground logits of camouflaged objects.

    forward: images [B, 3, H, W], RGB in [0, 1], any H and W -> logits [B, 1, H, W]. With `return_loss_inputs` given
    the result is (logits, per-scale logits): one [B, 1, h, w] for each input scale, or none where it is False.

    backbone: any hierarchical timm model; scales: input scales, (1.0,) is the single-scale model; fusion: how the
    scales are joined; width: channels of the decoder; image_size: side in pixels that it is trained and used at.
    """

    shipped = Path(__file__).parents[1] / "weights"
    title = "Camouflaged object segmentation (camo-seg)"
    task = "image-segmentation"
    tags = ("camouflaged-object-detection", "segmentation")

    def __init__(
        self,
        backbone: str = "pvt_v2_b0",
        scales: Sequence[float] = (0.5, 1.0, 1.5),
        fusion: Fusion = "hierarchical",
        width: int = 64,
        image_size: int = 384,
        scale_heads: bool = True,
        pretrained: Source | bool = False,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        if not 1 <= len(scales) <= MAX_SCALES or not all(0 < scale <= MAX_SCALE for scale in scales):
            raise ValueError(f"scales must be 1 to {MAX_SCALES} numbers above 0 and up to {MAX_SCALE}")
        if not MIN_SIZE <= image_size <= MAX_SIZE:
            raise ValueError(f"image_size must be {MIN_SIZE} to {MAX_SIZE}, got {image_size}")
        network = create_backbone(backbone, pretrained=pretrained, checkpoint_activations=checkpoint_activations)
        self.input_size = image_size
        self.multiscale = len(scales) > 1
        self.backbone: nn.Module = network
        if self.multiscale:
            self.backbone = MultiScaleInputProcessor(
                network, scales=list(scales), use_hierarchical=fusion == "hierarchical", supervise=scale_heads
            )
        self.decoder = Decoder(network.channels, width)

    def forward(self, images: Tensor, return_loss_inputs: bool | None = None) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Return logits [B, 1, H, W] of images [B, 3, H, W] in [0, 1], or a pair as the class describes."""
        network: Any = self.backbone.backbone if self.multiscale else self.backbone
        x = network.normalise(images)
        per_scale: list[Tensor] = []
        if return_loss_inputs and self.multiscale:
            features, per_scale = self.backbone(x, return_loss_inputs=True)
        else:
            features = self.backbone(x)
        logits = F.interpolate(self.decoder(features), images.shape[-2:], mode="bilinear", align_corners=False)
        return logits if return_loss_inputs is None else (logits, per_scale)


class Decoder(nn.Module):
    """Top-down decoder of one width: strides 4/8/16/32 in, logits [B, 1, H/4, W/4] out.

    Each level is joined to the one below it by addition and mixed by a depthwise 5x5 block, the deepest also sees the
    mean of the whole image; the head reads all levels at stride 4 (as in Semantic FPN, Kirillov et al., 2019).
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.context = nn.Conv2d(channels[-1], width, 1)
        self.mix = nn.ModuleList(_Mix(width) for _ in channels)
        self.join = nn.Sequential(
            nn.Conv2d(width * len(channels), width, 1, bias=False), nn.BatchNorm2d(width), nn.GELU(), _Mix(width)
        )
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Join four levels to logits [B, 1, H/4, W/4]."""
        x = self.lateral[-1](features[-1]) + self.context(features[-1].mean((2, 3), keepdim=True))
        levels = [self.mix[-1](x)]
        for i in range(len(features) - 2, -1, -1):
            lateral = self.lateral[i](features[i])
            levels.append(self.mix[i](lateral + _resize(levels[-1], lateral)))
        finest = levels[-1]
        logits: Tensor = self.head(self.join(torch.cat([_resize(x, finest) for x in levels], 1)))
        return logits


class _Mix(nn.Module):
    """Residual block: depthwise 5x5 for the surroundings, then a pointwise expansion of two."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 5, padding=2, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.Conv2d(width, 2 * width, 1),
            nn.GELU(),
            nn.Conv2d(2 * width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


def _resize(x: Tensor, like: Tensor) -> Tensor:
    if x.shape[-2:] == like.shape[-2:]:
        return x
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)
