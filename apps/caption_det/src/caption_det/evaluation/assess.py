"""A model on one split next to the trivial baselines, and the report with images, captions and boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from accelerate import Accelerator

from caption_det.config import THRESHOLD
from caption_det.data import CaptionSet
from caption_det.describer import Decoding
from caption_det.evaluation.baselines import (
    centred_box,
    largest_box,
    most_frequent,
    nearest_neighbour,
    whole_image,
)
from caption_det.evaluation.evaluate import Answer, Scores, evaluate, metric_of, score, score_grounding
from caption_det.model import CaptionDetModel
from polyscale.commands import progress
from polyscale.evaluation import Assessment, Difference, Stopwatch, compare, mean_difference, provenance
from polyscale.report import draw_boxes
from polyscale.training import read_journal

SHOWN = (
    *("CIDEr", "BLEU4", "ROUGE_L", "distinct", "CIDEr_shuffled", "attributes", "attributes_unseen", "hallucinated"),
    *("AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L", "grounded"),
)
LOWER_IS_BETTER = frozenset({"CIDEr_shuffled", "hallucinated"})
CAPTION = (
    "CIDEr, BLEU and ROUGE in per cent; CIDEr_shuffled gives every image the caption of the next one; distinct: share "
    "of different captions; hallucinated: share of mentioned categories without a box; AP of boxes in [0, 1]; "
    "grounded: share of the classes named by human captions whose best box overlaps a true one by half; whole image, "
    "centred box and largest box of the model give one box to every class."
)
EXAMPLES = 12


def assess(
    model: CaptionDetModel,
    dataset: CaptionSet,
    train_set: CaptionSet | None,
    *,
    weights: str | Path = "",
    run: Path | None = None,
    accelerator: Accelerator | None = None,
    batch_size: int = 8,
    precision: str = "fp32",
    workers: int = 2,
    decoding: Decoding | None = None,
) -> Assessment[Scores]:
    """Score `model` and the baselines on every image of `dataset`; the same in every process of `accelerator`.

    Without `train_set`, from which the baselines are taken, there are none. `weights` and `run` are recorded.
    """
    watch = Stopwatch()
    with progress("evaluating", total=len(dataset), transient=True) as bar:
        scores = evaluate(
            model,
            dataset,
            accelerator=accelerator,
            batch_size=batch_size,
            precision=precision,
            decoding=decoding,
            workers=workers,
            progress=bar.reach,
        )
    predictors = {"model": scores}
    if train_set is not None:
        silent = model.decoder is None
        for name, answers in (
            ("most frequent", [most_frequent(train_set)] * len(dataset)),
            ("nearest neighbour", nearest_neighbour(train_set, dataset)),
        ):
            predictors[name] = score([_silenced(a) for a in answers] if silent else answers, dataset)
        if "grounded" in scores.summary:
            kinds = len(dataset.categories)
            for name, answers in (
                ("whole image", [whole_image(kinds)] * len(dataset)),
                ("centred box", [centred_box(train_set)] * len(dataset)),
                ("largest box of model", [largest_box(answer, kinds) for answer in scores.answers]),
            ):
                predictors[name] = score_grounding(answers, dataset)
    metric = metric_of(model, dataset)

    def difference(a: Scores, b: Scores) -> Difference | None:
        if metric not in a.columns or metric not in b.columns:
            return None  # AP is no mean over images
        return mean_difference(a.columns[metric], b.columns[metric])

    summaries = [s.summary for s in predictors.values()]
    return Assessment(
        dataset.title,
        (compare(predictors, metric, difference, subsets=scores.by_class),),
        tuple(name for name in SHOWN if any(name in summary for summary in summaries)),
        CAPTION,
        LOWER_IS_BETTER,
        provenance("polyscale-caption-det", weights, watch, run=run),
        tuple(dataset.notes),
    )


def write_report(result: Assessment[Scores], folder: Path, dataset: CaptionSet, *, config: str = "") -> Path:
    """Write report.html into `folder`: the first images with captions and boxes, curves where a log.jsonl is there."""
    report = result.report("caption-det")
    journal = folder / "log.jsonl"
    if journal.is_file():
        report.history(
            read_journal(journal), [name for name in ("CIDEr", "attributes", "AP50") if name in result.shown]
        )
    examples = []
    for index in range(min(EXAMPLES, len(dataset))):
        answer, image = result.scores.answers[index], dataset.original(index)
        examples.append((_drawn(image, answer, dataset.categories), f"{dataset.names[index]}: {answer.caption or ''}"))
    report.images(examples, title=f"Captions, and boxes from a score of {THRESHOLD}", columns=4)
    if config:
        report.details("Settings", config)
    return report.save(folder / "report.html")


def _drawn(image: np.ndarray, answer: Answer, categories: tuple[str, ...]) -> np.ndarray:
    height, width = image.shape[:2]
    kept = answer.scores >= THRESHOLD
    boxes = answer.boxes[kept] * np.array([width, height, width, height])
    labels = [categories[number] for number in answer.labels[kept]]
    return draw_boxes(image, boxes, labels, answer.scores[kept].tolist())


def _silenced(answer: Answer) -> Answer:
    return Answer(None, answer.boxes, answer.scores, answer.labels)
