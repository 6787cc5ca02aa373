"""The time of event-det's loss by the number of labelled frames: `python tools/bench/event_loss.py [--device cuda]`.

Forward and backward of the objective, assignment included, on the cells of a head at Gen1's size (304 x 240, strides 8,
16 and 32) with five boxes a frame: `--frames` of them (default 20) against `--few` (default 2), by turns, and against
the same frames one after another, as YOLOX assigns them.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from interleaved import interleave, machine
from torch import Tensor

from event_det.config import LossSettings
from event_det.model.head import Cells, YoloxHead
from event_det.model.simota import Targets, pad_targets
from event_det.objective import Objective
from polyscale.commands import keep_heap

WIDTH, HEIGHT, STRIDES, CLASSES, BOXES = 304, 240, (8, 16, 32), 2, 5


def main() -> None:
    """Print a row for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--few", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", choices=["wall", "process"], default="wall")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    kept, clock = keep_heap(), time.perf_counter if options.clock == "wall" else time.process_time
    sys.stdout.write(
        f"{machine(kept)}, {options.device}\n\n| frames | ms | against | ms | ratio |\n|---|---|---|---|---|\n"
    )
    many, few = step(options.frames, options.device), step(options.few, options.device)
    alone = [step(1, options.device) for _ in range(options.frames)]
    for name, peer in ((f"{options.few}", few), ("one by one", lambda: [each() for each in alone])):
        found = interleave(many, peer, options.rounds, clock)
        low, high = found.ratio[1:]
        sys.stdout.write(
            f"| {options.frames} | {found.ours[0]:.2f} | {name} | {found.peer[0]:.2f} | "
            f"{found.ratio[0]:.2f} ({low:.2f}..{high:.2f}) |\n"
        )


def step(frames: int, device: str) -> Callable[[], None]:
    """Return what computes loss and gradients of `frames` frames."""
    torch.manual_seed(0)
    head = YoloxHead([16, 16, 16], STRIDES, CLASSES).to(device)
    levels = [torch.randn(frames, 16, HEIGHT // stride, WIDTH // stride, device=device) for stride in STRIDES]
    with torch.no_grad():
        cells = head(levels)
    corner = torch.rand(frames, BOXES, 2) * torch.tensor([WIDTH - 60.0, HEIGHT - 60.0])
    boxes = torch.cat([corner, corner + 10 + 50 * torch.rand(frames, BOXES, 2)], -1).to(device)
    targets = pad_targets([(of, torch.randint(CLASSES, (BOXES,), device=device)) for of in boxes])
    return partial(loss, Objective(LossSettings()), cells, targets, torch.ones(frames, device=device))


def loss(objective: Objective, cells: Cells, targets: Targets, labelled: Tensor) -> None:
    """Compute the gradients of what the head said."""
    boxes, objectness, classes = (part.detach().requires_grad_() for part in cells[:3])
    losses, _ = objective(Cells(boxes, objectness, classes, cells.centres, cells.strides), targets, labelled)
    losses["loss"].backward()
    if cells.boxes.is_cuda:
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
