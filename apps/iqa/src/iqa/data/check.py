"""Checking a data set (`iqa data check`): opens every image, lists what would spoil a training or a test."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iqa.data.duplicates import NEAR, difference_hash, groups_of, near_pairs
from iqa.data.listing import Entry, Finding, ScoredListing, complete, find_problems, group_duplicates, needs_grouping
from iqa.data.open import SYNTHETIC, list_dataset, make_reading
from polyscale.data.images import read_image
from polyscale.data.listing import FolderPath, readable
from polyscale.data.naming import plural
from polyscale.errors import UserError

THREADS = min(8, os.cpu_count() or 1)  # each may hold one whole image


class Digest(NamedTuple):
    """What is kept of an image: a digest of its pixels and its difference hash; or why it cannot be read."""

    digest: bytes
    bits: NDArray[np.bool_]
    error: str = ""


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
    if os.fspath(path) == SYNTHETIC:
        raise UserError(f"{SYNTHETIC} is drawn anew each time; there is nothing to check", exit_code=2)
    layout = settings.pop("layout", "auto")
    with readable(path):
        listing = list_dataset(path, layout, make_reading(**settings))
    findings = find_problems(listing)
    entries = listing.entries()
    digests_of: dict[Path, Digest] = {}
    with ThreadPoolExecutor(THREADS) as pool:
        for done, (entry, found) in enumerate(zip(entries, pool.map(_read_digest, entries), strict=True), 1):
            digests_of[entry.image] = found
            if progress is not None:
                progress(done, len(entries))
    broken = [found.error for found in digests_of.values() if found.error]
    if broken:
        findings.append(Finding("error", f"{plural(len(broken), 'image')} not readable", broken))
    sound = {split: [e for e in part if not digests_of[e.image].error] for split, part in listing.splits.items()}
    if not findings:
        sound, untrainable = _cut(listing.with_splits(sound), digests_of, val_fraction, seed)
        findings += untrainable
    findings += [*_repeated(sound, digests_of), *_shared(sound, digests_of)]
    return findings + [Finding("note", line, []) for line in listing.notes]


def _read_digest(entry: Entry) -> Digest:
    try:
        pixels = read_image(entry.image)
    except UserError as error:
        return Digest(b"", np.zeros(0, bool), str(error))
    shape = str(pixels.shape).encode()
    return Digest(hashlib.sha256(shape + pixels.tobytes()).digest(), difference_hash(Image.fromarray(pixels)))


def _cut(
    listing: ScoredListing, digests_of: dict[Path, Digest], val_fraction: float, seed: int
) -> tuple[dict[str, list[Entry]], list[Finding]]:
    """Return the splits as training would see them; where nothing can be cut those of the listing, and the reason."""
    if needs_grouping(listing):
        listing = group_duplicates(listing, groups_of(_bits(listing.splits["train"], digests_of)))
    try:
        splits = complete(listing, val_fraction, seed).splits
    except UserError as error:
        return listing.splits, [Finding("warning", f"cannot be trained on: {error}", [])]
    missing = " and no ".join(name for name in ("train", "val") if not splits.get(name))
    return splits, [Finding("warning", f"cannot be trained on: no {missing} images", [])] if missing else []


def _bits(entries: Sequence[Entry], digests_of: dict[Path, Digest]) -> NDArray[np.bool_]:
    return np.stack([digests_of[entry.image].bits for entry in entries])


def _repeated(splits: dict[str, list[Entry]], digests_of: dict[Path, Digest]) -> Iterator[Finding]:
    """Find images that one split holds twice, pixel for pixel."""
    for split, part in splits.items():
        by_digest: dict[bytes, list[Entry]] = {}
        for entry in part:
            by_digest.setdefault(digests_of[entry.image].digest, []).append(entry)
        twins = [" = ".join(entry.name for entry in same) for same in by_digest.values() if len(same) > 1]
        if twins:
            where = f" of {split}" if split else ""
            yield Finding("warning", f"{plural(len(twins), 'image')}{where} there more than once", twins)


def _shared(splits: dict[str, list[Entry]], digests_of: dict[Path, Digest]) -> Iterator[Finding]:
    """Find images of test that train or val hold as well, and of val that train holds: identical, or nearly."""
    for later, earlier in (("test", ("train", "val")), ("val", ("train",))):
        known = [entry for split in earlier for entry in splits.get(split, [])]
        if not known or not splits.get(later):
            continue
        where = " or ".join(split for split in earlier if splits.get(split))
        digests = {digests_of[entry.image].digest for entry in known}
        equal = [entry.name for entry in splits[later] if digests_of[entry.image].digest in digests]
        if equal:
            yield Finding("warning", f"{plural(len(equal), 'image')} of {later}, pixel for pixel in {where} too", equal)
        pairs = near_pairs(_bits(splits[later], digests_of), _bits(known, digests_of))
        near = [splits[later][index].name for index in np.unique(pairs[:, 0])]
        near = [name for name in near if name not in set(equal)]
        if near:
            images_of = f"{plural(len(near), 'image')} of {later}"
            yield Finding("warning", f"{images_of} with near-duplicates in {where} (dHash, {NEAR} of 256 bits)", near)
