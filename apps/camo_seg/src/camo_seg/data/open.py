"""One door to every data set: open_split gives a CamoSet, describe the rows that `camo-seg data` shows."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from camo_seg.config import MOST_VALIDATION, Layout
from camo_seg.data.dataset import CACHE_BYTES, Augment, CamoSet, Source
from camo_seg.data.formats.bundles import LAYOUTS, TEST_SETS, all_test
from camo_seg.data.formats.pairs import PairSource, list_pairs
from camo_seg.data.formats.splits import Pair, complete
from camo_seg.data.synthetic.scenes import SyntheticSource
from polyscale.data.listing import FolderPath, Listing, locate, readable, resolve_folder
from polyscale.data.splits import apply_recorded
from polyscale.errors import UserError

SPLITS = ("train", "val", "test")
LAYOUT_NAMES = get_args(Layout)
SYNTHETIC = "synthetic"
_HINT = f" (the embedded data set is called {SYNTHETIC})"


def open_split(
    path: FolderPath,
    split: str,
    *,
    size: int,
    layout: str = "auto",
    masks: FolderPath | None = None,
    val_fraction: float = 0.15,
    seed: int = 0,
    cam_only: bool = True,
    test_set: str | None = None,
    mask_rule: str = "auto",
    recorded: FolderPath | None = None,
    counts: tuple[int, int, int] = (800, 120, 120),
    native_size: int = 256,
    augment: Augment | None = None,
    cache: bool = True,
    cache_bytes: int = CACHE_BYTES,
) -> CamoSet:
    """The "train", "val" or "test" part of a data set as a CamoSet of side `size`.

    `path` is "synthetic" (then `counts` scenes per split, drawn with `seed` at `native_size`) or a folder: any
    folder pair, COD10K-v3, CAMO, CHAMELEON, NC4K or the standard bundle, detected by their folders or named by
    `layout`; layout "test" puts every image in the test split. `masks` names the mask folder where `path` is a plain
    folder of images (layouts auto, pairs and test). `val_fraction` of train is cut off for validation where the set
    has none, always alike for one `seed`. `test_set` picks one test set of a bundle by name; None takes all of them.
    `mask_rule` is the rule of `polyscale.data.masks.read_mask`. `recorded` is the split.json of a run: its splits are
    used, and images that are new since then belong to none of them.

    Raises UserError, one line naming file, folder or setting, for whatever is missing or does not fit.
    """
    if split not in SPLITS:
        raise UserError(f"split must be one of {', '.join(SPLITS)}, given {split}", exit_code=2)
    if os.fspath(path) == SYNTHETIC:
        if masks is not None:
            raise UserError(f"masks: the {SYNTHETIC} set makes its own, given {masks}", exit_code=2)
        source: Source = SyntheticSource(split, counts[SPLITS.index(split)], seed, native_size)
        return CamoSet(source, size, f"{SYNTHETIC}/{split}", [], augment, cache, cache_bytes)
    listing = list_folder(
        path,
        layout=layout,
        masks=masks,
        val_fraction=val_fraction,
        seed=seed,
        cam_only=cam_only,
        recorded=recorded,
    )
    if test_set is not None and split == "test":
        listing = one_test_set(listing, test_set)
    pairs = listing.splits.get(split)
    if not pairs:
        present = ", ".join(listing.present_splits()) or "none"
        raise UserError(f"{path}: no {split} split here; {listing.title} gives {present}{_way_out(listing)}")
    files = PairSource(pairs, mask_rule)
    files.check_sizes()
    return CamoSet(files, size, f"{listing.title}/{split}", listing.notes, augment, cache, cache_bytes)


def list_folder(
    path: FolderPath,
    *,
    layout: str = "auto",
    masks: FolderPath | None = None,
    val_fraction: float = 0.15,
    seed: int = 0,
    cam_only: bool = True,
    recorded: FolderPath | None = None,
) -> Listing[Pair]:
    """The files of a data set folder by split, validation cut off, without opening any of them."""
    if layout not in LAYOUT_NAMES:
        raise UserError(f"layout must be one of {', '.join(LAYOUT_NAMES)}, given {layout}", exit_code=2)
    if not 0 < val_fraction < MOST_VALIDATION:
        raise UserError(f"val_fraction must lie between 0 and {MOST_VALIDATION}, given {val_fraction}", exit_code=2)
    if masks is not None and layout not in ("auto", "pairs", "test"):
        raise UserError(f"masks: go with layout auto, pairs or test, not with {layout}", exit_code=2)
    root = resolve_folder(path, _HINT)
    with readable(path):
        if masks is not None:
            listing = list_pairs(root, resolve_folder(masks))
            listing = all_test(listing) if layout == "test" else listing
        else:
            root, layout = locate(root, LAYOUTS, layout, "pairs")
            listing = LAYOUTS[layout].list(root, cam_only)
    if recorded is not None:
        splits, notes = apply_recorded(Path(recorded), listing.splits, lambda pair: pair.name)
        return listing.with_splits(splits, notes)
    return complete(listing, val_fraction, seed)


def _way_out(listing: Listing[Pair]) -> str:
    """What to do where a folder was taken for a benchmark by its name alone."""
    known = listing.title in TEST_SETS and list(listing.splits) == ["test"]
    return f"; if it is not {listing.title}, set layout to pairs" if known else ""


def names_of_test_sets(listing: Listing[Pair]) -> list[str]:
    """Names of the test sets that a listing keeps apart (the standard bundle does), else none."""
    names = [pair.name.split("/")[0] for pair in listing.splits.get("test", [])]
    return list(dict.fromkeys(names)) if listing.title == "bundle" else []


def one_test_set(listing: Listing[Pair], name: str) -> Listing[Pair]:
    """The listing with only the named set as its test split, called after it."""
    known = {found.casefold(): found for found in names_of_test_sets(listing)}
    if name.casefold() not in known:
        choice = ", ".join(known.values()) or f"none, {listing.title} is one set"
        raise UserError(f"no test set {name} here; accepted: {choice}", exit_code=2)
    prefix = f"{known[name.casefold()]}/"
    chosen = [pair for pair in listing.splits["test"] if pair.name.startswith(prefix)]
    return Listing(f"{listing.title}/{prefix[:-1]}", {"test": chosen}, listing.notes)


def describe(path: FolderPath, *, at_most: int = 200, **settings: Any) -> list[dict[str, Any]]:
    """One row per split: images, their sizes and how large the objects are; `settings` are those of open_split.

    Areas are shares of the image, read from at most `at_most` masks spread evenly over the split ("measured").
    """
    settings = {"size": 1, "cache": False, **settings}
    if os.fspath(path) == SYNTHETIC:
        return [_row(split, open_split(path, split, **settings), at_most) for split in SPLITS]
    known = ("layout", "masks", "val_fraction", "seed", "cam_only", "recorded")
    listing = list_folder(path, **{key: settings[key] for key in known if key in settings})
    rule = settings.get("mask_rule", "auto")
    rows = []
    for split in listing.present_splits():
        source = PairSource(listing.splits[split], rule)
        part = CamoSet(source, 1, f"{listing.title}/{split}", listing.notes, cache=False)
        rows.append(_row(split, part, at_most, list(source.problems())))
    return rows


def _row(split: str, part: CamoSet, at_most: int, problems: Sequence[str] = ()) -> dict[str, Any]:
    chosen = np.unique(np.linspace(0, len(part) - 1, min(at_most, len(part))).astype(int))
    problems, masks = list(problems), []
    for index in chosen:
        try:
            masks.append(part.original(int(index)).mask)
        except UserError as error:
            problems.append(str(error))
    problems = list(dict.fromkeys(problems))
    if not masks:
        raise UserError(problems[0])
    part.notes += [f"cannot be used: {line}" for line in problems[:10]]
    if len(problems) > 10:
        part.notes.append(f"{len(problems) - 10} more files cannot be used")
    areas = np.array([mask.mean() for mask in masks])
    heights, widths = zip(*(mask.shape for mask in masks), strict=True)
    return {
        "split": split,
        "images": len(part),
        "measured": len(masks),
        "height": f"{min(heights)}-{max(heights)}",
        "width": f"{min(widths)}-{max(widths)}",
        "median_area": float(np.median(areas)),
        "empty": int((areas == 0).sum()),
        "below_1_percent": int(((areas > 0) & (areas < 0.01)).sum()),
        "1_to_5_percent": int(((areas >= 0.01) & (areas <= 0.05)).sum()),
        "above_5_percent": int((areas > 0.05).sum()),
        "notes": part.notes,
    }
