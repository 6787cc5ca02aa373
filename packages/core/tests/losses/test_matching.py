"""Set prediction: equal to transformers' Deformable DETR matcher and loss, and clear where that stays silent."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from polyscale.losses.boxes import cxcywh_to_xyxy
from polyscale.losses.matching import SetLoss, SetTerms, hungarian_match

K = 5


def random_boxes(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    extent = 0.05 + 0.4 * torch.rand(*shape, 2, dtype=dtype)
    return torch.cat([extent / 2 + torch.rand(*shape, 2, dtype=dtype) * (1 - extent), extent], dim=-1)


def random_layer(B: int, Q: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    return {
        "logits": torch.randn(B, Q, K, dtype=dtype).requires_grad_(),
        "pred_boxes": random_boxes(B, Q, dtype=dtype).requires_grad_(),
    }


def random_targets(counts: list[int], dtype: torch.dtype = torch.float32) -> list[dict[str, Tensor]]:
    return [{"class_labels": torch.randint(K, (T,)), "boxes": random_boxes(T, dtype=dtype)} for T in counts]


@pytest.mark.parametrize("counts", [[3, 0, 7], [1, 1], [0, 0], [12, 2]])
@pytest.mark.parametrize("seed", range(3))
def test_matches_are_transformers(counts: list[int], seed: int) -> None:
    module = pytest.importorskip("transformers.loss.loss_deformable_detr")
    torch.manual_seed(seed)
    layer, targets = random_layer(len(counts), 9), random_targets(counts)
    matches = hungarian_match(layer["logits"], layer["pred_boxes"], targets)
    expected = module.DeformableDetrHungarianMatcher(class_cost=2, bbox_cost=5, giou_cost=2)(layer, targets)
    for (queries, chosen), (expected_queries, expected_chosen) in zip(matches, expected, strict=True):
        assert queries.tolist() == expected_queries.tolist()
        assert chosen.tolist() == expected_chosen.tolist()


@pytest.mark.parametrize("counts", [[3, 0, 7], [0, 0]])
@pytest.mark.parametrize("auxiliary", [0, 2])
def test_loss_and_gradients_are_transformers(counts: list[int], auxiliary: int) -> None:
    module = pytest.importorskip("transformers.loss.loss_deformable_detr")
    torch.manual_seed(1)
    layers = [random_layer(len(counts), 9) for _ in range(auxiliary + 1)]
    targets = random_targets(counts)
    outputs = {**layers[-1], "auxiliary_outputs": layers[:-1]} if auxiliary else layers[-1]
    ours = SetLoss(weights=SetTerms(1, 5, 2))(outputs, targets)
    config = SimpleNamespace(
        class_cost=2, bbox_cost=5, giou_cost=2, num_labels=K, focal_alpha=0.25, auxiliary_loss=bool(auxiliary),
        bbox_loss_coefficient=5, giou_loss_coefficient=2, decoder_layers=auxiliary + 1,
    )  # fmt: skip
    stacked = [torch.stack([layer[name] for layer in layers]) for name in ("logits", "pred_boxes")]
    loss, parts, _ = module.DeformableDetrForObjectDetectionLoss(
        layers[-1]["logits"], targets, "cpu", layers[-1]["pred_boxes"], config, *stacked
    )
    torch.testing.assert_close(ours["loss"], loss)
    for suffix in ("", *(f"_{layer}" for layer in range(auxiliary))):
        for name, their_name in (("label", "loss_ce"), ("l1", "loss_bbox"), ("giou", "loss_giou")):
            torch.testing.assert_close(ours[name + suffix], parts[their_name + suffix])
    leaves = [tensor for layer in layers for tensor in layer.values()]
    for mine, theirs in zip(torch.autograd.grad(ours["loss"], leaves), torch.autograd.grad(loss, leaves), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_matching_is_the_best_of_all_assignments() -> None:
    from itertools import permutations

    torch.manual_seed(2)
    layer, targets = random_layer(1, 5, torch.float64), random_targets([3], torch.float64)
    boxes, wanted = layer["pred_boxes"][0].detach(), targets[0]["boxes"]
    cost = torch.cdist(boxes, wanted, p=1)  # only L1: an independent cost
    (queries, chosen), *_ = hungarian_match(layer["logits"], layer["pred_boxes"], targets, SetTerms(0, 1, 0))
    best = min(sum(cost[q, t] for t, q in enumerate(order)) for order in permutations(range(5), 3))
    assert cost[queries, chosen].sum().item() == pytest.approx(best.item())


def test_groups_are_matched_by_themselves() -> None:
    torch.manual_seed(3)
    layer, targets = random_layer(2, 6), random_targets([2, 3])
    grouped = hungarian_match(layer["logits"], layer["pred_boxes"], targets, groups=2)
    for start in (0, 3):
        part = hungarian_match(
            layer["logits"][:, start : start + 3], layer["pred_boxes"][:, start : start + 3], targets
        )
        for (queries, chosen), (part_queries, part_chosen) in zip(grouped, part, strict=True):
            inside = (queries >= start) & (queries < start + 3)
            assert (queries[inside] - start).tolist() == part_queries.tolist()
            assert chosen[inside].tolist() == part_chosen.tolist()
    # Each group is a full set prediction, so the loss is their mean.
    halves = [{name: tensor[:, start : start + 3] for name, tensor in layer.items()} for start in (0, 3)]
    mean = sum(SetLoss()(half, targets)["loss"] for half in halves) / 2
    torch.testing.assert_close(SetLoss(groups=2)(layer, targets)["loss"], mean)


def test_num_boxes_is_an_argument_and_never_below_one() -> None:
    torch.manual_seed(4)
    layer, targets = random_layer(2, 6), random_targets([3, 1])
    own, given = SetLoss()(layer, targets), SetLoss()(layer, targets, num_boxes=torch.tensor(8.0))
    for name in own:
        torch.testing.assert_close(given[name], own[name] / 2)
    torch.testing.assert_close(SetLoss()(layer, targets, num_boxes=0)["l1"], own["l1"] * 4)


def test_no_targets_at_all_still_trains_the_labels() -> None:
    torch.manual_seed(5)
    layer = random_layer(2, 6)
    losses = SetLoss()(layer, random_targets([0, 0]))
    assert losses["l1"].item() == losses["giou"].item() == 0
    losses["loss"].backward()
    assert (layer["logits"].grad > 0).all()
    assert (layer["pred_boxes"].grad == 0).all()


def test_more_targets_than_queries() -> None:
    torch.manual_seed(6)
    layer, targets = random_layer(1, 3), random_targets([7])
    ((queries, chosen),) = hungarian_match(layer["logits"], layer["pred_boxes"], targets)
    assert sorted(queries.tolist()) == [0, 1, 2]
    assert len(set(chosen.tolist())) == 3
    assert SetLoss()(layer, targets)["loss"].isfinite()


def test_empty_boxes_are_finite() -> None:
    layer = {"logits": torch.zeros(1, 2, K, requires_grad=True), "pred_boxes": torch.zeros(1, 2, 4, requires_grad=True)}
    targets = [{"class_labels": torch.tensor([1]), "boxes": torch.zeros(1, 4)}]
    losses = SetLoss()(layer, targets)
    losses["loss"].backward()
    assert losses["loss"].isfinite()
    assert all(tensor.grad.isfinite().all() for tensor in layer.values())


def test_set_loss_finds_the_objects() -> None:
    """Six free queries become the three objects and three background queries."""
    torch.manual_seed(7)
    targets = random_targets([3, 1])
    logits, raw = torch.randn(2, 6, K).requires_grad_(), torch.randn(2, 6, 4).requires_grad_()
    optimizer = torch.optim.Adam([logits, raw], 0.05)
    criterion = SetLoss()
    for _ in range(250):
        optimizer.zero_grad()
        criterion({"logits": logits, "pred_boxes": raw.sigmoid()}, targets)["loss"].backward()
        optimizer.step()
    matches = hungarian_match(logits, raw.sigmoid(), targets)
    for image, ((queries, chosen), target) in enumerate(zip(matches, targets, strict=True)):
        scores = logits[image].sigmoid()
        assert scores[queries, target["class_labels"][chosen]].min() > 0.5
        assert (scores > 0.5).sum() == len(queries)
        distance = (cxcywh_to_xyxy(raw[image].sigmoid()[queries]) - cxcywh_to_xyxy(target["boxes"][chosen])).abs()
        assert distance.max() < 0.03


def test_gradcheck() -> None:
    torch.manual_seed(8)
    layer, targets = random_layer(2, 4, torch.float64), random_targets([2, 1], torch.float64)

    def loss(logits: Tensor, boxes: Tensor) -> Tensor:
        return SetLoss()({"logits": logits, "pred_boxes": boxes}, targets)["loss"]

    assert torch.autograd.gradcheck(loss, (layer["logits"], layer["pred_boxes"]))


def test_autocast_computes_in_float32() -> None:
    torch.manual_seed(9)
    layer, targets = random_layer(2, 6), random_targets([2, 3])
    half = {name: tensor.detach().bfloat16() for name, tensor in layer.items()}
    with torch.autocast("cpu", torch.bfloat16):
        losses = SetLoss()(half, targets)
    reference = SetLoss()({name: tensor.float() for name, tensor in half.items()}, targets)
    for name, value in losses.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, reference[name])


@pytest.mark.parametrize(("name", "bad"), [("logits", float("nan")), ("boxes", float("nan")), ("boxes", float("inf"))])
def test_diverged_predictions_are_an_error(name: str, bad: float) -> None:
    torch.manual_seed(10)
    layer, targets = random_layer(3, 4), random_targets([1, 1, 2])
    with torch.no_grad():
        (layer["logits"] if name == "logits" else layer["pred_boxes"])[1, 2] = bad
    with pytest.raises(ValueError, match=f"{name} must be finite, got NaN or infinity for image 1.*diverged"):
        SetLoss()(layer, targets)


LAYER = {"logits": torch.zeros(2, 4, K), "pred_boxes": torch.full((2, 4, 4), 0.5)}
GOOD = [{"class_labels": torch.tensor([1]), "boxes": torch.full((1, 4), 0.5)}] * 2


def bad_target(**changes: Tensor) -> list[dict[str, Tensor]]:
    return [GOOD[0], {**GOOD[1], **changes}]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SetLoss()({"logits": LAYER["logits"]}, GOOD), r"outputs must have .*, got \['logits'\]"),
        (lambda: SetLoss()({**LAYER, "logits": torch.zeros(4, K)}, GOOD), r"logits must be .*, got \[4, 5\]"),
        (lambda: SetLoss()({**LAYER, "pred_boxes": torch.zeros(2, 3, 4)}, GOOD), r"boxes must be .*, got \[2, 3, 4\]"),
        (lambda: SetLoss()(LAYER, GOOD[:1]), "targets must be 2 dicts.*, got 1"),
        (lambda: SetLoss()(LAYER, [{}, {}]), r"targets must have .*, got \[\] for image 0"),
        (lambda: SetLoss()(LAYER, bad_target(class_labels=torch.tensor([K]))), r"class_labels in \[0, 5\).*got 1 to 5"),
        (lambda: SetLoss()(LAYER, bad_target(class_labels=torch.tensor([-1]))), "got -1 to 1"),
        (lambda: SetLoss()(LAYER, bad_target(class_labels=torch.tensor([1.0]))), "got .*torch.float32 for image 1"),
        (lambda: SetLoss()(LAYER, bad_target(boxes=torch.zeros(2, 4))), r"boxes \[1, 4\].*, got \[2, 4\] for image 1"),
        (lambda: SetLoss()(LAYER, bad_target(boxes=torch.full((1, 4), 99.0))), "fractions.*got 0.5 to 99"),
        (lambda: SetLoss()(LAYER, bad_target(boxes=torch.full((1, 4), np.nan))), "got nan to nan"),
        (lambda: SetLoss(groups=3)(LAYER, GOOD), "groups must be a divisor of the 4 queries.*, got 3"),
        (lambda: SetLoss(groups=0), "groups must be .*, got 0"),
        (lambda: SetLoss(costs=SetTerms(0, 0, 0)), r"costs must be .*, got \[0, 0, 0\]"),
        (
            lambda: SetLoss()({**LAYER, "auxiliary_outputs": [{k: v[:, :2] for k, v in LAYER.items()}]}, GOOD),
            r"auxiliary_outputs must have logits \[2, 4, 5\].*, got \[2, 2, 5\]",
        ),
    ],
)
def test_bad_input(call: Callable[..., Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
