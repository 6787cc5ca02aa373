"""Folders as people have them: system folders, links, spreadsheets, turned images, bad files, late files."""

import json
import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camo_seg.data import describe, open_split
from camo_seg.data.listing import list_folder
from polyscale.errors import UserError
from polyscale.testing import command

RNG = np.random.default_rng(0)
SHARED = Path(os.environ.get("POLYSCALE_SHARED") or Path(__file__).parents[3] / ".." / "shared" / "data")


def pairs(root: Path, *names: str, side: int = 16, value: int = 255) -> None:
    for name in names:
        for folder in ("images", "masks"):
            (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(root / "images" / f"{name}.jpg")
        mask = np.zeros((side, side), np.uint8)
        mask[: side // 2] = value
        Image.fromarray(mask).save(root / "masks" / f"{name}.png")


def splits(root: Path, **settings: object) -> dict[str, list[str]]:
    listing = list_folder(root, **settings)  # type: ignore[arg-type]
    return {split: [pair.name for pair in part] for split, part in listing.splits.items()}


@pytest.mark.parametrize("name", ["@eaDir", ".ipynb_checkpoints", "__MACOSX", ".thumbnails"])
def test_system_folders_are_no_part_of_a_data_set(tmp_path: Path, name: str) -> None:
    pairs(tmp_path, *(f"p{i}" for i in range(12)))
    before = splits(tmp_path)
    for folder in ("images", "masks"):
        (tmp_path / folder / name).mkdir()
        shutil.copy(tmp_path / "images" / "p1.jpg", tmp_path / folder / name / "p1.jpg")
    (tmp_path / name).mkdir(exist_ok=True)
    assert splits(tmp_path) == before


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_a_link_loop_multiplies_nothing(tmp_path: Path) -> None:
    pairs(tmp_path, *(f"day/p{i}" for i in range(12)))
    before = splits(tmp_path)
    for folder in ("images", "masks"):
        (tmp_path / folder / "day" / "loop").symlink_to(tmp_path / folder)
        (tmp_path / folder / "again").symlink_to(tmp_path / folder / "day")
    assert splits(tmp_path) == before


def test_decomposed_names_match(tmp_path: Path) -> None:
    pairs(tmp_path, *(f"p{i}" for i in range(11)), "käfer")
    image = tmp_path / "images" / "käfer.jpg"
    image.rename(image.with_name(unicodedata.normalize("NFD", image.name)))
    assert sum("käfer" in part for part in splits(tmp_path).values()) == 1
    (tmp_path / "split.csv").write_text(
        "name,split\n" + unicodedata.normalize("NFD", "käfer.jpg") + ",test\np1,train\np2,val\n"
    )
    assert splits(tmp_path)["test"] == ["käfer"]


@pytest.mark.parametrize(
    "line",
    ["{}.jpg;{}", "{}.jpg\t{}", "{}.jpg,{},,", '"{}.jpg","{}"', "images\\{}.jpg,{}", " {} , {} ", "\n{}.jpg,{}"],
)
def test_tables_of_spreadsheets_are_read(tmp_path: Path, line: str) -> None:
    pairs(tmp_path, *(f"p{i}" for i in range(4)))
    wanted = {"train": ["p0", "p1"], "val": ["p2"], "test": ["p3"]}
    rows = [("name", "split")] + [(name, split) for split, names in wanted.items() for name in names]
    text = "\r\n".join(line.format(*row).replace("name.jpg", "name").replace("images\\name", "name") for row in rows)
    (tmp_path / "split.csv").write_bytes(b"\xef\xbb\xbf" + text.strip().encode() + b"\r\n\r\n")
    assert splits(tmp_path) == wanted


def turned(root: Path, name: str, orientation: int, size: tuple[int, int]) -> None:
    """An image of stored size (width, height) with an EXIF turn, and a mask of the size that viewers show."""
    exif = Image.Exif()
    exif[274] = orientation
    (root / "images").mkdir(parents=True, exist_ok=True)
    (root / "masks").mkdir(exist_ok=True)
    Image.new("RGB", size).save(root / "images" / f"{name}.jpg", exif=exif)
    Image.new("L", size if orientation < 5 else size[::-1], 255).save(root / "masks" / f"{name}.png")


@pytest.mark.parametrize("orientation", [2, 3, 4, 6])
def test_a_turn_that_the_sizes_do_not_tell_is_refused(tmp_path: Path, orientation: int) -> None:
    pairs(tmp_path, *(f"p{i}" for i in range(11)))
    turned(tmp_path, "p11", orientation, (16, 16))
    listing = list_folder(tmp_path)
    split = next(split for split, part in listing.splits.items() if any(pair.name == "p11" for pair in part))
    with pytest.raises(UserError, match=r"p11\.png: p11\.jpg carries an EXIF turn that its mask lacks") as caught:
        open_split(tmp_path, split, size=8)
    assert "\n" not in str(caught.value)


def test_other_images_tell_that_masks_are_drawn_as_shown(tmp_path: Path) -> None:
    for index in range(12):
        turned(tmp_path, f"p{index}", (3, 6)[index % 2], (16, 10))
    assert open_split(tmp_path, "train", size=8).original(0).mask.all()


def test_a_bad_mask_is_refused_where_it_is_needed_and_named_by_data(tmp_path: Path) -> None:
    pairs(tmp_path, *(f"p{i}" for i in range(12)))
    rows = [f"p{i},{'train' if i < 8 else 'val' if i < 10 else 'test'}" for i in range(12)]
    (tmp_path / "split.csv").write_text("\n".join(["name,split", *rows]))
    (tmp_path / "masks" / "p11.png").write_bytes(b"")
    assert len(open_split(tmp_path, "train", size=8)) == 8
    with pytest.raises(UserError, match=r"p11\.png: empty file"):
        open_split(tmp_path, "test", size=8)
    rows = {row["split"]: row for row in describe(tmp_path)}
    assert rows["train"]["images"] == 8
    assert any("p11.png: empty file" in note for note in rows["test"]["notes"])


def test_masks_of_several_values_need_a_rule(tmp_path: Path) -> None:
    pairs(tmp_path, *(f"p{i}" for i in range(12)))
    for path in (tmp_path / "masks").iterdir():
        values = np.zeros((16, 16), np.uint8)
        values[:4], values[8:12] = 100, 200
        Image.fromarray(values).save(path)
    with pytest.raises(UserError, match=r"holds 3 values \(0, 100, 200\); set mask_rule"):
        open_split(tmp_path, "train", size=8)[0]
    assert open_split(tmp_path, "train", size=8, mask_rule="nonzero").original(0).mask.mean() == 0.5
    assert open_split(tmp_path, "train", size=8, mask_rule="label=200").original(0).mask.mean() == 0.25


@pytest.mark.parametrize("name", ["nc4k", "CAMO", "chameleon"])
def test_a_folder_called_like_a_benchmark_has_a_way_out(tmp_path: Path, name: str) -> None:
    pairs(tmp_path / name, *(f"p{i}" for i in range(12)))
    assert len(open_split(tmp_path / name, "train", size=8)) == 8  # a pair of one's own, by the names of its folders
    for ours, theirs in (("images", "Imgs"), ("masks", "GT")):
        (tmp_path / name / ours).rename(tmp_path / name / theirs)
    with pytest.raises(UserError, match=f"if it is not {name.upper()}, set layout to pairs"):
        open_split(tmp_path / name, "train", size=8)
    assert len(open_split(tmp_path / name, "train", size=8, layout="pairs")) == 8


def test_images_of_kinds_that_are_not_read_are_noted(tmp_path: Path) -> None:
    pairs(tmp_path, *(f"p{i}" for i in range(12)))
    (tmp_path / "images" / "x.CR2").write_bytes(b"x")
    assert any("1 file of kinds that are not read (.cr2), first x.CR2" in note for note in list_folder(tmp_path).notes)


TINY = ["--model.backbone", "test_resnet", "--model.image_size", "32", "--model.width", "8", "--model.scales", "1.0",
        "--train.epochs", "1", "--train.batch_size", "4"]  # fmt: skip


def call(*arguments: object) -> str:
    done = command.call("camo-seg", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_drawn_split_does_not_move_when_files_are_added(tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    pairs(data, *(f"p{i}" for i in range(16)), side=40)
    call("train", "--data.path", data, "--out", run, *TINY)
    recorded = json.loads((run / "split.json").read_text())
    pairs(data, "a_new1", "a_new2", "q_new3", side=40)
    assert splits(data) != recorded  # a listing of its own would be drawn anew
    assert splits(data, recorded=run / "split.json") == recorded
    call("eval", run, "--out", tmp_path / "eval")
    names = [(folder / "images.csv").read_text() for folder in (run, tmp_path / "eval")]
    assert names[0] == names[1]
    note = " ".join(list_folder(data, recorded=run / "split.json").notes)
    assert "3 images new since the run, in none of its splits, first a_new1" in note
    call("train", "--resume", run)
    assert json.loads((run / "split.json").read_text()) == recorded


@pytest.mark.skipif(not (SHARED / "odd").is_dir(), reason="shared/data is not here")
@pytest.mark.parametrize(
    ("folder", "expected"),
    [("hidden_eadir", 12), ("split_semicolon", 12), ("split_trailing_commas", 12), ("mask_cutout_rgba", 6)],
)
def test_the_shared_odd_folders_are_read(folder: str, expected: int) -> None:
    assert sum(len(part) for part in splits(SHARED / "odd" / folder).values()) == expected


@pytest.mark.skipif(not (SHARED / "odd").is_dir(), reason="shared/data is not here")
@pytest.mark.parametrize(
    "folder", ["mask_01_with_ignore_255", "mask_instances_100_200", "mask_rgb_red_and_yellow", "exif_180_raw_masks"]
)
def test_the_shared_odd_masks_are_refused(folder: str) -> None:
    def read() -> None:
        for split in ("train", "val", "test"):
            part = open_split(SHARED / "odd" / folder, split, size=8)
            for index in range(len(part)):
                part.original(index)

    with pytest.raises(UserError, match=r"set mask_rule|EXIF turn"):
        read()


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("auto", "no folder of images"),
        ("cod10k", "COD10K has the folders Train and Test"),
        ("camo", "needs a folder of images"),
        ("bundle", "a bundle has the folders TrainDataset and TestDataset"),
        ("test", "needs a folder of images"),
    ],
)
def test_a_wrong_layout_names_what_was_expected_and_what_was_found(tmp_path: Path, layout: str, expected: str) -> None:
    for name in ("fotos", "truth"):
        (tmp_path / name).mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    result = command.call("camo-seg", "data", tmp_path, "--layout", layout)
    command.one_line(result, 1, str(tmp_path), expected, "found fotos/, truth/, 1 image")
