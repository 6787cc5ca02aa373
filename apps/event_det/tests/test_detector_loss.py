"""SimOTA and the loss: equal to YOLOX's written frame by frame, and what the settings change."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from event_det.config import LossSettings
from event_det.model.head import Cells
from event_det.model.simota import Assignment, assign, pad_targets, pairwise_iou
from event_det.objective import Objective
from event_det.train import collate_labelled

CLASSES = 3
Frame = tuple[Tensor, Tensor]


def make_cells(frames: int, seed: int = 0) -> Cells:
    generator = torch.Generator().manual_seed(seed)
    centres, strides = [], []
    for stride in (8, 16, 32):
        y, x = torch.meshgrid(torch.arange(96 // stride), torch.arange(128 // stride), indexing="ij")
        centres.append(stride * (torch.stack([x, y], -1).reshape(-1, 2) + 0.5))
        strides.append(torch.full((len(centres[-1]),), float(stride)))
    centre, stride = torch.cat(centres), torch.cat(strides)
    middle = centre + stride[:, None] * torch.randn(frames, len(centre), 2, generator=generator)
    half = stride[:, None] * torch.rand(frames, len(centre), 2, generator=generator) * 2 + 1
    return Cells(
        torch.cat([middle - half, middle + half], -1).requires_grad_(),
        torch.randn(frames, len(centre), generator=generator).requires_grad_(),
        torch.randn(frames, len(centre), CLASSES, generator=generator).requires_grad_(),
        centre,
        stride,
    )


def make_frames(counts: list[int], seed: int = 0) -> list[Frame]:
    generator = torch.Generator().manual_seed(seed)
    frames = []
    for count in counts:
        corner = torch.rand(count, 2, generator=generator) * torch.tensor([100.0, 70])
        size = torch.rand(count, 2, generator=generator) * 50 + 4
        labels = torch.randint(0, CLASSES, (count,), generator=generator)
        frames.append((torch.cat([corner, corner + size], 1), labels))
    return frames


def assign_one(cells: Cells, number: int, frame: Frame) -> tuple[Tensor, Tensor, Tensor]:
    """YOLOX's assignment of one frame, box by box: positive [A], box of each cell [A] (-1: none), overlaps [A]."""
    boxes, labels = frame
    cells_of = len(cells.centres)
    taken = torch.full((cells_of,), -1)
    if not len(boxes):
        return taken >= 0, taken, torch.zeros(cells_of)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    near = ((middle[:, None] - cells.centres).abs() < 1.5 * cells.strides[:, None]).all(-1)
    candidates = near.any(0).nonzero()[:, 0]
    overlaps = pairwise_iou(boxes[None], cells.boxes[None, number].detach())[0][:, candidates]
    p = (cells.classes[number, candidates].sigmoid() * cells.objectness[number, candidates, None].sigmoid()).sqrt()
    wanted = F.one_hot(labels, CLASSES).float()
    named = torch.stack([F.binary_cross_entropy(p, w.expand_as(p), reduction="none").sum(-1) for w in wanted])
    cost = named - 3 * (overlaps + 1e-8).log() + 1e6 * ~near[:, candidates]
    matched = torch.zeros_like(cost)
    for box in range(len(boxes)):
        wanted_cells = max(int(overlaps[box].topk(min(10, len(candidates))).values.sum()), 1)
        matched[box, cost[box].topk(wanted_cells, largest=False).indices] = 1
    for cell in (matched.sum(0) > 1).nonzero()[:, 0]:
        matched[:, cell] = 0
        matched[cost[:, cell].argmin(), cell] = 1
    mine = matched.sum(0) > 0
    taken[candidates[mine]] = matched[:, mine].argmax(0)
    found = torch.zeros(cells_of)
    found[candidates[mine]] = (matched * overlaps).sum(0)[mine]
    return taken >= 0, taken, found


@pytest.mark.parametrize("seed", range(4))
def test_the_assignment_is_yolox_s(seed: int) -> None:
    frames = make_frames([5, 0, 1, 12, 3], seed)
    cells = make_cells(len(frames), seed)
    found: Assignment = assign(cells, pad_targets(frames))
    for number, frame in enumerate(frames):
        positive, box, overlaps = assign_one(cells, number, frame)
        mine = found.positive[number]
        chosen = found.cells[number, mine]
        assert torch.equal(chosen.sort().values, positive.nonzero()[:, 0])
        assert len(found.cells[number].unique()) == found.cells.shape[1]
        torch.testing.assert_close(found.overlaps[number, mine], overlaps[chosen])
        assert not found.overlaps[number, ~mine].any()
        assert torch.equal(found.boxes[number, mine], frame[0][box[chosen]])
        assert torch.equal(found.labels[number, mine], frame[1][box[chosen]])


