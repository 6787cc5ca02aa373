"""Images and masks in two folders, paired by the stem of the file."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from polyscale.data.images import read_image
from polyscale.data.listing import list_images, subfolder
from polyscale.data.masks import read_mask
from polyscale.errors import UserError


class Pairs:
    """The samples of `folder`/images and `folder`/masks.

    Raises:
        UserError: there is no such folder, no image, or an image without a mask.
    """

    def __init__(self, folder: Path) -> None:
        rooms = [subfolder(folder, room) for room in ("images", "masks")]
        if None in rooms:
            raise UserError(f"{folder}: needs the folders images and masks")
        self.images, masks = (list_images(room) for room in rooms if room)
        if not self.images:
            raise UserError(f"{rooms[0]}: holds no image")
        by_stem = {path.stem: path for path in masks}
        alone = [path for path in self.images if path.stem not in by_stem]
        if alone:
            raise UserError(f"{alone[0]}: has no mask in {rooms[1]} (so do {len(alone) - 1} more)")
        self.names = [path.stem for path in self.images]
        self.masks = [by_stem[name] for name in self.names]

    def read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return an image uint8 [H, W, 3] and its mask bool [H, W]."""
        image, mask = read_image(self.images[index]), read_mask(self.masks[index])
        if image.shape[:2] != mask.shape:
            raise UserError(f"{self.masks[index]}: the mask is {mask.shape}, its image {image.shape[:2]}")
        return image, mask
