"""Joint augmentation of image and mask: flip, turn, crop, colour, grey, blur.

The recipe is the field's (flip, small rotation, zoom, colour jitter). Flips and colours are torchvision's v2
transforms; rotation and crop are one resampling of our own, because v2's pad + rotate + resized crop took 11 ms at
224 pixels where this takes 3, and its turned corners are black where these are mirrored. Every draw comes from
torch's global generator, so a loop that seeds it per sample repeats the sample.
"""

import io
import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

Pair = tuple[Tensor, Tensor]

HUE_SHARE = 0.25  # of the images have their hue turned: through HSV it costs three times all other colours together


class CamoAugment(torch.nn.Module):
    """Random flip, rotation, crop, colour jitter, grey and blur of (image, mask) of one square size.

    image: uint8 [3, S, S]; mask: uint8 [1, S, S] in {0, 1}; so are the outputs.

    flip, vertical: probabilities of mirroring. rotation: largest angle in degrees, 0 to 180. zoom: smallest share of
    the area that a crop keeps, 1 for no crop; aspect: largest change of its aspect ratio. brightness, contrast,
    saturation (0 to 1) and hue (0 to 0.5, of the colour circle): as in v2.ColorJitter. grey, blur: probabilities;
    degrade: that of a fault (see `Degrade`).

    Raises ValueError naming the argument that is out of range.
    """

    def __init__(
        self,
        *,
        flip: float = 0.5,
        vertical: float = 0.0,
        rotation: float = 15.0,
        zoom: float = 0.5,
        aspect: float = 1.2,
        brightness: float = 0.15,
        contrast: float = 0.15,
        saturation: float = 0.1,
        hue: float = 0.0,
        grey: float = 0.0,
        blur: float = 0.0,
        degrade: float = 0.0,
    ) -> None:
        super().__init__()
        _within(0, 1, flip=flip, vertical=vertical, grey=grey, blur=blur, degrade=degrade)
        _within(0, 1, brightness=brightness, contrast=contrast, saturation=saturation)
        _within(0, 0.5, hue=hue)
        self.flips = v2.Compose([v2.RandomHorizontalFlip(flip), v2.RandomVerticalFlip(vertical)])
        self.warp = RandomWarp(rotation, zoom, aspect)
        colours: list[torch.nn.Module] = []
        if brightness or contrast or saturation:
            colours.append(v2.ColorJitter(brightness, contrast, saturation))
        if hue:
            colours.append(v2.RandomApply([v2.ColorJitter(hue=hue)], HUE_SHARE))
        if grey:
            colours.append(v2.RandomGrayscale(grey))
        if blur:
            colours.append(v2.RandomApply([v2.GaussianBlur(5, (0.3, 1.5))], blur))
        if degrade:
            colours.append(v2.RandomApply([Degrade()], degrade))
        self.colours = torch.nn.Sequential(*colours)

    def forward(self, image: Tensor, mask: Tensor) -> Pair:
        """Augment an image uint8 [3, S, S] and its mask [1, S, S] alike."""
        image, mask = self.flips(tv_tensors.Image(image), tv_tensors.Mask(mask))
        image, mask = self.warp(image.as_subclass(Tensor), mask.as_subclass(Tensor))
        return self.colours(image), mask


class Degrade(torch.nn.Module):
    """One fault of everyday images, drawn at random: blur, motion, coarse pixels, noise or JPEG. uint8 [3, S, S]."""

    def __init__(self) -> None:
        super().__init__()
        self.blur = v2.GaussianBlur(9, (0.5, 2.5))
        self.noise = v2.GaussianNoise(sigma=0.04)

    def forward(self, image: Tensor) -> Tensor:
        """Degrade an image."""
        faults = (self.blur, _motion, _coarse, self.noise, _jpeg)
        degraded: Tensor = faults[int(torch.randint(len(faults), ()))](image)
        return degraded