def total(
    cells: Cells, frames: list[Frame], labelled: Tensor | None = None, **settings: object
) -> tuple[Tensor, float]:
    weights = torch.ones(len(frames)) if labelled is None else labelled
    losses, count = Objective(LossSettings.model_validate(settings))(cells, pad_targets(frames), weights)
    values = {name: float(value.detach()) for name, value in losses.items()}
    assert values.pop("loss") == pytest.approx(sum(values.values()), rel=1e-5)
    return losses["loss"], float(count)


def test_frames_of_a_batch_add_up() -> None:
    frames, cells = make_frames([5, 0, 1]), make_cells(3)
    loss, count = total(cells, frames)
    parts = 0.0
    for i, frame in enumerate(frames):
        one = Cells(cells.boxes[i : i + 1], cells.objectness[i : i + 1], cells.classes[i : i + 1], *cells[3:])
        value, number = total(one, [frame])
        parts += float(value.detach()) * number
    assert float(loss.detach()) * count == pytest.approx(parts, rel=1e-5)


def test_an_unlabelled_frame_counts_for_nothing_and_an_empty_one_for_no_object() -> None:
    cells = make_cells(2)
    frames = [*make_frames([4]), (torch.zeros(0, 4), torch.zeros(0).long())]
    loss, count = total(cells, frames, torch.tensor([1.0, 0.0]))
    loss.backward()
    assert cells.objectness.grad is not None
    assert not cells.objectness.grad[1].any()
    assert count == total(cells, frames)[1] > 1
    alone = Cells(cells.boxes[1:], cells.objectness[1:], cells.classes[1:], *cells[3:])
    nothing, zero = total(alone, frames[1:], torch.zeros(1))
    assert (float(nothing.detach()), zero) == (0, 0)
    seen, one = total(alone, frames[1:])
    assert one == 1
    assert float(seen.detach()) == pytest.approx(float(F.softplus(cells.objectness[1].detach()).sum()), rel=1e-5)


def test_size_aware_losses_pull_more_at_small_boxes() -> None:
    small, large = torch.tensor([[40.0, 40, 52, 52]]), torch.tensor([[4.0, 4, 100, 90]])
    frames = [(small, torch.tensor([0])), (large, torch.tensor([1]))]

    def pulls(**settings: object) -> Tensor:
        cells = make_cells(2)
        total(cells, frames, **settings)[0].backward()
        assert cells.boxes.grad is not None
        return cells.boxes.grad.abs().sum((1, 2))

    plain, original, normalised = (pulls(size_aware=kind) for kind in ("none", "original", "normalised"))
    assert original[0] > 1.5 * plain[0]
    assert original[1] == pytest.approx(float(plain[1]))
    assert normalised[0] > plain[0]
    assert normalised[1] < plain[1]
    torch.testing.assert_close(normalised / original, (normalised / original)[:1].expand(2))
    assert pulls(size_aware="original", small_area=16.0)[0] < original[0]
    assert not torch.equal(pulls(box="nwd"), plain)
    torch.testing.assert_close(pulls(box_weight=10), 2 * plain)


def test_a_batch_names_its_labelled_steps() -> None:
    empty = torch.zeros(3, 20, 4, 4, dtype=torch.uint8)
    one = (torch.ones(2, 4), torch.tensor([0, 1]))
    batch = collate_labelled(
        [
            {"frames": empty, "targets": [None, one, None], "steps": 3},
            {"frames": empty, "targets": [(torch.zeros(0, 4), torch.zeros(0).long()), None, one], "steps": 3},
        ]
    )
    assert batch["chosen"].tolist() == [1, 2, 5]
    assert batch["targets"].real.tolist() == [[False, False], [True, True], [True, True]]
    assert batch["labelled"].tolist() == [1, 1, 1]
    nothing = collate_labelled([{"frames": empty, "targets": [None] * 3, "steps": 3}])
    assert (nothing["chosen"].tolist(), nothing["labelled"].tolist()) == ([0], [0])
    assert not nothing["targets"].real.any()
