"""YOLOX's decoupled, anchor-free head (Ge et al. 2021, arXiv 2107.08430), of RVT's width.

What differs: the places of the cells are computed for the size at hand and never kept, so that a change of resolution
cannot meet old ones; boxes come as corners in pixels of the input, in float32 also under autocast.

    N frames, A cells of all levels, K classes
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from polyscale.blocks import ConvBNSiLU
from polyscale.losses import cxcywh_to_xyxy

PRIOR = 0.01  # of an object in a cell, at the start (Lin et al. 2017)
MAX_LOG_SIZE = 10.0  # exp of it times the stride: beyond any sensor, and finite


class Cells(NamedTuple):
    """What the head says of every cell of N frames.

    Attributes:
        boxes: float32 [N, A, 4], (x1, y1, x2, y2) in pixels of the input.
        objectness: logits [N, A].
        classes: logits [N, A, K].
        centres: [A, 2], (x, y) of the cells in pixels.
        strides: [A], sides of the cells in pixels.
    """

    boxes: Tensor
    objectness: Tensor
    classes: Tensor
    centres: Tensor
    strides: Tensor


class YoloxHead(nn.Module):
    """list of [N, channels[i], h_i, w_i] -> Cells.

    Args:
        channels: of the levels, finest first.
        strides: of the levels, in pixels of the input.
        classes: K.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], classes: int) -> None:
        super().__init__()
        self.strides = list(strides)
        self.levels = nn.ModuleList(_Level(width, channels[-1] // 4, classes) for width in channels)

    def forward(self, features: Sequence[Tensor]) -> Cells:
        """Return the boxes and logits of all levels, finest first."""
        boxes, logits, centres, strides = [], [], [], []
        for level, stride, x in zip(self.levels, self.strides, features, strict=True):
            h, w = x.shape[-2:]
            y, x_ = torch.meshgrid(torch.arange(h, device=x.device), torch.arange(w, device=x.device), indexing="ij")
            corner = torch.stack([x_, y], dim=-1).reshape(-1, 2).float()
            box, logit = level(x)
            place = box[..., :2] + corner
            size = box[..., 2:].clamp(max=MAX_LOG_SIZE).exp()
            boxes.append(cxcywh_to_xyxy(stride * torch.cat([place, size], dim=-1)))
            logits.append(logit)
            centres.append(stride * (corner + 0.5))
            strides.append(torch.full((h * w,), float(stride), device=x.device))
        joined = torch.cat(logits, dim=1)
        return Cells(torch.cat(boxes, dim=1), joined[..., 0], joined[..., 1:], torch.cat(centres), torch.cat(strides))


class _Level(nn.Module):
    """[N, in, h, w] -> box [N, h * w, 4] as (x, y, log w, log h) in cells, logits [N, h * w, 1 + K]."""

    def __init__(self, in_channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.stem = ConvBNSiLU(in_channels, width)
        self.class_convs = nn.Sequential(ConvBNSiLU(width, width, 3), ConvBNSiLU(width, width, 3))
        self.box_convs = nn.Sequential(ConvBNSiLU(width, width, 3), ConvBNSiLU(width, width, 3))
        self.class_logits = nn.Conv2d(width, classes, 1)
        self.box = nn.Conv2d(width, 4, 1)
        self.objectness = nn.Conv2d(width, 1, 1)
        for layer in (self.class_logits, self.objectness):
            nn.init.constant_(layer.bias, -math.log((1 - PRIOR) / PRIOR))  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        found, named = self.box_convs(x), self.class_convs(x)
        logits = torch.cat([self.objectness(found), self.class_logits(named)], dim=1)
        return self.box(found).flatten(2).mT.float(), logits.flatten(2).mT.float()
