"""The training loop of iqa: the whole story on one screen."""

from pathlib import Path

from iqa.build import build_model, build_set, cross_settings, training_pairs, training_views
from iqa.config import Config
from iqa.data import ViewSet
from iqa.evaluate import calibrated_spread, evaluate
from iqa.objective import Objective
from polyscale.settings import to_yaml
from polyscale.training import Run, param_groups


def train(config: Config, out: Path, *, resume: bool = False) -> Run:
    """Train into the folder `out`; the epoch with the best SRCC on the validation split is kept in best/."""
    run = Run(config.train, out, resume=resume, record=to_yaml(config))
    data, size = config.data, config.model.image_size
    train_base, val_base = build_set(data, "train", size), build_set(data, "val", size)
    cross_base = None if data.cross is None else build_set(cross_settings(data), "test", size)
    net = build_model(config, train_base.low, train_base.high)
    train_set, pairs = training_views(train_base, net, data), training_pairs(train_base, net, data, config.train.seed)
    groups = param_groups(net, config.train.weight_decay, {"backbone.": config.optim.backbone_lr})
    objective = Objective(config.loss, train_base.low, train_base.high)
    model, _ = run.prepare(net, groups, unused_parameters=config.loss.spread == 0)
    val_set = ViewSet(val_base, net.look, None, False, data.cache)
    cross_set = None if cross_base is None else ViewSet(cross_base, net.look, None, False, data.cache)
    for _ in run.epochs():
        for batch in run.steps(train_set):
            scores, log_variance = model(batch["image"], batch.get("statistics"), with_variance=True)
            shown = None if pairs is None else pairs.batch(run.progress.step, data.pair_batch, scores.device)
            ordered = None if shown is None else model(**shown).view(2, -1).T
            run.backward(objective(scores, log_variance, batch["score"], ordered))
        if run.validation_due:
            calibrated_spread(run.eval_model, val_set, accelerator=run.accelerator)
            metrics = evaluate(run.eval_model, val_set, accelerator=run.accelerator).summary
            if cross_set is not None:
                crossed = evaluate(run.eval_model, cross_set, accelerator=run.accelerator).summary
                metrics |= {f"cross_{name}": value for name, value in crossed.items()}
            run.validate(metrics, best="SRCC")
    return run
