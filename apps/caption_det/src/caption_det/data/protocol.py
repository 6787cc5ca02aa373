"""The clean joint protocol of COCO: no test image of either task, captions or boxes, is learnt.

Captions are tested on Karpathy's test split and boxes on val2017, and the two cut across each other: 4407 of the 5000
test images of captions are in train2017, 3799 of the 5000 of boxes in Karpathy's training images. Trained on train2017
with Karpathy's captions, a model has seen test images of both.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from caption_det.data.formats.coco import label_files, load
from polyscale.data.images import replace_file
from polyscale.errors import UserError, foreign

LISTS = {"val": "karpathy_val_images.txt", "test": "karpathy_test_images.txt"}
KINDS = ("captions", "instances")
BOXES = "boxes"  # the folder of the test of boxes

Labels = Mapping[str, Mapping[str, Any]]


def read_ids(file: Path) -> set[int]:
    """Return the ids of a list of Karpathy's: lines of a path and an id.

    Raises:
        UserError: a file that is missing or no such list; the line is named.
    """
    with foreign(file, "a list of images"):
        lines = file.read_text(encoding="utf-8").splitlines()
    ids = set()
    for number, line in enumerate(lines, start=1):
        if line.strip():
            last = line.split()[-1]
            if not last.isdigit():
                raise UserError(f"{file}: line {number}: ends with {last}, and the id of an image is needed")
            ids.add(int(last))
    return ids


def split_clean(source: Path, lists: Path, out: Path) -> list[dict[str, Any]]:
    """Write label files of COCO by the clean protocol.

    `out` gets captions_ and instances_ of train and val and captions_test.json; `out`/boxes gets instances_test.json.
    Train is source's train without Karpathy's val and test images, val the Karpathy val images of source's train, the
    test of captions Karpathy's test images, the test of boxes source's val.

    Args:
        source: folder with captions and instances of train and val, as COCO 2017 has them.
        lists: folder with Karpathy's two lists, see LISTS.
        out: folder that is made.

    Returns:
        One row for each part: its name, images, captions, boxes.

    Raises:
        UserError: a file is missing or of another data set, a part would be empty, or `out` is `source`.
    """
    labels: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    for kind, split, file in label_files(source):
        labels[kind][split] = load(file)
        _check_ids(file, labels[kind][split]["images"])
    for kind in KINDS:
        for split in ("train", "val"):
            if split not in labels[kind]:
                raise UserError(f"{source}: has no {kind}_{split}2017.json, and the protocol needs it")
    if out.resolve() in (source.resolve(), (source / "annotations").resolve()):
        raise UserError(f"{out}: holds the labels that are split; choose another folder", exit_code=2)
    parts = divide(labels, read_ids(lists / LISTS["val"]), read_ids(lists / LISTS["test"]))
    rows = []
    for name, ids in parts.items():
        if not ids:
            raise UserError(f"{source}: has no image for {name}; are the lists in {lists} of this data set?")
        kinds = KINDS if name in ("train", "val") else KINDS[:1] if name == "test of captions" else KINDS[1:]
        row: dict[str, Any] = {"part": name, "images": len(ids), "captions": 0, "instances": 0}
        for kind in kinds:
            content = select(labels[kind].values(), ids)
            folder, split = (out / BOXES if name == "test of boxes" else out), name.split()[0]
            replace_file(folder / f"{kind}_{split}.json", json.dumps(content).encode())
            row[kind] = len(content["annotations"])
        rows.append(row)
    return rows


def _check_ids(file: Path, images: Iterable[Mapping[str, Any]]) -> None:
    """Refuse ids that are not COCO's: Karpathy's lists would pick images of another data set by chance."""
    for image in images:
        name = str(image.get("file_name", ""))
        if Path(name).stem.rpartition("_")[2].lstrip("0") != str(image["id"]):
            raise UserError(f"{file}: image {image['id']} is called {name}; these are not the images of COCO 2017, "
                            "which Karpathy's lists name")  # fmt: skip


def divide(labels: Mapping[str, Labels], val: set[int], test: set[int]) -> dict[str, set[int]]:
    """Return the ids of each part, see `split_clean`; train and val share no image with a test.

    Args:
        labels: content of the files by kind and split.
        val: Karpathy's validation images.
        test: Karpathy's test images.
    """
    known = {kind: {split: {image["id"] for image in part["images"]} for split, part in parts.items()}
             for kind, parts in labels.items()}  # fmt: skip
    train, boxes = known["captions"]["train"] & known["instances"]["train"], known["instances"]["val"]
    everywhere = set[int]().union(*known["captions"].values())
    return {
        "train": train - val - test - boxes,
        "val": (train & val) - test - boxes,
        "test of captions": everywhere & test,
        "test of boxes": boxes,
    }


def select(contents: Iterable[Mapping[str, Any]], ids: set[int]) -> dict[str, Any]:
    """Return the images and annotations of some ids, of all splits together, as one file of COCO's."""
    chosen: dict[str, Any] = {"images": [], "annotations": []}
    for content in contents:
        chosen["images"] += [image for image in content["images"] if image["id"] in ids]
        chosen["annotations"] += [note for note in content["annotations"] if note["image_id"] in ids]
        if "categories" in content:
            chosen["categories"] = content["categories"]
    return chosen
