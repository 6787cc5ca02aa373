"""Everything that can be wrong with a data set, found before a training or a published table depends on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from camo_seg.data.formats.pairs import PairSource
from camo_seg.data.listing import list_files
from polyscale.data.check import Digest, Finding, digest_image, find_copies
from polyscale.data.decoding.opening import MAX_PIXELS, name_of, opened
from polyscale.data.listing import FolderPath
from polyscale.data.naming import plural
from polyscale.errors import UserError


def check(
    path: FolderPath, *, mask_rule: str = "auto", progress: Callable[[int, int], None] | None = None, **settings: Any
) -> list[Finding]:
    """Decode every image and mask of a data set; `settings` are those of `data.listing.list_folder`.

    Errors: files that cannot be read, masks of another size or without a single reading. Warnings: images that two
    splits share, pixel for pixel or nearly, or that one holds twice. Notes: counts that differ from the published ones,
    what the layout itself is known for, masks that are not purely two-valued, empty masks, objects that fill the image.
    `progress(done, total)` is called after each image.

    Raises:
        UserError: There is no data set of this layout.
    """
    listing = list_files(path, **settings)
    errors: list[str] = []
    grey: list[str] = []
    empty: list[str] = []
    full: list[str] = []
    digests: dict[str, list[tuple[str, Digest]]] = {}
    total, done = len(listing.entries()), 0
    for split in listing.present_splits():
        source = PairSource(listing.splits[split], mask_rule)
        errors.extend(source.problems())
        found = digests.setdefault(split, [])
        for index, pair in enumerate(source.pairs):
            try:
                sample = source.read(index)
                if not _two_valued(pair.mask):
                    grey.append(pair.name)
            except UserError as error:
                errors.append(str(error))
            else:
                found.append((pair.name, digest_image(sample.image)))
                (empty if not sample.mask.any() else full if sample.mask.all() else []).append(pair.name)
            done += 1
            if progress is not None:
                progress(done, total)
    marked = {"of more than two values, read as soft edges": grey, "empty": empty, "without background": full}
    return [
        *(Finding("error", line) for line in dict.fromkeys(errors)),
        *find_copies(digests),
        *(Finding("note", f"{plural(len(names), 'mask')} {kind}", names) for kind, names in marked.items() if names),
        *(Finding("note", line) for line in listing.notes),
    ]


def _two_valued(path: Path) -> bool:
    with opened(path, name_of(path), MAX_PIXELS) as image:
        return len(np.unique(np.asarray(image.convert("L")))) <= 2
