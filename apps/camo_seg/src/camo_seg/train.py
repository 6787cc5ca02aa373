"""The training loop of camo-seg: the whole story on one screen."""

from pathlib import Path

from camo_seg.build import build_model, build_set, record_run
from camo_seg.config import Config
from camo_seg.evaluation.evaluate import MaskCache, evaluate
from camo_seg.objective import Objective
from polyscale.settings import SPLIT_FILE, record
from polyscale.training import Run, param_groups


def train(config: Config, out: Path | None = None, *, resume: bool = False) -> Run:
    """Train into the folder `out`, a new runs/DATE-TIME if None; best/ keeps the best epoch by weighted F on val."""
    run = Run(config.train, out, resume=resume, record=record(config))
    size = config.model.image_size
    recorded = run.out / SPLIT_FILE if resume and (run.out / SPLIT_FILE).is_file() else None
    train_set = build_set(config.data, "train", size, augment=True, recorded=recorded)
    val_set = build_set(config.data, "val", size, recorded=recorded)
    net = build_model(config)
    groups = param_groups(net, config.train.weight_decay, {"backbone.": config.optim.backbone_lr})
    objective = Objective(config.loss, len(config.model.scales), config.train.epochs)
    model, _ = run.prepare(net, groups, unused_parameters=config.loss.scale_epochs is not None)
    if run.is_main and not resume:
        record_run(config.data, run.out)
    loader = run.loader(train_set, order=train_set.order)
    mask_cache: MaskCache = {}
    for epoch in run.epochs():
        scales = objective.wants_scales(epoch)
        for batch in run.steps(loader):
            logits, per_scale = model(batch["image"], return_loss_inputs=scales)
            run.backward(objective(logits, per_scale, batch["mask"], epoch))
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
