"""The maps of a frozen tower, computed once and kept on disk: what makes training on photographs fit a processor.

    FOLDER/maps.json     what they are of: tower, images, size, views
    FOLDER/done.npy      uint8 [N, V], 1 where a view is there
    FOLDER/level0.npy    float16 [N, V, C, h, w], one file for each level

View 0 is the image, view 1 its mirror image. A computation that was stopped goes on where it was.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polyscale.errors import UserError, foreign

KIND, DONE = "maps.json", "done.npy"
DESCRIBED = {"size": "another image size", "names": "other images", "tower": "another tower"}

Extract = Callable[[Tensor], list[Tensor]]
"""Images [B, 3, S, S] in [0, 1] -> list of maps [B, C, h, w], one for each level."""


class Images(Protocol):
    """What maps can be computed of."""

    names: list[str]
    size: int

    def network_image(self, index: int) -> Tensor:
        """Return image `index`, uint8 [3, S, S]."""
        ...


class FeatureMaps:
    """The maps in a folder that `open_maps` made; a copy in another process opens the files for itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with foreign(folder, "maps of a tower"):
            self.done = np.load(folder / DONE, mmap_mode="r+")
            self.levels = [np.load(file, mmap_mode="r+") for file in sorted(folder.glob("level*.npy"))]

    def __reduce__(self) -> tuple[Any, ...]:
        return FeatureMaps, (self.folder,)

    def __len__(self) -> int:
        return len(self.done)

    def get(self, index: int, view: int = 0) -> list[Tensor]:
        """Return the maps of an image, float16 [C, h, w] each."""
        return [torch.from_numpy(np.array(level[index, view])) for level in self.levels]

    def missing(self) -> NDArray[np.int64]:
        """Return (image, view) of what is not there yet, int64 [M, 2]; the images before the mirror images."""
        rows = np.argwhere(np.asarray(self.done) == 0)
        return rows[np.argsort(rows[:, 1], kind="stable")]

    def put(self, rows: NDArray[np.int64], maps: list[Tensor]) -> None:
        """Keep the maps, float [B, C, h, w], of the views `rows` [B, 2]."""
        for level, found in zip(self.levels, maps, strict=True):
            level[rows[:, 0], rows[:, 1]] = found.float().cpu().numpy().astype(np.float16)
        self.done[rows[:, 0], rows[:, 1]] = 1


def open_maps(
    folder: Path, images: Images, extract: Extract, weights: Mapping[str, Tensor], views: int = 1
) -> FeatureMaps:
    """Open the maps of `images` in `folder`, or make empty files for them.

    Args:
        folder: of one split.
        images: whose maps they are.
        extract: the frozen tower.
        weights: of the tower, by which its maps are known again.
        views: 2 with mirror images, else 1.

    Raises:
        UserError: the folder holds maps of other images or of another tower, is damaged, or cannot be written.
    """
    kind = {"size": images.size, "names": _digest("\n".join(images.names)), "tower": _digest(weights)}
    if (folder / KIND).is_file():
        _check(folder / KIND, kind, views)
        return FeatureMaps(folder)
    with torch.no_grad():
        device = next(iter(weights.values())).device
        maps = extract(torch.zeros(1, 3, images.size, images.size, device=device))
    count = len(images.names)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, level in enumerate(maps):
            _zeros(folder / f"level{number}.npy", (count, views, *level.shape[1:]), np.float16)
        _zeros(folder / DONE, (count, views), np.uint8)
        (folder / KIND).write_text(json.dumps({**kind, "views": views}), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from error
    return FeatureMaps(folder)


@torch.no_grad()
def complete_maps(
    maps: FeatureMaps,
    images: Images,
    extract: Extract,
    device: torch.device,
    *,
    batch_size: int = 16,
    share: tuple[int, int] = (0, 1),
    progress: Callable[[int, int], object] | None = None,
) -> None:
    """Compute the maps that are missing.

    Args:
        maps: what is there.
        images: whose maps they are.
        extract: the frozen tower.
        device: where the tower is.
        batch_size: images of a pass.
        share: (number of this process, processes); each computes its own images.
        progress: called with (views done, views of this process).
    """
    todo = maps.missing()
    todo = todo[todo[:, 0] % share[1] == share[0]]
    for start in range(0, len(todo), batch_size):
        rows = todo[start : start + batch_size]
        views = [images.network_image(index) for index, _ in rows]
        views = [image.flip(-1) if mirrored else image for image, (_, mirrored) in zip(views, rows, strict=True)]
        maps.put(rows, extract(torch.stack(views).to(device).float() / 255))
        if progress is not None:
            progress(start + len(rows), len(todo))


def _check(file: Path, kind: Mapping[str, Any], views: int) -> None:
    with foreign(file, "a description of maps"):
        own = json.loads(file.read_text(encoding="utf-8"))
        different = [DESCRIBED[name] for name, value in kind.items() if own[name] != value]
        if not different and own["views"] < views:
            different = ["images without their mirror images"]
    if different:
        raise UserError(f"{file.parent}: holds maps of {' and '.join(different)}; set data.features to another folder")


def _zeros(path: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    """Make a file of zeros, which takes its room as it is filled where the file system can do that."""
    np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape).flush()


def _digest(content: str | Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(content.encode() if isinstance(content, str) else b"")
    if not isinstance(content, str):
        for name, value in content.items():
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
