"""The hyper-network of HyperIQA: content features give the weights of the small target network that scores the image.

Sources: Su et al., "Blindly Assess Image Quality in the Wild Guided by a Self-Adaptive Hyper Network" (CVPR 2020) and
its Swin variant of the HyperIQA-Swin notes, which feeds it all four stages. What differs: adaptive pools, so that any
image size goes through at once (at 224 px the numbers are the same); the target network runs as batched matrix products
instead of a grouped convolution or a module built per batch.
"""

import itertools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GRID = 7  # cells a side of the map that the weights are written from
TARGET = (224, 112, 56, 28, 14)  # widths of the target network; neighbours' products are multiples of GRID**2
_LOCAL = ((16, 8), (32, 4), (64, 2))  # channels and cells a side of the local vectors of the first three stages
_LOCAL_OUT = 16

Layer = tuple[Tensor, Tensor]  # weights [B, out, in] and biases [B, out] of one layer, one set per image


class LocalDistortion(nn.Module):
    """The input of the target network from the stages: 16 numbers each of the first three, the rest of the last.

    The early stages keep positions (8x8, 4x4, 2x2 cells), because distortions show there first.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.squeeze = nn.ModuleList(
            nn.Conv2d(c, k, 1, bias=False) for c, (k, _) in zip(channels, _LOCAL, strict=False)
        )
        sizes = [k * cells**2 for k, cells in _LOCAL]
        outs = [_LOCAL_OUT] * len(_LOCAL)
        self.read = nn.ModuleList(
            nn.Linear(i, o) for i, o in zip([*sizes, channels[-1]], [*outs, TARGET[0] - sum(outs)], strict=True)
        )

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """Map stages [B, C_i, H_i, W_i] to [B, 224]."""
        parts = []
        for i, (_, cells) in enumerate(_LOCAL):
            # The 1x1 convolution and the mean commute: pooling first costs a fraction.
            parts.append(self.read[i](self.squeeze[i](F.adaptive_avg_pool2d(stages[i], cells)).flatten(1)))
        parts.append(self.read[-1](stages[-1].mean((2, 3))))
        return torch.cat(parts, 1)


class StageAttention(nn.Module):
    """Weights of the stages that add up to 1, computed from the last stage: the attention fusion of HyperIQA-Swin."""

    def __init__(self, channels: int, stages: int = 4, hidden: int = 256, dropout: float = 0.5) -> None:
        super().__init__()
        self.score = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, stages)
        )

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """Map stages [B, C_i, H_i, W_i] to [B, stages]."""
        weights: Tensor = self.score(stages[-1].mean((2, 3))).softmax(1)
        return weights


class HyperNet(nn.Module):
    """Content features from the joined stages (`encode`), and from them the target network's weights (`forward`)."""

    def __init__(
        self, in_channels: int, width: int = 112, hidden: Sequence[int] = (512, 256), dropout: float = 0.0
    ) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        before = in_channels
        for channels in (*hidden, width):
            steps += [nn.Conv2d(before, channels, 1), nn.ReLU()]
            before = channels
        self.read = nn.Sequential(*steps, nn.Dropout(dropout))
        pairs = list(itertools.pairwise(TARGET))
        self.weights = nn.ModuleList(nn.Conv2d(width, i * o // GRID**2, 3, padding=1) for i, o in pairs)
        self.biases = nn.ModuleList(nn.Linear(width, o) for _, o in pairs)
        self.last_weight, self.last_bias = nn.Linear(width, TARGET[-1]), nn.Linear(width, 1)
        for head in (*self.weights, *self.biases, self.last_weight, self.last_bias):
            nn.init.kaiming_normal_(head.weight)

    def encode(self, joined: Tensor) -> Tensor:
        """Map [B, in_channels, 7, 7] to content features [B, 112, 7, 7]."""
        content: Tensor = self.read(joined)
        return content

    def forward(self, content: Tensor) -> list[Layer]:
        """Map content features [B, 112, 7, 7] to weights and biases of the target network's five layers."""
        pooled = content.mean((2, 3))
        layers = []
        for weight, bias, i, o in zip(self.weights, self.biases, TARGET[:-1], TARGET[1:], strict=True):
            layers.append((weight(content).reshape(-1, o, i), bias(pooled)))
        layers.append((self.last_weight(pooled)[:, None], self.last_bias(pooled)))
        return layers


def target_forward(
    vector: Tensor,
    layers: Sequence[Layer],
    dropout: float = 0.0,
    training: bool = False,
    activation: Callable[[Tensor], Tensor] = torch.sigmoid,
) -> Tensor:
    """Run each image's own target network, an activation between its layers and dropout after all but the last two.

    Args:
        vector: [B, width of the first layer's input].
        layers: as HyperNet gives them.
        dropout: probability in training.
        training: whether dropout is active.
        activation: between the layers; HyperIQA has sigmoids.

    Returns:
        Scores [B].
    """
    x = vector[..., None]
    for i, (weight, bias) in enumerate(layers):
        x = torch.baddbmm(bias[..., None], weight, x)
        if i + 1 < len(layers):
            x = activation(x)
        if i + 2 < len(layers):
            x = F.dropout(x, dropout, training)
    return x[:, 0, 0]
