"""`caption-det train`."""

from pathlib import Path

from caption_det.config import PRESETS, Config
from polyscale.commands import note
from polyscale.commands.types import AsJson, Resume, RunOut
from polyscale.settings import SPLIT_FILE, configured, to_yaml


@configured(Config, PRESETS, "nano")
def train(config: Config, out: RunOut = None, resume: Resume = None, as_json: AsJson = False) -> None:
    """Train a model, score it on the test split, and write weights and report.html."""
    from caption_det.build import build_set
    from caption_det.evaluation.assess import assess, write_report
    from caption_det.model import load
    from caption_det.train import train as train_run
    from polyscale.commands.bodies import finish_training

    _check_splits(config, resume)
    run = train_run(config, out, resume=resume is not None)
    best = load(run.out).to(run.accelerator.device)
    recorded = run.out / SPLIT_FILE if (run.out / SPLIT_FILE).is_file() else None
    train_set, test_set = (build_set(config, s, best.config.image_size, recorded) for s in ("train", "test"))
    result = assess(
        best,
        test_set,
        train_set,
        weights=run.out / "best",
        run=run.out,
        accelerator=run.accelerator,
    )
    finish_training(
        "caption-det",
        run,
        result,
        lambda: write_report(result, run.out, test_set, config=to_yaml(config)),
        as_json=as_json,
        digits=3,
    )


def _check_splits(config: Config, resume: Path | None) -> None:
    """Open what is needed later while a missing split costs nothing, and say what of it is not used."""
    from caption_det.build import open_sets
    from caption_det.data.open import SPLITS

    recorded = resume / SPLIT_FILE if resume is not None and (resume / SPLIT_FILE).is_file() else None
    opened = open_sets(config, recorded)
    for split in SPLITS:
        opened.source(split, config.data.path)
    for line in opened.notes:
        note(line)
