"""The training loop of iqa: the whole story on one screen."""

from pathlib import Path

from iqa.build import Views, build_look, build_model, build_views, record_run
from iqa.config import Config
from iqa.evaluation.evaluate import evaluate
from iqa.objective import Objective
from polyscale.settings import SPLIT_FILE, record
from polyscale.training import Run, param_groups


def train(config: Config, out: Path | None = None, *, resume: bool = False, views: Views | None = None) -> Run:
    """Train into the folder `out`, a new runs/DATE-TIME if None; best/ keeps the epoch with the best SRCC on val.

    `views` may be handed from run to run where data, model.shrink and model.statistics are the same.
    """
    run = Run(config.train, out, resume=resume, record=record(config))
    recorded = run.out / SPLIT_FILE if resume and (run.out / SPLIT_FILE).is_file() else None
    views = views or build_views(config, build_look(config), recorded)
    net = build_model(config, *views.range)
    objective = Objective(config.loss, net.low, net.high)  # before the run's folder is made: it may refuse a setting
    groups = param_groups(net, config.train.weight_decay, {"backbone.": config.optim.backbone_lr})
    model, _ = run.prepare(net, groups, unused_parameters=config.loss.spread == 0)
    if run.is_main and not resume:
        record_run(config.data, run.out)
    loader = run.loader(views.train)
    for _ in run.epochs():
        for batch in run.steps(loader):
            place = run.progress.step, run.progress.batch % config.train.accumulate, run.accelerator.process_index
            said = model(*views.with_chains(batch, *place), details=True)
            run.backward(objective(said, batch["score"]))
        if run.validation_due:
            scored = evaluate(run.eval_model, views.val, accelerator=run.accelerator, progress=run.check)
            run.eval_model.calibrate(scored.predicted, scored.truth, scored.spread)  # type: ignore[operator]
            metrics = dict(scored.summary)
            if views.cross is not None:
                crossed = evaluate(run.eval_model, views.cross, accelerator=run.accelerator, progress=run.check)
                metrics |= {f"cross_{name}": value for name, value in crossed.summary.items()}
            run.validate(metrics, best="SRCC")
    return run
