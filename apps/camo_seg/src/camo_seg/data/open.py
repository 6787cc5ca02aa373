"""One door to every data set: open_split gives a CamoSet, describe the rows that `camo-seg info` shows."""

from typing import Any

from polyscale.errors import UserError

from .dataset import CACHE_BYTES, Augment, CamoSet, Source
from .synthetic import SyntheticSource

SPLITS = ("train", "val", "test")


def open_split(
    path: str,
    split: str,
    *,
    size: int,
    layout: str = "auto",
    val_fraction: float = 0.15,
    seed: int = 0,
    cam_only: bool = True,
    augment: Augment | None = None,
    counts: tuple[int, int, int] = (800, 100, 100),
    cache: bool = True,
) -> CamoSet:
    """The "train", "val" or "test" part of a data set as a CamoSet of side `size`."""
    if split not in SPLITS:
        raise UserError(f"split must be one of {', '.join(SPLITS)}, given {split}", exit_code=2)
    if path != "synthetic":
        raise UserError("folders follow in a minute")
    source: Source = SyntheticSource(split, counts[SPLITS.index(split)], seed)
    return CamoSet(source, size, f"{path}/{split}", [], augment, cache, CACHE_BYTES)


def describe(path: str, **settings: Any) -> list[dict[str, Any]]:
    raise NotImplementedError
