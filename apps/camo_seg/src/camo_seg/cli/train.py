"""`camo-seg train`."""

from pathlib import Path

from camo_seg.config import PRESETS, Config
from polyscale.commands import note
from polyscale.commands.types import AsJson, Resume, RunOut
from polyscale.settings import SPLIT_FILE, configured, to_yaml


@configured(Config, PRESETS, "nano")
def train(config: Config, out: RunOut = None, resume: Resume = None, as_json: AsJson = False) -> None:
    """Train a model, score it on the test split, and write weights, overlays and report.html."""
    from camo_seg.build import build_set
    from camo_seg.evaluation.assess import assess, maps_of, write_report
    from camo_seg.model import CamoSegmenter
    from camo_seg.train import train as train_run
    from polyscale.commands.bodies import finish_training

    _check_splits(config, resume)
    run = train_run(config, out, resume=resume is not None)
    best = CamoSegmenter.from_pretrained(run.out).to(run.accelerator.device)
    recorded = run.out / SPLIT_FILE
    test_set = build_set(config.data, "test", best.input_size, recorded=recorded if recorded.is_file() else None)
    result = assess(best, test_set, weights=run.out / "best", run=run.out, accelerator=run.accelerator)

    finish_training(
        "camo-seg",
        run,
        result,
        lambda: write_report(
            result,
            run.out,
            maps_of(best, test_set),
            test_set,
            config=to_yaml(config),
            journal=run.out / "log.jsonl",
        ),
        as_json=as_json,
    )


def _check_splits(config: Config, resume: Path | None) -> None:
    """Open what is needed after the first epoch, while a missing split or a mask that cannot be used costs nothing."""
    from camo_seg.build import build_set
    from camo_seg.data.formats.pairs import PairSource
    from camo_seg.data.mixture import JoinedSource

    recorded = resume / SPLIT_FILE if resume is not None and (resume / SPLIT_FILE).is_file() else None
    train_set, *others = (
        build_set(config.data, split, config.model.image_size, recorded=recorded) for split in ("train", "val", "test")
    )
    for dataset in others:
        if isinstance(dataset.source, PairSource | JoinedSource):
            dataset.source.check_masks()
    for line in train_set.notes:  # of the listing: those of every split
        note(line)
