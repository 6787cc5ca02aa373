"""The metrics, on predictions whose scores are known."""

import pytest
import torch

from iqa.data import Discs
from iqa.evaluate import BASELINES, evaluate, scores


def test_scores_of_known_predictions() -> None:
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    half = torch.zeros(1, 1, 4, 4)
    half[..., 1:3] = 1
    assert scores(mask, mask).tolist() == [[1, 0]]
    assert scores(1 - mask, mask).tolist() == [[0, 1]]
    assert scores(half, mask)[0].tolist() == pytest.approx([1 / 3, 0.5])
    assert scores(0 * mask, 0 * mask)[0, 0] == 1


def test_the_average_does_not_depend_on_the_batch_size() -> None:
    discs = Discs("val", 7, 32)
    everything = evaluate(BASELINES["everything"], discs, batch_size=3)
    area = sum(discs[i]["mask"].mean().item() for i in range(7)) / 7
    assert everything["IoU"] == pytest.approx(area)
    assert everything == pytest.approx(evaluate(BASELINES["everything"], discs, batch_size=7))
