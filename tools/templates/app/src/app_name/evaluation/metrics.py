"""The metrics of an image: IoU of the mask at 0.5, and the mean absolute error of the probability map."""

import torch
from torch import Tensor

METRICS = ("IoU", "MAE")
METRIC = "IoU"  # chooses the epoch and the best baseline
LOWER_IS_BETTER = frozenset({"MAE"})


def score_masks(probability: Tensor, mask: Tensor) -> Tensor:
    """METRICS of each image.

    Args:
        probability: float [B, 1, H, W] in [0, 1].
        mask: the same shape, of 0 and 1.

    Returns:
        [B, 2]; two empty masks have an IoU of 1.
    """
    found, wanted = probability >= 0.5, mask >= 0.5
    both, either = (found & wanted).sum((1, 2, 3)), (found | wanted).sum((1, 2, 3))
    iou = torch.where(either > 0, both / either.clamp(min=1), 1.0)
    return torch.stack([iou, (probability.float() - mask).abs().mean((1, 2, 3))], dim=1)
