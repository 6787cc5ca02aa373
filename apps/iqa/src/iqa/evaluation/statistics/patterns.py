"""Two more families of scene statistics: local binary patterns, and the frequencies of 8x8 blocks.

Sources: Ojala, Pietikainen, Maenpaa (TPAMI 2002: rotation-invariant uniform patterns) as texture measure; BLIINDS-II
(Saad, Bovik, Charrier, TIP 2012) for statistics of block DCT coefficients. What differs: a neighbour counts as brighter
from one grey level on, so that flat noise-free areas are one pattern; bands are read by means, not by fitted shapes.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 8
PATTERNS = 10  # of eight neighbours in a ring: 0 to 8 brighter ones in one run, and all else
_RING = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
_GREY = 1 / 255
_FINE = 5  # sum of the two frequencies from which a coefficient is fine detail
_SHARES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)


def binary_patterns(luma: Tensor) -> Tensor:
    """Compute square roots of the shares of the ten patterns: [B, 1, H, W], at least 3x3, to [B, 10]."""
    height, width = luma.shape[-2] - 2, luma.shape[-1] - 2
    centre = luma[..., 1:-1, 1:-1] + _GREY
    brighter = [luma[..., 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] > centre for dy, dx in _RING]
    count = torch.stack(brighter).sum(0, dtype=torch.int32)
    changes = torch.stack([here != there for here, there in zip(brighter, brighter[1:] + brighter[:1], strict=True)])
    pattern = torch.where(changes.sum(0, dtype=torch.int32) <= 2, count, PATTERNS - 1).flatten(1)
    return torch.stack([(pattern == kind).float().mean(1) for kind in range(PATTERNS)], 1).sqrt()


def values_at(x: Tensor, shares: tuple[float, ...]) -> Tensor:
    """Take values at these shares of the sorted last axis, [..., N] to [..., len(shares)]."""
    place = torch.tensor(shares, dtype=torch.float64, device=x.device) * (x.shape[-1] - 1)
    return x.sort(-1).values.index_select(-1, place.round().long())


class BlockFrequencies(nn.Module):
    """Statistics of the DCT coefficients of 8x8 blocks.

    The size of each of 63 coefficients; per band the share of vanishing ones and the heaviness of the tails; and
    quantiles of fine detail over the blocks.
    """

    cosines: Tensor
    bands: Tensor

    def __init__(self) -> None:
        super().__init__()
        k, x = torch.arange(BLOCK)[:, None], torch.arange(BLOCK)[None]
        basis = torch.cos(math.pi * (2 * x + 1) * k / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
        basis[0] /= math.sqrt(2)
        cosines = torch.einsum("ij,kl->ikjl", basis, basis).reshape(BLOCK**2, 1, BLOCK, BLOCK)
        band = (k + x).flatten()
        averaging = F.one_hot(band[1:] - 1).float()  # 63 coefficients without the mean -> 14 bands
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("bands", averaging / averaging.sum(0), persistent=False)
        self.fine = band >= _FINE

    def forward(self, luma: Tensor) -> Tensor:
        """Map [B, 1, H, W], at least 8x8, to [B, 98]."""
        coefficients = F.conv2d(luma, self.cosines, stride=BLOCK).flatten(2)
        sizes = coefficients.abs()
        powers = (coefficients * coefficients) * 1e5
        vanishing = (sizes < 2 * _GREY).float().mean(2)[:, 1:] @ self.bands
        tails = ((powers * powers).mean(2) / (powers.mean(2) ** 2 + 1) + 1e-4).log()[:, 1:] @ self.bands
        detail = values_at((sizes[:, self.fine].mean(1) + 1e-4).log(), _SHARES)
        return torch.cat([(sizes.mean(2) + 1e-4).log()[:, 1:], vanishing, detail, tails], 1)
