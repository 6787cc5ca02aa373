"""The metrics, on predictions whose scores are known."""

import pytest
import torch
from torch import Tensor, nn

from app_name.data.dataset import open_split
from app_name.evaluation.evaluate import evaluate, evaluate_baselines
from app_name.evaluation.metrics import score_masks
from polyscale.errors import UserError


def test_scores_of_known_predictions() -> None:
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    half = torch.zeros(1, 1, 4, 4)
    half[..., 1:3] = 1
    assert score_masks(mask, mask).tolist() == [[1, 0]]
    assert score_masks(1 - mask, mask).tolist() == [[0, 1]]
    assert score_masks(half, mask)[0].tolist() == pytest.approx([1 / 3, 0.5])
    assert score_masks(0 * mask, 0 * mask)[0, 0] == 1


def test_marking_everything_scores_the_mean_area() -> None:
    discs = open_split("synthetic", "val", size=32, count=7)
    area = sum(discs[i]["mask"].mean().item() for i in range(7)) / 7
    assert evaluate_baselines(discs)["everything"].summary["IoU"] == pytest.approx(area)


def test_an_output_that_is_no_number_is_named() -> None:
    class Broken(nn.Conv2d):
        def forward(self, images: Tensor) -> Tensor:
            logits = images[:, :1].clone()
            logits[1] = float("nan")
            return logits

    with pytest.raises(UserError, match="disc1: the model's output is not finite"):
        evaluate(Broken(3, 1, 1), open_split("synthetic", "val", size=32, count=3))
