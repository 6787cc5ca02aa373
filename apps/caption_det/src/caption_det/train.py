"""The training loop of caption-det: the whole story on one screen."""

from pathlib import Path

from caption_det.build import build_model, build_set, build_training_set, record_run
from caption_det.config import Config
from caption_det.data import CaptionSet, collate
from caption_det.data.features import complete_maps, open_maps
from caption_det.describer import Decoding
from caption_det.evaluation.evaluate import evaluate, metric_of
from caption_det.model import CaptionDetModel
from caption_det.objective import Objective
from polyscale.commands import note, progress
from polyscale.data.naming import plural
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
        cut, captions = train_set.cut_captions()
        if cut:
            note(f"{cut} of {plural(captions, 'caption')} are longer than {train_set.max_tokens} tokens: ends are cut")
    if config.data.features is not None:
        keep_features(config, run, net, {"train": base, "val": val_set})
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


def keep_features(config: Config, run: Run, model: CaptionDetModel, sets: dict[str, CaptionSet]) -> None:
    """Compute the maps of the frozen tower that are not in data.features yet, and let the sets take them from there."""
    accelerator, encoder = run.accelerator, model.encoder.eval()
    for split, dataset in sets.items():
        views = 2 if config.data.flip and split == "train" else 1
        folder, weights = Path(str(config.data.features)) / split, encoder.tower.state_dict()
        with accelerator.main_process_first():  # the first one makes the files
            maps = open_maps(folder, dataset, encoder.tower_features, weights, views)
        share = (accelerator.process_index, accelerator.num_processes)
        with progress(f"maps of {split}", total=len(maps.missing()), transient=True) as bar:
            complete_maps(maps, dataset, encoder.tower_features, accelerator.device, share=share, progress=bar.reach)
        accelerator.wait_for_everyone()
        dataset.features = maps
