"""New scenes out of the training images: an object pasted into another image, and parts of images without an object.

Copy-paste is that of Ghiasi et al. (CVPR 2021), with one thing added for camouflage: half of the pasted objects take
over, more or less, mean and deviation of the colours that they cover. Every draw comes from torch's global generator.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Pair = tuple[Tensor, Tensor]

TRIES = 4  # draws of an object that is neither too small nor too large
AREA = (0.02, 0.5)  # share of the image that an object to paste may cover
SCALE = (0.4, 1.2)  # of its size
LARGEST = 0.9  # share of a side that a pasted object may have
LEAST_SIDE = 0.35  # share of a side that a part without an object must have


class Compose:
    """Change what is in an image, before it is augmented.

    image: uint8 [3, S, S]; mask: uint8 [1, S, S] in {0, 1}; so are the outputs.

    Args:
        paste: Probability of pasting the object of another image.
        empty: Probability of cutting the image down to a part without an object.
    """

    def __init__(self, paste: float = 0.0, empty: float = 0.0) -> None:
        self.paste, self.empty = paste, empty

    def __call__(self, image: Tensor, mask: Tensor, draw: Callable[[], Pair]) -> Pair:
        """Compose a scene; `draw` returns image and mask of any training sample."""
        chance = float(torch.rand(()))
        if chance < self.paste:
            for _ in range(TRIES):
                other, shape = draw()
                if AREA[0] <= shape.float().mean() <= AREA[1]:
                    return paste_object(image, mask, other, shape)
        elif chance < self.paste + self.empty:
            return empty_part(image, mask)
        return image, mask


def paste_object(image: Tensor, mask: Tensor, other: Tensor, shape: Tensor) -> Pair:
    """Put the object `shape` of the image `other` at a random place of `image`, at a random size, perhaps mirrored."""
    size = image.shape[-1]
    top, bottom, left, right = _box(shape)
    piece = torch.cat([other, shape])[:, top:bottom, left:right].float()
    low, high = SCALE
    scale = float(torch.empty(()).uniform_(low, min(high, LARGEST * size / max(bottom - top, right - left))))
    height, width = (max(2, round(scale * side)) for side in piece.shape[-2:])
    piece = F.interpolate(piece[None], (height, width), mode="bilinear", antialias=True, align_corners=False)[0]
    if torch.rand(()) < 0.5:
        piece = piece.flip(-1)
    y, x = (int(torch.randint(size - side + 1, ())) for side in (height, width))
    place = (slice(None), slice(y, y + height), slice(x, x + width))
    under = image[place].float()
    colours, cover = piece[:3], piece[3:].clamp(0, 1)
    alpha = F.avg_pool2d(cover, 3, 1, 1) * (cover > 0)  # no hard edge that would give the object away
    if torch.rand(()) < 0.5:
        colours = _adapt(colours, under, cover > 0.5, float(torch.rand(())))
    image, mask = image.clone(), mask.clone()
    image[place] = (under + alpha * (colours - under)).round_().clamp_(0, 255).to(image.dtype)
    mask[place] |= (cover > 0.5).to(mask.dtype)
    return image, mask


def empty_part(image: Tensor, mask: Tensor) -> Pair:
    """Cut the image down to the largest part beside its object, at its size; as it is where there is no such part."""
    size = image.shape[-1]
    if not mask.any():
        return image, mask
    top, bottom, left, right = _box(mask)
    strips = [(0, top, 0, size), (bottom, size, 0, size), (0, size, 0, left), (0, size, right, size)]
    y0, y1, x0, x1 = max(strips, key=lambda s: (s[1] - s[0]) * (s[3] - s[2]))
    if min(y1 - y0, x1 - x0) < LEAST_SIDE * size:
        return image, mask
    part = image[None, :, y0:y1, x0:x1].float()
    part = F.interpolate(part, (size, size), mode="bilinear", align_corners=False)[0]
    return part.round_().to(image.dtype), torch.zeros_like(mask)


def _adapt(colours: Tensor, under: Tensor, inside: Tensor, strength: float) -> Tensor:
    """Move mean and deviation of each colour of the object towards those of what it covers."""
    where = inside[0]
    if where.sum() < 2:
        return colours
    own, theirs = colours[:, where], under[:, where]
    spread = (theirs.std(1) + 1) / (own.std(1) + 1)
    moved = (colours - own.mean(1)[:, None, None]) * spread[:, None, None] + theirs.mean(1)[:, None, None]
    return colours + strength * (moved - colours)


def _box(mask: Tensor) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of the foreground of [1, H, W], the ends exclusive."""
    rows, columns = mask[0].any(1).nonzero(), mask[0].any(0).nonzero()
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
