"""What the model has to beat: maps that need no training, images [B, 3, H, W] -> probabilities [B, 1, H, W]."""

from collections.abc import Callable

import torch
from torch import Tensor

Predict = Callable[[Tensor], Tensor]


def everything(images: Tensor) -> Tensor:
    """Mark every pixel."""
    return torch.ones_like(images[:, :1])


def brighter_than_mean(images: Tensor) -> Tensor:
    """Mark what is brighter than the mean of its image."""
    return (images - images.mean((2, 3), keepdim=True)).mean(1, keepdim=True).gt(0).float()


BASELINES: dict[str, Predict] = {"everything": everything, "brighter than the mean": brighter_than_mean}
