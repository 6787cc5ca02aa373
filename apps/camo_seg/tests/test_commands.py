"""camo-seg as a user meets it: what every application of polyscale promises, and what is its own."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polyscale.testing.apps import AppContract, Trained
from polyscale.testing.command import call, one_line


class TestCommands(AppContract):
    app = "camo-seg"
    metric = "wF"
    start = "--model.weights"
    tiny = (
        *("--model.backbone", "test_resnet", "--model.width", "8", "--model.image_size", "32"),
        *("--train.batch_size", "4", "--train.epochs", "2", "--train.log_every", "1"),
    )

    def make_data(self, folder: Path) -> Path:
        """A folder pair of 14 images of a bright disc, 40 x 48 pixels."""
        rng = np.random.default_rng(0)
        y, x = np.mgrid[:40, :48]
        for kind in ("images", "masks"):
            (folder / kind).mkdir()
        for i in range(14):
            disc = (y - rng.integers(10, 30)) ** 2 + (x - rng.integers(10, 38)) ** 2 < rng.integers(20, 90)
            image = rng.integers(60, 120, (40, 48, 3)) + 90 * disc[..., None]
            Image.fromarray(image.astype(np.uint8)).save(folder / "images" / f"p{i:02}.png")
            Image.fromarray((disc * 255).astype(np.uint8)).save(folder / "masks" / f"p{i:02}.png")
        return folder

    def test_train_scores_the_baselines_and_draws_overlays(self, trained: Trained) -> None:
        metrics = json.loads((trained.out / "metrics.json").read_text())
        assert set(metrics["baselines"]) == {"empty map", "centre prior", "colour contrast"}
        assert "centre prior" in trained.result.stdout
        assert len(list((trained.out / "overlays").glob("*.png"))) >= 2

    def test_eval_of_other_data(self, trained: Trained, data: Path) -> None:
        other = call(self.app, "eval", trained.out, "--data", data, "--split", "train", "--no-baselines", "--json")
        assert json.loads(other.stdout)["model"]["images"] > 2
        one_line(call(self.app, "eval", trained.out, "--test-set", "CAMO"), 2, "no test set CAMO here")

    def test_images_and_masks_in_two_places(self, trained: Trained, data: Path) -> None:
        where = ["--data", data / "images", "--masks", data / "masks", "--layout", "test"]
        result = call(self.app, "eval", trained.out, *where, "--no-baselines", "--json")
        assert json.loads(result.stdout)["model"]["images"] == 14
        (row,) = json.loads(call(self.app, "data", *where[1:], "--json").stdout)["splits"]
        assert (row["split"], row["images"]) == ("test", 14)
        one_line(call(self.app, "eval", trained.out, *where[:4], "--layout", "voc"), 2, "data.layout", "test")

    def test_every_file_of_an_image_is_written(self, trained: Trained, images: Path, tmp_path: Path) -> None:
        Image.fromarray(np.full((64, 20), 40000, np.uint16)).save(images / "a.png")
        out = tmp_path / "maps"
        result = self.predict(trained, images / "a.png", images / "c.jpg", images / "b.png", "--out", out)
        assert result.returncode == 1
        assert sorted(path.name for path in out.iterdir()) == sorted(
            f"{stem}_{end}" for stem in "ab" for end in ("probability.png", "mask.png", "overlay.jpg")
        )
        assert Image.open(out / "a_mask.png").size == (20, 64)

    def test_an_image_on_standard_input(self, trained: Trained, images: Path, tmp_path: Path) -> None:
        content = (images / "a.png").read_bytes()
        result = call(self.app, "predict", "-", "--model", trained.out, "--out", tmp_path / "maps", stdin=content)
        assert result.returncode == 0, result.stderr
        assert self.predict(trained, images / "a.png", "--out", tmp_path / "maps").returncode == 0
        for end in ("probability.png", "mask.png", "overlay.jpg"):
            piped, named = ((tmp_path / f"maps/{name}_{end}").read_bytes() for name in ("image", "a"))
            assert piped == named

    def test_info_counts_single_scale_against_three(self) -> None:
        single, three = json.loads(call(self.app, "info", "--preset", "small", "--json").stdout)
        assert single["x parameters"] == 1
        assert 1 < three["x parameters"] <= 1.2
        assert three["x multiply_adds"] > 3

    def test_own_settings_are_one_line_too(self) -> None:
        one_line(call(self.app, "train", "--model.fusion", "sum"), 2, "model.fusion", "hierarchical")
        one_line(call(self.app, "train", "--data.val_fraction", "0.8"), 2, "data.val_fraction", "less than 0.8")

    @pytest.mark.parametrize("what", ["missing", "of another size"])
    def test_a_bad_mask_is_named(self, data: Path, tmp_path: Path, what: str) -> None:
        spoiled = shutil.copytree(data, tmp_path / "spoiled")
        (spoiled / "masks/p03.png").unlink()
        if what != "missing":
            Image.new("L", (9, 9)).save(spoiled / "masks/p03.png")
        one_line(call(self.app, "train", "--data.path", spoiled, *self.tiny), 1, "p03")

    @pytest.mark.parametrize("what", ["p03.png", "holds 5 values"])
    def test_a_test_split_that_cannot_be_used_is_named_before_the_training(
        self, data: Path, tmp_path: Path, what: str
    ) -> None:
        for split in ("train", "test"):
            shutil.copytree(data, tmp_path / "set" / split)
        mask = tmp_path / "set/test/masks/p03.png"
        if what == "p03.png":
            mask.write_bytes(mask.read_bytes()[:-60])
        else:
            Image.fromarray(np.arange(40 * 48, dtype=np.uint8).reshape(40, 48) % 5).save(mask)
        result = call(self.app, "train", "--data.path", tmp_path / "set", "--out", tmp_path / "run", *self.tiny)
        one_line(result, 1, what)
        assert not (tmp_path / "run").exists()
