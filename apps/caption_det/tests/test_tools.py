"""The benches and recipes of this application run: small, and from where a user calls them."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

TOOLS = Path(__file__).parents[3] / "tools"

pytestmark = pytest.mark.skipif(not TOOLS.is_dir(), reason="the tools do not come with the package")


def open_tool(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = TOOLS / name
    monkeypatch.syspath_prepend(str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_ways_that_are_timed_write_the_same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = open_tool("bench/caption_speed.py", monkeypatch)
    torch.manual_seed(0)
    model = bench.build(bench.SMALL)
    images = torch.rand(bench.BATCH, 3, bench.SMALL["side"], bench.SMALL["side"])
    with torch.inference_mode():
        made = {f"{name}, {batch}": (ours(), other()) for name, batch, ours, other in
                bench.cases(model, bench.build_peer(bench.SMALL), images)}  # fmt: skip
    assert all(len(ours) in (1, bench.BATCH) and ours.shape[1] == bench.TOKENS for ours, _ in made.values())
    ours, other = made["the ancestor's loop, 8"]
    assert torch.equal(ours, other)
    ours, (words, found) = made["the same with boxes, 8"]
    assert torch.equal(ours, words)
    assert len(found) == bench.BATCH
    ours, other = made["eight one by one, 8"]
    assert torch.equal(ours, torch.cat(other))
    timing = bench.Timing((20.0, 1, 1), (5.0, 1, 1), (4.0, 3.5, 4.5))
    assert bench.line("x", 1, timing) == "| x | 1 | 5 | 20 | 4.00 (3.50 to 4.50) |\n"


def test_the_images_that_are_learnt_by_heart_are_all_and_once_in_a_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = open_tool("recipes/caption_overfit.py", monkeypatch)
    rng = np.random.default_rng(0)
    for split, numbers in (("train", (3, 1, 2)), ("val", (7, 8))):
        (tmp_path / f"coco/{split}2017").mkdir(parents=True)
        (tmp_path / "coco/annotations").mkdir(exist_ok=True)
        images = [{"id": n, "file_name": f"{n}.png", "width": 64, "height": 64} for n in numbers]
        for n in numbers:
            noise = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / f"coco/{split}2017/{n}.png")
        notes = [{"id": 10 * n + k, "image_id": n, "caption": f"caption {k} of {n}"} for n in numbers for k in range(2)]
        boxes = [{"id": n, "image_id": n, "category_id": 5, "bbox": [1, 2, 30, 40], "iscrowd": 0} for n in numbers]
        for kind, listed in (("captions", notes), ("instances", boxes)):
            content = {"images": images, "annotations": listed, "categories": [{"id": 5, "name": "cat"}]}
            (tmp_path / f"coco/annotations/{kind}_{split}2017.json").write_text(json.dumps(content), encoding="utf-8")
    assert recipe.make_data(tmp_path / "coco", tmp_path / "made") == 5
    assert recipe.make_data(tmp_path / "coco", tmp_path / "made") == 5  # a second call finds its files
    from caption_det.data.open import open_data

    opened = open_data(str(tmp_path / "made"))
    records = {split: [source.record(i) for i in range(len(source))] for split, source in opened.splits.items()}
    assert {split: len(found) for split, found in records.items()} == {"train": 5, "val": 5, "test": 5}
    assert sorted(found.captions[0] for found in records["train"]) == [f"caption 0 of {n}" for n in (1, 2, 3, 7, 8)]
    assert all(len(found.captions) == len(found.boxes) == 1 for found in records["train"])


def test_the_table_of_ablations_says_what_was_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = open_tool("recipes/caption_ablations.py", monkeypatch)
    for seed, value in ((0, 10.0), (1, 20.0)):
        made = recipe.folder(tmp_path, "caption only", seed)
        made.mkdir()
        scores = dict.fromkeys(recipe.COLUMNS, None) | {"CIDEr": value, "attributes_unseen": float("nan")}
        (made / "scores.json").write_text(json.dumps(scores), encoding="utf-8")
    rows = {line.split(" | ")[0].strip("| "): line for line in recipe.table(tmp_path, 3).splitlines()[2:]}
    assert rows.keys() == recipe.VARIANTS.keys()
    assert rows["caption only"] == "| caption only | 2 | 15.0 ± 7.1 | - | - | - | - | - | - | - |"
    assert "not measured here" in rows["joint"]
    for name, settings in recipe.VARIANTS.items():
        assert recipe.resolve_run("nano", settings).model, name  # a variant that the settings refuse is one too many
