"""What a data set folder holds, before any image is opened: entries by split, and what is wrong with them.

Scores are "higher is better" from here on: DMOS is inverted when a data set is listed.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from polyscale.data.check import Finding
from polyscale.data.listing import Listing
from polyscale.data.naming import natural_key, plural, shorten
from polyscale.data.splits import complete_splits
from polyscale.errors import UserError

TEST_FRACTION = 0.2  # of a data set without any split: the field's 8:2
_MIDDLE_BYTES = 4096


class Entry(NamedTuple):
    """One image: its unique name, file, mean opinion score, subset and the group a cut keeps whole ("" for none)."""

    name: str
    image: Path
    score: float
    subset: str = ""
    reference: str = ""


@dataclass(frozen=True)
class ScoredListing(Listing[Entry]):
    """A data set by split, its scores in [low, high].

    `near_duplicates`: images are known to resemble each other, so that validation must be cut by their hashes.
    """

    low: float = field(kw_only=True)
    high: float = field(kw_only=True)
    near_duplicates: bool = field(default=False, kw_only=True)


def invert_dmos(entries: Sequence[Entry], low: float, high: float) -> list[Entry]:
    """Turn scores that are lower for better images (DMOS) around: score = low + high - dmos."""
    return [entry._replace(score=low + high - entry.score) for entry in entries]


def find_problems(listing: ScoredListing) -> list[Finding]:
    """List the errors of a listing: missing, out-of-range and contradicting entries."""
    entries = listing.entries()
    empty = [entry.name for entry in entries if math.isnan(entry.score)]
    outside = [f"{e.name} ({e.score:g})" for e in entries if not (math.isnan(e.score) or _inside(e.score, listing))]
    twice = [name for name, count in Counter(entry.name for entry in entries).items() if count > 1]
    files = Counter(entry.image for entry in entries if entry.name not in set(twice))
    again = [path.name for path, count in files.items() if count > 1]
    found = {
        f"{plural(len(empty), 'image')} without a score": empty,
        f"{plural(len(outside), 'score')} outside the scale {listing.low:g} to {listing.high:g}": outside,
        f"{plural(len(twice), 'name')} listed more than once{_in_two_splits(listing, twice)}": twice,
        f"{plural(len(again), 'file')} listed under several names": again,
    }
    return [Finding("error", text, names) for text, names in found.items() if names]


def _inside(score: float, listing: ScoredListing) -> bool:
    slack = 1e-6 * (listing.high - listing.low)
    return listing.low - slack <= score <= listing.high + slack


def _in_two_splits(listing: ScoredListing, names: list[str]) -> str:
    splits = [split for split, part in listing.splits.items() if {entry.name for entry in part} & set(names)]
    return f", in {' and '.join(splits)}" if len(splits) > 1 else ""


def validate(listing: ScoredListing) -> ScoredListing:
    """Return the listing as it is.

    Raises:
        UserError: The first of `find_problems`.
    """
    found = find_problems(listing)
    if found:
        raise UserError(f"{listing.title}: {found[0].line()}")
    return listing


def note_copies(listing: ScoredListing) -> ScoredListing:
    """Add a note on test images whose file, byte for byte, is in train or val as well.

    Only files of equal length are read.
    """
    test = listing.splits.get("test", [])
    other = [entry for split, part in listing.splits.items() if split != "test" for entry in part]
    for key in (_length, _middle, _digest):  # each sieve costs more and meets fewer files
        if not test or not other:
            return listing
        keys = {key(entry.image) for entry in other}
        test = [entry for entry in test if key(entry.image) in keys]
        kept = {key(entry.image) for entry in test}
        other = [entry for entry in other if key(entry.image) in kept]
    copies = [entry.name for entry in test]
    note = f"{plural(len(copies), 'image')} of test, byte for byte in train or val too: {shorten(copies)}"
    return listing.with_splits(listing.splits, [note]) if copies else listing


def _length(path: Path) -> int:
    return path.stat().st_size


def _middle(path: Path) -> bytes:
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size // 2 - _MIDDLE_BYTES // 2))
        return stream.read(_MIDDLE_BYTES)


def _digest(path: Path) -> bytes:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def complete(listing: ScoredListing, val_fraction: float, seed: int) -> ScoredListing:
    """Cut test and validation splits where a listing has none, images of one reference kept together.

    Near-duplicates are drawn one by one and then follow the first of their group: hashes may differ by a bit between
    decoders, and one group more or less must not change the whole draw.
    """
    alone = listing.near_duplicates
    splits, notes = complete_splits(
        listing.splits,
        lambda entry: entry.reference if entry.reference and not alone else f"/{entry.name}",
        val_fraction=val_fraction,
        test_fraction=TEST_FRACTION,
        seed=seed,
    )
    if alone and "train" in splits and "val" not in listing.splits:
        moved = _together(splits)
        notes.append(f"{plural(moved, 'image')} changed sides so that train and val share no near-duplicates (dHash)")
    return listing.with_splits(splits, notes)


def _together(splits: dict[str, list[Entry]]) -> int:
    """Move entries of train and val to the side of the entry that their reference names; return how many moved."""
    sides = {entry.name: split for split in ("train", "val") for entry in splits[split]}
    parts: dict[str, list[Entry]] = {"train": [], "val": []}
    for entry in (*splits["train"], *splits["val"]):
        parts[sides[entry.reference or entry.name]].append(entry)
    moved = sum(sides[entry.name] != split for split, part in parts.items() for entry in part)
    splits.update(parts)
    return moved


def group_duplicates(listing: ScoredListing, groups: Sequence[int]) -> ScoredListing:
    """Give near-duplicates of train, those of one group number, the name of the first of them as reference."""
    train = listing.splits["train"]
    first: dict[int, str] = {}
    for entry, group in sorted(zip(train, groups, strict=True), key=lambda pair: natural_key(pair[0].name)):
        first.setdefault(group, entry.name)
    sizes = Counter(groups)
    named = [
        entry._replace(reference=first[group]) if sizes[group] > 1 else entry
        for entry, group in zip(train, groups, strict=True)
    ]
    return listing.with_splits({**listing.splits, "train": named})


def needs_grouping(listing: ScoredListing) -> bool:
    """Whether a validation split is to be cut from images that are known to resemble each other."""
    return listing.near_duplicates and "train" in listing.splits and "val" not in listing.splits
