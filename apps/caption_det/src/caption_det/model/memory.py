"""What the caption is read from: learned queries that look at all levels of the pyramid by deformable attention.

The seed of this application (multiscale_encoder.py of qvision) pooled one map to 3x3 and 2x2 and rounded its offsets,
so that they got no gradient. Here the levels are a true pyramid, and every query starts at its own place of a grid.

    B images, Q queries, C width, L levels, N pixels of all levels
"""

import math

import torch
from torch import Tensor, nn

from polyscale.blocks import MultiScaleDeformableAttention, flatten_levels


class QueryLayer(nn.Module):
    """Self-attention, deformable attention and a feed-forward network, each after a norm and added."""

    def __init__(self, width: int, levels: int, num_heads: int, num_points: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.attention = nn.MultiheadAttention(width, num_heads, dropout, batch_first=True)
        self.look = MultiScaleDeformableAttention(width, levels, num_heads, num_points)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, place: Tensor, reference: Tensor, value: Tensor, shapes: list[tuple[int, int]]
    ) -> Tensor:
        """Update the queries x [B, Q, C].

        Args:
            x: the queries.
            place: [B or 1, Q, C], added where attention asks and answers.
            reference: [B or 1, Q, 1, 2 or 4], places or boxes.
            value: [B, N, C], the levels.
            shapes: (height, width) of each level.
        """
        asked = self.norms[0](x)
        keys = asked + place
        x = x + self.drop(self.attention(keys, keys, asked, need_weights=False)[0])
        x = x + self.drop(self.look(self.norms[1](x) + place, reference, value, shapes))
        return x + self.drop(self.mlp(self.norms[2](x)))


class QueryMemory(nn.Module):
    """Levels, a list of [B, C, h, w] -> memory [B, num_queries, C].

    Args:
        width: C.
        levels: number of maps.
        num_queries: Q; their reference points start on a grid over the image and are learned.
        layers, num_heads, num_points, dropout: of the layers.
    """

    def __init__(
        self, width: int, levels: int, num_queries: int, layers: int, num_heads: int, num_points: int, dropout: float
    ) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(num_queries, width) * width**-0.5)
        self.places = nn.Parameter(torch.randn(num_queries, width) * width**-0.5)
        self.reference = nn.Parameter(torch.logit(even_grid(num_queries)))
        self.layers = nn.ModuleList(QueryLayer(width, levels, num_heads, num_points, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Return the memory."""
        value, shapes = flatten_levels(levels)
        x = self.queries.expand(len(value), -1, -1)
        reference = self.reference.sigmoid()[None, :, None]
        for layer in self.layers:
            x = layer(x, self.places[None], reference, value, shapes)
        return self.norm(x)


class MapMemory(nn.Module):
    """The pixels of one level with sine positions: list of [B, C, h, w] -> [B, h * w, C]."""

    def __init__(self, width: int, level: int) -> None:
        super().__init__()
        self.level = level
        self.norm = nn.LayerNorm(width)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Return the memory."""
        level = levels[self.level]
        x = level.flatten(2).transpose(1, 2)
        return self.norm(x) + sine_positions(level.shape[-2:], level.shape[1], x)


def sine_positions(shape: tuple[int, int] | torch.Size, width: int, like: Tensor) -> Tensor:
    """Sines and cosines of the pixel centres, [1, h * w, width], half for y and half for x."""
    quarter = width // 4
    frequencies = torch.exp(torch.arange(quarter, device=like.device) * (-math.log(100.0) / max(quarter, 1)))
    parts = []
    for axis, side in enumerate(shape):
        centres = (torch.arange(side, device=like.device) + 0.5) / side * (2 * math.pi)
        angles = centres[:, None] * frequencies
        waves = torch.cat([angles.sin(), angles.cos()], dim=-1)
        waves = waves[:, None] if axis == 0 else waves[None]
        parts.append(waves.expand(shape[0], shape[1], -1))
    positions = torch.cat(parts, dim=-1).flatten(0, 1)[None].to(like.dtype)
    return torch.nn.functional.pad(positions, (0, width - positions.shape[-1]))


def even_grid(count: int) -> Tensor:
    """`count` places (x, y) in (0, 1), evenly over the square."""
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    index = torch.arange(count)
    return torch.stack([(index % columns + 0.5) / columns, (index // columns + 0.5) / rows], dim=-1)
