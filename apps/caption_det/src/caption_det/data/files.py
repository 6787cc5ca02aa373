"""Labels of image files: where the images are, which labels can be used, and how the splits come about."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from caption_det.data.records import Record
from polyscale.data.images import image_size, read_image
from polyscale.data.listing import same_name, walk_images
from polyscale.data.naming import plural
from polyscale.data.splits import apply_recorded, complete_splits
from polyscale.errors import UserError

MANY = 0.01  # share of boxes that may be unusable: COCO itself has a few; more is a mistake in the file
HEADERS = 64  # images whose size is compared with what their labels say before any is used
SLACK = 2.0  # pixels by which a box may stick out


@dataclass(frozen=True, eq=False)
class Labelled:
    """One image of a label file: its name there, its labels, its split ("" for none), its size where the file says."""

    file: str
    captions: tuple[str, ...] = ()
    boxes: NDArray[np.float64] | None = None
    labels: tuple[str, ...] = ()
    crowd: tuple[bool, ...] = ()
    split: str = ""
    size: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class FileSource:
    """Images on disk with records; see `records.Source`."""

    title: str
    categories: tuple[str, ...]
    files: Sequence[Path]
    labelled: Sequence[Labelled]

    def __len__(self) -> int:
        return len(self.files)

    @property
    def names(self) -> list[str]:
        """Of the images: as the label file has them."""
        return [item.file for item in self.labelled]

    def image_size(self, index: int) -> tuple[int, int]:
        """Return (height, width) of an image."""
        return self.labelled[index].size or image_size(self.files[index])

    def record(self, index: int) -> Record:
        """Return the labels of an image."""
        item = self.labelled[index]
        numbers = {name: number for number, name in enumerate(self.categories)}
        labels = np.array([numbers[label] for label in item.labels], np.int64)
        crowd = np.array(item.crowd or [False] * len(labels), bool)
        return Record(item.file, item.captions, item.boxes, labels, crowd)

    def read(self, index: int) -> tuple[NDArray[np.uint8], Record]:
        """Return image and labels.

        Raises:
            UserError: the image cannot be read, or is not of the size that its labels were made for.
        """
        image, wanted = read_image(self.files[index]), self.labelled[index].size
        if wanted is not None and image.shape[:2] != wanted:
            raise _other_size(self.files[index], image.shape[:2], wanted)
        return image, self.record(index)


@dataclass(frozen=True)
class Found:
    """Sources by split, and remarks on what is not used."""

    splits: dict[str, FileSource]
    notes: list[str] = field(default_factory=list)


def make_sources(
    title: str,
    items: Sequence[Labelled],
    categories: Sequence[str],
    images: Path,
    val_fraction: float,
    recorded: Path | None,
) -> Found:
    """Check the labels, find the images, and make the splits.

    Args:
        title: names the data set.
        items: what the label files hold, in their order.
        categories: names of the classes.
        images: folder that is searched for the images, with all folders below.
        val_fraction: share of validation, and of test, where the label files have no such split.
        recorded: split.json of a run.

    Raises:
        UserError: nothing can be used, or more than a hundredth of the boxes cannot.
    """
    notes: list[str] = []
    items = _without_doubles(items, title)
    usable = [clean for item in items if (clean := _cleaned(item, notes)) is not None]
    if not usable:
        raise UserError(f"{title}: none of its {plural(len(items), 'image')} has a caption or boxes")
    files = find_images([item.file for item in usable], images)
    missing = [item.file for item in usable if item.file not in files]
    if len(missing) == len(usable):
        first = f", first {missing[0]}" if missing else ""
        raise UserError(f"{images}: has none of the {plural(len(usable), 'image')} of {title}{first}; "
                        "name their folder with --images (train: --data.images)")  # fmt: skip
    if missing:
        notes.append(f"{plural(len(missing), 'image')} of {len(usable)} are not in {images}, first {missing[0]}")
    _check_sizes([(files[item.file], item.size) for item in usable if item.file in files and item.size])
    known = [item if item.size else replace(item, size=image_size(files[item.file]))
             for item in usable if item.file in files]  # fmt: skip
    checked = check_boxes(known, title, notes)
    parts: dict[str, list[Labelled]] = {}
    for item in checked:
        parts.setdefault(item.split, []).append(item)
    if recorded is not None:
        parts, more = apply_recorded(recorded, parts, lambda item: item.file)
    else:
        parts, more = complete_splits(
            parts, lambda item: item.file, val_fraction=val_fraction, test_fraction=val_fraction, seed=0
        )
    sources = {
        split: FileSource(title, tuple(categories), [files[item.file] for item in parts[split]], parts[split])
        for split in ("train", "val", "test")
        if parts.get(split)
    }
    return Found(sources, summarised(notes) + more)


def _check_sizes(stated: Sequence[tuple[Path, tuple[int, int]]]) -> None:
    """Read the headers of some images, so that labels of other sizes are refused before any work."""
    for file, wanted in stated[:: max(1, len(stated) // HEADERS)]:
        if (size := image_size(file)) != wanted:
            raise _other_size(file, size, wanted)


def _other_size(file: Path, size: tuple[int, int], wanted: tuple[int, int]) -> UserError:
    return UserError(
        f"{file}: is {size[1]} x {size[0]} pixels, its labels say {wanted[1]} x {wanted[0]}; boxes would not fit"
    )


def find_images(names: Iterable[str], folder: Path) -> dict[str, Path]:
    """Return the files in and below `folder` by the names that label files give them.

    Raises:
        UserError: two files have the name, and the label file does not say which is meant.
    """
    by_name: dict[str, list[Path]] = {}
    for path in walk_images(folder).files:
        by_name.setdefault(same_name(path.name), []).append(path)
    found = {}
    for name in names:
        direct = folder / name
        options = by_name.get(same_name(Path(name).name), [])
        if len(options) > 1:
            tail = [path for path in options if path.as_posix().endswith(f"/{name}")]
            if direct in tail:
                tail = [direct]
            if len(tail) != 1:
                raise UserError(f"{folder}: {len(options)} files are called {Path(name).name}, such as {options[0]} "
                                f"and {options[1]}; name the folder that is meant with --images (train: "
                                "--data.images)")  # fmt: skip
            options = tail
        if options:
            found[name] = options[0]
    return found


def check_boxes(items: Sequence[Labelled], title: str, notes: list[str]) -> list[Labelled]:
    """Clip boxes to their images and leave those out that have no area or lie outside, with a note.

    Raises:
        UserError: more than a hundredth of the boxes would go; it says what they look like.
    """
    total = bad = 0
    example = ""
    checked = []
    for item in items:
        if item.boxes is None or item.size is None or not len(item.boxes):
            checked.append(item)
            continue
        good = usable_boxes(item.boxes, item.size)
        total, bad = total + len(good), bad + int((~good).sum())
        if not good.all():
            example = example or f"{item.file} {[round(x, 1) for x in item.boxes[~good][0].tolist()]}"
            notes.append("boxes without area or outside of their image are left out")
        height, width = item.size
        boxes = np.clip(item.boxes, 0, [width, height, width, height])[good]
        labels = tuple(label for label, keep in zip(item.labels, good, strict=True) if keep)
        crowd = tuple(flag for flag, keep in zip(item.crowd, good, strict=False) if keep)
        checked.append(replace(item, boxes=boxes, labels=labels, crowd=crowd))
    if bad > MANY * total:
        raise UserError(f"{title}: {bad} of {total} boxes have no area or lie outside of their image"
                        f"{_guess(items)}; as (x1, y1, x2, y2) the first is {example}")  # fmt: skip
    return checked


def usable_boxes(boxes: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Bool [T]: boxes (x1, y1, x2, y2) that are finite, have an area, and lie in an image of (height, width)."""
    height, width = size
    limits = np.array([width, height, width, height])
    inside = (boxes >= -SLACK).all(1) & (boxes <= limits + SLACK).all(1)
    clipped = np.clip(boxes, 0, limits)
    solid = (clipped[:, 2] - clipped[:, 0] >= 1) & (clipped[:, 3] - clipped[:, 1] >= 1)
    return np.isfinite(boxes).all(1) & inside & solid


