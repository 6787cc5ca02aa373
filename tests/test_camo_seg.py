"""camo-seg as a user meets it: train, eval, predict, info, data; and what bad input gets."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from product import TINY, call, one_line, spawn

from polyscale.settings import run_config


@pytest.fixture(scope="module")
def trained(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "a"
    result = spawn("camo-seg", "train", "--data.path", pairs, "--out", out, "--train.epochs", 2, *TINY)
    assert result.returncode == 0, result.stderr
    assert "wF" in result.stdout
    assert "centre prior" in result.stdout
    assert f"next: camo-seg predict IMAGES --model {out}" in result.stderr
    return out


def test_train_writes_everything_it_names(trained: Path) -> None:
    for name in ("best/model.safetensors", "config.yaml", "log.jsonl", "metrics.json", "images.csv", "report.html"):
        assert (trained / name).stat().st_size > 0, name
    metrics = json.loads((trained / "metrics.json").read_text())
    assert set(metrics["baselines"]) == {"empty map", "centre prior", "colour contrast"}
    assert metrics["difference"]["low"] <= metrics["difference"]["value"] <= metrics["difference"]["high"]
    assert len(list((trained / "overlays").glob("*.png"))) >= 2


def test_eval_repeats_the_numbers_of_train(trained: Path, pairs: Path) -> None:
    result = call("camo-seg", "eval", trained, "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["model"] == json.loads((trained / "metrics.json").read_text())["model"]
    other = call("camo-seg", "eval", trained, "--data", pairs, "--split", "train", "--no-baselines", "--json")
    assert json.loads(other.stdout)["model"]["images"] > 2
    one_line(call("camo-seg", "eval", trained, "--test-set", "CAMO"), 2, "no test set CAMO here")


def test_images_and_masks_in_two_places(trained: Path, pairs: Path) -> None:
    where = ["--data", pairs / "images", "--masks", pairs / "masks", "--layout", "test"]
    result = call("camo-seg", "eval", trained, *where, "--no-baselines", "--json")
    assert json.loads(result.stdout)["model"]["images"] == 14
    (row,) = json.loads(call("camo-seg", "data", *where[1:], "--json").stdout)["splits"]
    assert (row["split"], row["images"]) == ("test", 14)
    one_line(call("camo-seg", "eval", trained, *where[:4], "--layout", "voc"), 2, "data.layout", "test")
    one_line(call("camo-seg", "train", "--data.val_fraction", "0.8"), 2, "data.val_fraction", "less than 0.8")


def test_only_a_run_brings_its_own_settings(trained: Path) -> None:
    Path("config.yaml").write_text("data:\n  path: elsewhere\n")
    assert run_config("nano") is None
    assert run_config(str(trained)) == run_config(str(trained / "best")) == trained / "config.yaml"


def test_predict_keeps_order_and_outlives_a_broken_file(trained: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((30, 50, 3), 90, np.uint8)).save(tmp_path / "b.png")
    (tmp_path / "c.jpg").write_bytes(b"not an image")
    Image.fromarray(np.full((64, 20), 40000, np.uint16)).save(tmp_path / "a.png")
    out = tmp_path / "maps"
    files = [tmp_path / name for name in ("b.png", "c.jpg", "a.png")]
    result = call("camo-seg", "predict", *files, "--model", trained, "--out", out)
    one_line_left = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert result.returncode == 1
    assert len(one_line_left) == 1
    assert "c.jpg" in one_line_left[0]
    assert sorted(p.name for p in out.iterdir()) == sorted(
        f"{stem}_{end}" for stem in "ab" for end in ("probability.png", "mask.png", "overlay.jpg")
    )
    assert Image.open(out / "b_mask.png").size == (50, 30)
    lines = call("camo-seg", "predict", *files, "--model", trained, "--json").stdout.splitlines()
    assert [Path(json.loads(line)["file"]).name for line in lines] == ["b.png", "c.jpg", "a.png"]


def test_resume_of_a_finished_run_only_evaluates_again(trained: Path) -> None:
    before = json.loads((trained / "metrics.json").read_text())
    result = call("camo-seg", "train", "--resume", trained)
    assert "trained to its end already" in result.stderr
    assert result.returncode == 0, result.stderr
    after = json.loads((trained / "metrics.json").read_text())
    assert {**after, "provenance": None} == {**before, "provenance": None}
    assert after["provenance"]["run"] == str(trained)
    one_line(call("camo-seg", "train", "--resume", trained, "--train.lr", "0.1"), 2, "leave the other options out")


def test_info_counts_single_scale_against_three() -> None:
    result = call("camo-seg", "info", "--preset", "small", "--json")
    single, three = json.loads(result.stdout)
    assert single["x parameters"] == 1
    assert 1 < three["x parameters"] <= 1.2
    assert three["x multiply_adds"] > 3


def test_data_reports_the_splits(pairs: Path) -> None:
    splits = json.loads(call("camo-seg", "data", pairs, "--json").stdout)["splits"]
    assert [row["split"] for row in splits] == ["train", "val", "test"]
    assert sum(row["images"] for row in splits) == 14


def test_bad_settings_are_one_line_naming_the_key(tmp_path: Path) -> None:
    one_line(call("camo-seg", "train", "--data.path", tmp_path / "nowhere"), 1, "nowhere")
    one_line(call("camo-seg", "train", "--train.lr", "-1"), 2, "train.lr", "greater than 0")
    one_line(call("camo-seg", "train", "--model.fusion", "sum"), 2, "model.fusion", "hierarchical")
    one_line(call("camo-seg", "train", "--train.lrr", "1"), 2, "--train.lr")
    one_line(call("camo-seg", "train", "--model.backbone", "pvt_v2_bo"), 1, "pvt_v2_bo", "did you mean pvt_v2_b")
    assert not Path("runs").exists()  # what cannot start leaves nothing behind
    (tmp_path / "c.yaml").write_text("modle:\n  width: 8\n")
    one_line(call("camo-seg", "train", "-c", tmp_path / "c.yaml"), 2, "c.yaml", "modle", "model")


def test_bad_models_are_one_line(trained: Path, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(picture)
    one_line(call("camo-seg", "predict", picture, "--model", tmp_path), 1, str(tmp_path), "config.json")
    one_line(call("camo-seg", "eval", tmp_path / "none"), 1, "no such model")
    broken = tmp_path / "broken"
    shutil.copytree(trained / "best", broken)
    (broken / "model.safetensors").write_bytes(b"\0" * 100)
    one_line(call("camo-seg", "eval", broken), 1, "model.safetensors", "not a readable weight file")


def test_bad_data_is_one_line_naming_the_file(pairs: Path, tmp_path: Path) -> None:
    def spoiled(name: str) -> Path:
        return shutil.copytree(pairs, tmp_path / name)

    missing = spoiled("missing")
    (missing / "masks/p03.png").unlink()
    one_line(call("camo-seg", "train", "--data.path", missing, *TINY), 1, "p03")
    other = spoiled("other_size")
    Image.new("L", (9, 9)).save(other / "masks/p04.png")
    one_line(call("camo-seg", "train", "--data.path", other, *TINY), 1, "p04")
    truncated = spoiled("truncated")
    whole = (truncated / "images/p05.png").read_bytes()
    (truncated / "images/p05.png").write_bytes(whole[: len(whole) // 2])
    result = call("camo-seg", "train", "--data.path", truncated, *TINY, "--out", tmp_path / "t", "--train.epochs", 1)
    assert result.returncode == 1
    assert "p05.png" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_help_is_instant_and_lists_every_setting() -> None:
    help_text = call("camo-seg", "train", "--help").stdout
    for key in ("--data.path", "--model.scales", "--loss.scale_loss", "--train.lr"):
        assert key in help_text
