"""Evaluation over any number of processes, and the trivial baselines that stand beside the model.

Batches are dealt to the processes whole and only sums are exchanged: nothing padded or repeated is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from iqa.data import Discs

if TYPE_CHECKING:
    from accelerate import Accelerator

Predict = Callable[[Tensor], Tensor]  # images [B, 3, S, S] in [0, 1] -> probabilities [B, 1, S, S]

METRICS = ("IoU", "MAE")
BASELINES: dict[str, Predict] = {
    "everything": lambda images: torch.ones_like(images[:, :1]),
    "brighter than the mean": lambda images: (images - images.mean((2, 3), keepdim=True)).mean(1, keepdim=True).gt(0),
}


def probabilities(model: nn.Module) -> Predict:
    """A network that gives logits as what `evaluate` takes."""
    return lambda images: model(images).sigmoid()


@torch.inference_mode()
def evaluate(
    predict: Predict,
    dataset: Discs,
    *,
    accelerator: Accelerator | None = None,
    device: torch.device | str = "cpu",
    batch_size: int = 32,
) -> dict[str, float]:
    """METRICS averaged over the images; the same in every process of `accelerator`, which computes its share."""
    rank, world = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    device = accelerator.device if accelerator else device
    total = torch.zeros(len(METRICS), device=device)
    for start in range(rank * batch_size, len(dataset), world * batch_size):
        batch = default_collate([dataset[i] for i in range(start, min(start + batch_size, len(dataset)))])
        total += scores(predict(batch["image"].to(device)), batch["mask"].to(device)).sum(0)
    if accelerator:
        total = accelerator.reduce(total, "sum")
    return dict(zip(METRICS, (total / len(dataset)).tolist(), strict=True))


def scores(probability: Tensor, mask: Tensor) -> Tensor:
    """[B, 1, H, W] twice -> METRICS of each image, [B, 2]; two empty masks have an IoU of 1."""
    found, wanted = probability >= 0.5, mask >= 0.5
    both, either = (found & wanted).sum((1, 2, 3)), (found | wanted).sum((1, 2, 3))
    iou = torch.where(either > 0, both / either.clamp(min=1), 1.0)
    return torch.stack([iou, (probability.float() - mask).abs().mean((1, 2, 3))], dim=1)
