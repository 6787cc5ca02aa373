"""Folder pairs: a folder of images and a folder of masks, matched by name, with or without a split of their own.

The split comes from, in this order: folders named train/val/test around or inside the pair, a `split` column of
split.csv or meta.csv, or a seeded draw. Groups (a `group` column: one object photographed several times) stay whole.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from camo_seg.data.dataset import Sample
from camo_seg.data.formats.splits import Pair, split_by_table
from polyscale.data.images import image_header, read_image
from polyscale.data.listing import Listing, file_in, folders_in, passed_over_note, subfolder, walk_images
from polyscale.data.masks import check_rule, read_mask
from polyscale.data.naming import plural
from polyscale.data.prefetch import prefetch
from polyscale.data.splits import SPLIT_WORDS
from polyscale.errors import UserError

IMAGE_FOLDERS = ("image", "images", "img", "imgs")
MASK_FOLDERS = (
    "mask",
    "masks",
    "gt",
    "gts",
    "gt_object",
    "groundtruth",
    "annotation",
    "annotations",
    "label",
    "labels",
)
NAMED = 8  # folders in a message
_MASK_ENDING = re.compile(r"[_-](mask|gt|seg|segmentation|groundtruth|label)$", re.IGNORECASE)


class PairSource:
    """Reads pairs from disk; `mask_rule` is the rule of `polyscale.data.masks.read_mask`."""

    def __init__(self, pairs: Sequence[Pair], mask_rule: str = "auto") -> None:
        self.pairs, self.mask_rule = list(pairs), check_rule(mask_rule)
        self.names = [pair.name for pair in self.pairs]

    def check_sizes(self) -> None:
        """Compare every mask with its image by the file headers alone.

        An image with an EXIF turn is shown turned, its mask may be drawn on the image as it is stored. The sizes tell
        which, except for a turn that keeps them. Such pairs are accepted where another pair of the data set has shown
        that its masks are drawn on the images as they are shown.

        Raises:
            UserError: The sizes differ, or a mask may belong to the image as it is stored or as it is shown.
        """
        for problem in self.problems():
            raise UserError(problem)

    def problems(self) -> Iterator[str]:
        """Yield a line for each pair that `check_sizes` refuses."""
        unclear: list[Pair] = []
        as_shown = False
        for pair in self.pairs:
            try:
                image, mask = image_header(pair.image), image_header(pair.mask)
                _same_size(pair, image[:2], mask[:2])
            except UserError as error:
                yield str(error)
                continue
            if image.orientation != 1 and mask.orientation == 1:
                sideways = image.orientation >= 5 and image.height != image.width
                as_shown = as_shown or sideways
                unclear += [] if sideways else [pair]
        if unclear and not as_shown:
            first = unclear[0]
            more = f" ({len(unclear)} such pairs)" if len(unclear) > 1 else ""
            yield (
                f"{first.mask}: {first.image.name} carries an EXIF turn that its mask lacks, and their sizes do not"
                f" tell whether the mask is turned too{more}; remove the EXIF orientation of the images if the masks"
                " fit their stored pixels, or turn those (mogrify -auto-orient) if the masks fit what viewers show"
            )

    def check_masks(self) -> None:
        """Read every mask, some milliseconds each. Raises UserError naming the first that is none."""
        for _ in prefetch(self._read_mask, self.pairs):
            pass

    def _read_mask(self, pair: Pair) -> NDArray[np.bool_]:
        return read_mask(pair.mask, rule=self.mask_rule)

    def read(self, index: int) -> Sample:
        """Read image and mask at their original size. Raises UserError naming the file that is wrong."""
        pair = self.pairs[index]
        sample = Sample(read_image(pair.image), self._read_mask(pair))
        _same_size(pair, sample.image.shape[:2], sample.mask.shape)
        return sample


def _same_size(pair: Pair, image: tuple[int, ...], mask: tuple[int, ...]) -> None:
    if tuple(image) != tuple(mask):
        turned = "; does the image carry an EXIF turn that its mask lacks?" if tuple(image) == mask[::-1] else ""
        sizes = f"mask of {mask[1]} x {mask[0]} pixels for {pair.image.name} of {image[1]} x {image[0]}"
        raise UserError(f"{pair.mask}: {sizes}{turned}")


def files_in(folder: Path, notes: list[str] | None = None) -> dict[str, Path]:
    """List the image files in and below `folder` by relative path without suffix ("train/a"), in natural order.

    Keys are in composed Unicode (NFC). Image files of kinds that are not read are named in `notes`.
    """
    walk = walk_images(folder)
    if notes is not None and walk.passed_over:
        notes.append(passed_over_note(folder, walk.passed_over))
    found: dict[str, Path] = {}
    for path in walk.files:
        key = unicodedata.normalize("NFC", path.relative_to(folder).with_suffix("").as_posix())
        if key in found:
            raise UserError(f"{path}: same name as {found[key].name}; one image needs one file")
        found[key] = path
    return found


def match(images: dict[str, Path], masks: dict[str, Path]) -> tuple[list[Pair], list[Path]]:
    """Return the pairs of equal name, and the images left without a mask.

    A mask is looked for under the same relative name, then (masks in one flat folder) under the bare stem where that
    is unique among images and masks; a mask may end in _mask, _gt or the like.
    """
    by_key: dict[str, Path] = {}
    by_stem: dict[str, Path | None] = {}
    for key, path in masks.items():
        for name in (key, _MASK_ENDING.sub("", key)):
            by_key.setdefault(name, path)
        stem = _MASK_ENDING.sub("", Path(key).name)
        for name in {stem, Path(key).name}:
            by_stem[name] = None if name in by_stem else path
    stems = Counter(Path(key).name for key in images)
    pairs, alone = [], []
    for key, image in images.items():
        stem = Path(key).name
        mask = by_key.get(key) or (by_stem.get(stem) if stems[stem] == 1 else None)
        if mask is None:
            alone.append(image)
        else:
            pairs.append(Pair(key, image, mask))
    return pairs, alone


def folder_pair(root: Path) -> tuple[Path, Path] | None:
    """Return the image and the mask folder directly in `root`, or None."""
    images, masks = subfolder(root, *IMAGE_FOLDERS), subfolder(root, *MASK_FOLDERS)
    return (images, masks) if images and masks else None


def read_pairs(images: Path, masks: Path, notes: list[str], *, strict: bool = True) -> list[Pair]:
    """List all pairs of two folders. An image without mask is an error naming it, or where not `strict` a note."""
    image_files, mask_files = files_in(images, notes), files_in(masks)
    if not image_files:
        raise UserError(f"{images}: no images in this folder")
    if not mask_files:
        raise UserError(f"{masks}: no masks in this folder")
    pairs, alone = match(image_files, mask_files)
    if alone and (strict or not pairs):
        first = ", ".join(path.name for path in alone[:3]) + (", ..." if len(alone) > 3 else "")
        raise UserError(f"{images}: {len(alone)} of {len(image_files)} images have no mask in {masks}: {first}")
    if alone:
        notes.append(f"{images}: {plural(len(alone), 'file')} without a mask left out, first {alone[0].name}")
    return pairs


def note_spare_masks(masks: Path, pairs: Iterable[Pair], notes: list[str]) -> None:
    """Add a note on mask files that no pair uses."""
    used = {pair.mask for pair in pairs}
    spare = [path for path in files_in(masks).values() if path not in used]
    if spare:
        notes.append(f"{masks}: {plural(len(spare), 'mask')} without an image left out, first {spare[0].name}")


def describe_content(root: Path) -> str:
    """Return what lies directly in `root`, for a message: "found the folders fotos, truth and 3 images"."""
    folders = [f"{folder.name}/" for folder in folders_in(root)]
    named = [*folders[:NAMED], *([f"{len(folders) - NAMED} more folders"] if len(folders) > NAMED else [])]
    images = len(walk_images(root, recursive=False).files)
    parts = [*named, *([plural(images, "image")] if images else [])]
    return f"found {', '.join(parts) or 'neither folders nor images'}"


def is_pairs(root: Path) -> bool:
    """A folder pair, or folders named val or test that are one. Of train alone the other splits are drawn."""
    return folder_pair(root) is not None or bool(_nested(root).keys() - {"train"})


def list_pairs(root: Path, masks: Path | None = None) -> Listing[Pair]:
    """List a folder pair under `root`, or the folder `root` of images with its `masks` elsewhere."""
    notes: list[str] = []
    nested = {} if masks else _nested(root)
    if nested:
        splits = {}
        for name, (images, mask_folder) in nested.items():
            splits[name] = [p._replace(name=f"{name}/{p.name}") for p in read_pairs(images, mask_folder, notes)]
            note_spare_masks(mask_folder, splits[name], notes)
        return Listing(root.name, splits, notes)
    folders = (root, masks) if masks else folder_pair(root)
    if folders is None:
        raise UserError(
            f"{root}: no folder of images ({', '.join(IMAGE_FOLDERS)}) next to one of masks"
            f" ({', '.join(MASK_FOLDERS[:5])}, ...), nor a known benchmark; {describe_content(root)}"
        )
    pairs = read_pairs(*folders, notes)
    note_spare_masks(folders[1], pairs, notes)
    inside = _inner_split(folders[0], pairs)
    if inside:
        return Listing(root.name, inside, notes)
    table = file_in(root, "split.csv", "meta.csv")
    if table is not None:
        return Listing(root.name, split_by_table(table, pairs, notes), notes)
    return Listing(root.name, {"": pairs}, notes)


def _nested(root: Path) -> dict[str, tuple[Path, Path]]:
    """root/train/{images,masks} and the like, by split name."""
    found: dict[str, tuple[Path, Path]] = {}
    for folder in folders_in(root):
        split, pair = SPLIT_WORDS.get(folder.name.casefold()), folder_pair(folder)
        if split and pair:
            found[split] = pair
    return found


def _inner_split(images: Path, pairs: list[Pair]) -> dict[str, list[Pair]]:
    """Pairs by split where the image folder holds train, val or test folders; {} where it holds none."""
    splits: dict[str, list[Pair]] = {}
    outside = []
    for pair in pairs:
        top, _, rest = pair.name.partition("/")
        split = SPLIT_WORDS.get(top.casefold()) if rest else None
        if split is None:
            outside.append(pair)
        else:
            splits.setdefault(split, []).append(pair)
    if splits and outside:
        raise UserError(f"{images}: holds {', '.join(splits)}, but {outside[0].name} is in none of them")
    return splits
