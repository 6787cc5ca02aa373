"""Cutting a list of samples into train, val and test: seeded, whole groups kept together, every cut stated in a note.

A group is what must not be torn apart: one object photographed twice, every distortion of one reference image,
near-duplicates. Shared by the data rooms of the apps; knows nothing of what a sample is.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from polyscale.data.naming import natural_key
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


def cut(
    items: Sequence[T], group_of: Callable[[T], str], fraction: float, seed: int, noun: str = "images"
) -> tuple[list[T], list[T]]:
    """Part a list in two, the second with about `fraction` of the items: seeded, groups kept whole, order kept.

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


def completed(
    splits: Mapping[str, list[T]],
    group_of: Callable[[T], str],
    *,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    noun: str = "images",
) -> tuple[dict[str, list[T]], list[str]]:
    """(splits, notes): a test and a validation split made wherever there are training items; every cut is noted.

    What lies under "" belongs to no split yet: `test_fraction` of it becomes test, the rest train. A set with train
    and val but no test gives its val up as test. `val_fraction` is a share of what train and val hold together, or
    of the whole where the test split was drawn too.
    """
    made, notes = dict(splits), []
    if "" in made:
        made["train"], made["test"] = cut(made.pop(""), group_of, test_fraction, seed, noun)
        notes.append(f"no split given: {len(made['test'])} {noun} drawn with seed {seed} are the test split")
        val_fraction /= 1 - test_fraction  # stays a share of the whole
    if "test" not in made and "val" in made and "train" in made:
        made["test"] = made.pop("val")
        notes.append("no test split given: the val split is the test split, and validation is cut from train")
    if "val" not in made and "train" in made:
        whole = len({group_of(item) for item in made["train"]}) < len(made["train"])
        made["train"], made["val"] = cut(made["train"], group_of, val_fraction, seed, noun)
        groups = ", whole groups" if whole else ""
        notes.append(f"validation: {len(made['val'])} {noun} cut from train with seed {seed}{groups}")
    return made, notes
