"""Learning rates, parameter groups and averaged weights, by value."""

import pytest
import torch
from torch import nn

from polyscale.training import lr_factor, param_groups
from polyscale.training.state import Average


def test_schedules() -> None:
    cosine = [lr_factor(s, 100, 10, "cosine", 0.1) for s in range(101)]
    assert cosine[0] == pytest.approx(0.1)
    assert max(cosine) == cosine[9] == cosine[10] == 1.0
    assert cosine[55] == pytest.approx(0.1 + 0.9 / 2)
    assert cosine[100] == pytest.approx(0.1)
    assert lr_factor(66, 99, 0, "step") == pytest.approx(0.1)
    assert lr_factor(65, 99, 0, "step") == 1.0
    assert lr_factor(88, 99, 0, "step") == pytest.approx(0.01)
    assert lr_factor(50, 100, 0, "linear") == pytest.approx(0.5)
    assert lr_factor(99, 100, 0, "constant") == 1.0


def test_param_groups_decay_matrices_only_and_scale_by_prefix() -> None:
    net = nn.ModuleDict({"backbone": nn.Linear(2, 2), "head": nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))})
    groups = {(g["lr_scale"], g["weight_decay"]): len(g["params"]) for g in param_groups(net, 0.1, {"backbone.": 0.2})}
    assert groups == {(0.2, 0.1): 1, (0.2, 0.0): 1, (1.0, 0.1): 1, (1.0, 0.0): 3}


def test_average_follows_the_warm_up_and_copies_integers() -> None:
    net = nn.BatchNorm1d(1)
    average = Average(net, 0.9)
    with torch.no_grad():
        net.weight.fill_(3.0)
        net.num_batches_tracked.fill_(7)
    average.update(net)  # the first update copies
    with torch.no_grad():
        net.weight.fill_(5.0)
    average.update(net)
    d = min(0.9, 2 / 11)
    assert average.module.weight.item() == pytest.approx(3 * d + 5 * (1 - d))
    assert average.module.num_batches_tracked.item() == 7


def test_average_shares_frozen_parameters_and_keeps_ties() -> None:
    net = nn.Sequential(nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2), nn.Linear(2, 2))
    net[2].weight = net[1].weight
    average = Average(net, 0.9)
    assert average.module[0].weight is net[0].weight
    assert average.module[1].weight is not net[1].weight
    assert average.module[1].weight is average.module[2].weight
