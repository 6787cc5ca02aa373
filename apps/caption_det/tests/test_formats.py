"""Label files as people have them: what is read, what is counted, what is refused with one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from caption_det.data import open_data
from polyscale.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(12):
        Image.fromarray(np.full((60, 80, 3), 20 * i, np.uint8)).save(tmp_path / f"{i}.png")
    return tmp_path


def lines(folder: Path, **changes: dict[str, Any]) -> Path:
    """Twelve images with a caption and a box; `changes` are by the image's number, as i3={...}."""
    rows = []
    for i in range(12):
        row: dict[str, Any] = {"file": f"{i}.png", "captions": [f"image {i}"]}
        row["objects"] = [{"label": "dog", "box": [10, 5, 50, 45]}]
        rows.append(row | changes.get(f"i{i}", {}))
    (folder / "own.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder / "own.jsonl"


def coco(folder: Path, box: list[float], category: int = 18, ids: range = range(12)) -> Path:
    for split in ("train", "val"):
        part = [i for i in ids if (i < 9) == (split == "train")]
        images = [{"id": i, "file_name": f"{i}.png", "width": 80, "height": 60} for i in part]
        boxes = [{"id": i, "image_id": i, "category_id": category, "bbox": box} for i in part]
        content = {"images": images, "annotations": boxes, "categories": [{"id": 18, "name": "dog"}]}
        (folder / f"instances_{split}2017.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_missing_labels_are_unknown_and_not_none(folder: Path) -> None:
    path = lines(folder, i0={"objects": None}, i1={"objects": []}, i2={"captions": []})
    opened = open_data(str(path), val_fraction=0.2)
    sources = opened.splits
    assert sorted(sources) == ["test", "train", "val"]
    assert sum(map(len, sources.values())) == 12
    records = {r.name: r for s in sources.values() for r in (s.record(i) for i in range(len(s)))}
    assert records["0.png"].boxes is None
    assert records["1.png"].boxes.shape == (0, 4)
    assert records["2.png"].captions == ()
    assert records["3.png"].boxes.tolist() == [[10, 5, 50, 45]]
    assert sources["train"].categories == ("dog",)


def test_what_is_passed_over_is_counted(folder: Path) -> None:
    path = lines(folder, i0={"objects": None, "captions": []}, i1={"captions": ["", "a"]}, i2={"file": "gone.png"})
    notes = " ".join(open_data(str(path)).notes)
    for words in ("neither caption nor boxes", "empty captions", "gone.png"):
        assert words in notes, notes


def test_coco_boxes_become_corners(folder: Path) -> None:
    record = open_data(str(coco(folder, [10, 5, 40, 40]))).splits["train"].record(0)
    assert record.boxes.tolist() == [[10, 5, 50, 45]]
    assert record.labels.tolist() == [0]


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ([60, 40, 75, 55], r"look like \(x1, y1, x2, y2\)"),
        ([0.2, 0.2, 0.5, 0.6], "fractions"),
        ([10, 10, 0, 20], "no area"),
        ([90, 10, 20, 20], "outside"),
    ],
)
def test_wrong_coco_boxes_are_named(folder: Path, box: list[float], words: str) -> None:
    with pytest.raises(UserError, match=words):
        open_data(str(coco(folder, box)))


def test_sizes_in_place_of_corners_are_named(folder: Path) -> None:
    every = {f"i{i}": {"objects": [{"label": "dog", "box": [50, 30, 20, 20]}]} for i in range(12)}
    with pytest.raises(UserError, match=r"look like \(x, y, width, height\)"):
        open_data(str(lines(folder, **every)))


def test_an_unknown_category_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match="category 7"):
        open_data(str(coco(folder, [1, 1, 20, 20], category=7)))


def test_labels_of_another_split_are_named(folder: Path) -> None:
    coco(folder, [1, 1, 20, 20])
    captions = {"images": [{"id": 99, "file_name": "99.png"}], "annotations": []}
    (folder / "captions_train2017.json").write_text(json.dumps(captions), encoding="utf-8")
    with pytest.raises(UserError, match="another split"):
        open_data(str(folder))


def test_an_image_in_two_splits_is_refused(folder: Path) -> None:
    rows = [{"file": "1.png", "caption": "a", "split": split} for split in ("train", "test")]
    (folder / "own.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(UserError, match=r"1\.png is in the splits train and test"):
        open_data(str(folder / "own.jsonl"))


def test_tables_of_captions(folder: Path) -> None:
    text = "image,caption\n" + "".join(f"{i}.png,first\n{i}.png,second\n" for i in range(12))
    (folder / "captions.txt").write_text(text, encoding="utf-8")
    assert open_data(str(folder)).splits["train"].record(0).captions == ("first", "second")
    (folder / "captions.txt").unlink()
    tokens = "".join(f"{i}.png#0\tfirst\n{i}.png#1\tsecond\n" for i in range(12))
    (folder / "Flickr8k.token.txt").write_text(tokens, encoding="utf-8")
    assert open_data(str(folder)).splits["train"].record(0).captions == ("first", "second")


@pytest.mark.parametrize("line", ['{"file": 3}', "no json", '{"file": "1.png", "boxes": [[1, 2, 3, 4]]}'])
def test_a_line_that_cannot_be_read_is_named(folder: Path, line: str) -> None:
    (folder / "own.jsonl").write_text(f'{{"file": "0.png", "caption": "a"}}\n{line}\n', encoding="utf-8")
    with pytest.raises(UserError, match="line 2"):
        open_data(str(folder / "own.jsonl"))


def test_no_images_and_no_labels_are_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(UserError, match=r"--images \(train: --data\.images\)"):
        open_data(str(lines(folder)), images=str(tmp_path / "elsewhere"))
    with pytest.raises(UserError, match="no labels found"):
        open_data(str(tmp_path / "elsewhere"))


@pytest.mark.parametrize(
    "objects",
    [{"label": "dog"}, [{"box": [1, 2, 3, 4]}], [{"label": "dog", "box": [1, 2, 3]}], [[1, 2, 3, 4]],
     [{"label": "dog", "box": ["a", 2, 3, 4]}]],
)  # fmt: skip
def test_objects_of_another_form_are_named(folder: Path, objects: Any) -> None:
    with pytest.raises(UserError, match=r'own\.jsonl: line 3: "objects" must be a list of \{"label"'):
        open_data(str(lines(folder, i2={"objects": objects})))


def test_labels_of_nothing_are_one_line(folder: Path) -> None:
    nothing = {f"i{i}": {"captions": [], "objects": None} for i in range(12)}
    with pytest.raises(UserError, match=r"own\.jsonl: none of its 12 images has a caption or boxes"):
        open_data(str(lines(folder, **nothing)))


def test_coco_files_that_are_others_are_named(folder: Path) -> None:
    coco(folder, [10, 5, 40, 40])
    file = folder / "instances_val2017.json"
    content = json.loads(file.read_text())
    captions = {"images": [{"id": 9, "file_name": "0.png"}], "annotations": []}
    (folder / "captions_val2017.json").write_text(json.dumps(captions))
    with pytest.raises(UserError, match=r"image 9 is 9\.png, in captions_val2017\.json it is 0\.png"):
        open_data(str(folder))
    file.write_text(json.dumps({key: content[key] for key in ("images", "annotations")}))
    with pytest.raises(UserError, match=r"has no list of categories; it is no file of COCO's instances"):
        open_data(str(folder))
    (folder / "captions_val2017.json").unlink()
    content["images"][0] |= {"width": 640, "height": 480}
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"9\.png: is 80 x 60 pixels, its labels say 640 x 480"):
        open_data(str(folder))
