"""Which sample belongs to which split: read from a CSV file, or cut off by a seeded draw that keeps groups whole."""

import csv
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from polyscale.errors import UserError
from polyscale.images import natural_key

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
TEST_FRACTION = 0.15  # of a data set without any split


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
    keys = _aliases(pairs)
    splits: dict[str, list[Pair]] = {}
    for row in rows:
        name = (row[name_column] or "").strip()
        key = keys.get(name, keys.get(Path(name).name, ""))
        if not key:
            reason = "several pictures are called so" if key is None else "there is no such picture with a mask"
            raise UserError(f"{table}: lists {name}, but {reason}")
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


def _aliases(pairs: list[Pair]) -> dict[str, str | None]:
    """What a table may call each pair, to the pair's name; None where two pairs share it."""
    found: dict[str, str | None] = {}
    for pair in pairs:
        for alias in {pair.name, f"{pair.name}{pair.image.suffix}", pair.image.name, pair.image.stem}:
            found[alias] = None if alias in found else pair.name
    return found


def cut(pairs: list[Pair], fraction: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Part a list in two, the second with about `fraction` of the pairs: seeded, groups kept whole, order kept.

    A pair without group is its own group. A group that would overshoot the share by more than a tenth of it stays,
    unless every group would: then the smallest goes.
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
    chosen = chosen or {min(keys, key=lambda key: groups[key])}
    if len(chosen) == len(keys):
        raise UserError(f"{len(pairs)} pictures in {len(keys)} groups are too few to cut {fraction:.0%} off them")
    rest = [pair for pair in pairs if (pair.group or f"/{pair.name}") not in chosen]
    return rest, [pair for pair in pairs if (pair.group or f"/{pair.name}") in chosen]


def completed(listing: Listing, val_fraction: float, seed: int) -> Listing:
    """The listing with a test and a validation split wherever it has training pictures; every cut is noted."""
    splits, notes = dict(listing.splits), list(listing.notes)
    if "" in splits:
        rest, splits["test"] = cut(splits.pop(""), TEST_FRACTION, seed)
        splits["train"] = rest
        notes.append(f"no split given: {len(splits['test'])} pictures drawn with seed {seed} are the test split")
        val_fraction /= 1 - TEST_FRACTION  # stays a share of the whole
    if "test" not in splits and "val" in splits and "train" in splits:
        splits["test"] = splits.pop("val")
        notes.append("no test split given: the val split is the test split, and validation is cut from train")
    if "val" not in splits and "train" in splits:
        splits["train"], splits["val"] = cut(splits["train"], val_fraction, seed)
        groups = ", whole groups" if any(pair.group for pair in splits["train"]) else ""
        notes.append(f"validation: {len(splits['val'])} pictures cut from train with seed {seed}{groups}")
    return replace(listing, splits=splits, notes=notes)
