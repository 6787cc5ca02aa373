"""What the segmenter is trained on: structure loss, per-image Dice, ambiguity loss, and each scale's own loss."""

from collections.abc import Callable

from torch import Tensor

from camo_seg.config import LossSettings
from polyscale.losses import (
    ScaleAwareLoss,
    bce_loss,
    dice_loss,
    iou_loss,
    structure_loss,
    ual_weight,
    uncertainty_aware_loss,
)

Criterion = Callable[[Tensor, Tensor], Tensor]


class Objective:
    """(logits, per-scale logits, masks) -> {"loss": total, parts...}; all scalars, parts already weighted."""

    def __init__(self, settings: LossSettings, scales: int, total_epochs: int) -> None:
        self.settings = settings
        criteria: dict[str, Criterion] = {"structure": structure_loss, "bce": bce_loss, "bce_iou": _bce_iou}
        self.criterion = criteria[settings.main]
        self.per_scale = ScaleAwareLoss(scale_weights=list(settings.scale_weights)) if scales > 1 else None
        self.total_epochs = total_epochs

    def wants_scales(self, epoch: int) -> bool:
        """Return whether the model should predict at each scale in this epoch."""
        s = self.settings
        return self.per_scale is not None and s.scale_loss > 0 and (s.scale_epochs is None or epoch < s.scale_epochs)

    def __call__(self, logits: Tensor, per_scale: list[Tensor], masks: Tensor, epoch: int) -> dict[str, Tensor]:
        """Return the losses of a batch by name, "loss" being their sum."""
        s = self.settings
        parts: dict[str, Tensor] = {s.main: self.criterion(logits, masks)}
        if s.dice:
            parts["dice"] = s.dice * dice_loss(logits, masks)
        if s.ual:
            weight = s.ual * ual_weight(epoch / self.total_epochs)
            parts["ual"] = weight * uncertainty_aware_loss(logits)
        if per_scale and self.per_scale is not None:
            parts["scales"] = s.scale_loss * self.per_scale(per_scale, masks, self.criterion)[0]
        return {"loss": sum(parts.values(), start=logits.new_zeros(())), **parts}


def _bce_iou(logits: Tensor, masks: Tensor) -> Tensor:
    return bce_loss(logits, masks) + iou_loss(logits, masks)
