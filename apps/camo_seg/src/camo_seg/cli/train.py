"""`camo-seg train`."""

from camo_seg.config import PRESETS, Config
from polyscale.commands.types import AsJson, Resume, RunOut
from polyscale.settings import SPLIT_FILE, begin_run, configured, to_yaml


@configured(Config, PRESETS, "nano")
def train(config: Config, out: RunOut = None, resume: Resume = None, as_json: AsJson = False) -> None:
    """Train a model, score it on the test split, and write weights, overlays and report.html."""
    from camo_seg.build import build_set
    from camo_seg.evaluation.assess import assess, write_report
    from camo_seg.model import CamoSegmenter
    from camo_seg.train import train as train_run
    from polyscale.commands.bodies import finish_training

    config, out = begin_run(config, out, resume, presets=PRESETS, default_preset="nano")
    run = train_run(config, out, resume=resume is not None)
    best = CamoSegmenter.from_pretrained(run.out).to(run.accelerator.device)
    recorded = run.out / SPLIT_FILE
    test_set = build_set(config.data, "test", best.input_size, recorded=recorded if recorded.is_file() else None)
    precision = config.train.precision
    result = assess(
        best, test_set, weights=run.out / "best", run=run.out, accelerator=run.accelerator, precision=precision
    )

    finish_training(
        "camo-seg",
        run,
        result,
        lambda: write_report(result, run.out, best, test_set, config=to_yaml(config), journal=run.out / "log.jsonl"),
        as_json=as_json,
    )