def summarised(notes: Sequence[str]) -> list[str]:
    """Return each remark once, with how often it was made."""
    return [f"{count} x {text}" if count > 1 else text for text, count in Counter(notes).items()]


def _guess(items: Sequence[Labelled]) -> str:
    """What unusable boxes look like, in words: sizes read as corners, corners read as sizes, fractions."""
    pairs = [(item.boxes, item.size) for item in items if item.boxes is not None and item.size and len(item.boxes)]
    readings: Mapping[str, list[NDArray[np.bool_]]] = {"xywh": [], "xyxy": [], "fractions": []}
    for boxes, size in pairs:
        corners, sizes = boxes.copy(), boxes.copy()
        corners[:, 2:] += boxes[:, :2]
        sizes[:, 2:] -= boxes[:, :2]
        readings["xywh"].append(usable_boxes(corners, size))
        readings["xyxy"].append(usable_boxes(sizes, size))
        readings["fractions"].append(np.asarray((boxes <= 2).all(1)))
    shares = {name: float(np.concatenate(fits).mean()) for name, fits in readings.items()}
    if shares["fractions"] > 0.9:
        return ": they look like fractions of the image, and pixels are needed"
    if shares["xywh"] > 0.95:
        return ": they look like (x, y, width, height), and (x1, y1, x2, y2) are needed here"
    if shares["xyxy"] > 0.95:
        return ": they look like (x1, y1, x2, y2), and (x, y, width, height) are needed here"
    return ""


def _cleaned(item: Labelled, notes: list[str]) -> Labelled | None:
    captions = tuple(" ".join(caption.split()) for caption in item.captions)
    if any(not caption for caption in captions):
        notes.append("empty captions are left out")
        captions = tuple(caption for caption in captions if caption)
    if not captions and item.boxes is None:
        notes.append("images with neither caption nor boxes are left out")
        return None
    return replace(item, captions=captions)


def _without_doubles(items: Sequence[Labelled], title: str) -> Sequence[Labelled]:
    """Refuse images that are in two splits."""
    split_of: dict[str, str] = {}
    for item in items:
        other = split_of.setdefault(item.file, item.split)
        if other != item.split:
            raise UserError(f"{title}: {item.file} is in the splits {other} and {item.split}; "
                            "what is learnt would be tested")  # fmt: skip
    return items
