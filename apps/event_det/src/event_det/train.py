"""The training loop of event-det: the whole story on one screen."""

import math
from pathlib import Path
from typing import Any

import torch

from event_det.build import build_model
from event_det.config import Config
from event_det.data import Clips, collate, open_split
from event_det.evaluation.evaluate import evaluate
from event_det.model.network import detached
from event_det.model.simota import pad_targets
from event_det.objective import Objective
from polyscale.settings import record
from polyscale.training import Run, param_groups


def train(config: Config, out: Path | None = None, *, resume: bool = False) -> Run:
    """Train into the folder `out`, a new runs/DATE-TIME if None; best/ keeps the best epoch by AP on val."""
    run = Run(config.train, out, resume=resume, record=record(config))
    train_set, val_set = open_split(config, "train"), open_split(config, "val")
    clips = Clips(train_set, config.data.length, sampling=config.data.sampling, augment=config.data.augment)
    net = build_model(config, train_set)
    objective = Objective(config.loss)
    model, _ = run.prepare(net, param_groups(net, config.train.weight_decay))
    loader = run.loader(clips, order=clips.order, collate=collate_labelled)
    for _ in run.epochs():
        for batch in run.steps(loader):
            cells, state = model(batch["frames"], run.memory or None, batch["first"], batch["chosen"])
            run.memory = detached(state)  # a checkpoint keeps it: each stream goes on where it was
            losses, count = objective(cells, batch["targets"], batch["labelled"])
            run.backward(losses, count=count)
        if run.validation_due:
            scores = evaluate(run.eval_model, val_set, accelerator=run.accelerator, progress=run.check)
            known = {name: value for name, value in scores.summary.items() if math.isfinite(value)}
            run.validate(known, best="AP")
    return run


def collate_labelled(clips: list[Any]) -> dict[str, Any]:
    """Make a batch: frames uint8 [L, B, C, H, W], and what is known of its labelled steps, N of the L * B.

    Returns:
        frames, chosen (int64 [N], numbers t * B + b), targets (Targets of N frames), labelled (float [N], all 1; where
        no step is labelled, N is 1 and it is 0).
    """
    batch = collate(clips)
    steps = [target for step in batch["targets"] for target in step]
    chosen = [number for number, target in enumerate(steps) if target is not None]
    frames = [target for target in steps if target is not None] or [(torch.zeros(0, 4), torch.zeros(0).long())]
    return {
        "frames": batch["frames"],
        "chosen": torch.tensor(chosen or [0]),
        "targets": pad_targets(frames),
        "labelled": torch.full((len(frames),), float(bool(chosen))),
    }
