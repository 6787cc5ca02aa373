"""Set prediction of boxes: Hungarian matching with focal, L1 and GIoU costs, and the loss on the matched sets.

After DETR (Carion et al. 2020, arXiv 2005.12872) in the sigmoid form of Deformable DETR (Zhu et al. 2021, 2010.04159);
equal to transformers' DeformableDetrHungarianMatcher and DeformableDetrImageLoss, against which it is tested. What
differs: costs only within an image and only for its own classes, all decoder layers matched in one transfer to the
processor; a cost that is not a number is an error and not a silent bad match; nothing is reduced over processes unless
you pass the count; grouped queries (Group DETR, 2207.13085).

L decoder layers, B images, Q queries, K classes (K sigmoids, no background class), T boxes of an image. Boxes are
(centre x, centre y, width, height) as fractions of the image. Targets are a list of B dicts: "class_labels", int64
[T] in [0, K), and "boxes" [T, 4]; T may be 0. Computed in float32 (float64 stays float64), also under autocast.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from polyscale.losses._common import at_least_one, upcast
from polyscale.losses.boxes import cxcywh_to_xyxy, focal_loss, giou_loss, pairwise_giou

Targets = Sequence[Mapping[str, Tensor]]
Match = tuple[Tensor, Tensor]


class SetTerms(NamedTuple):
    """How much each term counts, in the matching cost or in the loss."""

    label: float
    l1: float
    giou: float


DEFORMABLE_DETR = SetTerms(2.0, 5.0, 2.0)


def hungarian_match(
    logits: Tensor,
    boxes: Tensor,
    targets: Targets,
    costs: SetTerms = DEFORMABLE_DETR,
    alpha: float = 0.25,
    gamma: float = 2.0,
    groups: int = 1,
) -> list[tuple[Tensor, Tensor]]:
    """The cheapest one-to-one assignment of queries to targets, image by image: [(queries, targets)] * B, int64.

    `logits` [B, Q, K] and `boxes` [B, Q, 4] of the queries. Each of the `groups` equal parts of the queries is matched
    to all targets by itself. With more targets than queries in a group the dearest targets stay unmatched. Needs scipy.
    Raises ValueError on shapes, labels or boxes out of range, and where a cost is not finite.
    """
    _check_queries(logits, boxes, groups)
    targets = _checked_targets(targets, logits)
    matches = _match(logits, boxes, targets, costs, alpha, gamma, groups)
    return [(queries.to(logits.device), chosen.to(logits.device)) for queries, chosen in matches]


class SetLoss(nn.Module):
    """Focal loss on the labels of all queries, L1 and GIoU on the boxes of the matched ones.

    `weights` and `costs` weigh (label, l1, giou) in the loss and in the matching; the defaults are Deformable DETR's
    (transformers uses 1 for the label loss). `groups` as in `hungarian_match`.
    """

    def __init__(
        self,
        weights: SetTerms = DEFORMABLE_DETR,
        costs: SetTerms = DEFORMABLE_DETR,
        alpha: float = 0.25,
        gamma: float = 2.0,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.weights, self.costs = SetTerms(*weights), SetTerms(*costs)
        if min(self.costs) < 0 or max(self.costs) <= 0:
            raise ValueError(f"costs must be numbers >= 0 and not all 0, got {list(self.costs)}")
        if groups < 1:
            raise ValueError(f"groups must be a number >= 1, got {groups}")
        self.alpha, self.gamma, self.groups = alpha, gamma, groups

    def forward(
        self, outputs: Mapping[str, Any], targets: Targets, num_boxes: float | Tensor | None = None
    ) -> dict[str, Tensor]:
        """Match the queries of every decoder layer to the targets and return the losses.

        Without any target the box parts are 0 and the labels still learn that nothing is there.

        Args:
            outputs: "logits" [B, Q, K], "pred_boxes" [B, Q, 4] and, for the earlier decoder layers, optionally
                "auxiliary_outputs", a list of dicts of the same two.
            targets: one dict per image, as above.
            num_boxes: divisor of all losses, at least 1: the mean number of targets per process, such as
                `accelerator.reduce(count, "mean")`; by default the number of targets here.

        Returns:
            "loss", the weighted sum over all layers, and the unweighted parts "label", "l1", "giou" of the last layer,
            "label_0", "l1_0", ... of the auxiliary ones.

        Raises:
            ValueError: as `hungarian_match`.
        """
        layers = _checked_layers(outputs, self.groups)
        targets = _checked_targets(targets, layers[0][0])
        logits, boxes = (torch.cat(tensors) for tensors in zip(*layers, strict=True))
        matches = _match(logits, boxes, list(targets) * len(layers), self.costs, self.alpha, self.gamma, self.groups)
        if num_boxes is None:
            num_boxes = sum(len(target["boxes"]) for target in targets)
        num_boxes = at_least_one(num_boxes) * self.groups
        parts: dict[str, Tensor] = {}
        losses = []
        for number, layer in enumerate(layers):
            matched = matches[number * len(targets) : (number + 1) * len(targets)]
            terms = self._terms(*layer, targets, matched, num_boxes)
            losses += [weight * term for weight, term in zip(self.weights, terms, strict=True)]
            suffix = f"_{number - 1}" if number else ""
            parts.update({name + suffix: term for name, term in zip(SetTerms._fields, terms, strict=True)})
        return {"loss": torch.stack(losses).sum(), **parts}

    def _terms(
        self, logits: Tensor, boxes: Tensor, targets: Targets, matches: list[Match], num_boxes: float | Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        images, queries, chosen = _flat_indices(matches, targets).to(logits.device).unbind()
        labels = torch.cat([target["class_labels"] for target in targets])[chosen]
        wanted = upcast(torch.cat([target["boxes"] for target in targets])[chosen])
        present_BQK = torch.zeros_like(logits)
        present_BQK[images, queries, labels] = 1
        found = upcast(boxes[images, queries])
        return (
            focal_loss(logits, present_BQK, self.alpha, self.gamma, num_positives=num_boxes),
            (found - wanted).abs().sum() / num_boxes,
            giou_loss(cxcywh_to_xyxy(found), cxcywh_to_xyxy(wanted), reduction="sum") / num_boxes,
        )


def _match(
    logits: Tensor, boxes: Tensor, targets: Targets, costs: SetTerms, alpha: float, gamma: float, groups: int
) -> list[Match]:
    """The pairs of every image, on the processor, where scipy works."""
    cost_BQT = _cost(logits.detach(), boxes.detach(), targets, costs, alpha, gamma).cpu()
    _check_finite(cost_BQT, logits, boxes)
    return [
        _assign(cost_QT[:, : len(target["boxes"])], groups) for cost_QT, target in zip(cost_BQT, targets, strict=True)
    ]


def _flat_indices(matches: list[Match], targets: Targets) -> Tensor:
    """Image, query and position among the targets of all images for each matched pair, [3, M]."""
    columns, before = [], 0
    for image, ((queries, chosen), target) in enumerate(zip(matches, targets, strict=True)):
        columns.append(torch.stack([torch.full_like(queries, image), queries, chosen + before]))
        before += len(target["boxes"])
    return torch.cat(columns, dim=1)


def _cost(logits: Tensor, boxes: Tensor, targets: Targets, costs: SetTerms, alpha: float, gamma: float) -> Tensor:
    """[B, Q, T], padded to the image with most targets."""
    labels_BT = pad_sequence([target["class_labels"] for target in targets], batch_first=True)
    wanted = upcast(pad_sequence([target["boxes"] for target in targets], batch_first=True))
    boxes = upcast(boxes)
    p = upcast(logits).gather(2, labels_BT[:, None, :].expand(-1, logits.shape[1], -1)).sigmoid()
    absent = (1 - alpha) * p**gamma * -(1 - p + 1e-8).log()
    present = alpha * (1 - p) ** gamma * -(p + 1e-8).log()
    l1 = (boxes[:, :, None] - wanted[:, None]).abs().sum(dim=-1)
    giou = pairwise_giou(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(wanted))
    return costs.label * (present - absent) + costs.l1 * l1 - costs.giou * giou


def _assign(cost_QT: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    from scipy.optimize import linear_sum_assignment  # costs half a second to import

    size = len(cost_QT) // groups
    pairs = [linear_sum_assignment(part.numpy()) for part in cost_QT.split(size)] if cost_QT.numel() else []
    queries = [torch.as_tensor(rows, dtype=torch.int64) + group * size for group, (rows, _) in enumerate(pairs)]
    chosen = [torch.as_tensor(columns, dtype=torch.int64) for _, columns in pairs]
    empty = torch.empty(0, dtype=torch.int64)
    return torch.cat([empty, *queries]), torch.cat([empty, *chosen])


def _check_queries(logits: Tensor, boxes: Tensor, groups: int) -> None:
    if logits.ndim != 3:
        raise ValueError(f"logits must be [B, Q, K], got {list(logits.shape)}")
    B, Q, _ = logits.shape
    if boxes.shape != (B, Q, 4):
        raise ValueError(f"boxes must be {[B, Q, 4]} like logits, got {list(boxes.shape)}")
    if groups < 1 or Q % groups:
        raise ValueError(f"groups must be a divisor of the {Q} queries, got {groups}")


def _checked_layers(outputs: Mapping[str, Any], groups: int) -> list[tuple[Tensor, Tensor]]:
    """(logits, boxes) of the last layer and of the auxiliary ones."""
    layers: list[tuple[Tensor, Tensor]] = []
    for layer in (outputs, *outputs.get("auxiliary_outputs", ())):
        if not {"logits", "pred_boxes"} <= set(layer):
            raise ValueError(f"outputs must have 'logits' and 'pred_boxes' in every layer, got {sorted(layer)}")
        logits, boxes = layer["logits"], layer["pred_boxes"]
        _check_queries(logits, boxes, groups)
        if layers and logits.shape != layers[0][0].shape:
            raise ValueError(
                f"auxiliary_outputs must have logits {list(layers[0][0].shape)} like the last layer, "
                f"got {list(logits.shape)}"
            )
        layers.append((logits, boxes))
    return layers


def _checked_targets(targets: Targets, logits: Tensor) -> Targets:
    """The targets on the device of the logits."""
    B, _, K = logits.shape
    if len(targets) != B:
        raise ValueError(f"targets must be {B} dicts, one for each image, got {len(targets)}")
    for image, target in enumerate(targets):
        if not {"class_labels", "boxes"} <= set(target):
            raise ValueError(f"targets must have 'class_labels' and 'boxes', got {sorted(target)} for image {image}")
        labels, boxes = target["class_labels"], target["boxes"]
        if labels.ndim != 1 or labels.dtype != torch.int64:
            raise ValueError(
                f"targets must have class_labels [T] of torch.int64, got {list(labels.shape)} of {labels.dtype} for "
                f"image {image}"
            )
        if boxes.shape != (len(labels), 4):
            raise ValueError(
                f"targets must have boxes {[len(labels), 4]} like labels, got {list(boxes.shape)} for image {image}"
            )
    _check_values(torch.cat([t["class_labels"] for t in targets]), torch.cat([t["boxes"] for t in targets]), K)
    return [{name: target[name].to(logits.device) for name in ("class_labels", "boxes")} for target in targets]


def _check_values(labels: Tensor, boxes: Tensor, K: int) -> None:
    if not labels.numel():
        return
    # A label out of range would end a CUDA process without a word about labels; pixels would train on nonsense.
    low, high = (int(value) for value in labels.aminmax())
    if low < 0 or high >= K:
        raise ValueError(f"targets must have class_labels in [0, {K}) with {K} logits, got {low} to {high}")
    smallest, largest = (float(value) for value in boxes.aminmax())
    if not (smallest >= -1e-3 and largest <= 1 + 1e-3):
        raise ValueError(
            "targets must have boxes (centre x, centre y, width, height) as fractions of the image in [0, 1], got "
            f"{smallest:.4g} to {largest:.4g}"
        )


def _check_finite(cost_BQT: Tensor, logits: Tensor, boxes: Tensor) -> None:
    if cost_BQT.isfinite().all():
        return
    image = int((~cost_BQT.isfinite()).flatten(1).any(dim=1).nonzero()[0])
    name = "logits" if not logits[image].isfinite().all() else "boxes"
    raise ValueError(
        f"{name} must be finite, got NaN or infinity for image {image}: the training has diverged, "
        "lower the learning rate or clip the gradient"
    )
