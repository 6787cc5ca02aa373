"""One door to every data set: open_split gives a QualitySet, describe the rows that `iqa data` shows."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from iqa.data.dataset import CACHE_BYTES, FileSource, QualitySet, Source
from iqa.data.duplicates import groups_of_files
from iqa.data.formats.benchmarks.layouts import LAYOUTS, list_layout
from iqa.data.formats.csvs import Reading, is_csv, list_csv
from iqa.data.listing import ScoredListing, complete, group_duplicates, needs_grouping, note_copies, validate
from polyscale.data.listing import FolderPath, locate, readable, resolve_folder
from polyscale.data.splits import apply_recorded
from polyscale.errors import UserError

SPLITS = ("train", "val", "test")
LAYOUT_NAMES = ("auto", "csv", *LAYOUTS)
SYNTHETIC = "synthetic"
_HINT = f" (the embedded data set is called {SYNTHETIC})"


def open_split(
    path: FolderPath,
    split: str,
    *,
    size: int,
    layout: str = "auto",
    images: FolderPath | None = None,
    scale: tuple[float, float] | None = None,
    lower_better: bool | None = None,
    split_column: str = "",
    val_fraction: float = 0.15,
    seed: int = 0,
    recorded: FolderPath | None = None,
    counts: tuple[int, int, int] = (1200, 240, 240),
    native_size: int = 256,
    cache: bool = True,
    cache_bytes: int = CACHE_BYTES,
) -> QualitySet:
    """Open the "train", "val" or "test" split of a data set, or "all", with images of at most `size` squared pixels.

    `path` is "synthetic" (then `counts` drawn images per split, `native_size` a side), a CSV file of images and
    scores, or a folder with one or with a known data set, detected by its files or named by `layout`. `images` is the
    folder of images where it is not the usual one. `scale`, `lower_better` and `split_column` are for CSV files (see
    csvs.Reading). Official splits are kept; `val_fraction` of train is cut off for validation where the set has none,
    always alike for one `seed`, references and near-duplicates kept whole.

    `recorded` is the split.json of a run: its splits are used, and images that are new belong to none of them.

    Raises:
        UserError: Something is missing or does not fit; it names file, column or setting. Scores out of range,
            repeated names and images without score are refused before any image is opened.
    """
    if split not in (*SPLITS, "all"):
        raise UserError(f"split must be one of {', '.join(SPLITS)} or all, given {split}", exit_code=2)
    if os.fspath(path) == SYNTHETIC:
        return QualitySet(
            _synthetic(split, counts, seed, native_size), size, f"{SYNTHETIC}/{split}", [], cache, cache_bytes
        )
    listing = list_folder(
        path, split, layout=layout, images=images, scale=scale, lower_better=lower_better,
        split_column=split_column, val_fraction=val_fraction, seed=seed, recorded=recorded,
    )  # fmt: skip
    entries = listing.splits.get(split)
    if not entries:
        raise UserError(
            f"{path}: no {split} split here; {listing.title} gives {', '.join(listing.present_splits()) or 'none'}"
        )
    source = FileSource(entries, listing.low, listing.high)
    return QualitySet(source, size, f"{listing.title}/{split}", listing.notes, cache, cache_bytes)


def _synthetic(split: str, counts: tuple[int, int, int], seed: int, side: int) -> Source:
    from iqa.data.synthetic.labels import SyntheticSource

    if split == "all":
        raise UserError(f"{SYNTHETIC} has the splits {', '.join(SPLITS)}; all of it has no end", exit_code=2)
    return SyntheticSource(split, counts[SPLITS.index(split)], seed, side)


def list_folder(
    path: FolderPath,
    split: str = "",
    *,
    layout: str = "auto",
    images: FolderPath | None = None,
    scale: tuple[float, float] | None = None,
    lower_better: bool | None = None,
    split_column: str = "",
    val_fraction: float = 0.15,
    seed: int = 0,
    recorded: FolderPath | None = None,
) -> ScoredListing:
    """List the entries of a data set by split, validated, without opening any image but those whose hashes are needed.

    `split` names the one that is wanted: for "test" no validation is cut, for "all" everything is under "all".
    """
    if not 0 < val_fraction <= 0.8:
        raise UserError(f"val_fraction must lie between 0 and 0.8, given {val_fraction}", exit_code=2)
    reading = make_reading(images=images, scale=scale, lower_better=lower_better, split_column=split_column)
    with readable(path):
        listing = validate(list_dataset(path, layout, reading))
        if split == "all":
            return listing.with_splits({"all": listing.entries()})
        if recorded is not None:
            splits, notes = apply_recorded(Path(recorded), listing.splits, lambda entry: entry.name)
            return note_copies(listing.with_splits(splits, notes))
        if split != "test" and needs_grouping(listing):
            listing = group_duplicates(
                listing, groups_of_files(tuple(entry.image for entry in listing.splits["train"]))
            )
        if split != "test" or "test" not in listing.splits:
            listing = complete(listing, val_fraction, seed)
        return note_copies(listing)


def make_reading(
    *,
    images: FolderPath | None = None,
    scale: tuple[float, float] | None = None,
    lower_better: bool | None = None,
    split_column: str = "",
) -> Reading:
    """Validate the settings of open_split that say how a table is read."""
    if scale is not None and not scale[0] < scale[1]:
        raise UserError(f"scale must be two numbers, low below high, given {scale[0]:g} {scale[1]:g}", exit_code=2)
    return Reading(None if images is None else resolve_folder(images), scale, lower_better, split_column)


def list_dataset(path: FolderPath, layout: str, reading: Reading) -> ScoredListing:
    """List a folder or file as it is: not validated, nothing cut."""
    if layout not in LAYOUT_NAMES:
        raise UserError(f"layout must be one of {', '.join(LAYOUT_NAMES)}, given {layout}", exit_code=2)
    root = Path(path).expanduser()
    if root.is_file():
        if layout not in ("auto", "csv") or not is_csv(root):
            raise UserError(f"{path}: is a file; a data set is a folder or a CSV file")
        return list_csv(root.resolve(), reading)
    root, layout = locate(resolve_folder(path, _HINT), LAYOUTS, layout, "csv")
    if layout != "csv":
        _only_for_csv(layout, reading)
        return list_layout(root, layout, reading.images)
    if not is_csv(root):
        raise UserError(f"{path}: no known data set here ({', '.join(LAYOUTS)}), nor a CSV file of images and scores")
    return list_csv(root, reading)


def _only_for_csv(layout: str, reading: Reading) -> None:
    present = {"scale": reading.scale, "lower_better": reading.lower_better, "split_column": reading.split}
    wrong = [name for name, value in present.items() if value not in (None, "")]
    if wrong:
        raise UserError(f"{' and '.join(wrong)}: for CSV files only, {layout} is known", exit_code=2)


def describe(path: FolderPath, *, at_most: int = 200, **settings: Any) -> list[dict[str, Any]]:
    """Describe a data set, one row per split: images, scores, sizes and subsets; `settings` are those of open_split.

    Sizes are read from the headers of at most `at_most` images spread evenly over the split.
    """
    settings = {"size": 1, "cache": False, **settings}
    if os.fspath(path) == SYNTHETIC:
        return [_row(split, open_split(path, split, **settings), at_most) for split in SPLITS]
    known = ("layout", "images", "scale", "lower_better", "split_column", "val_fraction", "seed")
    listing = list_folder(path, **{key: settings[key] for key in known if key in settings})
    rows = []
    for split in listing.present_splits():
        source = FileSource(listing.splits[split], listing.low, listing.high)
        rows.append(_row(split, QualitySet(source, 1, listing.title, listing.notes, cache=False), at_most))
    return rows


def _row(split: str, part: QualitySet, at_most: int) -> dict[str, Any]:
    chosen = np.unique(np.linspace(0, len(part) - 1, min(at_most, len(part))).astype(int))
    sizes = [part.source.shape(int(index)) for index in chosen]
    heights, widths = zip(*sizes, strict=True)
    return {
        "split": split,
        "images": len(part),
        "score_min": float(part.scores.min()),
        "score_median": float(np.median(part.scores)),
        "score_max": float(part.scores.max()),
        "scale": f"{part.low:g}-{part.high:g}",
        "height": f"{min(heights)}-{max(heights)}",
        "width": f"{min(widths)}-{max(widths)}",
        "subsets": dict(sorted(Counter(name for name in part.subsets if name).items())),
        "references": len({name for name in part.references if name}),
        "notes": part.notes,
    }
