"""A model on one split next to the trivial baselines, and the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from app_name.data.dataset import MaskSet
from app_name.evaluation.evaluate import Scores, evaluate, evaluate_baselines
from app_name.evaluation.metrics import LOWER_IS_BETTER, METRIC, METRICS
from app_name.model import Segmenter
from app_name.predict import Predictor
from polyscale.commands import progress
from polyscale.evaluation import Assessment, Difference, Stopwatch, compare, mean_difference, provenance
from polyscale.report import overlay
from polyscale.training import read_journal

EXAMPLES = 4


def assess(
    model: torch.nn.Module,
    dataset: MaskSet,
    *,
    weights: str | Path = "",
    run: Path | None = None,
    accelerator: Accelerator | None = None,
    batch_size: int = 8,
    precision: str = "fp32",
    workers: int = 2,
) -> Assessment[Scores]:
    """Score `model` and the baselines on every image of `dataset`; the same in every process of `accelerator`.

    `weights` and `run` are recorded in the result.
    """
    watch = Stopwatch()
    with progress("evaluating", total=len(dataset), transient=True) as bar:
        scores = evaluate(
            model,
            dataset,
            accelerator=accelerator,
            batch_size=batch_size,
            precision=precision,
            workers=workers,
            progress=bar.reach,
        )
    predictors = {"model": scores, **evaluate_baselines(dataset, accelerator=accelerator)}

    def difference(a: Scores, b: Scores) -> Difference:
        return mean_difference(a.column(METRIC), b.column(METRIC))

    return Assessment(
        dataset.title,
        (compare(predictors, METRIC, difference),),
        METRICS,
        "Means over the images.",
        LOWER_IS_BETTER,
        provenance("polyscale-app-name", weights, watch, run=run),
    )


def write_report(
    result: Assessment[Scores], folder: Path, model: Segmenter, dataset: MaskSet, *, config: str = ""
) -> Path:
    """Write report.html with the worst images into `folder`, and curves where a log.jsonl is in it."""
    report = result.report("app-name")
    report.history(read_journal(folder / "log.jsonl"), METRICS)
    predictor = Predictor(model, next(model.parameters()).device, "fp32")
    examples = []
    for index in np.argsort(result.scores.column(METRIC), kind="stable")[:EXAMPLES]:
        found = predictor(dataset.source.read(int(index))[0])
        examples.append((overlay(found.image, found.probability), dataset.names[index]))
    report.images(examples, title=f"The worst by {METRIC}", columns=EXAMPLES)
    if config:
        report.details("Settings", config)
    return report.save(folder / "report.html")
