"""Raw recordings and their boxes, as data sets are published: which file belongs to which, and the boxes in them.

A recording and its boxes lie next to each other, in folders train, val and test or in one that is then all test:

    NAME_td.dat, NAME.raw, ...    any format of recordings
    NAME_bbox.npy                 Prophesee's (Gen1, 1 Mpx, eTraM)
    NAME_bbox.csv                 columns t, x, y, w, h, class (name or id); a row with t alone is a frame without a box
    NAME.xml, NAME.txt            one frame at the end of the recording: Pascal VOC, or YOLO (PEDRo)

PEDRo keeps its three kinds of files in folders numpy, xml and yolo. DSEC keeps a recording in a folder:
NAME/events/left/events.h5 and NAME/object_detections/left/tracks.npy.
"""

import csv
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from event_det.data.boxes import BOX_DTYPE
from event_det.data.rvt import named
from event_det.formats.recording import Recording
from event_det.formats.table import FORMATS
from polyscale.data.listing import folders_in, resolve_folder, subfolder
from polyscale.data.naming import natural_key
from polyscale.errors import UserError, foreign, read_bounded

SPLIT_NAMES = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
RECORDINGS = {suffix for row in FORMATS.values() for suffix in row.suffixes}
LARGEST_TEXT = 1 << 26


@dataclass(frozen=True)
class RawRecording:
    """A recording with boxes, before it is prepared."""

    split: str
    name: str
    events: Path
    boxes: Path


@dataclass(frozen=True, eq=False)
class FoundBoxes:
    """Boxes of one recording: rows of BOX_DTYPE by time, the times of all frames, and of the first event."""

    boxes: NDArray[Any]
    frames: NDArray[np.int64]
    first: int


def find_recordings(root: Path) -> list[RawRecording]:
    """List the recordings of a data set that have boxes.

    Raises:
        UserError: there is none.
    """
    root = resolve_folder(root)
    found = [raw for split, folder in _split_folders(root) for raw in _in_folder(split, folder)]
    if not found:
        raise UserError(
            f"{root}: found no recording with boxes next to it; expected NAME.raw, NAME_td.dat, NAME_td.h5, ... and "
            "NAME_bbox.npy, NAME_bbox.csv, NAME.xml or NAME.txt, in folders train, val and test"
        )
    return sorted(found, key=lambda raw: (list(SPLIT_NAMES).index(raw.split), natural_key(raw.name)))


def _split_folders(root: Path) -> Iterator[tuple[str, list[Path]]]:
    """Yield each split with the folders that hold its files."""
    kinds = [folder for name in ("numpy", "xml", "yolo") if (folder := subfolder(root, name))]
    bases = kinds or [root]
    any_split = False
    for split, names in SPLIT_NAMES.items():
        folders = [folder for base in bases if (folder := subfolder(base, *names))]
        if folders:
            any_split = True
            yield split, folders
    if not any_split:
        yield "test", bases


def _in_folder(split: str, folders: list[Path]) -> Iterator[RawRecording]:
    files = sorted(path for folder in folders for path in folder.iterdir() if path.is_file())
    boxes: dict[str, Path] = {}
    taken: set[Path] = set()
    for suffix in (".txt", ".xml", ".csv", ".npy"):  # the last one wins
        for path in files:
            own = path.name.endswith(f"_bbox{suffix}")
            if path.suffix.lower() == suffix and (own or suffix in (".txt", ".xml")):
                boxes[path.name.removesuffix(f"_bbox{suffix}") if own else path.stem] = path
                taken.add(path)
    for path in files:
        name = path.name.split(".")[0].removesuffix("_td")
        if path not in taken and name in boxes and path.suffix.lower() in RECORDINGS:
            yield RawRecording(split, name, path, boxes[name])
    for folder in (inner for base in folders for inner in folders_in(base)):
        events, tracks = folder / "events/left/events.h5", folder / "object_detections/left/tracks.npy"
        if events.is_file() and tracks.is_file():
            yield RawRecording(split, folder.name, events, tracks)


def read_boxes(path: Path, classes: tuple[str, ...], recording: Recording) -> FoundBoxes:
    """Read the boxes of a recording.

    Args:
        path: npy, csv, xml or txt.
        classes: Names by class id.
        recording: Whose they are; single frames stand at the time of its last event.

    Raises:
        UserError: the file is no such file, or names an unknown class.
    """
    kind = path.suffix.lower()
    if kind in (".npy", ".csv"):
        first = next((int(events.t[0]) for events in recording.chunks()), 0)
        rows, frames = _read_npy(path) if kind == ".npy" else _read_csv(path, classes)
        return FoundBoxes(rows, frames, first)
    first, last = recording.span() or (0, 0)
    if recording.sensor is None:
        recording.sensor = _voc_size(path) if kind == ".xml" else None
    if kind == ".xml":
        rows = _read_voc(path, classes)
    elif recording.sensor is None:
        raise UserError(
            f"{recording.path}: states no sensor size, which YOLO boxes need; give xml, or convert it first"
        )
    else:
        rows = read_yolo(path, classes, recording.sensor)
    rows["t"] = last
    return FoundBoxes(rows, np.array([last]), first)


