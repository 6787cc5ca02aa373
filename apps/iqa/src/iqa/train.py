"""The training loop of iqa: the whole story on one screen."""

from pathlib import Path

from iqa.build import build_model, build_set
from iqa.config import Config
from iqa.evaluate import evaluate, probabilities
from iqa.objective import Objective
from polyscale.settings import to_yaml
from polyscale.training import Run, param_groups


def train(config: Config, out: Path, *, resume: bool = False) -> Run:
    """Train into the folder `out`; the epoch with the best IoU on the validation split is kept in best/."""
    run = Run(config.train, out, resume=resume, record=to_yaml(config))
    train_set, val_set = build_set(config, "train"), build_set(config, "val")
    net = build_model(config)
    model, _ = run.prepare(net, param_groups(net, config.train.weight_decay))
    objective = Objective(config.loss)
    for _ in run.epochs():
        for batch in run.steps(train_set):
            run.backward(objective(model(batch["image"]), batch["mask"]))
        if run.validation_due:
            scores = evaluate(probabilities(run.eval_model), val_set, accelerator=run.accelerator)
            run.validate(scores, best="IoU")
    return run
