"""Any CSV of images and scores: its columns, scale, direction and split, and what is refused before training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iqa.data import list_folder, open_split
from iqa.data.check import check
from iqa.data.duplicates import groups_of
from polyscale.data.duplicates import difference_hash, near_pairs
from polyscale.errors import UserError


def write_image(path: Path, seed: int = 0, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 10, 3), np.uint8)
    Image.fromarray(coarse).resize((60, 48), Image.Resampling.BICUBIC).save(path, **options)


def written(root: Path, text: str, name: str = "scores.csv", folder: str = "") -> Path:
    """A CSV file, and an image for each first cell that ends in .png."""
    root.mkdir(exist_ok=True)
    (root / name).write_text(text)
    for seed, line in enumerate(text.splitlines()[1:]):
        cell = line.replace(";", ",").replace("\t", ",").split(",")[0]
        if cell.endswith(".png"):
            write_image(root / folder / cell, seed + 1000 * sum(name.encode()))
    return root / name


def rows(count: int, more: str = "", start: int = 0) -> Any:
    return "".join(f"p{i}.png,{i % 5 + 1}{more}\n" for i in range(start, start + count))


@pytest.mark.parametrize("header", ["image,score", "path,mos", "Name,MOS", "file,rating", "img_name,mos_quality"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_columns_and_delimiters(tmp_path: Path, header: str, delimiter: str) -> None:
    table = written(tmp_path, f"{header}\n{rows(20)}".replace(",", delimiter))
    part = open_split(table, "train", size=32)
    assert (len(part), part.low, part.high) == (13, 1, 5)
    assert "scores 1 to 5 are taken to be on a scale of 1 to 5" in " ".join(part.notes)
    part[0]
    assert open_split(tmp_path, "train", size=32).names == part.names  # the only table of the folder


def test_a_scale_and_a_direction_can_be_given(tmp_path: Path) -> None:
    table = written(tmp_path, f"image,score\n{rows(20)}")
    part = open_split(table, "all", size=32, scale=(0, 10), lower_better=True)
    assert (part.low, part.high) == (0, 10)
    assert part.scores[0] == 9
    dmos = written(tmp_path, f"image,dmos\n{rows(20)}", "dmos.csv")
    with pytest.raises(UserError, match="set lower_better to true or false"):
        open_split(dmos, "all", size=32)
    assert open_split(dmos, "all", size=32, lower_better=False).scores[0] == 1
    assert open_split(dmos, "all", size=32, lower_better=True).scores[0] == 5


def test_split_subset_and_reference_columns(tmp_path: Path) -> None:
    lines = [f"p{i}.png,{i},{word},s{i % 2}" for i, word in enumerate(["train", "Training", "valid", "test", "2", "1"])]
    table = written(tmp_path, "image,score,split,subset\n" + "\n".join(lines))
    listing = list_folder(table)
    assert {split: [e.name for e in part] for split, part in listing.splits.items()} == {
        "train": ["p0.png", "p1.png"],
        "val": ["p2.png", "p5.png"],
        "test": ["p3.png", "p4.png"],
    }
    assert open_split(table, "test", size=32).subsets == ["s1", "s0"]
    grouped = written(
        tmp_path, "image,score,reference\n" + "".join(f"p{i}.png,{i},r{i // 4}\n" for i in range(40)), "r.csv"
    )
    splits = list_folder(grouped).splits
    references = [{entry.reference for entry in splits[name]} for name in ("train", "val", "test")]
    assert sum(map(len, references)) == len(set.union(*references)) == 10


def test_pyiqas_meta_info(tmp_path: Path) -> None:
    words = ["train"] * 14 + ["val"] * 6
    lines = [f"p{i}.png,{20 + i},1.5,{word},{word}" for i, word in enumerate(words)]
    header = "name,mos,std,ratio802_seed123_split_01,ratio802_seed123_split_02\n"
    table = written(tmp_path, header + "\n".join(lines), "meta_info_Some.csv", folder="Images/512x384")
    listing = list_folder(table)
    assert {split: len(part) for split, part in listing.splits.items()} == {"train": 12, "test": 6, "val": 2}
    assert "the val split is the test split" in " ".join(listing.notes)
    assert "ratio802_seed123_split_01 is taken" in " ".join(listing.notes)
    assert (listing.low, listing.high) == (0, 100)
    assert not any("is taken" in note for note in list_folder(table, split_column="ratio802_seed123_split_02").notes)
    official = table.read_text().replace("ratio802_seed123_split_01", "official_split")
    table.write_text(official)
    assert not any("is taken" in note for note in list_folder(table).notes)


def test_tables_called_after_the_splits(tmp_path: Path) -> None:
    written(tmp_path, f"image,score\n{rows(6)}", "train.csv")
    written(tmp_path, f"image,score\n{rows(3, start=6)}", "test.csv")
    (tmp_path / "notes.csv").write_text("anything\n1\n")
    assert {split: len(part) for split, part in list_folder(tmp_path).splits.items()} == {
        "train": 5,
        "test": 3,
        "val": 1,
    }


def test_images_may_lie_elsewhere(tmp_path: Path) -> None:
    table = written(tmp_path / "tables", f"image,score\n{rows(5)}", folder="../images")
    with pytest.raises(UserError, match="5 of 5 images are not in"):
        open_split(table, "all", size=32)
    assert len(open_split(table, "all", size=32, images=tmp_path / "images")) == 5


ok = rows(12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,sharpness\np0.png,3\n", r"needs a column score or mos .*; it has image, sharpness"),
        ("photo,score\np0.png,3\n", r"needs a column image or path or name"),
        ("image,score\n", "holds no row below its header"),
        ("", "holds no row below its header"),
        (f"image,score\n{ok}p99.png,five\n", "score of p99.png is 'five', not a number"),
        (f"image,score\n{ok}p99.png,inf\n", "score of p99.png is 'inf', not a finite number"),
        (f"image,score\n{ok}p99.png,\n", "1 image without a score: p99.png"),
        (f"image,score\n{ok}p99.png,nan\n", "1 image without a score: p99.png"),
        (f"image,score\n{ok}p3.png,3\n", r"1 name listed more than once: p3.png"),
        (f"image,score\n{ok},3\n", "row 13 has no image"),
        ("image,score,split\np0.png,1,train\np0.png,1,test\n", "listed more than once, in train and test: p0.png"),
        ("image,score,split\np0.png,1,train\np1.png,1,exam\n", "split of p1.png is 'exam'; accepted are train"),
        ("image,score\np0.png,7\np1.png,7\n", "every score is 7"),
        (f"image,score\n{ok}lost.jpg,3\n", r"scores.csv: 1 of 13 images are not in .*: lost.jpg"),
    ],
)
def test_what_is_wrong_is_said_before_any_image_is_opened(tmp_path: Path, text: str, message: str) -> None:
    table = written(tmp_path, text)
    for path in tmp_path.glob("*.png"):
        path.write_bytes(b"never opened")
    with pytest.raises(UserError, match=message):
        open_split(table, "train", size=32, **({} if "every" in message else {"scale": (0, 10)}))


def test_scores_outside_the_scale_are_refused(tmp_path: Path) -> None:
    table = written(tmp_path, f"image,score\n{rows(20)}")
    with pytest.raises(UserError, match=r"8 scores outside the scale 0 to 3: p3.png \(4\), p4.png \(5\)"):
        open_split(table, "train", size=32, scale=(0, 3))


def test_a_file_under_two_names_and_several_tables_are_refused(tmp_path: Path) -> None:
    table = written(tmp_path, "image,score\np0.png,1\n./p0.png,2\np1.png,3\n")
    with pytest.raises(UserError, match=r"1 file listed under several names: p0.png"):
        open_split(table, "all", size=32)
    written(tmp_path, f"image,score\n{rows(3)}", "more.csv")
    with pytest.raises(UserError, match=r"holds 2 CSV files \(more.csv, scores.csv\); name one of them"):
        open_split(tmp_path, "all", size=32)


def test_a_copy_in_the_test_split_is_noted_when_the_set_is_opened(tmp_path: Path) -> None:
    text = "".join(f"p{i}.png,{i % 5},{'test' if i > 8 else 'train'}\n" for i in range(12))
    table = written(tmp_path, f"image,score,split\n{text}")
    assert not any("byte for byte" in note for note in open_split(table, "test", size=32).notes)
    (tmp_path / "p10.png").write_bytes((tmp_path / "p2.png").read_bytes())
    notes = open_split(table, "test", size=32).notes
    assert "1 image of test, byte for byte in train or val too: p10.png" in notes


def test_hashes_know_a_image_again_and_join_chains(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", 1)
    image = Image.open(tmp_path / "a.png")
    image.save(tmp_path / "a.jpg", quality=60)
    first = difference_hash(image)
    assert first.shape == (256,)
    assert (first != difference_hash(Image.open(tmp_path / "a.jpg").resize((200, 160)))).sum() <= 20
    write_image(tmp_path / "b.png", 2)
    assert (first != difference_hash(Image.open(tmp_path / "b.png"))).sum() > 60
    steps = np.zeros((4, 256), bool)
    for index, bits in enumerate((0, 15, 30, 200)):
        steps[index, :bits] = True
    assert near_pairs(steps[:1], steps).tolist() == [[0, 0], [0, 1]]
    groups = groups_of(steps)
    assert groups[0] == groups[1] == groups[2] != groups[3]


def test_check_finds_nothing_wrong_with_a_sound_set(tmp_path: Path) -> None:
    table = written(tmp_path, f"image,score\n{rows(20)}")
    done = []
    assert check(table, progress=lambda *state: done.append(state), scale=(0, 5)) == []
    assert done[-1] == (20, 20)
    assert [(finding.level, finding.names) for finding in check(table)] == [("note", ())]  # of the scale taken
    (only_test,) = check(written(tmp_path, f"image,score,split\n{rows(20, ',test')}", "test.csv"), scale=(0, 5))
    assert only_test.level == "warning"
    assert "cannot be trained on" in only_test.line()


def test_check_reads_every_image_and_compares_the_splits(tmp_path: Path) -> None:
    text = "".join(f"p{i}.png,{i % 5},{'test' if i > 8 else 'train'}\n" for i in range(14))
    table = written(tmp_path, f"image,score,split\n{text}")
    original = Image.open(tmp_path / "p2.png")
    original.save(tmp_path / "p10.png", compress_level=1)  # other bytes, the same pixels
    original.resize((50, 40), Image.Resampling.BICUBIC).save(tmp_path / "p11.png")
    (tmp_path / "p13.png").write_bytes((tmp_path / "p12.png").read_bytes())
    lines = [f"{finding.level}: {finding.line()}" for finding in check(table, scale=(0, 4))]
    assert lines == [
        "warning: 1 image of test there more than once: p12.png = p13.png",
        "warning: 1 image of test, pixel for pixel in train or val too: p10.png = p2.png",
        "warning: 1 image of test with near-duplicates in train or val (dHash, 20 of 256 bits): p11.png",
    ]
    (tmp_path / "p0.png").write_bytes((tmp_path / "p0.png").read_bytes()[:100])
    (tmp_path / "p1.png").write_bytes(b"")
    first = check(table)[0]
    assert first.level == "error"
    assert first.text == "2 images not readable"
    assert "p0.png: damaged or cut short" in first.names[0]
    assert "p1.png: empty file" in first.names[1]


def test_check_lists_what_training_would_refuse(tmp_path: Path) -> None:
    table = written(tmp_path, f"image,score\n{rows(20)}p3.png,4\np99.png,\n")
    found = check(table, scale=(0, 4))
    assert [finding.level for finding in found[:3]] == ["error"] * 3
    assert [len(finding.names) for finding in found[:3]] == [1, 4, 1]


def test_what_the_system_refuses_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = written(tmp_path, f"image,score\n{rows(20)}")

    def refused(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("iqa.data.formats.files.os.scandir", refused)
    for wanted in (list_folder, check):
        with pytest.raises(UserError, match="cannot be opened: Permission denied"):
            wanted(table)


def test_folders_and_files_may_differ_in_their_capitals(tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    table.write_text("path,score\nIMG/A.PNG,1\nImg/b.png,2\n")
    write_image(tmp_path / "img" / "a.png", 1)
    write_image(tmp_path / "img" / "b.png", 2)
    write_image(tmp_path / "img" / "B.png", 3)
    listed = open_split(table, "all", size=32)
    assert [entry.image.relative_to(tmp_path).as_posix() for entry in listed.source.entries] == [
        "img/a.png",
        "img/b.png",
    ]
