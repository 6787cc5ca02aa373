"""`iqa data check`: opens every image of a data set and says what would spoil a training or a test on it."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iqa.data.duplicates import NEAR, difference_hash, groups_of, near_pairs
from iqa.data.listing import Entry, Finding, Listing, completed, grouped, problems, wants_grouping
from iqa.data.open import SYNTHETIC, FolderPath, files_readable, listed, reading_of
from polyscale.data.images import read_image
from polyscale.data.naming import plural
from polyscale.errors import UserError

THREADS = min(8, os.cpu_count() or 1)  # each may hold one whole image


class Look(NamedTuple):
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
    """All findings on a data set, the worst first; [] where there is nothing to say; `settings` as for list_folder.

    Errors: images that cannot be read, missing and out-of-range scores, repeated names. Warnings: images that are
    pixel for pixel or nearly (dHash, at most 20 of 256 bits) the same in two splits, or the same twice in one, and why
    it cannot be trained on. Notes: how the set was read. Splits that it lacks are cut as training would cut them.
    `progress(done, total)` is called after each image.

    Raises UserError where the data set cannot be listed: missing files or columns, no such folder.
    """
    if os.fspath(path) == SYNTHETIC:
        raise UserError(f"{SYNTHETIC} is drawn anew each time; there is nothing to check", exit_code=2)
    layout = settings.pop("layout", "auto")
    with files_readable(path):
        listing = listed(path, layout, reading_of(**settings))
    findings = problems(listing)
    entries = listing.entries()
    looks: dict[Path, Look] = {}
    with ThreadPoolExecutor(THREADS) as pool:
        for done, (entry, look) in enumerate(zip(entries, pool.map(_look, entries), strict=True), 1):
            looks[entry.image] = look
            if progress is not None:
                progress(done, len(entries))
    broken = [look.error for look in looks.values() if look.error]
    if broken:
        findings.append(Finding("error", f"{plural(len(broken), 'image')} not readable", broken))
    sound = {split: [e for e in part if not looks[e.image].error] for split, part in listing.splits.items()}
    if not findings:
        sound, untrainable = _cut(replace(listing, splits=sound), looks, val_fraction, seed)
        findings += untrainable
    findings += [*_repeated(sound, looks), *_shared(sound, looks)]
    return findings + [Finding("note", line, []) for line in listing.notes]


def _look(entry: Entry) -> Look:
    try:
        pixels = read_image(entry.image)
    except UserError as error:
        return Look(b"", np.zeros(0, bool), str(error))
    shape = str(pixels.shape).encode()
    return Look(hashlib.sha256(shape + pixels.tobytes()).digest(), difference_hash(Image.fromarray(pixels)))


def _cut(
    listing: Listing, looks: dict[Path, Look], val_fraction: float, seed: int
) -> tuple[dict[str, list[Entry]], list[Finding]]:
    """The splits as training would see them; where nothing can be cut those given, and the reason."""
    if wants_grouping(listing):
        listing = grouped(listing, groups_of(_bits(listing.splits["train"], looks)))
    try:
        splits = completed(listing, val_fraction, seed).splits
    except UserError as error:
        return listing.splits, [Finding("warning", f"cannot be trained on: {error}", [])]
    missing = " and no ".join(name for name in ("train", "val") if not splits.get(name))
    return splits, [Finding("warning", f"cannot be trained on: no {missing} images", [])] if missing else []


def _bits(entries: Sequence[Entry], looks: dict[Path, Look]) -> NDArray[np.bool_]:
    return np.stack([looks[entry.image].bits for entry in entries])


def _repeated(splits: dict[str, list[Entry]], looks: dict[Path, Look]) -> Iterator[Finding]:
    """Images that one split holds twice, pixel for pixel."""
    for split, part in splits.items():
        by_digest: dict[bytes, list[Entry]] = {}
        for entry in part:
            by_digest.setdefault(looks[entry.image].digest, []).append(entry)
        twins = [" = ".join(entry.name for entry in same) for same in by_digest.values() if len(same) > 1]
        if twins:
            where = f" of {split}" if split else ""
            yield Finding("warning", f"{plural(len(twins), 'image')}{where} there more than once", twins)


def _shared(splits: dict[str, list[Entry]], looks: dict[Path, Look]) -> Iterator[Finding]:
    """Images of test that train or val hold as well, and of val that train holds: identical, or nearly."""
    for later, earlier in (("test", ("train", "val")), ("val", ("train",))):
        known = [entry for split in earlier for entry in splits.get(split, [])]
        if not known or not splits.get(later):
            continue
        where = " or ".join(split for split in earlier if splits.get(split))
        digests = {looks[entry.image].digest for entry in known}
        equal = [entry.name for entry in splits[later] if looks[entry.image].digest in digests]
        if equal:
            yield Finding("warning", f"{plural(len(equal), 'image')} of {later}, pixel for pixel in {where} too", equal)
        pairs = near_pairs(_bits(splits[later], looks), _bits(known, looks))
        near = [splits[later][index].name for index in np.unique(pairs[:, 0])]
        near = [name for name in near if name not in set(equal)]
        if near:
            pictures = f"{plural(len(near), 'image')} of {later}"
            yield Finding("warning", f"{pictures} with near-duplicates in {where} (dHash, {NEAR} of 256 bits)", near)
