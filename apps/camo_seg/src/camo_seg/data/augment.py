"""Joint augmentation of picture and mask with torchvision's v2 transforms: flip, turn, zoom, colour, grey, blur.

Geometry is the field's usual recipe (flip, small rotation, crop); turned corners show mirrored picture, not black.
Every draw comes from torch's global generator, so a loop that seeds it per sample repeats the sample.
"""

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

Pair = tuple[tv_tensors.Image, tv_tensors.Mask]


class KeepObject(torch.nn.Module):
    """Repeats a random transform while it loses more than `loss` of the foreground; after `tries`, changes nothing.

    Share and loss are of mask pixels relative to the picture, so zooming in never counts as a loss.
    """

    def __init__(self, transform: torch.nn.Module, loss: float = 0.7, tries: int = 4) -> None:
        super().__init__()
        self.transform, self.loss, self.tries = transform, loss, tries

    def forward(self, image: tv_tensors.Image, mask: tv_tensors.Mask) -> Pair:
        enough = (1 - self.loss) * mask.float().mean()
        for _ in range(self.tries):
            new_image, new_mask = self.transform(image, mask)
            if (new_mask.any() and new_mask.float().mean() >= enough) or not mask.any():
                return new_image, new_mask
        return image, mask


class CamoAugment(torch.nn.Module):
    """Random flip, rotation, resized crop, colour jitter, grey and blur of (image, mask) tv_tensors of one size.

    image: uint8 [3, S, S]; mask: uint8 [1, S, S] in {0, 1}, sampled nearest, so it stays in {0, 1}. The output has the
    input's size. Strengths: `rotation` in degrees (0 to 45), `zoom` the smallest area share of a crop (1 switches it
    off) and `aspect` its largest change of aspect; `brightness`, `contrast`, `saturation` factors and `hue` (of the
    circle) as in ColorJitter; `grey`, `blur`, `flip` and `vertical` are probabilities.
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
    ) -> None:
        super().__init__()
        _check(flip=flip, vertical=vertical, grey=grey, blur=blur, saturation=saturation, contrast=contrast)
        _check(brightness=brightness)
        if not 0 <= rotation <= 45:
            raise ValueError(f"rotation must lie in [0, 45] degrees, given {rotation}")
        if not 0 < zoom <= 1:
            raise ValueError(f"zoom, the smallest area share of a crop, must lie in (0, 1], given {zoom}")
        if aspect < 1:
            raise ValueError(f"aspect must be at least 1, given {aspect}")
        if not 0 <= hue <= 0.5:
            raise ValueError(f"hue must lie in [0, 0.5], given {hue}")
        self.flips = v2.Compose([v2.RandomHorizontalFlip(flip), v2.RandomVerticalFlip(vertical)])
        self.rotation = rotation
        self.turn = v2.RandomRotation(rotation, v2.InterpolationMode.BILINEAR)
        self.zoom, self.aspect = zoom, aspect
        colour = []
        if brightness or contrast or saturation or hue:
            colour.append(v2.ColorJitter(brightness, contrast, saturation, hue))
        if grey:
            colour.append(v2.RandomGrayscale(grey))
        if blur:
            colour.append(v2.RandomApply([v2.GaussianBlur(5, (0.3, 1.5))], blur))
        self.colour = v2.Compose(colour) if colour else v2.Identity()

    def forward(self, image: tv_tensors.Image, mask: tv_tensors.Mask) -> Pair:
        image, mask = self.flips(image, mask)
        size = image.shape[-1]
        if self.rotation:
            image, mask = self._turned(image, mask, size)
        if self.zoom < 1:
            crop = v2.RandomResizedCrop(size, (self.zoom, 1.0), (1 / self.aspect, self.aspect), antialias=True)
            image, mask = KeepObject(crop)(image, mask)
        return self.colour(image), mask

    def _turned(self, image: tv_tensors.Image, mask: tv_tensors.Mask, size: int) -> Pair:
        """Rotated within a mirrored border just wide enough that no black corner shows."""
        angle = torch.deg2rad(torch.tensor(self.rotation))
        border = min(size - 1, int(size / 2 * float(angle.sin() + angle.cos() - 1)) + 2)
        if border < 1:
            return image, mask
        padded = v2.Pad(border, padding_mode="reflect")(image, mask)
        return v2.CenterCrop(size)(self.turn(*padded))


def _check(**probabilities: float) -> None:
    for name, value in probabilities.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must lie in [0, 1], given {value}")
