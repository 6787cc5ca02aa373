"""Pooling over several bin counts: MultiScalePooling, PyramidPooling (PSPNet), SpatialPyramidPooling (SPPNet).

From Neurenix, "Multi-Scale Pooling". What differs:
- Neurenix calls `pool_sizes` kernel sizes and yet concatenates the results, which fits bins only: a
  pool size k means a grid of k x k bins over the whole map, as in PSPNet (Zhao et al. 2017);
- PyramidPooling has no norm at bin 1 (one value per image), so batch 1 trains; branches of in_channels / n channels;
- max pooling of SpatialPyramidPooling (He et al. 2014) reads the map once: each coarser level is exactly the maximum
  over 2 x 2 bins of the finer one.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyscale.blocks._checks import check_choice, check_count, check_counts, check_map
from polyscale.blocks._layers import ConvNormAct

POOL_TYPES = ("avg", "max")


def _pool(x: Tensor, bins: int, pool_type: str) -> Tensor:
    """[B, C, H, W] -> [B, C, bins, bins]."""
    return F.adaptive_avg_pool2d(x, bins) if pool_type == "avg" else F.adaptive_max_pool2d(x, bins)


def _spread(grid: Tensor, like: Tensor) -> Tensor:
    """Bilinear enlargement (or reduction) of a grid of bins to the size and memory format of `like`."""
    height, width = like.shape[-2:]
    if grid.shape[-1] == 1 and like.is_contiguous():  # a broadcast bin in channels_last would make `cat` leave it
        return grid.expand(-1, -1, height, width)
    return F.interpolate(grid, (height, width), mode="bilinear", align_corners=False)


class MultiScalePooling(nn.Module):
    """[B, C, H, W] -> [B, len(pool_sizes) * C, H, W]: a grid of bins per pool size, enlarged and concatenated.

    Args:
        pool_sizes: bins per side of each grid; the channels of the output follow this order. x itself is not part.
        pool_type: "avg" or "max".

    No parameters. Raises ValueError for empty or non-positive pool_sizes and an unknown pool_type.
    """

    def __init__(self, pool_sizes: Sequence[int] = (1, 2, 3, 6), pool_type: str = "avg") -> None:
        super().__init__()
        check_counts("pool_sizes", pool_sizes)
        check_choice("pool_type", pool_type, POOL_TYPES)
        self.pool_sizes = list(pool_sizes)
        self.pool_type = pool_type

    def forward(self, x: Tensor) -> Tensor:
        """Return the enlarged grids, concatenated in the order of `pool_sizes`."""
        check_map(x)
        return torch.cat([_spread(_pool(x, bins, self.pool_type), x) for bins in self.pool_sizes], dim=1)

    def extra_repr(self) -> str:
        """Return the arguments that printing the module shows."""
        return f"pool_sizes={self.pool_sizes}, pool_type={self.pool_type!r}"


class PyramidPooling(nn.Module):
    """[B, in_channels, H, W] -> [B, out_channels, H, W] with context of the whole map (PSPNet, Zhao et al. 2017).

    Per pool size: average into bins, 1x1 convolution to in_channels / len(pool_sizes) channels (at least 1), enlarge.
    Then x and all branches are concatenated and go through a 3x3 convolution, batch norm and ReLU.

    Args:
        in_channels, out_channels: channels of input and output.
        pool_sizes: bins per side, one branch each.

    Raises ValueError for counts below 1, an empty pool_sizes and a wrong channel count.
    """

    def __init__(self, in_channels: int, out_channels: int, pool_sizes: Sequence[int] = (1, 2, 3, 6)) -> None:
        super().__init__()
        check_count("in_channels", in_channels)
        check_count("out_channels", out_channels)
        check_counts("pool_sizes", pool_sizes)
        self.in_channels = in_channels
        self.pool_sizes = list(pool_sizes)
        width = max(1, in_channels // len(pool_sizes))
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Conv2d(in_channels, width, 1), nn.ReLU(inplace=True))
            if bins == 1
            else ConvNormAct(in_channels, width, kernel_size=1)
            for bins in pool_sizes
        )
        self.merge = ConvNormAct(in_channels + width * len(pool_sizes), out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return x merged with its context at every pool size."""
        check_map(x, self.in_channels)
        grids = [
            branch(F.adaptive_avg_pool2d(x, bins)) for bins, branch in zip(self.pool_sizes, self.branches, strict=True)
        ]
        return self.merge(torch.cat([x, *(_spread(grid, x) for grid in grids)], dim=1))


class SpatialPyramidPooling(nn.Module):
    """[B, C, H, W] -> [B, C * (1 + 4 + ... + 4^(num_levels - 1))]: a vector of fixed length for any H, W (SPPNet).

    Level i has 2^i x 2^i bins; levels follow each other from coarse to fine, within one the order is C, row, column.

    Args:
        num_levels: number of levels; 3 gives 21 values per channel.
        pool_type: "max" or "avg".

    No parameters. Raises ValueError for num_levels < 1 and an unknown pool_type.
    """

    def __init__(self, num_levels: int = 3, pool_type: str = "max") -> None:
        super().__init__()
        check_count("num_levels", num_levels)
        check_choice("pool_type", pool_type, POOL_TYPES)
        self.num_levels = num_levels
        self.pool_type = pool_type

    def forward(self, x: Tensor) -> Tensor:
        """Return one vector per image, from the coarsest level to the finest."""
        check_map(x)
        grid = _pool(x, 2 ** (self.num_levels - 1), self.pool_type)
        grids = [grid]
        for level in reversed(range(self.num_levels - 1)):
            # the maximum over bins is the maximum over their pixels; averages differ where bins differ in size
            grid = F.max_pool2d(grid, 2) if self.pool_type == "max" else _pool(x, 2**level, "avg")
            grids.append(grid)
        return torch.cat([grid.flatten(1) for grid in reversed(grids)], dim=1)

    def extra_repr(self) -> str:
        """Return the arguments that printing the module shows."""
        return f"num_levels={self.num_levels}, pool_type={self.pool_type!r}"
