"""Folder pairs: a folder of pictures and a folder of masks, matched by name, with or without a split of their own.

The split comes from, in this order: folders named train/val/test around or inside the pair, a `split` column of
split.csv or meta.csv, or a seeded draw. Groups (a `group` column: one object photographed several times) stay whole.
"""

import csv
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from polyscale.errors import UserError
from polyscale.images import IMAGE_SUFFIXES, image_size, natural_key, read_image, read_mask

from .dataset import Sample

IMAGE_FOLDERS = ("image", "images", "img", "imgs")
MASK_FOLDERS = (
    "mask",
    "masks",
    "gt",
    "gts",
    "gt_object",
    "groundtruth",
    "annotation",
    "annotations",
    "label",
    "labels",
)
SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
_MASK_ENDING = re.compile(r"[_-](mask|gt|seg|segmentation|groundtruth|label)$", re.IGNORECASE)


class Pair(NamedTuple):
    """One sample: its name, its two files, and the group it must not be torn from ("" for none)."""

    name: str
    image: Path
    mask: Path
    group: str = ""


@dataclass(frozen=True)
class Listing:
    """A data set by split name ("train", "val", "test"), before validation is cut; remarks for the user in notes."""

    title: str
    splits: dict[str, list[Pair]]
    notes: list[str] = field(default_factory=list)


class PairSource:
    """Reads pairs from disk. `check_sizes` compares every mask with its picture by the file headers alone."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = list(pairs)
        self.names = [pair.name for pair in self.pairs]

    def check_sizes(self) -> None:
        for pair in self.pairs:
            _same_size(pair, image_size(pair.image), image_size(pair.mask))

    def read(self, index: int) -> Sample:
        pair = self.pairs[index]
        sample = Sample(read_image(pair.image), read_mask(pair.mask))
        _same_size(pair, sample.image.shape[:2], sample.mask.shape)
        return sample


def _same_size(pair: Pair, image: tuple[int, ...], mask: tuple[int, ...]) -> None:
    if tuple(image) != tuple(mask):
        turned = "; the picture is turned by its EXIF tag, the mask is not" if image == mask[::-1] else ""
        sizes = f"mask of {mask[1]} x {mask[0]} pixels for {pair.image.name} of {image[1]} x {image[0]}"
        raise UserError(f"{pair.mask}: {sizes}{turned}")


def subfolder(root: Path, names: Iterable[str]) -> Path | None:
    """The folder in `root` called like the first of `names` that exists, whatever its capitals."""
    present = {path.name.casefold(): path for path in sorted(root.iterdir(), reverse=True) if path.is_dir()}
    return next((present[name.casefold()] for name in names if name.casefold() in present), None)


def files_in(folder: Path) -> dict[str, Path]:
    """Image files in and below `folder`, by relative path without suffix ("train/a"), in natural order."""
    found: dict[str, Path] = {}
    paths = [Path(top, name) for top, _, names in os.walk(folder, followlinks=True) for name in names]
    for path in sorted(paths, key=lambda path: natural_key(path.relative_to(folder).as_posix())):
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
            continue
        key = path.relative_to(folder).with_suffix("").as_posix()
        if key in found:
            raise UserError(f"{path}: same name as {found[key].name}; one picture needs one file")
        found[key] = path
    return found


def match(images: dict[str, Path], masks: dict[str, Path]) -> tuple[list[Pair], list[Path]]:
    """Pairs of equal name, and the pictures left without a mask.

    A mask is looked for under the same relative name, then (masks in one flat folder) under the bare stem where that
    is unique; a mask may end in _mask, _gt or the like.
    """
    by_key: dict[str, Path] = {}
    by_stem: dict[str, Path | None] = {}
    for key, path in masks.items():
        for name in (key, _MASK_ENDING.sub("", key)):
            by_key.setdefault(name, path)
        stem = _MASK_ENDING.sub("", Path(key).name)
        for name in {stem, Path(key).name}:
            by_stem[name] = None if name in by_stem else path
    pairs, alone = [], []
    for key, image in images.items():
        mask = by_key.get(key) or by_stem.get(Path(key).name)
        if mask is None:
            alone.append(image)
        else:
            pairs.append(Pair(key, image, mask))
    return pairs, alone


def folder_pair(root: Path) -> tuple[Path, Path] | None:
    """The picture and the mask folder directly in `root`, or None."""
    images, masks = subfolder(root, IMAGE_FOLDERS), subfolder(root, MASK_FOLDERS)
    return (images, masks) if images and masks else None


def read_pairs(images: Path, masks: Path, notes: list[str], *, strict: bool = True) -> list[Pair]:
    """All pairs of two folders. A picture without mask is an error naming it, or where not `strict` a note."""
    pictures, mask_files = files_in(images), files_in(masks)
    if not pictures:
        raise UserError(f"{images}: no pictures in this folder")
    if not mask_files:
        raise UserError(f"{masks}: no masks in this folder")
    pairs, alone = match(pictures, mask_files)
    if alone and (strict or not pairs):
        first = ", ".join(path.name for path in alone[:3]) + (", ..." if len(alone) > 3 else "")
        raise UserError(f"{images}: {len(alone)} of {len(pictures)} pictures have no mask in {masks}: {first}")
    if alone:
        notes.append(f"{images}: {len(alone)} files without a mask are left out, first {alone[0].name}")
    used = {pair.mask for pair in pairs}
    spare = [path for path in mask_files.values() if path not in used]
    if spare:
        notes.append(f"{masks}: {len(spare)} masks belong to no picture and are left out, first {spare[0].name}")
    return pairs


def list_pairs(root: Path, masks: Path | None = None) -> Listing:
    """The listing of a folder pair under `root`, or of the folder `root` of pictures with its `masks` elsewhere."""
    notes: list[str] = []
    nested = {} if masks else _nested(root)
    if nested:
        splits = {
            name: [p._replace(name=f"{name}/{p.name}") for p in read_pairs(*folders, notes)]
            for name, folders in nested.items()
        }
        return Listing(root.name, splits, notes)
    folders = (root, masks) if masks else folder_pair(root)
    if folders is None:
        raise UserError(
            f"{root}: no folder of pictures ({', '.join(IMAGE_FOLDERS)}) beside one of masks"
            f" ({', '.join(MASK_FOLDERS[:5])}, ...), nor a known benchmark"
        )
    pairs = read_pairs(*folders, notes)
    first = [SPLIT_WORDS.get(pair.name.split("/")[0].casefold()) if "/" in pair.name else None for pair in pairs]
    if all(first):
        splits = {name: [p for p, s in zip(pairs, first, strict=True) if s == name] for name in set(map(str, first))}
        return Listing(root.name, splits, notes)
    table = next((path for name in ("split.csv", "meta.csv") if (path := root / name).is_file()), None)
    if table is not None:
        return Listing(root.name, split_by_table(table, pairs, notes), notes)
    return Listing(root.name, {"": pairs}, notes)


def _nested(root: Path) -> dict[str, tuple[Path, Path]]:
    """root/train/{images,masks} and the like, by split name."""
    found: dict[str, tuple[Path, Path]] = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        split, pair = SPLIT_WORDS.get(folder.name.casefold()), folder_pair(folder)
        if split and pair:
            found[split] = pair
    return found


def split_by_table(table: Path, pairs: list[Pair], notes: list[str]) -> dict[str, list[Pair]]:
    """Pairs by the `split` column of a CSV file ({"": all} where it has none), with its `group` column filled in."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table}: cannot be read as CSV: {error}") from error
    columns = {str(name).strip().casefold(): str(name) for name in (rows[0] if rows else {})}
    name_column = next((columns[c] for c in ("name", "file", "filename", "image") if c in columns), None)
    if name_column is None:
        raise UserError(f"{table}: needs a column name or file beside split and group")
    split_column, group_column = columns.get("split"), columns.get("group")
    left = {pair.name: pair for pair in pairs}
    keys = {alias: pair.name for pair in reversed(pairs) for alias in (pair.image.name, pair.image.stem, pair.name)}
    splits: dict[str, list[Pair]] = {}
    for row in rows:
        name = (row[name_column] or "").strip()
        key = keys.get(name) or keys.get(Path(name).name)
        if key is None:
            raise UserError(f"{table}: lists {name}, but there is no such picture with a mask")
        if key not in left:
            raise UserError(f"{table}: lists {name} twice")
        word = (row[split_column] or "").strip() if split_column else ""
        split = SPLIT_WORDS.get(word.casefold()) if split_column else ""
        if split is None:
            raise UserError(f"{table}: split of {name} is '{word}'; accepted are train, val and test")
        group = (row[group_column] or "").strip() if group_column else ""
        splits.setdefault(split, []).append(left.pop(key)._replace(group=group))
    if left:
        notes.append(f"{table}: {len(left)} pictures are not listed and are left out, first {next(iter(left))}")
    return splits


