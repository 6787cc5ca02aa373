"""A drawn split stays where files are added; ranked sequences differ by seed, step, micro-batch and process."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from iqa.data.duplicates import are_alike
from iqa.data.open import list_folder
from iqa.data.training import RankedLevels
from polyscale.testing import command

TINY = [
    "--data.crop", "none", "--model.backbone", "test_resnet", "--model.pretrained", "none", "--model.image_size", "48",
    "--data.ranked_levels", "0", "--train.batch_size", "4", "--train.epochs", "1", "--train.warmup", "0",
]  # fmt: skip


def scored(root: Path, count: int, first: int = 0) -> None:
    root.mkdir(exist_ok=True)
    rng = np.random.default_rng(first)
    rows = [] if (root / "scores.csv").exists() else ["name,score"]
    for index in range(first, first + count):
        Image.fromarray(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)).save(root / f"p{index}.png")
        rows.append(f"p{index}.png,{rng.uniform(0, 10):.2f}")
    with (root / "scores.csv").open("a") as stream:
        stream.write("".join(f"{row}\n" for row in rows))


def call(*arguments: object) -> None:
    done = command.call("iqa", *arguments)
    assert done.returncode == 0, done.stderr


def test_a_drawn_split_does_not_move_when_files_are_added(tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    scored(data, 20)
    call("train", "--data.path", data, "--data.scale", "0,10", "--out", run, *TINY)
    recorded = json.loads((run / "split.json").read_text())
    scored(data, 3, first=100)
    kept = list_folder(data, scale=(0, 10), recorded=run / "split.json")
    assert {split: [entry.name for entry in part] for split, part in kept.splits.items()} == recorded
    assert "3 images new since the run, in none of its splits, first p100.png" in " ".join(kept.notes)
    call("eval", run, "--out", tmp_path / "eval")
    assert (tmp_path / "eval" / "images.csv").read_text() == (run / "images.csv").read_text()
    call("train", "--resume", run)
    assert json.loads((run / "split.json").read_text()) == recorded


def test_ranked_sequences_differ_by_their_place_in_the_training() -> None:
    drawn = {}
    for seed in (0, 1):
        ranked = RankedLevels.__new__(RankedLevels)
        ranked.seed, ranked.count, ranked.batch_size = seed, 10_000, 8
        ranked._sequence = lambda number: torch.full((6, 3, 1, 1), number)  # type: ignore[method-assign]
        for place in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)):
            step, micro_batch, rank = place
            images = ranked.batch(step, torch.device("cpu"), micro_batch, rank)
            assert torch.equal(images, ranked.batch(step, torch.device("cpu"), micro_batch, rank))
            drawn[(seed, *place)] = images.flatten().tolist()
    assert len({tuple(values) for values in drawn.values()}) == 8


def test_versions_of_one_image_at_16_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (12, 12), dtype=np.uint8))
    grey = np.asarray(small.resize((96, 96), Image.Resampling.BICUBIC))
    Image.fromarray(grey).save(tmp_path / "a8.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "a16.png")
    Image.fromarray((255 - grey).astype(np.uint16) * 257).save(tmp_path / "other.png")
    assert are_alike(tmp_path / "a8.png", tmp_path / "a16.png")
    assert not are_alike(tmp_path / "other.png", tmp_path / "a16.png")
