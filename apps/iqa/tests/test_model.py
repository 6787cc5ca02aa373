"""The network and its loss: any image size, gradients everywhere, saving and loading."""

from pathlib import Path

import pytest
import torch

from iqa.config import LossSettings
from iqa.model import Segmenter
from iqa.objective import Objective
from polyscale.losses import bce_loss, dice_loss


@pytest.fixture
def network() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(width=8, image_size=32)


@pytest.mark.parametrize("size", [(32, 32), (50, 37)])
def test_logits_have_the_image_size(network: Segmenter, size: tuple[int, int]) -> None:
    assert network.eval()(torch.rand(2, 3, *size)).shape == (2, 1, *size)


def test_every_parameter_learns_from_the_objective(network: Segmenter) -> None:
    masks = (torch.rand(2, 1, 32, 32) > 0.5).float()
    logits = network(torch.rand(2, 3, 32, 32))
    parts = Objective(LossSettings(dice=0.5))(logits, masks)
    assert parts["loss"].item() == pytest.approx((bce_loss(logits, masks) + 0.5 * dice_loss(logits, masks)).item())
    parts["loss"].backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_a_saved_model_predicts_the_same(network: Segmenter, tmp_path: Path) -> None:
    network.eval().save_pretrained(tmp_path)
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(Segmenter.from_pretrained(tmp_path)(x), network(x))
