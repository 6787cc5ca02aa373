"""The training loop of app-name: the whole story on one screen."""

from pathlib import Path

from app_name.build import build_model, build_set
from app_name.config import Config
from app_name.evaluation.evaluate import evaluate
from app_name.evaluation.metrics import METRIC
from app_name.objective import Objective
from polyscale.settings import record
from polyscale.training import Run, param_groups


def train(config: Config, out: Path | None = None, *, resume: bool = False) -> Run:
    """Train into the folder `out`, a new runs/DATE-TIME if None; best/ keeps the epoch with the best IoU on val."""
    run = Run(config.train, out, resume=resume, record=record(config))
    train_set, val_set = build_set(config, "train"), build_set(config, "val")
    net = build_model(config)
    model, _ = run.prepare(net, param_groups(net, config.train.weight_decay))
    objective = Objective(config.loss)
    loader = run.loader(train_set)
    for _ in run.epochs():
        for batch in run.steps(loader):
            run.backward(objective(model(batch["image"]), batch["mask"]))
        if run.validation_due:
            scores = evaluate(run.eval_model, val_set, accelerator=run.accelerator, progress=run.check)
            run.validate(scores.summary, best=METRIC)
    return run
