"""The loss of every input scale, weighted (camoXpert's ScaleAwareLossModule, which its trainer never used)."""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class ScaleAwareLoss(nn.Module):
    """sum_s weight_s x criterion(prediction_s, target): 0.5 L(0.5x) + 1.0 L(1.0x) + 0.5 L(1.5x) by default.

    forward: predictions, one [B, C, h_s, w_s] for each scale; targets [B, C, H, W]; criterion(prediction, target), a
    scalar; gives (total, {"scale_0": ..., ...}) with the unweighted parts, detached. Predictions are resized
    bilinearly to the targets, so that thin objects do not vanish from a small target; weight 0 skips its scale.
    """

    def __init__(self, scale_weights: Sequence[float] = (0.5, 1.0, 0.5)) -> None:
        super().__init__()
        if not scale_weights or min(scale_weights) < 0 or max(scale_weights) <= 0:
            raise ValueError(f"scale_weights must be numbers >= 0, one of them above 0, got {list(scale_weights)}")
        self.scale_weights = tuple(float(w) for w in scale_weights)

    def forward(
        self, predictions: Sequence[Tensor], targets: Tensor, criterion: Callable[[Tensor, Tensor], Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (total, parts); see the class."""
        if len(predictions) != len(self.scale_weights):
            raise ValueError(
                f"predictions must be one for each of the {len(self.scale_weights)} scales, got {len(predictions)}"
            )
        total = targets.new_zeros(())
        parts: dict[str, Tensor] = {}
        for i, (weight, prediction) in enumerate(zip(self.scale_weights, predictions, strict=True)):
            if weight > 0:
                resized = F.interpolate(prediction, targets.shape[-2:], mode="bilinear", align_corners=False)
                loss = criterion(resized, targets)
                total = total + weight * loss
                parts[f"scale_{i}"] = loss.detach()
        return total, parts

    def extra_repr(self) -> str:
        """Return the arguments that printing the module shows."""
        return f"scale_weights={self.scale_weights}"
