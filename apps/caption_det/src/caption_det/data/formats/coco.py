"""COCO's json: captions_SPLIT.json and instances_SPLIT.json, where SPLIT is train, val or test, with or without a year.

They lie in the folder or its annotations/; either kind alone will do. Boxes are (x, y, width, height).
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from caption_det.data.files import Labelled
from polyscale.errors import UserError, foreign

_NAME = re.compile(r"(captions|instances)_(train|val|test)(?:\d{4})?\.json")


def fits(path: Path) -> bool:
    """Whether the folder holds COCO's label files."""
    return path.is_dir() and bool(label_files(path))


def read(path: Path) -> tuple[list[Labelled], list[str], list[str]]:
    """Return (images, names of the categories, notes).

    Raises:
        UserError: a file that is not COCO's json, categories that differ between files, labels of other images.
    """
    by_split: dict[str, dict[str, Path]] = {}
    for kind, split, file in label_files(path):
        if kind in by_split.setdefault(split, {}):
            raise UserError(f"{file}: {by_split[split][kind].name} has the {split} split too; keep one of them")
        by_split[split][kind] = file
    items: list[Labelled] = []
    categories: dict[int, str] = {}
    first: Path | None = None
    for split, files in by_split.items():
        parts = {kind: load(file) for kind, file in files.items()}
        if "instances" in parts:
            own = {int(c["id"]): str(c["name"]) for c in parts["instances"]["categories"]}
            if categories and own != categories:
                raise UserError(f"{files['instances']}: its categories are not those of {first}")
            categories, first = own, files["instances"]
        items += _join(split, files, parts, categories)
    names = [categories[number] for number in sorted(categories)]
    if len(set(names)) < len(names):
        raise UserError(f"{first}: two categories have the same name")
    return items, names, []


def label_files(path: Path) -> list[tuple[str, str, Path]]:
    """Return (captions or instances, split, file) of each label file in a folder or its annotations/."""
    found = []
    for folder in (path, path / "annotations"):
        for file in sorted(folder.glob("*.json")) if folder.is_dir() else ():
            match = _NAME.fullmatch(file.name)
            if match:
                found.append((match[1], match[2], file))
    return found


def load(file: Path) -> dict[str, Any]:
    """Return the content of a label file with lists of images and annotations.

    Raises:
        UserError: it is not COCO's json.
    """
    with foreign(file, "COCO's json"):
        content = json.loads(file.read_text(encoding="utf-8"))
        kind = file.name.partition("_")[0]
        for key in ("images", "annotations", *(("categories",) if kind == "instances" else ())):
            if not isinstance(content.get(key), list):
                raise UserError(f"{file}: has no list of {key}; it is no file of COCO's {kind}")
    return content


def _join(
    split: str, files: dict[str, Path], parts: dict[str, dict[str, Any]], categories: dict[int, str]
) -> Iterable[Labelled]:
    """The images of one split with the labels of both files."""
    images = {image["id"]: image for part in parts.values() for image in part["images"]}
    if len(parts) == 2:
        ids = {kind: {image["id"] for image in part["images"]} for kind, part in parts.items()}
        if not ids["captions"] & ids["instances"]:
            raise UserError(f"{files['instances']}: has no image of {files['captions'].name}; is it of another split?")
        names = {image["id"]: image["file_name"] for image in parts["captions"]["images"]}
        for image in parts["instances"]["images"]:
            if (other := names.get(image["id"], image["file_name"])) != image["file_name"]:
                raise UserError(f"{files['instances']}: image {image['id']} is {image['file_name']}, in "
                                f"{files['captions'].name} it is {other}; is it of another split?")  # fmt: skip
    captions: dict[Any, list[str]] = {}
    boxes: dict[Any, list[dict[str, Any]]] = {}
    for kind, part in parts.items():
        with foreign(files[kind], "COCO's json"):
            for note in part["annotations"]:
                if note["image_id"] not in images:
                    raise UserError(f"{files[kind]}: annotation {note.get('id')} is of image {note['image_id']}, "
                                    "which is not in its list of images")  # fmt: skip
                if kind == "captions":
                    captions.setdefault(note["image_id"], []).append(str(note["caption"]))
                else:
                    if note["category_id"] not in categories:
                        raise UserError(f"{files[kind]}: annotation {note.get('id')} has the category "
                                        f"{note['category_id']}, which is not in its list of categories")  # fmt: skip
                    boxes.setdefault(note["image_id"], []).append(note)
    boxed = {image["id"] for image in parts["instances"]["images"]} if "instances" in parts else set()
    for number, image in images.items():
        notes = boxes.get(number, [])
        xywh = np.array([note["bbox"] for note in notes], np.float64).reshape(-1, 4)
        yield Labelled(
            str(image["file_name"]),
            tuple(captions.get(number, ())),
            np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1) if number in boxed else None,
            tuple(categories[note["category_id"]] for note in notes),
            tuple(bool(note.get("iscrowd", 0)) for note in notes),
            split,
            (int(image["height"]), int(image["width"])) if "height" in image and "width" in image else None,
        )
