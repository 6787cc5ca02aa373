"""Everything that can be wrong with a data set, found before a training or a published table depends on it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from camo_seg.data.formats.pairs import PairSource
from camo_seg.data.formats.splits import Pair
from camo_seg.data.listing import list_files
from polyscale.data.decoding.opening import MAX_PIXELS, name_of, opened
from polyscale.data.listing import FolderPath, Listing
from polyscale.data.naming import plural
from polyscale.errors import UserError

LISTED = 10  # names in a line


@dataclass(frozen=True)
class Findings:
    """What `check` found.

    Attributes:
        counts: images by split.
        faults: what makes samples unusable or results wrong, one line each.
        remarks: what is worth knowing.
    """

    counts: dict[str, int]
    faults: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, for JSON."""
        return {"counts": self.counts, "faults": self.faults, "remarks": self.remarks}


def check(
    path: FolderPath, *, mask_rule: str = "auto", progress: Callable[[int, int], None] | None = None, **settings: Any
) -> Findings:
    """Decode every image and mask of a data set; `settings` are those of `data.listing.list_folder`.

    Faults: files that cannot be read, masks of another size or without a single reading, the same image in two
    splits. Remarks: counts that differ from the published ones, what the layout itself is known for, masks that are
    not purely two-valued, empty masks, objects that fill the image.

    Raises:
        UserError: There is no data set of this layout.
    """
    listing = list_files(path, **settings)
    findings = Findings(
        {split: len(listing.splits[split]) for split in listing.present_splits()}, [], list(listing.notes)
    )
    total, done = sum(findings.counts.values()), 0
    grey: list[str] = []
    empty: list[str] = []
    full: list[str] = []
    for split in listing.present_splits():
        source = PairSource(listing.splits[split], mask_rule)
        findings.faults.extend(source.problems())
        for index, pair in enumerate(source.pairs):
            try:
                mask = source.read(index).mask
                if not _two_valued(pair.mask):
                    grey.append(pair.name)
            except UserError as error:
                findings.faults.append(str(error))
            else:
                (empty if not mask.any() else full if mask.all() else []).append(pair.name)
            done += 1
            if progress is not None:
                progress(done, total)
    findings.faults.extend(_shared(listing))
    _remark(findings, grey, "has a mask with more than two values, read as soft edges", "have masks with more than two")
    _remark(findings, empty, "has an empty mask", "have empty masks")
    _remark(findings, full, "has a mask without background", "have masks without background")
    return Findings(findings.counts, list(dict.fromkeys(findings.faults)), findings.remarks)


def _remark(findings: Findings, names: list[str], one: str, several: str) -> None:
    if names:
        text = f"1 image {one}" if len(names) == 1 else f"{len(names)} images {several}"
        findings.remarks.append(f"{text}: {_listed(names)}")


def _two_valued(path: Path) -> bool:
    with opened(path, name_of(path), MAX_PIXELS) as image:
        return len(np.unique(np.asarray(image.convert("L")))) <= 2


def _shared(listing: Listing[Pair]) -> Iterable[str]:
    """Yield a line for each two splits that hold the same image, told by the bytes of its file."""
    where: dict[str, dict[str, str]] = defaultdict(dict)
    for split in listing.present_splits():
        for pair in listing.splits[split]:
            try:
                digest = hashlib.sha256(pair.image.read_bytes()).hexdigest()
            except OSError:
                continue  # named as unreadable already
            where[digest].setdefault(split, pair.name)
    twins: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for places in where.values():
        if len(places) > 1:
            twins[tuple(places)].append(" = ".join(dict.fromkeys(places.values())))
    for splits, names in twins.items():
        yield f"{plural(len(names), 'image')} in {' and '.join(splits)} alike: {_listed(names)}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
