"""Checking a data set (`iqa data check`): opens every image, lists what would spoil a training or a test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from iqa.data.duplicates import groups_of
from iqa.data.listing import Entry, ScoredListing, complete, find_problems, group_duplicates, needs_grouping
from iqa.data.open import list_dataset, make_reading
from polyscale.data.check import Digest, Finding, digest_files, find_copies
from polyscale.data.listing import FolderPath, readable
from polyscale.errors import UserError


def check(
    path: FolderPath,
    *,
    val_fraction: float = 0.15,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> list[Finding]:
    """List all findings on a data set, the worst first; `settings` as for list_folder.

    Errors: images that cannot be read, missing and out-of-range scores, repeated names. Warnings: images that are
    pixel for pixel or nearly (dHash, at most 20 of 256 bits) the same in two splits, or the same twice in one, and why
    it cannot be trained on. Notes: how the set was read. Splits that it lacks are cut as training would cut them.
    `progress(done, total)` is called after each image.

    Raises:
        UserError: The data set cannot be listed: missing files or columns, no such folder.
    """
    layout = settings.pop("layout", "auto")
    with readable(path):
        listing = list_dataset(path, layout, make_reading(**settings))
    findings = find_problems(listing)
    entries = listing.entries()
    digests, broken = digest_files([entry.image for entry in entries], progress)
    findings += broken
    sound = {split: [e for e in part if e.image in digests] for split, part in listing.splits.items()}
    if not findings:
        sound, untrainable = _cut(listing.with_splits(sound), digests, val_fraction, seed)
        findings += untrainable
    findings += find_copies({split: [(e.name, digests[e.image]) for e in part] for split, part in sound.items()})
    return findings + [Finding("note", line) for line in listing.notes]


def _cut(
    listing: ScoredListing, digests: dict[Path, Digest], val_fraction: float, seed: int
) -> tuple[dict[str, list[Entry]], list[Finding]]:
    """Return the splits as training would see them; where nothing can be cut those of the listing, and the reason."""
    if needs_grouping(listing):
        hashes = np.stack([digests[entry.image].bits for entry in listing.splits["train"]])
        listing = group_duplicates(listing, groups_of(hashes))
    try:
        splits = complete(listing, val_fraction, seed).splits
    except UserError as error:
        return listing.splits, [Finding("warning", f"cannot be trained on: {error}")]
    missing = " and no ".join(name for name in ("train", "val") if not splits.get(name))
    return splits, [Finding("warning", f"cannot be trained on: no {missing} images")] if missing else []
