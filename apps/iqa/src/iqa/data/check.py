"""`iqa data check`: opens every picture of a data set and says what would spoil a training or a test on it."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from polyscale.errors import UserError
from polyscale.images import read_image

from .hashes import NEAR, difference_hash, groups_of, near_pairs
from .listing import Entry, Listing, completed, grouped, problems, some, wants_grouping
from .open import SYNTHETIC, FolderPath, listed, reading_of

THREADS = min(8, os.cpu_count() or 1)  # each may hold one whole picture


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: "error" (training refuses it) or "warning", how many pictures, what, and which."""

    level: str
    count: int
    text: str
    names: list[str]

    def line(self) -> str:
        """One line with the first ten names."""
        return f"{self.level}: {self.text}" + (f": {some(self.names)}" if self.names else "")


class Look(NamedTuple):
    """What is kept of a picture: a digest of its pixels and its difference hash; or why it cannot be read."""

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
    """All findings on a data set, the worst first; [] where nothing is wrong. `settings` are those of list_folder.

    Errors: pictures that cannot be read, missing and out-of-range scores, repeated names. Warnings: pictures that are
    pixel for pixel or nearly (dHash, at most 20 of 256 bits) the same in two splits, or the same twice in one. Splits
    that the set lacks are cut as training would cut them. `progress(done, total)` is called after each picture.

    Raises UserError where the data set cannot be listed: missing files or columns, no such folder.
    """
    if os.fspath(path) == SYNTHETIC:
        raise UserError(f"{SYNTHETIC} is drawn anew each time; there is nothing to check", exit_code=2)
    layout = settings.pop("layout", "auto")
    listing = listed(path, layout, reading_of(**settings))
    findings = [Finding("error", 0, text, []) for text in problems(listing)]
    entries = listing.entries()
    looks: dict[Entry, Look] = {}
    with ThreadPoolExecutor(THREADS) as pool:
        for done, (entry, look) in enumerate(zip(entries, pool.map(_look, entries), strict=True), 1):
            looks[entry] = look
            if progress is not None:
                progress(done, len(entries))
    broken = [look.error for look in looks.values() if look.error]
    if broken:
        findings.append(Finding("error", len(broken), f"{len(broken)} pictures cannot be read", broken))
    sound = {split: [e for e in part if not looks[e].error] for split, part in listing.splits.items()}
    if not findings:
        sound = _cut(replace(listing, splits=sound), looks, val_fraction, seed)
    return findings + list(_repeated(sound, looks)) + list(_shared(sound, looks))


def _look(entry: Entry) -> Look:
    try:
        pixels = read_image(entry.image)
    except UserError as error:
        return Look(b"", np.zeros(0, bool), str(error))
    shape = str(pixels.shape).encode()
    return Look(hashlib.sha256(shape + pixels.tobytes()).digest(), difference_hash(Image.fromarray(pixels)))


def _cut(listing: Listing, looks: dict[Entry, Look], val_fraction: float, seed: int) -> dict[str, list[Entry]]:
    """The splits as training would see them; those given where nothing can be cut."""
    if wants_grouping(listing):
        listing = grouped(listing, groups_of(_bits(listing.splits["train"], looks)))
    try:
        return completed(listing, val_fraction, seed).splits
    except UserError:  # too few pictures: training says so, and there is nothing to compare
        return listing.splits


def _bits(entries: Sequence[Entry], looks: dict[Entry, Look]) -> NDArray[np.bool_]:
    return np.stack([looks[entry].bits for entry in entries])


def _repeated(splits: dict[str, list[Entry]], looks: dict[Entry, Look]) -> Iterator[Finding]:
    """Pictures that one split holds twice, pixel for pixel."""
    for split, part in splits.items():
        by_digest: dict[bytes, list[Entry]] = {}
        for entry in part:
            by_digest.setdefault(looks[entry].digest, []).append(entry)
        twins = [" = ".join(entry.name for entry in same) for same in by_digest.values() if len(same) > 1]
        if twins:
            where = f" of {split}" if split else ""
            yield Finding("warning", len(twins), f"{len(twins)} pictures{where} are there more than once", twins)


def _shared(splits: dict[str, list[Entry]], looks: dict[Entry, Look]) -> Iterator[Finding]:
    """Pictures of one split that another holds as well, identical or nearly."""
    for first, second in combinations([split for split in ("train", "val", "test") if splits.get(split)], 2):
        digests = {looks[entry].digest for entry in splits[first]}
        equal = [entry.name for entry in splits[second] if looks[entry].digest in digests]
        if equal:
            yield Finding("warning", len(equal), f"{len(equal)} pictures of {second} are in {first} too", equal)
        pairs = near_pairs(_bits(splits[second], looks), _bits(splits[first], looks))
        near = [splits[second][index].name for index in np.unique(pairs[:, 0])]
        near = [name for name in near if name not in set(equal)]
        if near:
            text = f"{len(near)} pictures of {second} have near-duplicates in {first} (dHash, {NEAR} of 256 bits)"
            yield Finding("warning", len(near), text, near)
