"""The clean split of COCO: no test image of either task is learnt, whatever the two test splits share."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from caption_det.data import open_data
from caption_det.data.protocol import read_ids
from polyscale.testing.command import call, one_line

TRAIN, VAL = range(1, 21), range(21, 31)
KARPATHY = {"val": {2, 4, 6, 22}, "test": {1, 3, 5, 21, 23}}
IDS = Path(__file__).parents[4] / "shared/data/caption/karpathy_ids"


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Twenty images of train and ten of val with Karpathy's lists, which cut across both."""
    folder = tmp_path / "coco"
    for split, ids in (("train", TRAIN), ("val", VAL)):
        (folder / f"{split}2017").mkdir(parents=True)
        images = [{"id": i, "file_name": f"{i:012}.png", "width": 40, "height": 30} for i in ids]
        for image in images:
            Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(folder / f"{split}2017" / image["file_name"])
        captions = [{"id": i, "image_id": i, "caption": f"image {i}"} for i in ids]
        boxes = [{"id": i, "image_id": i, "category_id": 18, "bbox": [2, 2, 20, 20]} for i in ids]
        for kind, notes in (("captions", captions), ("instances", boxes)):
            content = {"images": images, "annotations": notes, "categories": [{"id": 18, "name": "dog"}]}
            (folder / f"{kind}_{split}2017.json").write_text(json.dumps(content), encoding="utf-8")
    for name, chosen in KARPATHY.items():
        lines = [f"val2014/COCO_val2014_{i:012}.jpg {i}" for i in sorted(chosen)]
        (tmp_path / f"karpathy_{name}_images.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_no_test_image_is_learnt(coco: Path) -> None:
    out = coco.parent / "clean"
    result = call("caption-det", "data", "split", coco, out, "--protocol", "clean", "--lists", coco.parent, "--json")
    assert result.returncode == 0, result.stderr
    counts = {row["part"]: row["images"] for row in json.loads(result.stdout)["parts"]}
    assert counts == {"train": 14, "val": 3, "test of captions": 5, "test of boxes": 10}
    words, boxes = (open_data(str(folder), images=str(coco)).splits for folder in (out, out / "boxes"))
    ids = {split: {int(Path(name).stem) for name in source.names} for split, source in words.items()}
    boxed = {int(Path(name).stem) for name in boxes["test"].names}
    assert ids["test"] == KARPATHY["test"]
    assert boxed == set(VAL)
    for learnt in ("train", "val"):
        assert not ids[learnt] & (ids["test"] | boxed)
    assert not ids["train"] & ids["val"]
    assert words["train"].record(0).captions
    assert words["train"].record(0).boxes is not None
    assert words["test"].record(0).boxes is None
    assert boxes["test"].record(0).captions == ()
    assert boxes["test"].categories == words["train"].categories == ("dog",)


def test_what_cannot_be_split_is_one_line(coco: Path) -> None:
    lists = ("--lists", coco.parent)
    one_line(call("caption-det", "data", "split", coco, coco, *lists), 2, "another folder")
    one_line(
        call("caption-det", "data", "split", coco, coco.parent / "o", "--lists", coco), 1, "karpathy_val_images.txt"
    )
    (coco.parent / "karpathy_test_images.txt").write_text("val2014/a.jpg 7000\n", encoding="utf-8")
    one_line(call("caption-det", "data", "split", coco, coco.parent / "o", *lists), 1, "test of captions")
    (coco.parent / "karpathy_test_images.txt").write_text("val2014/a.jpg\n", encoding="utf-8")
    one_line(call("caption-det", "data", "split", coco, coco.parent / "o", *lists), 1, "line 1")
    other = json.loads((coco / "captions_val2017.json").read_text())
    other["images"][0]["file_name"] = "3385593926_d3e9c21170.jpg"
    (coco / "captions_val2017.json").write_text(json.dumps(other), encoding="utf-8")
    one_line(
        call("caption-det", "data", "split", coco, coco.parent / "o", *lists), 1, "image 21 is called 3385593926_d3e9c"
    )
    (coco / "captions_val2017.json").unlink()
    one_line(call("caption-det", "data", "split", coco, coco.parent / "o", *lists), 1, "captions_val2017.json")


@pytest.mark.skipif(not IDS.is_dir(), reason="Karpathy's lists are not here")
def test_karpathys_lists_are_read() -> None:
    val, test = (read_ids(IDS / f"karpathy_{name}_images.txt") for name in ("val", "test"))
    assert len(val) == len(test) == 5000
    assert not val & test
