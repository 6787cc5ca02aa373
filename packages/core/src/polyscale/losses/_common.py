"""What the losses share: the type they compute in, and how they reduce."""

from typing import Literal

import torch
from torch import Tensor

Reduction = Literal["none", "mean", "sum"]


def upcast(x: Tensor) -> Tensor:
    """float32, or float64 where that is what came: losses of half precision tensors are computed in float32."""
    return x if x.dtype == torch.float64 else x.float()


def at_least_one(count: float | Tensor) -> float | Tensor:
    """A count to divide by, raised to 1, so that no positives give a loss of 0 and not NaN."""
    return count.clamp(min=1) if isinstance(count, Tensor) else max(count, 1)


def reduce(loss: Tensor, reduction: str) -> Tensor:
    """Return `loss` as it is, its sum, or its mean, which for no elements is 0 with a graph and not NaN."""
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if reduction == "mean":
        return loss.sum() / max(loss.numel(), 1)
    raise ValueError(f"reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