def _jpeg(image: Tensor) -> Tensor:
    """Save as JPEG of quality 15 to 70."""
    buffer = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=15 + int(torch.randint(56, ())))
    return torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1).contiguous()


def _motion(image: Tensor) -> Tensor:
    """Blur along a row or a column, over 3 to 11 pixels."""
    length = 3 + 2 * int(torch.randint(5, ()))
    across = bool(torch.rand(()) < 0.5)
    weights = torch.full((3, 1, 1, length) if across else (3, 1, length, 1), 1 / length)
    half = length // 2
    pad = (half, half, 0, 0) if across else (0, 0, half, half)
    blurred = F.conv2d(F.pad(image[None].float(), pad, mode="replicate"), weights, groups=3)
    return blurred[0].round_().clamp_(0, 255).to(image.dtype)


def _coarse(image: Tensor) -> Tensor:
    """Shrink by 1.5 to 4 and enlarge again."""
    size = max(8, round(image.shape[-1] / float(torch.empty(()).uniform_(1.5, 4))))
    small = F.interpolate(image[None].float(), (size, size), mode="bilinear", antialias=True, align_corners=False)
    large = F.interpolate(small, image.shape[-2:], mode="bilinear", align_corners=False)[0]
    return large.round_().clamp_(0, 255).to(image.dtype)


class RandomWarp(torch.nn.Module):
    """A random rotation and crop, resampled once: image bilinear, mask nearest, mirrored beyond the border.

    A draw that leaves less than `keep` of the foreground's pixels is repeated up to `tries` times, then the pair
    stays as it is; a crop enlarges, so an object that stays inside never counts as lost.
    """

    def __init__(
        self, rotation: float = 15.0, zoom: float = 0.5, aspect: float = 1.2, keep: float = 0.3, tries: int = 4
    ) -> None:
        super().__init__()
        _within(0, 180, rotation=rotation)
        _within(0.01, 1, zoom=zoom)
        _within(1, 4, aspect=aspect)
        self.rotation, self.zoom, self.aspect, self.keep, self.tries = rotation, zoom, aspect, keep, tries

    def matrix(self) -> Tensor:
        """A drawn map from output to input coordinates, both in [-1, 1]: [2, 3]."""
        turn, area, shape, at_x, at_y = (2 * torch.rand(5) - 1).tolist()
        area = 1 - (1 - self.zoom) * (area + 1) / 2
        stretch = self.aspect ** (shape / 2) if self.zoom < 1 else 1.0
        width, height = min(1.0, math.sqrt(area) * stretch), min(1.0, math.sqrt(area) / stretch)
        angle = math.radians(turn * self.rotation)
        cos, sin = math.cos(angle), math.sin(angle)
        return torch.tensor(
            [[cos * width, -sin * height, at_x * (1 - width)], [sin * width, cos * height, at_y * (1 - height)]]
        )

    def forward(self, image: Tensor, mask: Tensor) -> Pair:
        """Warp an image uint8 [3, S, S] and its mask [1, S, S] alike."""
        if self.rotation == 0 and self.zoom == 1:
            return image, mask
        plain = mask[None].float()
        least = self.keep * plain.sum()
        for _ in range(self.tries):
            grid = F.affine_grid(self.matrix()[None], [1, 1, *mask.shape[-2:]], align_corners=False)
            warped = F.grid_sample(plain, grid, "nearest", "reflection", align_corners=False)
            if warped.sum() >= least and (warped.any() or least == 0):
                break
        else:
            return image, mask
        pixels = F.grid_sample(image[None].float(), grid, "bilinear", "reflection", align_corners=False)[0]
        return pixels.round_().clamp_(0, 255).to(image.dtype), warped[0].to(mask.dtype)


def _within(low: float, high: float, **values: float) -> None:
    for name, value in values.items():
        if not low <= value <= high:
            raise ValueError(f"{name} must lie in [{low:g}, {high:g}], given {value}")
