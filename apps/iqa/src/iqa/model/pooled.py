"""The hyper-network without positions: from the means of all stages the weights and the input of a small network.

What differs from hypernet.py: no cell of a 7 x 7 map has weights of its own, so that an image that is mirrored, cut or
shifted keeps its score as far as the backbone's means do; it has a tenth of the parameters.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from iqa.model.hypernet import Layer

POOLED_TARGET = (64, 32, 16)  # widths of the target network before its single output


class Standardise(nn.Module):
    """Subtract the mean and divide by the standard deviation of all rows seen in training so far; clamp to [-5, 5].

    Not BatchNorm: the mean of a batch of 16 moves every number by a quarter of its std. After `horizon` rows old ones
    fade.
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


class PooledHyperNet(nn.Module):
    """Content features, the target network's input and its weights from the fused means of the stages.

    Args:
        channels: of all stages together.
        width: of the content features that the weights are written from.
        hidden: of the layer before them.
        dropout: probability in training; a quarter of it on the means.
    """

    def __init__(self, channels: int, width: int = 128, hidden: int = 256, dropout: float = 0.0) -> None:
        super().__init__()
        self.width = width
        self.standardise = Standardise(channels)
        self.thin = nn.Dropout(dropout / 4)
        self.encode = nn.Sequential(
            *(nn.Linear(channels, hidden), nn.GELU(), nn.Dropout(dropout)),
            *(nn.Linear(hidden, width), nn.GELU(), nn.Dropout(dropout)),
        )
        self.read = nn.Linear(channels, POOLED_TARGET[0])
        pairs = list(itertools.pairwise((*POOLED_TARGET, 1)))
        weights = [nn.Linear(width, i * o) for i, o in pairs]
        biases = [nn.Linear(width, o) for _, o in pairs]
        for weight, (i, _) in zip(weights, pairs, strict=True):  # unit variance through the target network
            nn.init.normal_(weight.weight, std=(i * width) ** -0.5)
            nn.init.normal_(weight.bias, std=i**-0.5)
        nn.init.constant_(biases[-1].bias, 0.5)  # the middle of the range
        self.weights, self.biases = nn.ModuleList(weights), nn.ModuleList(biases)

    def forward(self, stages: Sequence[Tensor]) -> tuple[Tensor, Tensor, list[Layer]]:
        """Map stages [B, C_i, H_i, W_i] to content [B, width], the target network's input [B, 64] and its layers."""
        means = self.standardise(torch.cat([stage.mean((2, 3)) for stage in stages], 1))
        content = self.encode(self.thin(means))
        layers = [
            (weight(content).unflatten(1, (width, -1)), bias(content))
            for weight, bias, width in zip(self.weights, self.biases, (*POOLED_TARGET[1:], 1), strict=True)
        ]
        return content, self.read(self.thin(means)), layers
