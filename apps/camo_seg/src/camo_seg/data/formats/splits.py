"""Which sample belongs to which split: read from a CSV file, or split off by `polyscale.data.splits`."""

import csv
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from polyscale.data.splits import SPLIT_WORDS
from polyscale.data.splits import completed as complete
from polyscale.errors import UserError

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
            reason = "several images are called so" if key is None else "there is no such image with a mask"
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
        notes.append(f"{table}: {len(left)} images are not listed and are left out, first {next(iter(left))}")
    return splits


def _aliases(pairs: list[Pair]) -> dict[str, str | None]:
    """What a table may call each pair, to the pair's name; None where two pairs share it."""
    found: dict[str, str | None] = {}
    for pair in pairs:
        for alias in {pair.name, f"{pair.name}{pair.image.suffix}", pair.image.name, pair.image.stem}:
            found[alias] = None if alias in found else pair.name
    return found


def completed(listing: Listing, val_fraction: float, seed: int) -> Listing:
    """The listing with a test and a validation split wherever it has training images; every cut is noted."""
    splits, notes = complete(
        listing.splits,
        lambda pair: pair.group or f"/{pair.name}",
        val_fraction=val_fraction,
        test_fraction=TEST_FRACTION,
        seed=seed,
    )
    return replace(listing, splits=splits, notes=[*listing.notes, *notes])
