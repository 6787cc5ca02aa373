"""What the network is trained on: cross-entropy and per-image Dice."""

from torch import Tensor

from app_name.config import LossSettings
from polyscale.losses import bce_loss, dice_loss


class Objective:
    """The training loss."""

    def __init__(self, settings: LossSettings) -> None:
        self.settings = settings

    def __call__(self, logits: Tensor, masks: Tensor) -> dict[str, Tensor]:
        """Return {"loss": total, parts...} of logits and masks [B, 1, H, W]: scalars, parts already weighted."""
        parts = {"bce": bce_loss(logits, masks)}
        if self.settings.dice:
            parts["dice"] = self.settings.dice * dice_loss(logits, masks)
        return {"loss": sum(parts.values(), start=logits.new_zeros(())), **parts}
