"""Several data sets as one: what the file says, in which shares training draws, and which lines name a mistake."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from camo_seg.data import describe, open_split
from camo_seg.data.listing import list_files
from camo_seg.data.mixture import Shares
from polyscale.data.splits import record_splits
from polyscale.errors import UserError
from polyscale.testing.command import call, one_line


def _folder(root: Path, count: int, value: int, kinds: str = "") -> None:
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    for i in range(count):
        pixels = np.full((10, 10), value + i, np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"p{i}.png")
        mask = np.zeros((10, 10), np.uint8)
        mask[:5] = 255
        Image.fromarray(mask).save(root / "masks" / f"p{i}.png")
    if kinds:
        rows = [f"p{i},{kinds[i % len(kinds)]},{('train', 'val', 'test')[i % 3]}" for i in range(count)]
        (root / "meta.csv").write_text("name,kind,split\n" + "\n".join(rows) + "\n")


@pytest.fixture
def mixture(tmp_path: Path) -> Path:
    _folder(tmp_path / "a", 30, 0, "xyzxzy")
    _folder(tmp_path / "b", 20, 100)
    file = tmp_path / "mix.yaml"
    file.write_text(
        "x: {path: a, only: {kind: [x]}, share: 0.5}\n"
        "rest: {path: a, only: {kind: [y, z]}, share: 0.2}\n"
        "b: {path: ./b, share: 0.2, splits: [train]}\n"
        "scenes: {path: synthetic, share: 0.1, splits: [train]}\n"
    )
    return file


def _open(file: Path, split: str, **settings: Any) -> Any:
    return open_split(file, split, size=16, counts=(6, 3, 3), **settings)


def test_sets_are_joined_filtered_and_kept_out_of_splits(mixture: Path) -> None:
    train = _open(mixture, "train")
    counts = Counter(name.split("/")[0] for name in train.names)
    assert counts == {"x": 10, "b": 14, "scenes": 6}  # kind x is all of train, b gave its test and validation parts up
    assert train.original(train.names.index("b/p3")).image.max() == 103
    assert train[len(train) - 1]["image"].shape == (3, 16, 16)
    val = _open(mixture, "val")
    assert {name.split("/")[0] for name in val.names} == {"rest"}
    assert val.order is None


def test_an_epoch_has_the_shares_that_the_file_gives(mixture: Path) -> None:
    train = _open(mixture, "train")
    keys = [key for batch in train.order.epoch([3, 0], 5, 0, 1) for key in batch]
    parts = Counter(train.names[key.sample].split("/")[0] for key in keys)
    assert parts == {"x": 19, "b": 7, "scenes": 4}  # of 30 by 5 : 2 : 1, none of the set without training images
    assert len({key.seed for key in keys}) == len(keys)  # a sample that comes twice is augmented in two ways


def test_shares_are_drawn_alike_for_any_number_of_processes() -> None:
    order = Shares([100, 4], [1, 1])
    alone = list(order.epoch([0, 1], 8, 0, 1))
    first, second = (list(order.epoch([0, 1], 4, rank, 2)) for rank in (0, 1))
    assert [a + b for a, b in zip(first, second, strict=True)] == alone
    samples = [key.sample for batch in alone for key in batch]
    assert len(alone) == order.batches(8, 1) == 13
    assert sum(sample >= 100 for sample in samples) == 52
    assert len({sample for sample in samples if sample < 100}) == 52  # no image twice where there are enough
    assert [key.sample for batch in order.epoch([0, 2], 8, 0, 1) for key in batch] != samples


def test_without_shares_every_image_comes_once(tmp_path: Path) -> None:
    for name, count in (("a", 6), ("b", 5)):
        _folder(tmp_path / name, count, 0)
    file = tmp_path / "mix.yml"
    file.write_text("a: {path: a}\nb: {path: b}\n")
    assert _open(file, "train").order is None


def test_describe_and_a_runs_record_know_all_sets(mixture: Path, tmp_path: Path) -> None:
    rows = {row["split"]: row["images"] for row in describe(mixture)}
    assert rows == {"train": 24, "val": 10, "test": 10}  # generated scenes are not files
    listing = list_files(mixture)
    record = tmp_path / "split.json"
    record_splits(record, {split: [pair.name for pair in part] for split, part in listing.splits.items()})
    before = _open(mixture, "train").names
    _folder(tmp_path / "new", 1, 50)
    for kind in ("images", "masks"):
        (tmp_path / "new" / kind / "p0.png").rename(tmp_path / "b" / kind / "later.png")
    assert sorted(_open(mixture, "train", recorded=record).names) == sorted(before)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no data set"),
        ("a: folder\n", "a: should be a name without / and a section"),
        ("a: {share: 1}\n", "a: path: is missing"),
        ("a: {path: a, share: 0}\n", "a: share: should be greater than 0"),
        ("a: {path: a, weight: 1}\n", "a: weight: no such key"),
        ("a: {path: a, share: 1}\nb: {path: b}\n", "b: share is missing"),
        ("a: {path: nowhere}\n", "nowhere: no such file or folder"),
        ("a: {path: a, only: {kind: [q]}}\n", "no kind is q; it has x, y, z"),
        ("a: {path: a, only: {sort: [q]}}\n", "needs a column sort"),
        ("a: {path: b, only: {kind: [x]}}\n", "needs a split.csv or meta.csv"),
        ("a: {path: a, only: {kind: [x]}, splits: [val]}\n", "nothing is left of"),
    ],
)
def test_mistakes_are_one_line(mixture: Path, text: str, message: str) -> None:
    mixture.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        _open(mixture, "train")
    assert "\n" not in str(caught.value)


def test_one_set_of_several_can_be_scored(mixture: Path) -> None:
    both = _open(mixture, "test")
    assert {name: len(part) for name, part in both.parts.items()} == {"rest": 10}
    assert _open(mixture, "test", test_set="REST").names == both.names
    with pytest.raises(UserError, match="no test set b here; accepted: rest"):
        _open(mixture, "test", test_set="b")


def test_a_training_on_several_sets_with_every_augmentation_scores_each(mixture: Path, tmp_path: Path) -> None:
    tiny = (
        *("--model.backbone", "test_resnet", "--model.width", "8", "--model.image_size", "32", "--model.scales", "1"),
        *("--data.hue", "0.1", "--data.grey", "0.2", "--data.degrade", "0.5", "--data.paste", "0.5"),
        *("--data.empty", "0.2", "--data.train_images", "3", "--train.batch_size", "4", "--train.epochs", "1"),
    )
    run = tmp_path / "run"
    result = call("camo-seg", "train", "--data.path", mixture, "--out", run, "--json", *tiny)
    assert result.returncode == 0, result.stderr
    assert [row[""] for row in json.loads(result.stdout)["subsets"]] == ["rest"]
    assert (run / "table.tex").is_file()
    recorded = json.loads((run / "split.json").read_text())
    assert len(recorded["train"]) == 24
    again = call("camo-seg", "eval", run, "--json", "--no-baselines")
    assert json.loads(again.stdout)["model"]["wF"] == pytest.approx(json.loads(result.stdout)["model"]["wF"])


def test_a_mask_that_cannot_be_read_is_named_before_the_training(mixture: Path, tmp_path: Path) -> None:
    mask = mixture.parent / "a/masks/p2.png"  # kind z, of the test split
    mask.write_bytes(mask.read_bytes()[:50])
    result = call("camo-seg", "train", "--data.path", mixture, "--out", tmp_path / "run")
    one_line(result, 1, "p2.png")
    assert not (tmp_path / "run").exists()
