"""Evaluation by the field's protocol (metrics.py), over any number of processes, beside baselines that need no model.

Two processes give the metrics of one, on uneven data too (polyscale.evaluation.shard).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from camo_seg.evaluation import metrics
from camo_seg.evaluation.baselines import BASELINES, Difference, bootstrap_difference
from camo_seg.predict import probability_maps
from polyscale.data.prefetch import prefetch
from polyscale.errors import UserError
from polyscale.evaluation.shard import eval_mode, gather_rows, most_batches, shard_batches

if TYPE_CHECKING:
    from accelerate import Accelerator

Progress = Callable[[int, int], None]  # images done, images in all, of this process
ProbabilityMap = NDArray[np.float32]
KeptMasks = dict[int, tuple[NDArray[np.uint8], tuple[int, int]]]  # index -> (mask packed to bits, its size)


class Evaluable(Protocol):
    """What is asked of a data set; CamoSet has it."""

    names: list[str]

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    def original(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]: ...


@dataclass(frozen=True, eq=False)
class Scores:
    """The rows of every image of a data set, [N, metrics.ROW_LENGTH] in its order, and their summary."""

    rows: NDArray[np.float64] = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    summary: dict[str, float]

    def column(self, name: str) -> NDArray[np.float64]:
        """One of metrics.COLUMNS for every image: float64 [N]."""
        return metrics.column(self.rows, name)

    def ranked(self, name: str = "wF") -> list[int]:
        """Indices of the images that have an object, worst first; equal scores in the data set's order."""
        worse_first = self.column(name) * (-1 if name in metrics.LOWER_IS_BETTER else 1)
        with_object = np.flatnonzero(self.column("area") > 0)
        return [int(i) for i in with_object[np.argsort(worse_first[with_object], kind="stable")]]

    def examples(self, count: int, name: str = "wF") -> dict[str, list[int]]:
        """Up to `count` indices each: worst, median and best; no image twice unless there are fewer than 3 * count."""
        ranked = self.ranked(name)
        middle = max((len(ranked) - count) // 2, 0)
        return {
            "worst": ranked[:count],
            "median": ranked[middle : middle + count],
            "best": ranked[::-1][:count],
        }

    def per_image(self) -> list[dict[str, Any]]:
        """One dict per image for a table or JSON: name and COLUMNS (those that were not computed are left out)."""
        return [
            {"name": name} | {key: float(row[i]) for i, key in enumerate(metrics.COLUMNS) if not np.isnan(row[i])}
            for name, row in zip(self.names, self.rows, strict=True)
        ]


@dataclass(frozen=True)
class Comparison:
    """A model beside the best of the baselines, on the images that have an object."""

    metric: str
    baseline: str
    model_value: float
    baseline_value: float
    difference: Difference


def evaluate(
    model: nn.Module,
    dataset: Evaluable,
    *,
    batch_size: int = 8,
    accelerator: Accelerator | None = None,
    precision: str = "auto",
    fast: bool = False,
    workers: int = 2,
    kept_masks: KeptMasks | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Score `model` (images [B, 3, S, S] in [0, 1] -> logits [B, 1, S, S]) on every image of `dataset`.

    The masks are those of `dataset.original`, at their own size. With an `accelerator` of several processes each
    computes its share and all return the same Scores. `fast` leaves E and F out (see `metrics.score_image`). The
    model's training mode is left as it was. A dict given as `kept_masks` keeps the masks, one bit a pixel, from one
    call to the next on the same data set, which saves a validation from reading every sample again.

    Raises UserError for an empty data set, a bad file, and an output that is not finite, naming the image.
    """
    maps = predict_maps(
        model, dataset, batch_size=batch_size, accelerator=accelerator, precision=precision, workers=workers
    )
    share = sum(map(len, shard_batches(len(dataset), batch_size, accelerator)))
    rows: dict[int, metrics.Row] = {}
    with closing(maps):  # an error must not leave the model in eval mode
        for index, probability in maps:
            rows[index] = _score(dataset, index, probability, fast, kept_masks)
            if progress is not None:
                progress(len(rows), share)
    return _gathered(rows, dataset, accelerator)


def predict_maps(
    model: nn.Module,
    dataset: Evaluable,
    *,
    batch_size: int = 8,
    accelerator: Accelerator | None = None,
    precision: str = "auto",
    workers: int = 2,
) -> Generator[tuple[int, ProbabilityMap], None, None]:
    """(index, probability map float32 [S, S]) of this process's share of the data set, in order."""
    batches = shard_batches(len(dataset), batch_size, accelerator)
    idle = most_batches(len(dataset), batch_size, accelerator) - len(batches)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    flat = [index for batch in [*batches, *[[0]] * idle] for index in batch]
    images = prefetch(lambda index: dataset[index]["image"], flat, workers=workers, ahead=batch_size)
    with eval_mode(model):
        for batch in batches:
            probabilities = probability_maps(model, torch.stack([next(images) for _ in batch]), device, precision)
            yield from zip(batch, probabilities, strict=True)
        for _ in range(idle):
            probability_maps(model, next(images)[None], device, precision)


def evaluate_baselines(
    dataset: Evaluable,
    *,
    accelerator: Accelerator | None = None,
    fast: bool = False,
    progress: Progress | None = None,
) -> dict[str, Scores]:
    """The Scores of the maps in `baselines.BASELINES`, scored exactly as a model's, by their names."""
    rows: dict[str, dict[int, metrics.Row]] = {name: {} for name in BASELINES}
    share = [index for batch in shard_batches(len(dataset), 1, accelerator) for index in batch]
    for done, index in enumerate(share, start=1):
        image, mask = dataset.original(index)
        for name, baseline in BASELINES.items():
            rows[name][index] = metrics.score_image(baseline(image), mask, fast=fast)
        if progress is not None:
            progress(done, len(share))
    return {name: _gathered(scored, dataset, accelerator) for name, scored in rows.items()}


def compare(model: Scores, baselines: dict[str, Scores], metric: str = "wF", seed: int = 0) -> Comparison:
    """The paired bootstrap difference (model - baseline) to the best baseline in `metric`, one of metrics.COLUMNS.

    Raises ValueError where the two were not scored on the same images.
    """
    with_object = model.column("area") > 0
    if not with_object.any():
        raise UserError("no image has an object: there is nothing to compare")
    pick = min if metric in metrics.LOWER_IS_BETTER else max
    best = pick(baselines, key=lambda name: baselines[name].summary[metric])
    if baselines[best].names != model.names:
        raise ValueError("model and baselines were scored on different images")
    difference = bootstrap_difference(
        model.column(metric)[with_object], baselines[best].column(metric)[with_object], seed=seed
    )
    return Comparison(metric, best, model.summary[metric], baselines[best].summary[metric], difference)


def _score(
    dataset: Evaluable, index: int, probability: ProbabilityMap, fast: bool, kept_masks: KeptMasks | None
) -> metrics.Row:
    if not np.isfinite(probability).all():
        raise UserError(f"{dataset.names[index]}: the model's output is not finite (NaN or infinite)")
    return metrics.score_image(probability, _mask(dataset, index, kept_masks), fast=fast)


def _mask(dataset: Evaluable, index: int, kept: KeptMasks | None) -> NDArray[np.bool_]:
    if kept is None:
        return dataset.original(index)[1]
    if index not in kept:
        mask = dataset.original(index)[1]
        kept[index] = np.packbits(mask), (mask.shape[0], mask.shape[1])
    bits, (height, width) = kept[index]
    return np.unpackbits(bits, count=height * width).reshape(height, width).astype(bool)


def _gathered(rows: dict[int, metrics.Row], dataset: Evaluable, accelerator: Accelerator | None) -> Scores:
    table = gather_rows(rows, (len(dataset), metrics.ROW_LENGTH), accelerator)
    return Scores(table, tuple(dataset.names), metrics.summarise(table))
