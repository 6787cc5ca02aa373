"""The settings of camo-seg that are read only together with others."""

from pathlib import Path

import pytest

from camo_seg.config import PRESETS, Config
from camo_seg.data.mixture import read_mixture
from polyscale.errors import UserError
from polyscale.settings import resolve
from polyscale.testing.command import call, one_line
from polyscale.testing.needs import check_needs

ONE_SCALE = {"model.scales": (1.0,)}
FILES = {"data.path": "photos"}
IDLE = [
    ({"train.min_lr": 0.1, "train.schedule": "constant"}, {"train.schedule": "step"}),
    ({"model.top_k": 3}, {"model.experts": 4}),
    ({"loss.balance": 0.1}, {"model.experts": 4}),
    ({"model.fusion": "absi", **ONE_SCALE}, {"model.scales": (0.5, 1.0)}),
    ({"loss.scale_loss": 0.5, **ONE_SCALE}, {"model.scales": (0.5, 1.0)}),
    ({"loss.scale_weights": (1.0,), **ONE_SCALE}, {"model.scales": (0.5, 1.0), "loss.scale_weights": (1.0, 2.0)}),
    ({"loss.scale_epochs": 2, "loss.scale_loss": 0.0}, {"loss.scale_loss": 0.3}),
    ({"model.pretrained": "hub", "model.weights": "nano"}, {"model.weights": None}),
    ({"data.train_images": 9, **FILES}, {"data.path": "sets.yaml"}),
    ({"data.layout": "pairs"}, FILES),
    ({"data.masks": "masks"}, FILES),
    ({"data.mask_rule": "alpha"}, FILES),
    ({"data.test_set": "CAMO"}, FILES),
    ({"data.val_fraction": 0.5}, FILES),
]


def test_what_nothing_reads_is_refused(tmp_path: Path) -> None:
    check_needs(Config, PRESETS, IDLE, tmp_path)


def test_what_is_switched_off_or_named_by_a_preset_is_not(tmp_path: Path) -> None:
    trained = call("camo-seg", "train", "--data.path", tmp_path, "--loss.scale_loss", "0", "--model.scales", "1")
    one_line(trained, 1, str(tmp_path))
    refused = call("camo-seg", "train", "--data.path", tmp_path, "--data.train_images", "5")
    one_line(refused, 2, "data.train_images", "synthetic")


def test_data_shows_the_scenes_that_train_uses() -> None:
    assert resolve(Config, "nano", presets=PRESETS).data.train_images == Config().data.train_images


def test_a_member_of_several_sets_too(tmp_path: Path) -> None:
    (tmp_path / "sets.yaml").write_text("scenes: {path: synthetic, only: {kind: [cat]}}\n")
    with pytest.raises(UserError, match=r"sets\.yaml: scenes: only: is read only with files"):
        read_mixture(tmp_path / "sets.yaml")
