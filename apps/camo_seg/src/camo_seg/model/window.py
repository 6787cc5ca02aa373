"""Two scales for the price of a third more: the whole image at scale 1, and one window of the finer scale.

The window covers a third of each side and lies where the map of the whole image is least certain. Its features are
joined with what the whole image knows there, coarse to fine, and decoded by the same decoder; its map is laid over the
other, fading towards its rim. Sources: AutoFocus (Najibi et al., ICCV 2019) and SparseRefine (Liu et al., ECCV 2024)
for looking again where it is uncertain. What differs: one window of a fixed size for each image, so that a batch
is a batch, memory is known and the file that is exported takes any number of images.

Unlike the finer scale of the other fusions, which enlarges the image that the network gets, this one sees pixels that
scale 1 does not: the network gets the image at the finer scale and shrinks it for the whole.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyscale.blocks import HierarchicalScaleIntegration, Rescale

GRID, SHARE = 24, 3  # places are tried on a grid of 24 x 24; the window is a third of each side
STRIDE = 4  # of the finest features and of the map
RIM = 4  # cells over which the window's map fades into the other


class Window(NamedTuple):
    """Where the window of each image lies, in cells of STRIDE pixels of the finer image.

    Attributes:
        top, left: int64 [B].
        cells: height and width of the window.
        whole: height and width of the image.
    """

    top: Tensor
    left: Tensor
    cells: tuple[int, int]
    whole: tuple[int, int]

    def crop(self, images: Tensor) -> Tensor:
        """Cut the window [B, C, STRIDE h, STRIDE w] out of the finer images [B, C, H, W]."""
        place = self._places(STRIDE, images.shape[-1])
        flat = images.flatten(2).gather(2, place[:, None].expand(-1, images.shape[1], -1))
        return flat.unflatten(2, (STRIDE * self.cells[0], STRIDE * self.cells[1]))

    def sample(self, feature: Tensor, size: Sequence[int]) -> Tensor:
        """Bring the window's part of a map of the whole image to `size`, bilinear."""
        axes = [
            (start[:, None] + (torch.arange(n, device=feature.device) + 0.5) / n * cells) / whole * 2 - 1
            for start, n, cells, whole in zip((self.top, self.left), size, self.cells, self.whole, strict=True)
        ]
        y, x = axes[0][:, :, None].expand(-1, -1, size[1]), axes[1][:, None].expand(-1, size[0], -1)
        kind = torch.promote_types(feature.dtype, torch.float32)  # 8 bits are too few for a place
        grid = torch.stack([x, y], -1).to(kind)
        return F.grid_sample(feature.to(kind), grid, padding_mode="border", align_corners=False).to(feature.dtype)

    def paste(self, whole: Tensor, fine: Tensor, rim: int = RIM) -> Tensor:
        """Lay the window's map [B, 1, h, w] over that of the image, enlarged to its cells, fading over `rim` cells."""
        canvas = F.interpolate(whole, self.whole, mode="bilinear", align_corners=False)
        spans = list(zip((self.top, self.left), self.cells, self.whole, strict=True))
        weight_y, weight_x = (_fade(*span, rim) for span in spans)
        weight = (weight_y[:, :, None] * weight_x[:, None]).flatten(1).to(canvas.dtype)
        place, flat = self._places(1, self.whole[1]), canvas.flatten(1)
        below = flat.gather(1, place)
        mixed = below + weight * (fine.flatten(1).to(canvas.dtype) - below)
        return flat.scatter(1, place, mixed).unflatten(1, (1, *self.whole))

    def _places(self, step: int, width: int) -> Tensor:
        """[B, h w]: the window's places in a flattened map `width` wide, whose cells are `step` places a side."""
        rows, columns = (
            step * start[:, None] + torch.arange(step * cells, device=start.device)
            for start, cells in zip((self.top, self.left), self.cells, strict=True)
        )
        return (rows[:, :, None] * width + columns[:, None]).flatten(1)


class FineWindow(nn.Module):
    """Chooses the window and joins its features with those of the whole image.

    Args:
        channels: of the features, finest first.
        scale: the finer scale, above 1. The attribute `shrink` brings images of it to scale 1.
    """

    def __init__(self, channels: Sequence[int], scale: float) -> None:
        super().__init__()
        self.shrink = Rescale(1 / scale)
        self.integration = nn.ModuleList(HierarchicalScaleIntegration(c, num_scales=2, reference=1) for c in channels)

    def choose(self, logits: Tensor, size: Sequence[int]) -> Window:
        """Choose where the map's logits [B, 1, h, w] are least certain, for finer images of `size` = (H, W)."""
        doubt = 1 - (2 * logits.detach().float().sigmoid() - 1).square()
        sums = F.avg_pool2d(F.adaptive_avg_pool2d(doubt, GRID), GRID // SHARE, 1)
        best = sums.flatten(1).argmax(1)
        whole = ((size[0] + STRIDE - 1) // STRIDE, (size[1] + STRIDE - 1) // STRIDE)
        row, column = best // sums.shape[-1], best % sums.shape[-1]
        cells = (size[0] // STRIDE // SHARE, size[1] // STRIDE // SHARE)
        return Window(row * (size[0] // STRIDE) // GRID, column * (size[1] // STRIDE) // GRID, cells, whole)

    def forward(self, whole: Sequence[Tensor], fine: Sequence[Tensor], window: Window) -> list[Tensor]:
        """Join the features of the whole image and of the window, level by level, at the window's size."""
        return [
            unit([window.sample(coarse, level.shape[-2:]), level])
            for unit, coarse, level in zip(self.integration, whole, fine, strict=True)
        ]


def _fade(start: Tensor, cells: int, whole: int, rim: int) -> Tensor:
    """[B, cells]: 1 inside, falling towards both ends over `rim` cells; not where the image ends there too."""
    place = torch.arange(cells, device=start.device) + 1
    before = place + rim * (start == 0)[:, None]
    after = cells + 1 - place + rim * (start + cells >= whole)[:, None]
    return (torch.minimum(before, after) / (rim + 1)).clamp(max=1) if rim else torch.ones_like(before).float()
