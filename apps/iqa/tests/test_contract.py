"""What every application of polyscale promises, kept by iqa."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from polyscale.testing.apps import AppContract


class TestContract(AppContract):
    app = "iqa"
    metric = "SRCC"
    files = ("--map",)
    start = "--model.weights"
    tiny = (
        *("--data.crop", "none", "--data.ranked_levels", "0", "--data.scale", "0,10"),
        *("--model.backbone", "test_resnet", "--model.pretrained", "none", "--model.image_size", "48"),
        *("--train.batch_size", "4", "--train.epochs", "2", "--train.warmup", "0", "--train.log_every", "1"),
    )

    def make_data(self, folder: Path) -> Path:
        """30 images, the sharper the better, with a CSV of scores from 0 to 10 and splits."""
        rng = np.random.default_rng(0)
        rows = []
        for i in range(30):
            blur, split = i % 9, "train" if i < 12 else "val" if i < 18 else "test"
            noise = Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8))
            noise.filter(ImageFilter.GaussianBlur(blur / 4)).save(folder / f"img{i}.png")
            rows.append({"image": f"img{i}.png", "score": 9.5 - blur, "split": split, "subset": "ab"[i % 2]})
        with (folder / "scores.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return folder
