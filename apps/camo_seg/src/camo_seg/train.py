"""The training loop of camo-seg: the whole story on one screen."""

from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from camo_seg.build import build_model, build_set, record_run
from camo_seg.config import Config
from camo_seg.evaluation.evaluate import MaskCache, evaluate
from camo_seg.model.freezing import unfreeze
from camo_seg.objective import Objective
from polyscale.settings import SPLIT_FILE, record
from polyscale.training import Run, param_groups


def train(config: Config, out: Path | None = None, *, resume: bool = False) -> Run:
    """Train into the folder `out`, a new runs/DATE-TIME if None; best/ keeps the best epoch by weighted F on val."""
    run = Run(config.train, out, resume=resume, record=record(config))
    recorded = run.out / SPLIT_FILE if resume and (run.out / SPLIT_FILE).is_file() else None
    net = build_model(config)
    size = net.input_size
    train_set = build_set(config.data, "train", size, augment=True, recorded=recorded)
    val_set = build_set(config.data, "val", size, recorded=recorded)
    mean = partial(run.accelerator.reduce, reduction="mean")
    objective = Objective(config.loss, config.model.scales, config.train.epochs, over_processes=mean)
    model, _ = run.prepare(net, parameter_groups(net, config), unused_parameters=_leaves_some_out(config))
    if run.is_main and not resume:
        record_run(config.data, run.out)
    loader = run.loader(train_set, order=train_set.order)
    mask_cache: MaskCache = {}
    for epoch in run.epochs():
        unfreeze(net, epoch, config.optim.unfreeze_epochs)
        scales = objective.wants_scales(epoch)
        for batch in run.steps(loader):
            output = model(batch["image"], return_loss_inputs=scales)
            run.backward(objective(output, batch["mask"], epoch))
        if run.validation_due:
            scores = evaluate(
                run.eval_model,
                val_set,
                accelerator=run.accelerator,
                fast=True,
                mask_cache=mask_cache,
                progress=run.check,
            )
            run.validate(scores.summary, best="wF")
    return run


def parameter_groups(net: nn.Module, config: Config) -> list[dict[str, Any]]:
    """All parameters; timm's network learns at optim.backbone_lr, what joins the scales at the full rate."""
    rate = config.optim.backbone_lr
    return param_groups(net, config.train.weight_decay, {"backbone.net.": rate, "backbone.backbone.": rate})


def _leaves_some_out(config: Config) -> bool:
    """Whether a step may give some parameters no gradient: heads no longer asked, experts unused, layers frozen."""
    return config.loss.scale_epochs is not None or config.model.experts > 0 or config.optim.unfreeze_epochs > 0
