"""Everything that can be wrong with the images of a data set, found before a training depends on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from caption_det.data.files import FileSource
from caption_det.data.records import Source
from polyscale.data.check import Finding, digest_files, find_copies
from polyscale.data.naming import plural


def check(
    splits: Mapping[str, Source], notes: Sequence[str] = (), progress: Callable[[int, int], None] | None = None
) -> list[Finding]:
    """Open every image of the splits of `open_data`, whose labels it has checked already.

    Errors: images that cannot be read, or are of another size than their labels say. Warnings: images that two splits
    share, pixel for pixel or nearly, or that one holds twice. Notes: `notes`, what is passed over and what was drawn.
    Images that are drawn are passed over. `progress(done, total)` is called after each image.
    """
    sources = {split: source for split, source in splits.items() if isinstance(source, FileSource)}
    digests, findings = digest_files([file for source in sources.values() for file in source.files], progress)
    found = {
        split: [(name, digests[file]) for name, file in zip(source.names, source.files, strict=True) if file in digests]
        for split, source in sources.items()
    }
    other = [
        f"{item.file} ({digests[file].size[1]} x {digests[file].size[0]}, not {item.size[1]} x {item.size[0]})"
        for source in sources.values()
        for item, file in zip(source.labelled, source.files, strict=True)
        if item.size and file in digests and digests[file].size != item.size
    ]
    if other:
        findings.append(Finding("error", f"{plural(len(other), 'image')} of another size than the labels say", other))
    return [*findings, *find_copies(found), *(Finding("note", line) for line in notes)]
