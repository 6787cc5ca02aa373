"""Standardisation by running statistics of all rows seen in training."""

import torch
from torch import Tensor, nn


class Standardise(nn.Module):
    """Subtract the mean and divide by the standard deviation of all rows seen in training so far; clamp to [-5, 5].

    Not BatchNorm: the mean of a batch of 16 moves every number by a quarter of its std, and a network on statistics
    learns visibly slower from that (docs/results.md). After `horizon` rows old ones fade.
    """

    count: Tensor
    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int, horizon: int = 20_000) -> None:
        super().__init__()
        self.horizon = horizon
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, K] to [B, K], float32."""
        x = x.float()
        if self.training:
            self._update(x.detach())
        return ((x - self.mean) / (self.variance + 1e-4).sqrt()).clamp(-5, 5)

    @torch.no_grad()
    def _update(self, x: Tensor) -> None:
        share = len(x) / (self.count + len(x))
        before = self.mean.clone()
        self.mean.lerp_(x.mean(0), share)
        variance = ((x - before) * (x - self.mean)).mean(0)  # Welford's update for a block of rows
        self.variance.lerp_(variance, share)
        self.count.add_(len(x)).clamp_(max=self.horizon)
