"""The hyper-network without positions: from the means of all stages the weights and the input of a small network.

What differs from hypernet.py: no cell of a 7 x 7 map has weights of its own, so that an image that is mirrored, cut or
shifted keeps its score as far as the backbone's means do; it has a tenth of the parameters.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from iqa.features.running_norm import Standardise
from iqa.model.hypernet import Layer

POOLED_TARGET = (64, 32, 16)  # widths of the target network before its single output


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
