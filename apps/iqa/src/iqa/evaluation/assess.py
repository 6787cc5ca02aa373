"""A model on one split next to baselines that need no network, and the report.

The baselines are the mean MOS of train; where there are subsets, the mean of the image's subset in train (the subset's
name alone reaches SRCC .63 on BIQ2021); and the hand-crafted baseline where one was fitted. Images that resemble
training images may be named in a CSV: the comparison is then made with and without them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from iqa.data import QualitySet
from iqa.evaluation.baselines import Baseline
from iqa.evaluation.crops import WHOLE, Crops
from iqa.evaluation.evaluate import evaluate
from iqa.evaluation.exclude import read_exclusions
from iqa.evaluation.metrics import LOWER_IS_BETTER, NAMES
from iqa.evaluation.scores import Scores, compare, rescale
from iqa.predict import ScoreRange
from polyscale.commands import progress
from polyscale.evaluation import Assessment, Stopwatch, provenance
from polyscale.report.page import Report
from polyscale.training import read_journal

if TYPE_CHECKING:
    from accelerate import Accelerator

MEAN, SUBSET, HAND_CRAFTED = "mean of train", "subset name only", "hand-crafted"
CAPTION = (
    "PLCC_fitted and RMSE after the 4-parameter logistic, MAE before it; in brackets the 95 % bootstrap interval over "
    "the images; a dash where predictions or MOS are all equal, or the images too few."
)
EXAMPLES = 4  # images each of the over- and the under-rated


def assess(
    model: nn.Module,
    dataset: QualitySet,
    *,
    weights: str | Path = "",
    run: Path | None = None,
    train: QualitySet | None = None,
    baseline: Baseline | None = None,
    exclude: Path | None = None,
    accelerator: Accelerator | None = None,
    batch_size: int = 8,
    precision: str = "fp32",
    workers: int = 2,
    crops: Crops = WHOLE,
) -> Assessment[Scores]:
    """Score `model` and the baselines on every image of `dataset`; the same in every process of `accelerator`.

    Args:
        model: a QualityNet.
        dataset: the split.
        weights: recorded in the result, as is `run`.
        run: folder of the run that made the model.
        train: the training split, whose scores (no images) give the trivial baselines.
        baseline: the fitted hand-crafted baseline.
        exclude: a CSV of near-duplicates, see `read_exclusions`.
        accelerator: see `evaluate`.
        batch_size: see `evaluate`.
        precision: see `evaluate`.
        workers: see `evaluate`.
        crops: see `evaluate`.

    Raises:
        UserError: what `evaluate` raises, and a CSV that does not fit the data set.
    """
    watch = Stopwatch()
    kept, notes = (None, []) if exclude is None else read_exclusions(exclude, dataset.names)
    with progress("evaluating", total=len(dataset), transient=True) as bar:
        scores = evaluate(
            model,
            dataset,
            accelerator=accelerator,
            batch_size=batch_size,
            precision=precision,
            workers=workers,
            crops=crops,
            progress=bar.reach,
        )
    predictors = {"model": scores} | _trivial_baselines(dataset, train)
    if baseline is not None:
        predictors[HAND_CRAFTED] = _score_baseline(baseline, dataset)
    about = provenance("polyscale-iqa", weights, watch, run=run)
    return _assessment(dataset, predictors, kept, notes, about, within_spread=scores.within_std())


def assess_baseline(baseline: Baseline, dataset: QualitySet, exclude: Path | None = None) -> Assessment[Scores]:
    """Score the hand-crafted baseline in the place of a model."""
    watch = Stopwatch()
    kept, notes = (None, []) if exclude is None else read_exclusions(exclude, dataset.names)
    predictors = {"model": _score_baseline(baseline, dataset)}
    about = provenance("polyscale-iqa", HAND_CRAFTED, watch)
    return _assessment(dataset, predictors, kept, notes, about, chosen=baseline.chosen)


def _assessment(
    dataset: QualitySet,
    predictors: dict[str, Scores],
    kept: NDArray[np.bool_] | None,
    notes: list[str],
    about: dict[str, Any],
    **extra: Any,
) -> Assessment[Scores]:
    """Compare predictors on all images and, where `kept` [N] is given, on those alone too."""
    comparisons = [compare(predictors, "" if kept is None else f"all {len(dataset)}")]
    if kept is not None:
        comparisons.append(compare({n: s.select(kept) for n, s in predictors.items()}, f"clean {kept.sum()}"))
    return Assessment(
        dataset.title,
        tuple(comparisons),
        NAMES,
        CAPTION,
        LOWER_IS_BETTER,
        about,
        (*dataset.notes, *predictors["model"].notes, *notes),
        extra,
        {} if kept is None else {"clean": [int(clean) for clean in kept]},
    )


def _trivial_baselines(dataset: QualitySet, train: QualitySet | None) -> dict[str, Scores]:
    """Scores of the mean of train and of the subsets' means, in the units of `dataset`."""
    if train is None:
        return {}
    own = rescale(train.scores, (train.low, train.high), (dataset.low, dataset.high))
    found = {MEAN: np.full(len(dataset), own.mean())}
    of = np.asarray(train.subsets, dtype=object)
    means = {name: own[of == name].mean() for name in set(train.subsets) - {""}}
    if len(set(dataset.subsets)) > 1 and set(dataset.subsets) <= set(means):
        found[SUBSET] = np.array([means[name] for name in dataset.subsets])
    return {
        name: Scores.from_predictions(values, dataset.scores, dataset.names, dataset.subsets)
        for name, values in found.items()
    }


