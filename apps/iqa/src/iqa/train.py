"""The training loop of iqa: the whole story on one screen."""

from pathlib import Path

from iqa.build import TrainingData, build_model, build_training_data, record_run
from iqa.config import Config
from iqa.evaluation.evaluate import evaluate
from iqa.objective import Objective
from polyscale.settings import SPLIT_FILE, record
from polyscale.training import Run, param_groups


def train(config: Config, out: Path | None = None, *, resume: bool = False, data: TrainingData | None = None) -> Run:
    """Train into the folder `out`, a new runs/DATE-TIME if None; best/ keeps the epoch with the best SRCC on val.

    `data` may be handed from run to run where the section data and model.image_size are the same.
    """
    run = Run(config.train, out, resume=resume, record=record(config))
    recorded = run.out / SPLIT_FILE if resume and (run.out / SPLIT_FILE).is_file() else None
    data = data or build_training_data(config, recorded)
    net = build_model(config, data.train.low, data.train.high)
    objective = Objective(
        config.loss, net.low, net.high, config.data.ties
    )  # before the run's folder is made: it may refuse a setting
    groups = param_groups(net, config.train.weight_decay, {"backbone.": config.optim.backbone_lr})
    model, _ = run.prepare(net, groups, unused_parameters=config.loss.spread == 0)
    if run.is_main and not resume:
        record_run(config.data, run.out)
    loader = run.loader(data.train)
    for _ in run.epochs():
        for batch in run.steps(loader):
            place = run.progress.step, run.progress.batch % config.train.accumulate, run.accelerator.process_index
            outputs = model(data.images(batch, *place), details=True)
            run.backward(objective(outputs, batch["score"]))
        if run.validation_due:
            scores = evaluate(run.eval_model, data.val, accelerator=run.accelerator, progress=run.check)
            run.eval_model.calibrate(scores.predicted, scores.truth, scores.std)  # type: ignore[operator]
            metrics = dict(scores.summary)
            if data.cross is not None:
                cross = evaluate(run.eval_model, data.cross, accelerator=run.accelerator, progress=run.check)
                metrics |= {f"cross_{name}": value for name, value in cross.summary.items()}
            run.validate(metrics, best="SRCC")
    return run
