"""Test-time augmentation: the mean of the maps of one image, mirrored and at several sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camo_seg.data.resize import network_pixels
from polyscale.data.images import resize_map
from polyscale.errors import UserError

Infer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
MIN_SIDE = 32  # pixels of the network's input
MIN_SCALE, MAX_SCALE = 0.25, 4.0


@dataclass(frozen=True)
class TTA:
    """How an image is shown to the network: evaluation and prediction, in torch and onnxruntime, do the same.

    Attributes:
        flip: also mirrored, left to right.
        scales: sizes, as multiples of the network's own; each with and without the mirror.
    """

    flip: bool = False
    scales: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        """Refuse scales that make no image."""
        if not self.scales or not all(MIN_SCALE <= scale <= MAX_SCALE for scale in self.scales):
            given = ",".join(f"{scale:g}" for scale in self.scales)
            raise UserError(
                f"--tta-scales: numbers from {MIN_SCALE:g} to {MAX_SCALE:g} are needed, got {given!r}", exit_code=2
            )

    def __call__(self, infer: Infer, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the mean of the maps [B, S, S] that `infer` gives of images [B, 3, S, S], each brought back."""
        size = images.shape[-1]
        total = np.zeros((len(images), size, size), np.float32)
        for scale in self.scales:
            side = max(MIN_SIDE, round(size * scale))
            shown = np.stack([network_pixels(image.transpose(1, 2, 0), side) for image in images])
            for mirrored in (False, True)[: 1 + self.flip]:
                maps = infer(np.ascontiguousarray(shown[..., ::-1]) if mirrored else shown)
                maps = maps[..., ::-1] if mirrored else maps
                total += np.stack([resize_map(np.ascontiguousarray(found), (size, size)) for found in maps])
        return total / np.float32(len(self.scales) * (1 + self.flip))

    def __str__(self) -> str:
        """For people: "mirrored, at 0.75, 1, 1.25"."""
        return f"{'mirrored too, ' if self.flip else ''}at {', '.join(f'{scale:g}' for scale in self.scales)}"


def read_tta(flip: bool, scales: str | None) -> TTA | None:
    """Return what the options --tta-flip and --tta-scales ask for, None where neither was given.

    Raises:
        UserError: scales that are no numbers, or out of range.
    """
    if not flip and scales is None:
        return None
    try:
        numbers = tuple(float(word) for word in ("1" if scales is None else scales).split(","))
    except ValueError as error:
        raise UserError(
            f"--tta-scales: numbers with commas between them are needed, got {scales!r}", exit_code=2
        ) from error
    return TTA(flip, numbers)
