"""What is wrong with a data set, found before a training depends on it."""

from collections.abc import Callable
from pathlib import Path

from app_name.data.dataset import SPLITS
from app_name.data.formats.pairs import Pairs
from polyscale.data.check import Digest, Finding, digest_image, find_copies
from polyscale.errors import UserError


def check(path: str, progress: Callable[[int, int], None] | None = None) -> list[Finding]:
    """Open every image and mask: errors are files that cannot be used, warnings images that two splits share.

    Raises:
        UserError: a split has no folder, or an image no mask.
    """
    sources = {split: Pairs(Path(path) / split) for split in SPLITS}
    samples = [(split, index) for split, source in sources.items() for index in range(len(source.names))]
    findings: list[Finding] = []
    digests: dict[str, list[tuple[str, Digest]]] = {split: [] for split in SPLITS}
    for done, (split, index) in enumerate(samples, 1):
        try:
            image, _ = sources[split].read(index)
            digests[split].append((sources[split].names[index], digest_image(image)))
        except UserError as error:
            findings.append(Finding("error", str(error)))
        if progress is not None:
            progress(done, len(samples))
    return [*findings, *find_copies(digests)]
