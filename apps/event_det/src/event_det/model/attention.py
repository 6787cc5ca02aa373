"""Window and grid attention of MaxViT (Tu et al. 2022) as RVT (Gehrig and Scaramuzza 2023) uses it: no position bias.

A window is a tile of neighbouring pixels; a grid takes one pixel of every tile, so that two layers see the whole image
at the cost of tiles. Channels last throughout.

    B images, H, W sides of the map, h, w sides of a tile, C channels
"""

import torch.nn.functional as F
from torch import Tensor, nn, ones


class PartitionAttention(nn.Module):
    """[B, H, W, C] -> [B, H, W, C]: attention inside tiles, then an MLP, each with norm, LayerScale and residual.

    H and W are to be multiples of h and w.

    Args:
        channels: C.
        head: channels of an attention head, a divisor of C.
        grid: attend over the pixels of equal place in all tiles, instead of over those of one tile.
        normed: what comes is normalised already: the first norm is left out.
    """

    def __init__(self, channels: int, head: int, *, grid: bool, normed: bool = False) -> None:
        super().__init__()
        if channels % head:
            raise ValueError(f"head must be a divisor of the {channels} channels of a stage, got {head}")
        self.head, self.grid = head, grid
        self.norm1: nn.Module = nn.Identity() if normed else nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.scale1 = nn.Parameter(1e-5 * ones(channels))
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))
        self.scale2 = nn.Parameter(1e-5 * ones(channels))

    def forward(self, x: Tensor, tile: tuple[int, int]) -> Tensor:
        """Attend inside tiles of sides `tile` = (h, w)."""
        x = x + self.scale1 * self._attend(self.norm1(x), tile)
        return x + self.scale2 * self.mlp(self.norm2(x))

    def _attend(self, x: Tensor, tile: tuple[int, int]) -> Tensor:
        B, H, W, C = x.shape
        h, w = tile
        if self.grid:  # [B, h, rows, w, columns, C], places of a grid next to each other
            x = x.view(B, h, H // h, w, W // w, C).permute(0, 2, 4, 1, 3, 5)
        else:
            x = x.view(B, H // h, h, W // w, w, C).permute(0, 1, 3, 2, 4, 5)
        # the three parts lie next to each other within a head, as in RVT's checkpoints
        qkv = self.qkv(x.reshape(-1, h * w, C)).unflatten(-1, (C // self.head, 3 * self.head)).transpose(1, 2)
        x = self.proj(F.scaled_dot_product_attention(*qkv.chunk(3, dim=-1)).transpose(1, 2).flatten(2))
        x = x.view(B, H // h, W // w, h, w, C)
        order = (0, 3, 1, 4, 2, 5) if self.grid else (0, 1, 3, 2, 4, 5)
        return x.permute(*order).reshape(B, H, W, C)
