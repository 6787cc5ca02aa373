"""What `data check` of every application finds: files that cannot be read, and images that two splits share."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from polyscale.data.duplicates import NEAR, difference_hash, near_pairs
from polyscale.data.images import read_image
from polyscale.data.naming import plural, shorten
from polyscale.errors import UserError

THREADS = min(8, os.cpu_count() or 1)  # each may hold one whole image


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        level: "error" spoils a training or a table, "warning" may, "note" is worth knowing.
        text: what it is, one line.
        names: of the images that it is true of.
    """

    level: Literal["error", "warning", "note"]
    text: str
    names: Sequence[str] = field(default=())

    def line(self) -> str:
        """Return one line with the first ten names."""
        return f"{self.text}: {shorten(self.names)}" if self.names else self.text


class Digest(NamedTuple):
    """What is kept of an image: its size (height, width), a digest of its pixels, and its difference hash."""

    size: tuple[int, int]
    pixels: bytes
    bits: NDArray[np.bool_]


def digest_image(image: NDArray[np.uint8]) -> Digest:
    """Digest an image uint8 [H, W, 3]."""
    shape = str(image.shape).encode()
    pixels = hashlib.sha256(shape + image.tobytes()).digest()
    return Digest((image.shape[0], image.shape[1]), pixels, difference_hash(Image.fromarray(image)))


def digest_files(
    files: Sequence[Path], progress: Callable[[int, int], None] | None = None
) -> tuple[dict[Path, Digest], list[Finding]]:
    """Open image files in threads; return the digests of those that can be read, and a finding of those that cannot.

    `progress(done, total)` is called after each file.
    """
    digests: dict[Path, Digest] = {}
    broken: list[str] = []
    with ThreadPoolExecutor(THREADS) as pool:
        for done, (file, found) in enumerate(zip(files, pool.map(_digest_file, files), strict=True), 1):
            if isinstance(found, Digest):
                digests[file] = found
            else:
                broken.append(str(found))
            if progress is not None:
                progress(done, len(files))
    return digests, [Finding("error", f"{plural(len(broken), 'image')} not readable", broken)] if broken else []


def _digest_file(file: Path) -> Digest | UserError:
    try:
        return digest_image(read_image(file))
    except UserError as error:
        return error


def find_copies(splits: Mapping[str, Sequence[tuple[str, Digest]]]) -> Iterator[Finding]:
    """Find images, given by name and digest, that a split holds twice, or that two splits share, exactly or nearly.

    Nearly is at most 20 of 256 bits of the difference hash.
    """
    for split, part in splits.items():
        by_pixels: dict[bytes, list[str]] = {}
        for name, digest in part:
            by_pixels.setdefault(digest.pixels, []).append(name)
        twins = [" = ".join(names) for names in by_pixels.values() if len(names) > 1]
        if twins:
            where = f" of {split}" if split else ""
            yield Finding("warning", f"{plural(len(twins), 'image')}{where} there more than once", twins)
    for later, earlier in (("test", ("train", "val")), ("val", ("train",))):
        known = [pair for split in earlier for pair in splits.get(split, [])]
        if not known or not splits.get(later):
            continue
        where = " or ".join(split for split in earlier if splits.get(split))
        twin_of = {digest.pixels: name for name, digest in reversed(known)}
        equal = {name: twin_of[digest.pixels] for name, digest in splits[later] if digest.pixels in twin_of}
        if equal:
            names = [name if name == twin else f"{name} = {twin}" for name, twin in equal.items()]
            yield Finding("warning", f"{plural(len(equal), 'image')} of {later}, pixel for pixel in {where} too", names)
        pairs = near_pairs(_bits(splits[later]), _bits(known))
        near = [splits[later][index] for index in np.unique(pairs[:, 0])]
        near = [name for name, digest in near if name not in equal and digest.bits.any()]  # one colour has no bits
        if near:
            images_of = f"{plural(len(near), 'image')} of {later}"
            yield Finding("warning", f"{images_of} with near-duplicates in {where} (dHash, {NEAR} of 256 bits)", near)


def _bits(part: Sequence[tuple[str, Digest]]) -> NDArray[np.bool_]:
    return np.stack([digest.bits for _, digest in part])