def cut(pairs: list[Pair], fraction: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Part a list in two, the second with about `fraction` of the pairs: seeded, groups kept whole, order kept.

    A pair without group is its own group. Groups that would overshoot the share by more than a tenth of it stay.
    """
    groups: dict[str, int] = {}
    for pair in pairs:
        key = pair.group or f"/{pair.name}"
        groups[key] = groups.get(key, 0) + 1
    wanted = max(1, round(fraction * len(pairs)))
    keys = sorted(groups, key=natural_key)
    chosen: set[str] = set()
    count = 0
    for position in np.random.default_rng([seed, len(pairs)]).permutation(len(keys)):
        size = groups[keys[position]]
        if count < wanted and count + size <= max(1, 1.1 * wanted):
            chosen.add(keys[position])
            count += size
    if not chosen or len(chosen) == len(keys):
        raise UserError(f"{len(pairs)} pictures in {len(keys)} groups are too few to cut {fraction:.0%} off them")
    rest = [pair for pair in pairs if (pair.group or f"/{pair.name}") not in chosen]
    return rest, [pair for pair in pairs if (pair.group or f"/{pair.name}") in chosen]


def completed(listing: Listing, val_fraction: float, seed: int) -> Listing:
    """The listing with a test and a validation split wherever it has training pictures; every cut is noted."""
    splits, notes = dict(listing.splits), list(listing.notes)
    if "" in splits:
        rest, splits["test"] = cut(splits.pop(""), 0.15, seed)
        splits["train"] = rest
        notes.append(f"no split given: {len(splits['test'])} pictures drawn with seed {seed} are the test split")
        val_fraction = val_fraction / 0.85  # stays a share of the whole
    if "test" not in splits and "val" in splits and "train" in splits:
        splits["test"] = splits.pop("val")
        notes.append("no test split given: the val split is the test split, and validation is cut from train")
    if "val" not in splits and "train" in splits:
        splits["train"], splits["val"] = cut(splits["train"], val_fraction, seed)
        groups = ", whole groups" if any(pair.group for pair in splits["train"]) else ""
        notes.append(f"validation: {len(splits['val'])} pictures cut from train with seed {seed}{groups}")
    return replace(listing, splits=splits, notes=notes)
