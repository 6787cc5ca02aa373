"""app-name as a user meets it: what every application of polyscale promises, and what is its own."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from app_name.data.synthetic import Discs
from polyscale.testing.apps import AppContract, Trained
from polyscale.testing.command import call, one_line


class TestCommands(AppContract):
    app = "app-name"
    metric = "IoU"
    tiny = (
        *("--model.width", "8", "--model.image_size", "32", "--train.batch_size", "8", "--train.log_every", "1"),
        *("--train.epochs", "2", "--train.lr", "0.01", "--train.ema", "0.5"),
    )

    def make_data(self, folder: Path) -> Path:
        for split, count in enumerate((32, 4, 6)):
            discs = Discs(split, count, 40)
            for kind in ("images", "masks"):
                (folder / ("train", "val", "test")[split] / kind).mkdir(parents=True)
            for index, name in enumerate(discs.names):
                for kind, array in zip(("images", "masks"), discs.read(index), strict=True):
                    image = Image.fromarray(array.astype(np.uint8) * (255 if kind == "masks" else 1))
                    image.save(folder / ("train", "val", "test")[split] / kind / f"{name}.png")
        return folder

    def test_masks_have_the_size_of_the_image(self, trained: Trained, images: Path) -> None:
        assert self.predict(trained, images / "a.png", "--out", "out").returncode == 0
        assert Image.open("out/a_mask.png").size == Image.open(images / "a.png").size
        assert sorted(path.name for path in Path("out").iterdir()) == ["a_mask.png", "a_overlay.png"]

    def test_a_folder_without_masks_is_one_line(self, images: Path) -> None:
        one_line(call(self.app, "data", images), 1, "holds no folder train")
        (images / "train/images").mkdir(parents=True)
        one_line(call(self.app, "data", images), 1, "needs the folders images and masks")

    def test_info_counts(self) -> None:
        counted = json.loads(call(self.app, "info", "--preset", "small", "--json").stdout)
        assert 11 < counted["parameters_M"] < 11.6
        assert counted["multiply_adds_G"] > 2
