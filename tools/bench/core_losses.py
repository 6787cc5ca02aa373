"""Cases of `core.py`: the losses.

Sizes are those of the apps, small enough for a processor.
"""

import torch
from casebook import image
from interleaved import Pair, Side
from torch import Tensor


def focal_loss() -> Pair:
    """Torchvision sigmoid_focal_loss."""
    from torchvision.ops import sigmoid_focal_loss

    from polyscale.losses import focal_loss as ours

    logits, targets = image(8, 2000, 80), (torch.rand(8, 2000, 80) < 0.01).float()

    def peer(logits: Tensor, targets: Tensor) -> Tensor:
        return sigmoid_focal_loss(logits, targets, reduction="sum") / targets.sum()

    return Pair(Side(ours, (logits, targets)), Side(peer, (logits, targets)), same=True)


def boxes(number: int) -> Tensor:
    """Random boxes (x1, y1, x2, y2) on a 640 px image."""
    corner = torch.rand(number, 2) * 600
    return torch.cat([corner, corner + 4 + torch.rand(number, 2) * 200], dim=-1)


def giou_loss() -> Pair:
    """Torchvision generalized_box_iou_loss."""
    from torchvision.ops import generalized_box_iou_loss

    from polyscale.losses import giou_loss as ours

    arguments = (boxes(20_000).requires_grad_(), boxes(20_000))
    return Pair(Side(ours, arguments), Side(generalized_box_iou_loss, arguments), same=True)


def ciou_loss() -> Pair:
    """Torchvision complete_box_iou_loss."""
    from torchvision.ops import complete_box_iou_loss

    from polyscale.losses import ciou_loss as ours

    arguments = (boxes(20_000).requires_grad_(), boxes(20_000))
    return Pair(Side(ours, arguments), Side(complete_box_iou_loss, arguments), same=True)


def detections(layers: int) -> tuple[dict[str, object], list[dict[str, Tensor]]]:
    """Outputs of `layers` decoder layers for 8 images, 300 queries, 80 classes; 0 to 14 targets an image."""
    predicted = [
        {"logits": image(8, 300, 80), "pred_boxes": torch.rand(8, 300, 4).requires_grad_()} for _ in range(layers)
    ]
    targets = [{"class_labels": torch.randint(80, (2 * i,)), "boxes": torch.rand(2 * i, 4) / 2} for i in range(8)]
    return {**predicted[-1], "auxiliary_outputs": predicted[:-1]}, targets


def set_loss() -> Pair:
    """Transformers Deformable DETR matcher and loss, 6 layers."""
    from transformers.loss.loss_deformable_detr import DeformableDetrHungarianMatcher, DeformableDetrImageLoss

    from polyscale.losses import SetLoss, SetTerms

    arguments = detections(6)
    matcher = DeformableDetrHungarianMatcher(class_cost=2, bbox_cost=5, giou_cost=2)
    criterion = DeformableDetrImageLoss(matcher, 80, 0.25, ["labels", "boxes"])
    weights = {"ce": 1.0, "bbox": 5.0, "giou": 2.0}

    def peer(outputs: dict[str, object], targets: list[dict[str, Tensor]]) -> Tensor:
        return sum(weights[name.split("_")[1]] * part for name, part in criterion(outputs, targets).items())

    ours = SetLoss(SetTerms(1, 5, 2))
    return Pair(Side(lambda *given: ours(*given)["loss"], arguments), Side(peer, arguments), same=True)


def hungarian_match() -> Pair:
    """Transformers Deformable DETR matcher (no gradients)."""
    from transformers.loss.loss_deformable_detr import DeformableDetrHungarianMatcher

    from polyscale.losses import hungarian_match as ours

    outputs, targets = detections(1)
    matcher = DeformableDetrHungarianMatcher(class_cost=2, bbox_cost=5, giou_cost=2)
    logits, predicted = outputs["logits"], outputs["pred_boxes"]
    return Pair(Side(ours, (logits, predicted, targets)), Side(matcher, (outputs, targets)), same=True)


CASES = (
    focal_loss,
    giou_loss,
    ciou_loss,
    set_loss,
    hungarian_match,
)
