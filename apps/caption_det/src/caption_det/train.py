"""The training loop of caption-det: the whole story on one screen."""

from pathlib import Path

from caption_det.build import build_model, build_set, build_training_set, record_run
from caption_det.config import Config
from caption_det.data import collate
from caption_det.evaluation.evaluate import evaluate, metric_of
from caption_det.objective import Objective
from caption_det.predict import Decoding
from polyscale.settings import SPLIT_FILE, record
from polyscale.training import Run, param_groups


def train(config: Config, out: Path | None = None, *, resume: bool = False) -> Run:
    """Train into the folder `out`, a new runs/DATE-TIME if None.

    best/ keeps the epoch with the best CIDEr on val, or the best AP where no captions are learnt.
    """
    run = Run(config.train, out, resume=resume, record=record(config))
    recorded = run.out / SPLIT_FILE if resume and (run.out / SPLIT_FILE).is_file() else None
    base, val_set = (build_set(config, split, recorded=recorded) for split in ("train", "val"))
    net = build_model(config, base)
    train_set = build_training_set(config, base, net)
    scales = {"encoder.tower.": config.optim.tower_lr, "decoder.": config.optim.text_lr}
    single_scale = config.model.memory == "map"
    model, _ = run.prepare(net, param_groups(net, config.train.weight_decay, scales), unused_parameters=single_scale)
    if run.is_main and not resume:
        record_run(config, run.out)
    objective, metric = Objective(config.loss), metric_of(net, val_set)
    loader = run.loader(train_set, collate=collate)
    for _ in run.epochs():
        for batch in run.steps(loader):
            run.backward(objective(model(**batch)))
        if run.validation_due:
            scores = evaluate(
                run.eval_model,  # type: ignore[arg-type]
                val_set,
                accelerator=run.accelerator,
                decoding=Decoding(beams=1),
                progress=run.check,
            )
            run.validate(scores.summary, best=metric)
    return run
