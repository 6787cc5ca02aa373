"""Prediction maps that any other model wrote to a folder, matched to the images of a data set by name."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from polyscale.data.decoding.opening import MAX_PIXELS, name_of, opened
from polyscale.data.listing import resolve_folder, walk_images
from polyscale.data.naming import plural
from polyscale.errors import UserError

ENDING = "_probability"  # of the maps that camo-seg predict writes
OTHER_ENDINGS = ("_mask", "_overlay", "_cutout", "_crop")  # of what it writes beside them
LISTED = 20  # names in a message


def match_maps(folder: str | Path, names: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Find the map of every image.

    A map is called after its image ("CAMO/camourflage_00012.png", or the bare stem where only one image has it), with
    or without _probability at its end.

    Args:
        folder: Where the maps are, at any depth.
        names: Of the images.

    Returns:
        The map of each image, and the stems of files that belong to no image.

    Raises:
        UserError: There is no such folder, images have no map (their stems are listed), or a map could be of several.
    """
    root = resolve_folder(folder)
    found = {path.relative_to(root).with_suffix("").as_posix(): path for path in walk_images(root).files}
    made_here = any(key.endswith(ENDING) for key in found)
    keys = {key.removesuffix(ENDING): path for key, path in found.items() if not made_here or key.endswith(ENDING)}
    by_stem: dict[str, list[str]] = {}
    for key in keys:
        by_stem.setdefault(Path(key).name, []).append(key)
    stems = [Path(name).name for name in names]
    chosen: list[str] = []
    missing: list[str] = []
    for name, stem in zip(names, stems, strict=True):
        fitting = [name] if name in keys else [k for k in by_stem.get(stem, []) if stems.count(stem) == 1]
        if len(fitting) > 1:
            raise UserError(f"{folder}: {', '.join(fitting)} could all be the map of {name}; keep one")
        (chosen if fitting else missing).extend(fitting or [stem])
    if missing:
        raise UserError(f"{folder}: {len(missing)} of {plural(len(names), 'image')} have no map: {listed(missing)}")
    extra = sorted(set(keys) - set(chosen))
    unknown = [] if not made_here else [k for k in found if k not in keys and not k.endswith((ENDING, *OTHER_ENDINGS))]
    return [keys[key] for key in chosen], [*extra, *unknown]


def listed(stems: Sequence[str]) -> str:
    """Return names for a message, the first LISTED of them."""
    more = f" and {len(stems) - LISTED} more" if len(stems) > LISTED else ""
    return ", ".join(stems[:LISTED]) + more


def read_map(path: Path) -> NDArray[np.float32]:
    """Read a grey image of 8 or 16 bits as float32 [H, W] in [0, 1].

    Raises:
        UserError: It cannot be read, or has colours.
    """
    with opened(path, name_of(path), MAX_PIXELS) as image:
        if image.mode.startswith("I;16"):
            return (np.asarray(image) / 65535).astype(np.float32)
        if image.mode == "I":
            raise UserError(f"{path}: a map is a grey image of 8 or 16 bits, this one is {image.mode}")
        grey = image if image.mode in ("L", "1") else _grey(image, path)
        return (np.asarray(grey.convert("L")) / 255).astype(np.float32)


def _grey(image: Image.Image, path: Path) -> Image.Image:
    values = np.asarray(image.convert("RGB")).astype(np.int16)
    if (np.ptp(values, axis=2) > 2).any():
        raise UserError(f"{path}: a map is a grey image, this one has colours")
    return image.convert("RGB").getchannel("G")


def read_maps(paths: Sequence[Path]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield (index, map) of each file in turn."""
    for index, path in enumerate(paths):
        yield index, read_map(path)
