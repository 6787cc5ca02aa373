"""One door to every data set: open_split gives a CamoSet, describe the rows that `camo-seg info` shows."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from polyscale.errors import UserError

from .bundles import LAYOUTS
from .dataset import CACHE_BYTES, Augment, CamoSet, Source
from .pairs import Listing, PairSource, completed, list_pairs
from .synthetic import SyntheticSource

SPLITS = ("train", "val", "test")
LAYOUT_NAMES = ("auto", "pairs", *LAYOUTS)
SYNTHETIC = "synthetic"


def open_split(
    path: str | os.PathLike[str],
    split: str,
    *,
    size: int,
    layout: str = "auto",
    masks: str | os.PathLike[str] | None = None,
    val_fraction: float = 0.15,
    seed: int = 0,
    cam_only: bool = True,
    test_set: str | None = None,
    counts: tuple[int, int, int] = (800, 100, 100),
    native_size: int = 256,
    augment: Augment | None = None,
    cache: bool = True,
    cache_bytes: int = CACHE_BYTES,
) -> CamoSet:
    """The "train", "val" or "test" part of a data set as a CamoSet of side `size`.

    `path` is "synthetic" (then `counts` scenes per split, drawn with `seed` at `native_size`) or a folder: any
    folder pair, COD10K-v3, CAMO, CHAMELEON, NC4K or the standard bundle, told apart by their folders or named by
    `layout`. `masks` names the mask folder where `path` is a plain folder of pictures. `val_fraction` of train is cut
    for validation where the set has none. `test_set` picks one test set of a bundle by name; None takes all.

    Raises UserError, one line naming file, folder or setting, for whatever is missing or does not fit.
    """
    if split not in SPLITS:
        raise UserError(f"split must be one of {', '.join(SPLITS)}, given {split}", exit_code=2)
    if os.fspath(path) == SYNTHETIC:
        source: Source = SyntheticSource(split, counts[SPLITS.index(split)], seed, native_size)
        return CamoSet(source, size, f"{SYNTHETIC}/{split}", [], augment, cache, cache_bytes)
    listing = list_folder(path, layout=layout, masks=masks, val_fraction=val_fraction, seed=seed, cam_only=cam_only)
    pairs = listing.splits.get(split)
    if not pairs:
        given = ", ".join(name for name in SPLITS if listing.splits.get(name))
        raise UserError(f"{path}: no {split} split here ({listing.title} gives {given or 'no pictures'})")
    title = f"{listing.title}/{split}"
    if test_set is not None and split == "test":
        known = test_sets(listing)
        name = next((name for name in known if name.casefold() == test_set.casefold()), None)
        if name is None:
            raise UserError(f"{path}: no test set {test_set}; accepted are {', '.join(known) or 'none'}", exit_code=2)
        pairs = [pair for pair in pairs if pair.name.startswith(f"{name}/")]
        title = f"{listing.title}/{name}"
    files = PairSource(pairs)
    files.check_sizes()
    return CamoSet(files, size, title, listing.notes, augment, cache, cache_bytes)


def list_folder(
    path: str | os.PathLike[str],
    *,
    layout: str = "auto",
    masks: str | os.PathLike[str] | None = None,
    val_fraction: float = 0.15,
    seed: int = 0,
    cam_only: bool = True,
) -> Listing:
    """The files of a data set folder by split, validation cut, without reading any picture."""
    if layout not in LAYOUT_NAMES:
        raise UserError(f"layout must be one of {', '.join(LAYOUT_NAMES)}, given {layout}", exit_code=2)
    if not 0 < val_fraction < 0.8:
        raise UserError(f"val_fraction must lie between 0 and 0.8, given {val_fraction}", exit_code=2)
    root = _folder(path)
    if masks is not None:
        return completed(list_pairs(root, _folder(masks)), val_fraction, seed)
    root, layout = _located(root, layout)
    listing = list_pairs(root) if layout == "pairs" else LAYOUTS[layout][1](root, cam_only)
    return completed(listing, val_fraction, seed)


def _folder(path: str | os.PathLike[str]) -> Path:
    folder = Path(path).expanduser()
    if not folder.exists():
        raise UserError(f"{path}: no such folder (for the embedded data write {SYNTHETIC})")
    if not folder.is_dir():
        raise UserError(f"{path}: is a file, a data set is a folder")
    if not any(folder.iterdir()):
        raise UserError(f"{path}: empty folder")
    return folder.resolve()


def _located(root: Path, layout: str) -> tuple[Path, str]:
    """The folder that holds the layout (root, or the only folder in it, as unzipping leaves it) and its name."""
    inner = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))]
    for folder in (root, *inner) if len(inner) == 1 else (root,):
        for name, (fits, _) in LAYOUTS.items():
            if layout in ("auto", name) and fits(folder):
                return folder, name
    return root, "pairs" if layout == "auto" else layout


def test_sets(listing: Listing) -> list[str]:
    """Names of the test sets that a listing keeps apart (the standard bundle), else none."""
    names = [pair.name.split("/")[0] for pair in listing.splits.get("test", []) if "/" in pair.name]
    return list(dict.fromkeys(names)) if listing.title == "bundle" else []


def describe(path: str | os.PathLike[str], *, at_most: int = 300, **settings: Any) -> list[dict[str, Any]]:
    """One row per split: pictures, sizes and how large the objects are; `settings` are those of open_split.

    Areas are shares of the picture, read from at most `at_most` masks spread evenly over the split ("measured").
    """
    rows = []
    for split in SPLITS:
        try:
            part = open_split(path, split, size=1, cache=False, **settings)
        except UserError as error:
            if f"no {split} split here" not in str(error):
                raise
            continue
        chosen = np.unique(np.linspace(0, len(part) - 1, min(at_most, len(part))).astype(int))
        shapes, areas = [], []
        for index in chosen:
            mask = part.original(int(index)).mask
            shapes.append(mask.shape)
            areas.append(float(mask.mean()))
        share = np.asarray(areas)
        heights, widths = zip(*shapes, strict=True)
        rows.append(
            {
                "split": split,
                "pictures": len(part),
                "measured": len(chosen),
                "height": f"{min(heights)}-{max(heights)}",
                "width": f"{min(widths)}-{max(widths)}",
                "median_area": float(np.median(share)),
                "empty": int((share == 0).sum()),
                "below_1_percent": int(((share > 0) & (share < 0.01)).sum()),
                "1_to_5_percent": int(((share >= 0.01) & (share <= 0.05)).sum()),
                "above_5_percent": int((share > 0.05).sum()),
                "notes": part.notes,
            }
        )
    return rows
