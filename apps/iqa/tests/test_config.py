"""The settings of iqa that are read only together with others."""

from pathlib import Path

import pytest
import torch

from iqa.build import build_model
from iqa.config import PRESETS, Config
from polyscale.errors import UserError
from polyscale.settings import resolve
from polyscale.testing.needs import check_needs
from polyscale.training import param_groups

FILES = {"data.path": "photos"}
IDLE = [
    ({"train.min_lr": 0.1, "train.schedule": "constant"}, {"train.schedule": "step"}),
    ({"data.ranked_batch": 3}, {"data.ranked_levels": 9, "data.crop": 64}),
    ({"data.ranked_kinds": ("jpeg",)}, {"data.ranked_levels": 9, "data.crop": 64}),
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


def test_frozen_parts_keep_their_weights_and_the_others_learn() -> None:
    changes = {"model.backbone": "test_resnet", "model.pretrained": "none", "optim.frozen_norm": True}
    config = resolve(Config, overrides={**changes, "optim.frozen_parts": 2})
    network = build_model(config)
    parts = network.backbone.parts()
    learning = [any(p.requires_grad for p in part.parameters()) for part in parts]
    assert learning == [False] * 2 + [True] * (len(parts) - 2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.SGD(param_groups(network, 0.0), 0.1)
    network.train()(torch.rand(2, 3, 64, 64)).sum().backward()
    optimizer.step()
    names = {id(p): name for name, p in network.named_parameters()}
    frozen = {names[id(p)] for part in parts[:2] for p in part.parameters()}
    later = {names[id(p)] for p in parts[-1].parameters()}
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert frozen
    assert not frozen & moved
    assert later & moved


def test_more_frozen_parts_than_there_are_or_norms_that_move_are_refused() -> None:
    changes = {"model.backbone": "test_resnet", "model.pretrained": "none", "optim.frozen_norm": True}
    with pytest.raises(UserError, match=r"optim\.frozen_parts: 99, but test_resnet.* has \d+ parts"):
        build_model(resolve(Config, overrides={**changes, "optim.frozen_parts": 99}))
    with pytest.raises(UserError, match="set frozen_norm"):
        resolve(Config, overrides={"optim.frozen_parts": 1, "optim.frozen_norm": False})
