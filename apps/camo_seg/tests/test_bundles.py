"""The benchmarks by their real layouts, rebuilt here with a handful of tiny images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from camo_seg.data import open_split
from camo_seg.data.formats.bundles import LAYOUTS
from camo_seg.data.listing import LAYOUT_NAMES, list_folder, names_of_test_sets
from polyscale.errors import UserError

CAM = "COD10K-CAM-1-Aquatic-1-BatFish-{}"
NON = "COD10K-NonCAM-5-Background-0-Background-{}"


def put(path: Path, empty: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((6, 8), np.uint8)
    pixels[:2] = 0 if empty else 255
    Image.fromarray(pixels).save(path)


def fill(images: Any, masks: Any, stems: Any, empty: bool = False) -> None:
    for stem in stems:
        put(images / f"{stem}.jpg")
        put(masks / f"{stem}.png", empty)


@pytest.fixture
def cod10k(tmp_path: Path) -> Path:
    root = tmp_path / "COD10K-v3"
    for split, first in (("Train", 0), ("Test", 100)):
        fill(root / split / "Image", root / split / "GT_Object", [CAM.format(first + i) for i in range(20)])
        fill(root / split / "Image", root / split / "GT_Object", [NON.format(first + i) for i in range(5)], empty=True)
        put(root / split / "GT_Edge" / f"{CAM.format(first)}.png")
    return root


def test_cod10k_without_noncam_by_default(cod10k: Path) -> None:
    parts = {split: open_split(cod10k, split, size=4) for split in ("train", "val", "test")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 17, "val": 3, "test": 20}
    assert not any("NonCAM" in name for part in parts.values() for name in part.names)
    assert parts["test"].title == "COD10K/test"
    notes = "\n".join(parts["test"].notes)
    assert "COD10K test: 5 NonCAM images (nothing camouflaged, empty mask) are left out" in notes
    assert "COD10K test: 20 pairs found, the published set has 2026" in notes


def test_cod10k_whole(cod10k: Path) -> None:
    part = open_split(cod10k, "test", size=4, cam_only=False)
    assert len(part) == 25
    empty = [index for index, name in enumerate(part.names) if "NonCAM" in name]
    assert not any(part[index]["mask"].any() for index in empty)
    assert "COD10K test: 25 pairs found, the published set has 4000" in "\n".join(part.notes)


def test_cod10k_is_found_one_folder_down_and_its_twins_are_noted(cod10k: Path) -> None:
    fill(cod10k / "Train" / "Image", cod10k / "Train" / "GT_Object", ["COD10K-CAM-1-Aquatic-3-Crab-32"])
    fill(cod10k / "Test" / "Image", cod10k / "Test" / "GT_Object", [CAM.format(0)])
    listing = list_folder(cod10k.parent)
    assert listing.title == "COD10K"
    notes = "\n".join(listing.notes)
    assert "COD10K train and test share the images COD10K-CAM-1-Aquatic-3-Crab-32" in notes
    assert f"1 names lie in both train and test, first {CAM.format(0)}" in notes


def test_stray_files_of_a_benchmark_are_left_out_and_noted(cod10k: Path) -> None:
    put(cod10k / "Test" / "Image" / "Thumbs.jpg")
    (cod10k / "Test" / "Image" / "Thumbs.db").write_text("x")
    part = open_split(cod10k, "test", size=4)
    assert len(part) == 20
    assert any("1 file without a mask left out, first Thumbs.jpg" in note for note in part.notes)


def test_camo_has_one_folder_of_masks(tmp_path: Path) -> None:
    root = tmp_path / "CAMO-V.1.0-CVIU2019"
    for split, numbers in (("Train", range(1, 21)), ("Test", range(1001, 1006))):
        fill(root / "Images" / split, root / "GT", [f"camourflage_{number:05d}" for number in numbers])
    put(root / "GT" / "extra.png")
    listing = list_folder(root)
    assert listing.title == "CAMO"
    assert {split: len(pairs) for split, pairs in listing.splits.items()} == {"train": 17, "val": 3, "test": 5}
    assert all(pair.image.stem == pair.mask.stem for pairs in listing.splits.values() for pair in pairs)
    notes = "\n".join(listing.notes)
    assert "CAMO test: 5 pairs found, the published set has 250" in notes
    assert "1 mask without an image left out, first extra.png" in notes


@pytest.mark.parametrize(
    ("folder", "stems", "title"),
    [
        ("NC4K", ["1", "2", "10"], "NC4K"),
        ("CHAMELEON_TestingDataset", ["animal-1", "animal-2"], "CHAMELEON"),
        ("unzipped", ["animal-1", "animal-2", "animal-10"], "CHAMELEON"),
        ("CAMO", ["camourflage_00012", "camourflage_00013"], "CAMO"),
        ("COD10K", [CAM.format(1), CAM.format(2)], "COD10K"),
    ],
)
def test_sets_for_testing_only(tmp_path: Path, folder: str, stems: list[Any], title: str) -> None:
    root = tmp_path / folder
    fill(root / "Imgs", root / "GT", stems)
    put(root / "Instance" / "1.png")
    part = open_split(root, "test", size=4)
    assert part.title == f"{title}/test"
    assert part.names == stems
    with pytest.raises(UserError, match=f"no train split here; {title} gives test"):
        open_split(root, "train", size=4)


def test_any_pair_can_be_opened_as_a_test_set(tmp_path: Path) -> None:
    fill(tmp_path / "images", tmp_path / "masks", ["a", "b", "c"])
    part = open_split(tmp_path, "test", size=4, layout="test")
    assert part.names == ["a", "b", "c"]
    assert "every image here is in the test split" in part.notes[0]
    with pytest.raises(UserError, match="no train split here"):
        open_split(tmp_path, "train", size=4, layout="test")
    (tmp_path / "masks").rename(tmp_path / "truth")
    part = open_split(tmp_path / "images", "test", size=4, layout="test", masks=tmp_path / "truth")
    assert part.names == ["a", "b", "c"]


def test_the_settings_know_every_layout() -> None:
    assert set(LAYOUT_NAMES) == {"auto", "pairs", *LAYOUTS}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    root = tmp_path / "bundle"
    train = [CAM.format(i) for i in range(12)] + [f"camourflage_{i:05d}" for i in range(8)]
    fill(root / "TrainDataset" / "Imgs", root / "TrainDataset" / "GT", train)
    put(root / "TrainDataset" / "Edge" / f"{train[0]}.png")
    for name, stems in (
        ("CAMO", ["camourflage_01001"]),
        ("CHAMELEON", ["animal-1", "animal-2"]),
        ("COD10K", [CAM.format(100)]),
        ("NC4K", ["1", "2", "3"]),
    ):
        fill(root / "TestDataset" / name / "Imgs", root / "TestDataset" / name / "GT", stems)
    return root


def test_the_bundle_keeps_its_test_sets_apart(bundle: Path) -> None:
    assert len(open_split(bundle, "train", size=4)) == 17
    assert len(open_split(bundle, "val", size=4)) == 3
    every = open_split(bundle, "test", size=4)
    assert len(every) == 7
    assert every.names[-1] == "NC4K/3"
    assert names_of_test_sets(list_folder(bundle)) == ["CAMO", "CHAMELEON", "COD10K", "NC4K"]
    one = open_split(bundle, "test", size=4, test_set="nc4k")
    assert one.title == "bundle/NC4K/test"
    assert one.names == ["NC4K/1", "NC4K/2", "NC4K/3"]
    notes = "\n".join(every.notes)
    assert "bundle train: 20 pairs found, the published set has 4040" in notes
    assert "CHAMELEON test: 2 pairs found, the published set has 76" in notes
    with pytest.raises(UserError, match="no test set MoCA here; accepted: CAMO, CHAMELEON, COD10K, NC4K") as error:
        open_split(bundle, "test", size=4, test_set="MoCA")
    assert error.value.exit_code == 2


def test_the_test_half_alone(bundle: Path) -> None:
    assert len(open_split(bundle / "TestDataset", "test", size=4)) == 7
    assert len(open_split(bundle / "TestDataset" / "NC4K", "test", size=4)) == 3
    with pytest.raises(UserError, match="no train split here"):
        open_split(bundle / "TestDataset", "train", size=4)


def test_a_set_that_is_no_bundle_has_no_test_sets(cod10k: Path) -> None:
    with pytest.raises(UserError, match="no test set CAMO here; accepted: none, COD10K is one set"):
        open_split(cod10k, "test", size=4, test_set="CAMO")


def test_a_layout_can_be_forced(cod10k: Path) -> None:
    part = open_split(cod10k, "test", size=4, layout="pairs")
    assert len(part) == 25  # as any folder pair: nothing is known of NonCAM
    with pytest.raises(UserError, match="needs a folder of images"):
        open_split(cod10k, "test", size=4, layout="nc4k")


def test_published_counts_bring_no_note(tmp_path: Path) -> None:
    root = tmp_path / "CHAMELEON"
    fill(root / "Image", root / "Mask", [f"animal-{i}" for i in range(1, 77)])
    assert open_split(root, "test", size=4).notes == ["CHAMELEON: every image here is in the test split"]
