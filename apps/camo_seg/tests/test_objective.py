"""The training loss: every part and weight is applied, and the schedule of the scales' supervision."""

import pytest
import torch
from pydantic import ValidationError

from camo_seg.config import Config, LossSettings
from camo_seg.objective import Objective
from polyscale.losses import bce_loss, dice_loss, structure_loss, uncertainty_aware_loss


@pytest.fixture
def batch() -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 32, 32, generator=generator)
    per_scale = [torch.randn(2, 1, s, s, generator=generator) for s in (4, 8, 12)]
    return logits, per_scale, (torch.rand(2, 1, 32, 32, generator=generator) > 0.7).float()


def test_parts_add_up_with_their_weights(batch: tuple) -> None:
    logits, per_scale, masks = batch
    settings = LossSettings(dice=0.5, ual=2.0, scale_loss=0.3)
    parts = Objective(settings, scales=3, total_epochs=10)(logits, per_scale, masks, epoch=5)
    assert parts["loss"].item() == pytest.approx(sum(v.item() for k, v in parts.items() if k != "loss"))
    assert parts["structure"].item() == pytest.approx(structure_loss(logits, masks).item())
    assert parts["dice"].item() == pytest.approx(0.5 * dice_loss(logits, masks).item())
    assert parts["ual"].item() == pytest.approx(2.0 * 0.5 * uncertainty_aware_loss(logits).item())  # cosine at half way
    assert parts["scales"].item() > 0


def test_scale_weights_are_applied(batch: tuple) -> None:
    logits, per_scale, masks = batch
    values = []
    for weights in ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (2.0, 0.0, 0.0)):
        settings = LossSettings(main="bce", scale_loss=1.0, scale_weights=weights)
        values.append(Objective(settings, 3, 1)(logits, per_scale, masks, 0)["scales"].item())
    assert values[0] != pytest.approx(values[1])
    assert values[2] == pytest.approx(2 * values[0])
    assert (
        Objective(LossSettings(main="bce"), 3, 1)(logits, [], masks, 0)["bce"].item() == bce_loss(logits, masks).item()
    )


def test_supervision_of_the_scales_ends_after_its_epochs() -> None:
    objective = Objective(LossSettings(scale_epochs=2), scales=3, total_epochs=10)
    assert [objective.wants_scales(e) for e in range(4)] == [True, True, False, False]
    assert not Objective(LossSettings(scale_loss=0), 3, 10).wants_scales(0)
    assert not Objective(LossSettings(), 1, 10).wants_scales(0)


def test_weights_and_scales_must_agree() -> None:
    with pytest.raises(ValidationError, match=r"loss\.scale_weights: needs one weight per scale"):
        Config.model_validate({"model": {"scales": [0.75, 1.0]}})
    with pytest.raises(ValidationError, match=r"needs scales above 0 and 1\.0 among them"):
        Config.model_validate({"model": {"scales": [0.5, 0.75, 1.5]}})
    Config.model_validate({"model": {"scales": [0.75, 1.0]}, "loss": {"scale_weights": [1, 1]}})
