"""`iqa train`."""

from typing import TYPE_CHECKING

from iqa.config import PRESETS, Config
from polyscale.commands import note
from polyscale.commands.types import AsJson, Resume, RunOut
from polyscale.settings import SPLIT_FILE, configured, to_yaml

if TYPE_CHECKING:
    from iqa.data import QualitySet


@configured(Config, PRESETS, "nano")
def train(config: Config, out: RunOut = None, resume: Resume = None, as_json: AsJson = False) -> None:
    """Train a model, score it on the test split, and write weights, scores and report.html."""
    from iqa.build import build_set
    from iqa.evaluation.assess import assess, write_report
    from iqa.model import QualityNet
    from iqa.train import train as train_run
    from polyscale.commands.bodies import finish_training

    # opened before the training, while a missing split or a broken file costs nothing
    recorded = resume / SPLIT_FILE if resume is not None and (resume / SPLIT_FILE).is_file() else None
    train_set, val_set, test_set = (
        build_set(config.data, split, config.model.image_size, recorded=recorded) for split in ("train", "val", "test")
    )
    for line in dict.fromkeys((*train_set.notes, *val_set.notes, *test_set.notes)):
        note(line)
    for dataset in (val_set, test_set):
        _read_headers(dataset)
    run = train_run(config, out, resume=resume is not None)
    best = QualityNet.from_pretrained(run.out).to(run.accelerator.device)
    result = assess(best, test_set, weights=run.out / "best", run=run.out, train=train_set, accelerator=run.accelerator)
    finish_training(
        "iqa",
        run,
        result,
        lambda: write_report(result, run.out, test_set, config=to_yaml(config), journal=run.out / "log.jsonl"),
        as_json=as_json,
        digits=3,
    )


def _read_headers(dataset: "QualitySet") -> None:
    """Read each file's header, a fraction of a millisecond each. Raises UserError naming the first that is no image."""
    for index in range(len(dataset)):
        dataset.source.shape(index)
