"""Splitting a list of samples into train, val and test: seeded, whole groups kept together, every split noted.

A group is what stays together: one object photographed twice, every distortion of one reference image,
near-duplicates. A run records its splits by name (`record_splits`), so that files which are added to the folder later
move nothing (`apply_recorded`).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from polyscale.data.naming import natural_key, plural
from polyscale.errors import UserError

T = TypeVar("T")

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


def split_off(
    items: Sequence[T], group_of: Callable[[T], str], fraction: float, seed: int, noun: str = "images"
) -> tuple[list[T], list[T]]:
    """Split a list in two, the second with about `fraction` of the items: seeded, groups kept whole, order kept.

    `group_of` names an item's group; an item that may go alone has a group of its own. A group that would overshoot
    the share by more than a tenth of it stays, unless every group would: then the smallest goes. The draw depends on
    the names of the groups, not on the order of the items. Raises UserError where one part would be empty.
    """
    groups: dict[str, int] = {}
    for item in items:
        groups[group_of(item)] = groups.get(group_of(item), 0) + 1
    wanted = max(1, round(fraction * len(items)))
    keys = sorted(groups, key=natural_key)
    chosen: set[str] = set()
    count = 0
    for position in np.random.default_rng([seed, len(items)]).permutation(len(keys)):
        size = groups[keys[position]]
        if count < wanted and count + size <= max(1, 1.1 * wanted):
            chosen.add(keys[position])
            count += size
    if not chosen and keys:
        chosen = {min(keys, key=lambda key: groups[key])}
    if len(chosen) == len(keys):
        raise UserError(f"{len(items)} {noun} in {len(keys)} groups are too few to cut {fraction:.0%} off them")
    rest = [item for item in items if group_of(item) not in chosen]
    return rest, [item for item in items if group_of(item) in chosen]


def complete_splits(
    splits: Mapping[str, list[T]],
    group_of: Callable[[T], str],
    *,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    noun: str = "images",
) -> tuple[dict[str, list[T]], list[str]]:
    """Return (splits, notes) with a test and a validation split wherever there are training items.

    What is under "" belongs to no split yet: `test_fraction` of it becomes test, the rest train. A set with train
    and val but no test gives its val up as test. `val_fraction` is a share of what train and val hold together, or
    of the whole where the test split was drawn too.
    """
    made, notes = dict(splits), []
    if "" in made:
        made["train"], made["test"] = split_off(made.pop(""), group_of, test_fraction, seed, noun)
        notes.append(f"no split given: {len(made['test'])} {noun} drawn with seed {seed} are the test split")
        val_fraction /= 1 - test_fraction  # stays a share of the whole
    if "test" not in made and "val" in made and "train" in made:
        made["test"] = made.pop("val")
        notes.append("no test split given: the val split is the test split, and validation is cut from train")
    if "val" not in made and "train" in made:
        whole = len({group_of(item) for item in made["train"]}) < len(made["train"])
        made["train"], made["val"] = split_off(made["train"], group_of, val_fraction, seed, noun)
        groups = ", whole groups" if whole else ""
        notes.append(f"validation: {len(made['val'])} {noun} cut from train with seed {seed}{groups}")
    return made, notes


def record_splits(path: Path, splits: Mapping[str, Sequence[str]]) -> None:
    """Write the names of each split to the json file `path`; one that is there already stays."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({name: list(part) for name, part in splits.items()}, indent=1) + "\n", "utf-8")


def apply_recorded(
    path: Path, splits: Mapping[str, Sequence[T]], name_of: Callable[[T], str]
) -> tuple[dict[str, list[T]], list[str]]:
    """Return (splits, notes) with the items in the splits that a run recorded in `path`.

    Items that the run did not know belong to no split; items that it knew and that are gone are noted too.

    Raises:
        UserError: `path` cannot be read as such a record, or nothing of what it names is there.
    """
    try:
        recorded = json.loads(path.read_text("utf-8"))
        split_of = {name: split for split, names in recorded.items() for name in names}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{path}: cannot be read as the splits of a run: {error}") from error
    found: dict[str, list[T]] = {split: [] for split in recorded}
    new: list[str] = []
    known: set[str] = set()
    for item in (item for part in splits.values() for item in part):
        name = name_of(item)
        known.add(name)
        if name in split_of:
            found[split_of[name]].append(item)
        else:
            new.append(name)
    gone = [name for name in split_of if name not in known]
    if not known & set(split_of):
        raise UserError(f"{path}: no image of this run is in the data set now, first {next(iter(split_of), '')}")
    notes = []
    if new:
        notes.append(f"{plural(len(new), 'image')} new since the run, in none of its splits, first {new[0]}")
    if gone:
        notes.append(f"{plural(len(gone), 'image')} of the run not here any more, first {gone[0]}")
    return {split: part for split, part in found.items() if part}, notes
