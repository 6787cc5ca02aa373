"""Captions and boxes of a whole data set, over any number of processes, and their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from caption_det.data.dataset import CaptionSet, network_input
from caption_det.data.synthetic.world import World
from caption_det.describe import describe
from caption_det.describer import Decoding
from caption_det.evaluation.box_metrics import Boxes, average_precision
from caption_det.evaluation.caption_metrics import Words, bleu, cider, rouge_l, tokenize
from caption_det.evaluation.grounding import grounded
from caption_det.evaluation.mentions import hallucinated
from polyscale.evaluation import eval_mode, gather, iterate_batches

if TYPE_CHECKING:
    from accelerate import Accelerator

    from caption_det.model import CaptionDetModel
    from polyscale.evaluation.shard import Progress

NAN = float("nan")
THRESHOLD = 0.01  # lowest score of the boxes that average precision sees


@dataclass(frozen=True, eq=False)
class Answer:
    """What a predictor says of one image: a caption (None where it gives none) and boxes as fractions of the image."""

    caption: str | None
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Scores:
    """What one predictor got on a data set.

    Attributes:
        names: of the images.
        answers: of each image.
        summary: metrics of the whole set; NaN where undefined.
        columns: numbers of each image by metric.
        by_class: for each category that has boxes here its name ("subset"), how many, and its average precision.
    """

    names: tuple[str, ...] = field(repr=False)
    answers: tuple[Answer, ...] = field(repr=False)
    summary: dict[str, float]
    columns: Mapping[str, NDArray[np.float64]] = field(repr=False)
    by_class: Sequence[dict[str, Any]] = field(default=(), repr=False)

    def per_sample(self) -> list[dict[str, Any]]:
        """One row per image: name, caption, its metrics, the number of boxes from .5."""
        return [
            {"name": name, "caption": answer.caption}
            | {key: float(values[i]) for key, values in self.columns.items()}
            | {"boxes": int((answer.scores >= 0.5).sum())}
            for i, (name, answer) in enumerate(zip(self.names, self.answers, strict=True))
        ]


def evaluate(
    model: CaptionDetModel,
    dataset: CaptionSet,
    *,
    batch_size: int = 8,
    accelerator: Accelerator | None = None,
    precision: str = "fp32",
    decoding: Decoding | None = None,
    workers: int = 2,
    progress: Progress | None = None,
) -> Scores:
    """Describe every image of `dataset` with `model` and score it; the same in every process of `accelerator`.

    Args:
        model: its training mode is restored.
        dataset: images with captions, boxes or both.
        batch_size: images per pass.
        accelerator: each of its processes computes its share.
        precision: see polyscale.inference.precision.
        decoding: how captions are searched; the model's own way by default.
        workers: threads that read images.
        progress: called with (images done, images of this process).
    """
    answers: dict[int, Answer] = {}
    batches = iterate_batches(dataset, batch_size, accelerator=accelerator, workers=workers, progress=progress)
    with eval_mode(model):
        for indices, samples in batches:
            given = network_input(samples)
            made = describe(model, decoding=decoding, precision=precision, threshold=THRESHOLD, **given)
            for index, (captions, boxes) in zip(indices, made, strict=False):
                answers[index] = Answer(
                    captions[0] if captions else None,
                    boxes.boxes.double().numpy(),
                    boxes.scores.double().numpy(),
                    boxes.labels.numpy(),
                )
    return score(gather(answers, len(dataset), accelerator), dataset)


def metric_of(model: CaptionDetModel, dataset: CaptionSet) -> str:
    """Name of the metric that decides: CIDEr where captions can be scored, else AP."""
    spoken = model.decoder is not None and all(dataset.record(i).captions for i in range(len(dataset)))
    return "CIDEr" if spoken else "AP"


def score(answers: Sequence[Answer], dataset: CaptionSet) -> Scores:
    """Score one answer per image of `dataset`."""
    records = [dataset.record(i) for i in range(len(dataset))]
    columns: dict[str, NDArray[np.float64]] = {}
    summary: dict[str, float] = {"images": len(records)}
    spoken = all(record.captions for record in records) and all(answer.caption is not None for answer in answers)
    if spoken:
        summary |= _score_captions(answers, dataset, columns)
    by_class: list[dict[str, Any]] = []
    if all(record.boxes is not None for record in records):
        found, truth, sizes = _boxes_of(answers, dataset)
        overall, each = average_precision(found, truth, len(dataset.categories), sizes)
        summary |= overall
        labels = [boxes.labels if boxes.crowd is None else boxes.labels[~boxes.crowd] for boxes in truth]
        counts = np.bincount(np.concatenate(labels), minlength=len(each))
        by_class = [
            {"subset": name, "boxes": int(count), **row}
            for name, count, row in zip(dataset.categories, counts, each, strict=True)
            if count
        ]
        if all(record.captions for record in records):
            summary["grounded"] = grounded(found, truth, _references(dataset), dataset.categories)
    return Scores(tuple(dataset.names), tuple(answers), summary, columns, by_class)


def score_grounding(answers: Sequence[Answer], dataset: CaptionSet) -> Scores:
    """Score the phrase grounding alone of one answer per image, which has a box for every category."""
    found, truth, _ = _boxes_of(answers, dataset)
    share = grounded(found, truth, _references(dataset), dataset.categories)
    return Scores(tuple(dataset.names), tuple(answers), {"images": len(answers), "grounded": share}, {})


def _references(dataset: CaptionSet) -> list[list[Words]]:
    return [[tokenize(caption) for caption in dataset.record(i).captions] for i in range(len(dataset))]


def _score_captions(
    answers: Sequence[Answer], dataset: CaptionSet, columns: dict[str, NDArray[np.float64]]
) -> dict[str, float]:
    records = [dataset.record(i) for i in range(len(dataset))]
    references = _references(dataset)
    captions = [tokenize(answer.caption or "") for answer in answers]
    columns["CIDEr"], columns["ROUGE_L"] = cider(captions, references), rouge_l(captions, references)
    bleus = bleu(captions, references)
    summary = {
        "CIDEr": float(columns["CIDEr"].mean()),
        "BLEU4": bleus[3],
        "BLEU1": bleus[0],
        "ROUGE_L": float(columns["ROUGE_L"].mean()),
        "CIDEr_shuffled": float(cider([*captions[1:], *captions[:1]], references).mean()),
        "distinct": len({answer.caption for answer in answers}) / len(answers),
    }
    world = dataset.source
    if isinstance(world, World):
        right = np.array([world.judge(i, answer.caption or "") for i, answer in enumerate(answers)], np.float64)
        unseen = np.array([world.is_held_out(i) for i in range(len(answers))])
        columns["attributes"] = right
        summary["attributes"] = _mean(right[~unseen])
        summary["attributes_unseen"] = _mean(right[unseen])
    if all(record.boxes is not None for record in records):
        present = [set(record.labels.tolist()) for record in records]
        summary["hallucinated"] = hallucinated(captions, present, dataset.categories)
    return summary


def _boxes_of(answers: Sequence[Answer], dataset: CaptionSet) -> tuple[list[Boxes], list[Boxes], list[tuple[int, int]]]:
    """Boxes that were found and that are there, in pixels, and (height, width) of each image."""
    truth, found, sizes = [], [], []
    for i, answer in enumerate(answers):
        record, (height, width) = dataset.record(i), dataset.image_size(i)
        assert record.boxes is not None
        truth.append(Boxes(record.boxes, record.labels, crowd=record.crowd))
        scale = np.array([width, height, width, height])
        found.append(Boxes(answer.boxes * scale, answer.labels, answer.scores))
        sizes.append((height, width))
    return found, truth, sizes


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else NAN
