"""What the segmenter is trained on, each part by its weight: see config.LossSettings."""

from collections.abc import Callable, Sequence

from torch import Tensor

from camo_seg.config import LossSettings
from camo_seg.model.mixture import Routing, balance_loss, expert_names
from camo_seg.model.network import TrainingOutput
from polyscale.losses import (
    ScaleAwareLoss,
    bce_loss,
    boundary_loss,
    dice_loss,
    iou_loss,
    structure_loss,
    ual_weight,
    uncertainty_aware_loss,
)

Criterion = Callable[[Tensor, Tensor], Tensor]
USE = "use_"  # begins the name of what is logged of an expert's use, which is no loss


class Objective:
    """(output of the network, masks) -> {"loss": total, parts...}; all scalars, parts already weighted.

    A mixture adds "use_edge", "use_texture", ...: each expert's share of the choices, which the total leaves out.

    Args:
        settings: The parts and their weights.
        scales: The network's input scales.
        total_epochs: Of the training.
        over_processes: Returns the mean of a tensor over all processes, by which a mixture's balance is that of the
            whole step.
    """

    def __init__(
        self,
        settings: LossSettings,
        scales: Sequence[float],
        total_epochs: int,
        over_processes: Callable[[Tensor], Tensor] = Tensor.detach,
    ) -> None:
        self.settings, self.over_processes = settings, over_processes
        criteria: dict[str, Criterion] = {"structure": structure_loss, "bce": bce_loss, "bce_iou": _bce_iou}
        self.criterion = criteria[settings.main]
        weights = settings.scale_weights or [1.0 if scale == 1 else 0.5 for scale in scales]
        self.per_scale = ScaleAwareLoss(scale_weights=weights) if len(scales) > 1 else None
        self.total_epochs = total_epochs

    def wants_scales(self, epoch: int) -> bool:
        """Return whether the model should predict at each scale in this epoch."""
        s = self.settings
        return self.per_scale is not None and s.scale_loss > 0 and (s.scale_epochs is None or epoch < s.scale_epochs)

    def __call__(self, output: TrainingOutput, masks: Tensor, epoch: int) -> dict[str, Tensor]:
        """Return the losses of a batch by name, "loss" being their sum."""
        s, logits = self.settings, output.logits
        parts: dict[str, Tensor] = {s.main: self.criterion(logits, masks)}
        if s.dice:
            parts["dice"] = s.dice * dice_loss(logits, masks)
        if s.boundary:
            parts["boundary"] = s.boundary * boundary_loss(logits, masks)
        if s.ual:
            weight = s.ual * ual_weight(epoch / self.total_epochs)
            parts["ual"] = weight * uncertainty_aware_loss(logits)
        if output.scales and self.per_scale is not None:
            parts["scales"] = s.scale_loss * self.per_scale(output.scales, masks, self.criterion)[0]
        if output.levels and s.deep:
            alike = ScaleAwareLoss([1 / len(output.levels)] * len(output.levels))
            parts["deep"] = s.deep * alike(output.levels, masks, self.criterion)[0]
        if output.routing is not None and s.balance:
            use = self.over_processes(output.routing.use)
            parts["balance"] = s.balance * balance_loss(output.routing, use)
        shares = {} if output.routing is None else _shares(output.routing)
        return {"loss": sum(parts.values(), start=logits.new_zeros(())), **parts, **shares}


def _shares(routing: Routing) -> dict[str, Tensor]:
    return {USE + name: share for name, share in zip(expert_names(len(routing.use)), routing.use, strict=True)}


def _bce_iou(logits: Tensor, masks: Tensor) -> Tensor:
    return bce_loss(logits, masks) + iou_loss(logits, masks)