def _read_npy(path: Path) -> tuple[NDArray[Any], NDArray[np.int64]]:
    with foreign(path, "boxes"):
        array = np.load(path, allow_pickle=False)
        if array.dtype.names is None or array.ndim != 1:
            raise UserError(f"{path}: boxes should be rows with the fields t, x, y, w, h, class_id, not {array.dtype}")
    rows = named(array, path)
    rows = rows[np.argsort(rows["t"], kind="stable")]
    return rows, np.unique(rows["t"])


def _read_csv(path: Path, classes: tuple[str, ...]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    text = read_bounded(path, LARGEST_TEXT).decode("utf-8-sig", "replace")
    reader = csv.DictReader(text.splitlines())
    names = {name.strip().lower(): name for name in reader.fieldnames or ()}
    label = next((names[name] for name in ("class", "class_id", "label") if name in names), None)
    if label is None or any(name not in names for name in ("t", "x", "y", "w", "h")):
        raise UserError(f"{path}: the first row should name the columns t, x, y, w, h and class")
    rows, frames = [], []
    for number, line in enumerate(reader, start=2):
        try:
            time = int(float(line[names["t"]]))
            frames.append(time)
            if not (line[names["x"]] or "").strip():
                continue
            box = tuple(float(line[names[name]]) for name in ("x", "y", "w", "h"))
            track = int(float(line[names["track_id"]] or 0)) if "track_id" in names else 0
        except (TypeError, ValueError, OverflowError):
            raise UserError(f"{path}: row {number}: t, x, y, w, h and track_id should be numbers") from None
        kind = _class_id((line[label] or "").strip(), classes, f"{path}: row {number}")
        rows.append((time, *box, kind, track, 1.0))
    with foreign(path, "boxes"):  # numbers too large for their column
        array = np.array(rows, BOX_DTYPE) if rows else np.zeros(0, BOX_DTYPE)
        times = np.unique(np.array(frames, np.int64))
    return array[np.argsort(array["t"], kind="stable")], times


def _class_id(text: str, classes: tuple[str, ...], place: str) -> int:
    number = classes.index(text) if text in classes else int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= number < len(classes):
        raise UserError(f"{place}: {text!r} is no class; known are {', '.join(classes)} and 0 to {len(classes) - 1}")
    return number


def _voc_tree(path: Path) -> ElementTree.Element:
    content = read_bounded(path, LARGEST_TEXT)
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise UserError(f"{path}: declares entities, which are not read")
    with foreign(path, "Pascal VOC"):
        return ElementTree.fromstring(content)


def _voc_size(path: Path) -> tuple[int, int] | None:
    size = _voc_tree(path).find("size")
    with foreign(path, "Pascal VOC"):
        if size is None:
            return None
        return int(size.findtext("width", "0")), int(size.findtext("height", "0"))


def _read_voc(path: Path, classes: tuple[str, ...]) -> NDArray[Any]:
    rows = []
    for item in _voc_tree(path).iter("object"):
        with foreign(path, "Pascal VOC"):
            x1, y1, x2, y2 = (float(item.findtext(f"bndbox/{name}") or "") for name in ("xmin", "ymin", "xmax", "ymax"))
        label = _class_id((item.findtext("name") or "").strip(), classes, str(path))
        rows.append((0, x1, y1, x2 - x1, y2 - y1, label, 0, 1.0))
    return np.array(rows, BOX_DTYPE) if rows else np.zeros(0, BOX_DTYPE)


def read_yolo(path: Path, classes: tuple[str, ...], sensor: tuple[int, int]) -> NDArray[Any]:
    """Read boxes of one frame in YOLO's form: rows of BOX_DTYPE in pixels, at time 0."""
    width, height = sensor
    rows = []
    for number, line in enumerate(read_bounded(path, LARGEST_TEXT).decode("utf-8", "replace").splitlines(), start=1):
        if not line.strip():
            continue
        place = f"{path}: line {number}"
        try:
            label, *numbers = line.split()[:5]
            x, y, w, h = map(float, numbers)
        except ValueError:
            raise UserError(f"{place}: expected class, x, y, w, h as shares of the image") from None
        box = ((x - w / 2) * width, (y - h / 2) * height, w * width, h * height)
        rows.append((0, *box, _class_id(label, classes, place), 0, 1.0))
    return np.array(rows, BOX_DTYPE) if rows else np.zeros(0, BOX_DTYPE)
