"""Which sample belongs to which split: read from a CSV file, or split off by `polyscale.data.splits`."""

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from polyscale.data.listing import Listing
from polyscale.data.naming import plural
from polyscale.data.splits import SPLIT_WORDS, complete_splits
from polyscale.data.tables import column, find_column, read_csv
from polyscale.errors import UserError

TEST_FRACTION = 0.15  # of a data set without any split


class Pair(NamedTuple):
    """One sample: its name, its two files, and the group it stays together with ("" for none)."""

    name: str
    image: Path
    mask: Path
    group: str = ""


def split_by_table(table: Path, pairs: list[Pair], notes: list[str]) -> dict[str, list[Pair]]:
    """Return pairs by the `split` column of a CSV file ({"": all} without one), their `group` column filled in.

    Raises:
        UserError: The file cannot be read, or names something that does not fit; it is named.
    """
    rows = read_csv(table)
    name_column = column(table, rows, "name", "file", "filename", "image", "path")
    split_column, group_column = find_column(rows, "split"), find_column(rows, "group")
    left = {pair.name: pair for pair in pairs}
    keys = _aliases(pairs)
    splits: dict[str, list[Pair]] = {}
    for row in rows:
        name = unicodedata.normalize("NFC", row[name_column].replace("\\", "/"))
        key = keys.get(name, keys.get(Path(name).name, ""))
        if not key:
            reason = "several images are called so" if key is None else "there is no such image with a mask"
            raise UserError(f"{table}: lists {name}, but {reason}")
        if key not in left:
            raise UserError(f"{table}: lists {name} twice")
        word = row[split_column] if split_column else ""
        split = SPLIT_WORDS.get(word.casefold()) if split_column else ""
        if split is None:
            raise UserError(f"{table}: split of {name} is '{word}'; accepted are train, val and test")
        splits.setdefault(split, []).append(left.pop(key)._replace(group=row[group_column] if group_column else ""))
    if left:
        notes.append(f"{table}: {plural(len(left), 'image')} left out as not listed, first {next(iter(left))}")
    return splits


def named_by_table(table: Path, pairs: list[Pair], only: Mapping[str, Sequence[str]]) -> set[str]:
    """Return the names of the pairs whose columns hold one of the values that `only` gives for each.

    Raises:
        UserError: The file has no such column, or no row holds such a value.
    """
    rows = read_csv(table)
    name_column, keys = column(table, rows, "name", "file", "filename", "image", "path"), _aliases(pairs)
    for key, values in only.items():
        present = {row[column(table, rows, key.casefold())] for row in rows}
        missing = [value for value in values if value not in present]
        if missing:
            raise UserError(f"{table}: no {key} is {missing[0]}; it has {', '.join(sorted(present)[:10])}")
    chosen = [row for row in rows if all(row[key.casefold()] in values for key, values in only.items())]
    names = [unicodedata.normalize("NFC", row[name_column].replace("\\", "/")) for row in chosen]
    return {found for name in names if (found := keys.get(name, keys.get(Path(name).name)))}


def _aliases(pairs: list[Pair]) -> dict[str, str | None]:
    """Map what a table may call each pair to the pair's name, or to None where two pairs share it."""
    found: dict[str, str | None] = {}
    for pair in pairs:
        file = unicodedata.normalize("NFC", pair.image.name)
        for alias in {pair.name, f"{pair.name}{pair.image.suffix}", file, Path(file).stem}:
            found[alias] = None if alias in found else pair.name
    return found


def complete(listing: Listing[Pair], val_fraction: float, seed: int) -> Listing[Pair]:
    """Return the listing with a test and a validation split wherever it has training images; every cut is noted."""
    splits, notes = complete_splits(
        listing.splits,
        lambda pair: pair.group or f"/{pair.name}",
        val_fraction=val_fraction,
        test_fraction=TEST_FRACTION,
        seed=seed,
    )
    return listing.with_splits(splits, notes)
