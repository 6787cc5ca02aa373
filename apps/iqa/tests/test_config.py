"""The settings of iqa that are read only together with others."""

from pathlib import Path

import pytest

from iqa.config import PRESETS, Config
from polyscale.errors import UserError
from polyscale.settings import resolve
from polyscale.testing.needs import check_needs

FILES = {"data.path": "photos"}
IDLE = [
    ({"train.min_lr": 0.1, "train.schedule": "constant"}, {"train.schedule": "step"}),
    ({"data.ranked_batch": 3}, {"data.ranked_levels": 9, "data.crop": 64}),
    ({"loss.ranked_levels": 0.5}, {"data.ranked_levels": 9, "data.crop": 64}),
    ({"loss.ties": 0.5}, {"data.ties": 2, "data.crop": 64}),
    ({"loss.margin": 0.5}, {"loss.ranking": 0.1}),
    ({"loss.margin": 0.5, "loss.ranked_levels": 0.0, "data.ranked_levels": 9, "data.crop": 64},
     {"loss.ranked_levels": 1.0}),
    ({"data.cross_split": "test"}, {"data.cross": "other"}),
    ({"model.fusion": "attention", "model.multiscale": False}, {"model.multiscale": True}),
    ({"model.pretrained": "hub", "model.weights": "nano"}, {"model.weights": None}),
    ({"data.train_images": 9, **FILES}, {"data.path": "synthetic"}),
    ({"data.layout": "csv"}, FILES),
    ({"data.images": "images"}, FILES),
    ({"data.scale": (1.0, 5.0)}, FILES),
    ({"data.lower_better": True}, FILES),
    ({"data.split_column": "part"}, FILES),
    ({"data.val_fraction": 0.5}, FILES),
]  # fmt: skip


def test_runs_of_before_load_unless_they_read_statistics(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("model: {statistics: false, shrink: 1, dropout: 0.1}\n")
    assert resolve(Config, file=file).model.dropout == 0.1
    file.write_text("model: {statistics: true, shrink: 4}\n")
    with pytest.raises(UserError, match=r"config\.yaml: model\.statistics: is gone, as if always false; got true"):
        resolve(Config, file=file)


def test_what_nothing_reads_is_refused(tmp_path: Path) -> None:
    check_needs(Config, PRESETS, IDLE, tmp_path)
