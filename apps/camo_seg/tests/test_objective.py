"""The training loss: every part and weight is applied, and the schedule of the scales' supervision."""

import pytest
import torch
from pydantic import ValidationError

from camo_seg.config import Config, LossSettings
from camo_seg.model.network import TrainingOutput
from camo_seg.objective import Objective
from polyscale.losses import bce_loss, dice_loss, structure_loss, uncertainty_aware_loss


@pytest.fixture
def batch() -> tuple[TrainingOutput, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 32, 32, generator=generator)
    per_scale = [torch.randn(2, 1, s, s, generator=generator) for s in (4, 8, 12)]
    masks = (torch.rand(2, 1, 32, 32, generator=generator) > 0.7).float()
    return TrainingOutput(logits, per_scale, [], None), masks


def test_parts_add_up_with_their_weights(batch: tuple) -> None:
    output, masks = batch
    logits = output.logits
    settings = LossSettings(dice=0.5, ual=2.0, scale_loss=0.3)
    parts = Objective(settings, scales=(0.5, 1.0, 1.5), total_epochs=10)(output, masks, epoch=5)
    assert parts["loss"].item() == pytest.approx(sum(v.item() for k, v in parts.items() if k != "loss"))
    assert parts["structure"].item() == pytest.approx(structure_loss(logits, masks).item())
    assert parts["dice"].item() == pytest.approx(0.5 * dice_loss(logits, masks).item())
    assert parts["ual"].item() == pytest.approx(2.0 * 0.5 * uncertainty_aware_loss(logits).item())  # cosine at half way
    assert parts["scales"].item() > 0


def test_scale_weights_are_applied(batch: tuple) -> None:
    output, masks = batch
    values = []
    for weights in ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (2.0, 0.0, 0.0)):
        settings = LossSettings(main="bce", scale_loss=1.0, scale_weights=weights)
        values.append(Objective(settings, (0.5, 1.0, 1.5), 1)(output, masks, 0)["scales"].item())
    assert values[0] != pytest.approx(values[1])
    assert values[2] == pytest.approx(2 * values[0])
    parts = Objective(LossSettings(main="bce"), (0.5, 1.0, 1.5), 1)(output._replace(scales=[]), masks, 0)
    assert set(parts) == {"loss", "bce"}
    assert parts["bce"].item() == bce_loss(output.logits, masks).item()


def test_supervision_of_the_scales_ends_after_its_epochs() -> None:
    objective = Objective(LossSettings(scale_epochs=2), scales=(0.5, 1.0, 1.5), total_epochs=10)
    assert [objective.wants_scales(e) for e in range(4)] == [True, True, False, False]
    assert not Objective(LossSettings(scale_loss=0), (0.5, 1.0), 10).wants_scales(0)
    assert not Objective(LossSettings(), (1.0,), 10).wants_scales(0)


def test_weights_and_scales_must_agree() -> None:
    with pytest.raises(ValidationError, match=r"loss\.scale_weights: needs one weight per scale"):
        Config.model_validate({"model": {"scales": [0.75, 1.0]}, "loss": {"scale_weights": [1, 1, 1]}})
    with pytest.raises(ValidationError, match=r"needs scales above 0 and 1\.0 among them"):
        Config.model_validate({"model": {"scales": [0.5, 0.75, 1.5]}})
    Config.model_validate({"model": {"scales": [0.75, 1.0]}, "loss": {"scale_weights": [1, 1]}})
    assert Objective(LossSettings(), (0.75, 1.0), 1).per_scale.scale_weights == (0.5, 1.0)  # type: ignore[union-attr]
