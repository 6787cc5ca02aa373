"""Recordings that were published as images: one grey image for each window, ON minus OFF, with YOLO boxes.

    images/{train,valid,test}/NAME_00012.jpg
    labels/{train,valid,test}/NAME_00012.txt

The images of a recording are put in the order of their numbers, whatever split they are in: neighbours in time look
alike, so that a split of single images would test on what was learnt. With several recordings the last one (in natural
order) is test, and of each other one the last fifth is val. What an image holds is brought back as a histogram of one
bin: grey is the mode of the image, brighter pixels are ON, darker ones OFF, a count for every 16 levels.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from event_det.data.boxes import BOX_DTYPE, Standard, crop_boxes
from event_det.data.prepare import Outcome, Preparation, compression_options
from event_det.data.raw import read_yolo
from event_det.data.rvt import FRAMES, HISTOGRAM, file_name, write_sequence
from polyscale.data.images import read_image
from polyscale.data.listing import subfolder, walk_images
from polyscale.data.naming import natural_key
from polyscale.errors import UserError

NUMBERED = re.compile(r"(.*?)_?(\d+)")
NOISE, LEVELS = 4, 16
"""Levels around grey that are noise of the compression, and levels of a count."""
VAL_SHARE = 0.2


@dataclass
class FrameRecording:
    """Images and YOLO files by number."""

    split: str
    name: str
    images: dict[int, Path] = field(default_factory=dict)
    boxes: dict[int, Path] = field(default_factory=dict)


def has_frames(root: Path) -> bool:
    """Whether a folder is laid out so."""
    return subfolder(root, "images") is not None and subfolder(root, "labels") is not None


def find_frame_recordings(root: Path) -> list[FrameRecording]:
    """List the recordings, split as above.

    Raises:
        UserError: an image has no number, or none is there.
    """
    images, labels = subfolder(root, "images"), subfolder(root, "labels")
    if images is None or labels is None:
        raise UserError(f"{root}: holds no folders images and labels")
    found: dict[str, FrameRecording] = defaultdict(lambda: FrameRecording("train", ""))
    for path in walk_images(images).files:
        match = NUMBERED.fullmatch(path.stem)
        if match is None:
            raise UserError(f"{path}: the name of an image should end in its number")
        recording = found[match[1]]
        recording.name, number = match[1] or "recording", int(match[2])
        recording.images[number] = path
        label = labels / path.relative_to(images).with_suffix(".txt")
        if label.is_file():
            recording.boxes[number] = label
    if not found:
        raise UserError(f"{images}: holds no image")
    recordings = sorted(found.values(), key=lambda recording: natural_key(recording.name))
    if len(recordings) > 1:
        recordings[-1].split = "test"
    return [part for recording in recordings for part in _cut_validation(recording)]


def _cut_validation(recording: FrameRecording) -> list[FrameRecording]:
    if recording.split == "test":
        return [recording]
    numbers = sorted(recording.images)
    border = numbers[round(len(numbers) * (1 - VAL_SHARE))] if len(numbers) > 1 else numbers[-1] + 1
    parts = []
    for split, wanted in (("train", lambda n: n < border), ("val", lambda n: n >= border)):
        pick = {n: path for n, path in recording.images.items() if wanted(n)}
        boxes = {n: path for n, path in recording.boxes.items() if wanted(n)}
        parts.append(FrameRecording(split, f"{recording.name}_{split}", pick, boxes))
    return [part for part in parts if part.images]


def prepare_frames(recording: FrameRecording, out: Path, how: Preparation) -> Outcome:
    """Bring one recording into RVT's layout; an image that is missing is an empty, unlabelled window."""
    folder, label = out / recording.split / recording.name, f"{recording.split}/{recording.name}"
    inner = folder / FRAMES / HISTOGRAM.format(window=how.window // 1000, bins=1)
    if (inner / file_name(how.standard.half, how.sparse)).is_file():
        return Outcome(label, skipped="is there already")
    try:
        numbers = range(min(recording.images), max(recording.images) + 1)
        size = read_grey(recording.images[numbers[0]]).shape
        times = how.window * (np.arange(len(numbers), dtype=np.int64) + 2)
        frames = {
            int(times[number - numbers[0]]): _boxes(path, int(times[number - numbers[0]]), size, how.standard)
            for number, path in recording.boxes.items()
        }
        write_sequence(
            folder, _histograms(recording, numbers, size, how), times, frames, half=how.standard.half,
            sparse=how.sparse, window=how.window // 1000, compression=compression_options(how.compression),
        )  # fmt: skip
    except UserError as error:
        return Outcome(label, error=str(error))
    return Outcome(label, len(numbers), sum(map(len, frames.values())))


def _boxes(path: Path, time: int, size: tuple[int, ...], standard: Standard) -> NDArray[Any]:
    rows = read_yolo(path, standard.classes, (size[1], size[0]))
    rows["t"] = time
    return crop_boxes(rows.astype(BOX_DTYPE), (size[1], size[0]))


def _histograms(
    recording: FrameRecording, numbers: range, size: tuple[int, ...], how: Preparation
) -> Iterator[NDArray[np.uint8]]:
    for number in numbers:
        path = recording.images.get(number)
        grey = np.full(size, 128, np.uint8) if path is None else read_grey(path)
        if grey.shape != size:
            raise UserError(f"{path}: is of {grey.shape[1]}x{grey.shape[0]}, the first image of {size[1]}x{size[0]}")
        histogram = rebuild_counts(grey, how.cutoff)
        yield np.ascontiguousarray(histogram[:, 1::2, 1::2]) if how.standard.half else histogram


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Read a grey image, uint8 [H, W]."""
    return np.ascontiguousarray(read_image(path)[..., 1])


def rebuild_counts(grey: NDArray[np.uint8], cutoff: int) -> NDArray[np.uint8]:
    """Return counts of OFF and ON events, uint8 [2, H, W], from an image of ON minus OFF."""
    net = grey.astype(np.int16) - int(np.bincount(grey.ravel(), minlength=256).argmax())
    counts = np.minimum(1 + np.abs(net) // LEVELS, cutoff)
    return np.stack([counts * (net < -NOISE), counts * (net > NOISE)]).astype(np.uint8)
