"""Folder pairs by every accepted layout, their splits, and one clear line for each thing that can be wrong."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from camo_seg.data import describe, open_split
from camo_seg.data.listing import list_folder
from polyscale.errors import UserError

SIDE = 12


def put(path: Path, *, size: tuple[Any, ...] = (SIDE, SIDE), mask: bool = False, value: int = 0) -> None:
    """Write an image of one value, or a mask whose upper half is foreground; size is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size[1], size[0]), value, np.uint8)
    if mask:
        pixels[: size[1] // 2] = 255
    Image.fromarray(pixels).save(path)


def pair(root: Path, name: str, images: str = "images", masks: str = "masks", value: int = 0) -> None:
    put(root / images / f"{name}.jpg", value=value)
    put(root / masks / f"{name}.png", mask=True)


def names(root: Path, split: str, **settings: Any) -> Any:
    return open_split(root, split, size=8, **settings).names


def read_all(root: Path) -> None:
    for split in ("train", "val", "test"):
        part = open_split(root, split, size=8)
        for index in range(len(part)):
            part[index]


@pytest.mark.parametrize(
    ("images", "masks"), [("images", "masks"), ("Imgs", "GT"), ("Image", "Mask"), ("IMG", "gt"), ("image", "GT_Object")]
)
def test_folder_names_of_the_field_are_found(tmp_path: Path, images: str, masks: str) -> None:
    for index in range(20):
        pair(tmp_path, f"p{index}", images, masks)
    part = open_split(tmp_path, "train", size=8)
    assert len(part) == 14
    image, mask = part.original(0)
    assert image.shape == (SIDE, SIDE, 3)
    assert mask[: SIDE // 2].all()
    assert not mask[SIDE // 2 :].any()


@pytest.mark.parametrize("above", ["", "unzipped/"])
def test_a_folder_of_test_alone_is_the_test_split(tmp_path: Path, above: str) -> None:
    """And not what is unzipped, from which a test split would be drawn."""
    for index in range(8):
        pair(tmp_path / f"{above}test", f"p{index}")
    assert list(names(tmp_path, "test")) == [f"test/p{index}" for index in range(8)]
    with pytest.raises(UserError, match="no train split here"):
        names(tmp_path, "train")


def test_of_a_folder_of_train_alone_the_others_are_drawn(tmp_path: Path) -> None:
    for index in range(20):
        pair(tmp_path / "train", f"p{index}")
    assert [len(names(tmp_path, split)) for split in ("train", "val", "test")] == [14, 3, 3]


def test_without_a_split_a_seeded_one_is_drawn_and_stated(tmp_path: Path) -> None:
    for index in range(40):
        pair(tmp_path, f"p{index}")
    parts = {split: names(tmp_path, split) for split in ("train", "val", "test")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 28, "val": 6, "test": 6}
    together = [name for part in parts.values() for name in part]
    assert sorted(together) == sorted(f"p{index}" for index in range(40))
    assert parts["train"] == sorted(parts["train"], key=lambda name: int(name[1:]))
    assert names(tmp_path, "test") == parts["test"]
    assert names(tmp_path, "test", seed=1) != parts["test"]
    notes = " ".join(open_split(tmp_path, "test", size=8).notes)
    assert "6 images drawn with seed 0 are the test split" in notes
    assert "validation: 6 images cut from train with seed 0" in notes


@pytest.mark.parametrize("nested", ["{split}/images/{name}.jpg", "images/{split}/{name}.jpg"])
def test_split_folders_around_or_inside_the_pair(tmp_path: Path, nested: str) -> None:
    for split, count in (("Train", 6), ("valid", 2), ("testing", 3)):
        for index in range(count):
            image = tmp_path / nested.format(split=split, name=f"p{index}")
            put(image)
            put(Path(str(image).replace("images", "masks")).with_suffix(".png"), mask=True)
    assert [len(names(tmp_path, split)) for split in ("train", "val", "test")] == [6, 2, 3]
    assert open_split(tmp_path, "test", size=8).notes == []


def test_a_val_split_without_test_serves_as_test_and_says_so(tmp_path: Path) -> None:
    for split, count in (("train", 20), ("val", 4)):
        for index in range(count):
            pair(tmp_path / split, f"{split}{index}")
    assert names(tmp_path, "test") == [f"val/val{index}" for index in range(4)]
    part = open_split(tmp_path, "val", size=8)
    assert len(part) == 3
    assert "the val split is the test split" in part.notes[0]


def test_a_table_gives_splits_and_keeps_groups_whole(tmp_path: Path) -> None:
    rows = ["file,split,group"]
    for index in range(30):
        pair(tmp_path, f"p{index}")
        rows.append(f"p{index}.jpg,{'train' if index < 24 else 'test'},{index // 4}")
    (tmp_path / "meta.csv").write_text("\n".join(rows))
    train, val, test = (names(tmp_path, split) for split in ("train", "val", "test"))
    assert test == [f"p{index}" for index in range(24, 30)]
    groups = [{int(name[1:]) // 4 for name in part} for part in (train, val)]
    assert not groups[0] & groups[1]
    assert len(train) == 20
    assert len(val) == 4  # one whole group of the six


def test_split_csv_goes_before_meta_csv_and_unlisted_images_are_noted(tmp_path: Path) -> None:
    for index in range(4):
        pair(tmp_path, f"p{index}")
    (tmp_path / "meta.csv").write_text("name,area\np0,1\n")
    (tmp_path / "split.csv").write_text("name,split\np0,train\np1,val\np2,test\n")
    assert [names(tmp_path, split) for split in ("train", "val", "test")] == [["p0"], ["p1"], ["p2"]]
    assert "1 image left out as not listed, first p3" in open_split(tmp_path, "test", size=8).notes[0]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,split\np0,train\np9,test\n", "lists p9, but there is no such image"),
        ("name,split\np0,train\np0,test\n", "lists p0 twice"),
        ("name,split\np0,fold1\n", "split of p0 is 'fold1'; accepted are train, val and test"),
        ("id,split\np0,train\n", "needs a column name or file"),
        ("", "holds no row below its header"),
        ("name,split\nx,train\n", "lists x, but several images are called so"),
    ],
)
def test_mistakes_in_a_table_are_named(tmp_path: Path, table: str, message: str) -> None:
    pair(tmp_path, "p0")
    pair(tmp_path, "a/x")
    pair(tmp_path, "b/x")
    (tmp_path / "split.csv").write_text(table)
    with pytest.raises(UserError, match=message) as error:
        names(tmp_path, "train")
    assert "split.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_masks_with_an_ending_or_in_one_flat_folder_are_matched(tmp_path: Path) -> None:
    for index in range(10):
        put(tmp_path / "images" / f"day{index % 2}" / f"p{index}.jpg")
        put(tmp_path / "masks" / f"p{index}_mask.png", mask=True)
    put(tmp_path / "masks" / "stray.png", mask=True)
    part = open_split(tmp_path, "train", size=8)
    for one in part.source.pairs:
        assert one.mask.stem == f"{one.image.stem}_mask"
    assert any("1 mask without an image left out, first stray.png" in note for note in part.notes)


def test_images_of_one_name_do_not_share_a_mask(tmp_path: Path) -> None:
    put(tmp_path / "images" / "a" / "x.jpg")
    put(tmp_path / "images" / "b" / "x.jpg")
    put(tmp_path / "masks" / "x.png", mask=True)
    with pytest.raises(UserError, match="2 of 2 images have no mask"):
        list_folder(tmp_path)


def test_images_without_mask_are_an_error_that_names_them(tmp_path: Path) -> None:
    pair(tmp_path, "p0")
    for index in range(1, 6):
        put(tmp_path / "images" / f"p{index}.jpg")
    with pytest.raises(UserError, match=r"5 of 6 images have no mask in .*masks: p1.jpg, p2.jpg, p3.jpg, \.\.\.$"):
        names(tmp_path, "train")


def test_a_mask_of_another_size_is_named_at_once(tmp_path: Path) -> None:
    for index in range(10):
        pair(tmp_path, f"p{index}")
    put(tmp_path / "masks" / "p3.png", mask=True, size=(10, SIDE))
    with pytest.raises(UserError, match=r"p3.png: mask of 10 x 12 pixels for p3.jpg of 12 x 12$"):
        read_all(tmp_path)


def test_an_exif_turned_image_fits_a_turned_mask_only(tmp_path: Path) -> None:
    for index in range(8):
        put(tmp_path / "images" / f"p{index}.jpg", size=(16, 10))
        put(tmp_path / "masks" / f"p{index}.png", size=(10, 16), mask=True)
    with pytest.raises(UserError, match="does the image carry an EXIF turn that its mask lacks"):
        names(tmp_path, "train")
    for index in range(8):
        exif = Image.Exif()
        exif[274] = 6
        Image.new("RGB", (16, 10)).save(tmp_path / "images" / f"p{index}.jpg", exif=exif)
    image, mask = open_split(tmp_path, "train", size=8).original(0)
    assert image.shape[:2] == mask.shape == (16, 10)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    for index in range(10):
        pair(tmp_path, f"p{index}")
    victim = tmp_path / "images" / "p4.jpg"
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(UserError, match=r"p4\.jpg"):
        read_all(tmp_path)
    victim.write_text("not an image")
    with pytest.raises(UserError, match=r"p4\.jpg"):
        read_all(tmp_path)


def test_folders_that_are_missing_empty_or_something_else(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such file or folder"):
        open_split(tmp_path / "nowhere", "train", size=8)
    with pytest.raises(UserError, match="empty folder"):
        open_split(tmp_path, "train", size=8)
    put(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png: is a file"):
        open_split(tmp_path / "a.png", "train", size=8)
    with pytest.raises(UserError, match=r"no folder of images .* next to one of masks"):
        open_split(tmp_path, "train", size=8)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(UserError, match="images: no images in this folder"):
        open_split(tmp_path, "train", size=8)
    put(tmp_path / "images" / "a.png")
    with pytest.raises(UserError, match="masks: no masks in this folder"):
        open_split(tmp_path, "train", size=8)


def test_settings_out_of_range_are_usage_errors(tmp_path: Path) -> None:
    pair(tmp_path, "p0")
    for settings, message in (
        ({"layout": "voc"}, "layout must be one of auto, pairs"),
        ({"val_fraction": 0.0}, "val_fraction must lie between 0 and 0.8"),
        ({"val_fraction": 0.8}, "val_fraction must lie between 0 and 0.8"),
        ({"masks": tmp_path / "masks", "layout": "camo"}, "masks: go with layout auto, pairs or test, not with camo"),
    ):
        with pytest.raises(UserError, match=message) as error:
            names(tmp_path, "train", **settings)
        assert error.value.exit_code == 2
    with pytest.raises(UserError, match="masks: the synthetic set makes its own"):
        open_split("synthetic", "train", size=8, masks=tmp_path)
    with pytest.raises(UserError, match="split must be one of train, val, test, given dev"):
        names(tmp_path, "dev")


def test_too_few_images_to_split(tmp_path: Path) -> None:
    pair(tmp_path, "p0")
    pair(tmp_path, "p1")
    with pytest.raises(UserError, match="too few to cut"):
        names(tmp_path, "train")


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    for index in range(8):
        pair(tmp_path, f"p{index}")
    put(tmp_path / "images" / "p2.png")
    with pytest.raises(UserError, match="same name as p2"):
        names(tmp_path, "train")


def test_images_beside_split_folders_are_refused(tmp_path: Path) -> None:
    pair(tmp_path, "train/a")
    pair(tmp_path, "b")
    with pytest.raises(UserError, match="holds train, but b is in none"):
        names(tmp_path, "train")


def test_masks_may_lie_elsewhere(tmp_path: Path) -> None:
    for index in range(10):
        pair(tmp_path, f"p{index}", "photos", "truth")
    part = open_split(tmp_path / "photos", "train", size=8, masks=tmp_path / "truth")
    assert len(part) == 7
    assert all(one.mask.parent.name == "truth" for one in part.source.pairs)


def test_describe_counts_sizes_and_areas(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("val", 2), ("test", 2)):
        for index in range(count):
            pair(tmp_path / split, f"p{index}")
    put(tmp_path / "test" / "masks" / "p1.png")  # an empty mask
    rows = describe(tmp_path)
    assert [row["split"] for row in rows] == ["train", "val", "test"]
    assert [row["images"] for row in rows] == [3, 2, 2]
    assert rows[0]["median_area"] == pytest.approx(0.5)
    assert rows[0]["above_5_percent"] == 3
    assert rows[2]["empty"] == 1
    assert rows[2]["height"] == "12-12"
    assert describe("synthetic", counts=(3, 1, 1), native_size=64)[0]["images"] == 3


def _shared(name: str) -> Any:
    shared = os.environ.get("POLYSCALE_SHARED") or Path(__file__).parents[3] / ".." / "shared" / "data"
    folder = Path(shared) / "camo" / name
    if not folder.is_dir():
        pytest.skip("shared development data is not here")
    return folder


def test_bsds_fg_as_it_lies() -> None:
    folder = _shared("bsds_fg")
    assert [len(names(folder, split)) for split in ("train", "val", "test")] == [89, 39, 102]


def test_mtd_as_it_lies_never_tears_a_group() -> None:
    parts = [open_split(_shared("mtd"), split, size=8) for split in ("train", "val", "test")]
    assert len(parts[0]) + len(parts[1]) == 316
    assert len(parts[2]) == 72
    assert 40 <= len(parts[1]) <= 53
    groups = [{one.group for one in part.source.pairs} for part in parts]
    assert not groups[0] & groups[1]
    assert not (groups[0] | groups[1]) & groups[2]
