"""What the network is trained on: cross-entropy and per-image Dice."""

from torch import Tensor

from iqa.config import LossSettings
from polyscale.losses import bce_loss, dice_loss


class Objective:
    """(logits, masks) -> {"loss": total, parts...}; all scalars, parts already weighted."""

    def __init__(self, settings: LossSettings) -> None:
        self.settings = settings

    def __call__(self, logits: Tensor, masks: Tensor) -> dict[str, Tensor]:
        parts = {"bce": bce_loss(logits, masks)}
        if self.settings.dice:
            parts["dice"] = self.settings.dice * dice_loss(logits, masks)
        return {"loss": sum(parts.values(), start=logits.new_zeros(())), **parts}