def _score_baseline(baseline: Baseline, dataset: QualitySet) -> Scores:
    with progress("hand-crafted", total=len(dataset), transient=True) as bar:
        predicted = baseline.predict(dataset, progress=lambda _, done, total: bar.reach(done, total))
    values = rescale(predicted, (baseline.low, baseline.high), (dataset.low, dataset.high))
    return Scores.from_predictions(values, dataset.scores, dataset.names, dataset.subsets)


def write_report(
    result: Assessment[Scores], folder: Path, dataset: QualitySet, *, config: str = "", journal: Path | None = None
) -> Path:
    """Write report.html into `folder`, with curves where `journal` (a run's log.jsonl) has any; returns its path."""
    units = ScoreRange(dataset.low, dataset.high)
    report = result.report("iqa", f"{result.heading}, {units.describe()}")
    scores = result.scores
    report.scatter(
        scores.truth.tolist(), scores.predicted.tolist(), title="Predicted scores against MOS",
        xlabel="MOS", ylabel="predicted", names=scores.names, diagonal=True,
    )  # fmt: skip
    _draw_curves(report, journal)
    for kind, indices in scores.largest_errors(EXAMPLES).items():
        images = [(dataset.original(i), _caption(scores, i, units.decimals)) for i in indices]
        if images:
            report.images(images, title=f"The most {kind}", columns=EXAMPLES)
    if config:
        report.details("Settings", config)
    return report.save(folder / "report.html")


def _draw_curves(report: Report, journal: Path | None) -> None:
    records = read_journal(journal) if journal else []
    for kind, keys in (("training", ("loss",)), ("validation", ("SRCC", "PLCC", "cross_SRCC"))):
        series = {key: [(r["epoch"] + 1, r[key]) for r in records if r["kind"] == kind and key in r] for key in keys}
        series = {key: points for key, points in series.items() if points}
        if series:
            report.curves(series, title=kind.capitalize(), xlabel="epoch", ylabel=", ".join(series))


def _caption(scores: Scores, index: int, digits: int) -> str:
    predicted, truth = scores.predicted[index], scores.truth[index]
    return f"{scores.names[index]}: predicted {predicted:.{digits}f}, MOS {truth:.{digits}f}"
