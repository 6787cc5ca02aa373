"""Evaluation by the field's protocol (metrics.py), over any number of processes, and of baselines without a model."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from camo_seg.evaluation import metrics
from camo_seg.evaluation.baselines import BASELINES
from camo_seg.model.probability import probability_maps
from camo_seg.tta import TTA
from polyscale.errors import UserError
from polyscale.evaluation import eval_mode, gather_rows, iterate_batches, shard_batches
from polyscale.evaluation.shard import Progress

if TYPE_CHECKING:
    from accelerate import Accelerator

ProbabilityMap = NDArray[np.float32]
MaskCache = dict[int, tuple[NDArray[np.uint8], tuple[int, int]]]  # index -> (mask packed to bits, its size)


class Evaluable(Protocol):
    """What a data set must have; CamoSet has it."""

    names: list[str]

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    def original(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Read the image uint8 [H, W, 3] and its mask bool [H, W] at their own size."""
        ...


@dataclass(frozen=True, eq=False)
class Scores:
    """The metrics of every image of a data set.

    Attributes:
        rows: float64 [N, metrics.ROW_LENGTH] in the order of the data set.
        names: of the images.
        summary: metrics of the whole set.
    """

    rows: NDArray[np.float64] = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    summary: dict[str, float]

    def column(self, name: str) -> NDArray[np.float64]:
        """One of metrics.COLUMNS for every image: float64 [N]."""
        return metrics.column(self.rows, name)

    @property
    def has_object(self) -> NDArray[np.bool_]:
        """Bool [N]: images whose mask is not empty, the ones that count in the averages."""
        return self.column("area") > 0

    def rank(self, name: str = "wF") -> list[int]:
        """Indices of the images that have an object, worst first; equal scores in the data set's order."""
        worse_first = self.column(name) * (-1 if name in metrics.LOWER_IS_BETTER else 1)
        with_object = np.flatnonzero(self.has_object)
        return [int(i) for i in with_object[np.argsort(worse_first[with_object], kind="stable")]]

    def examples(self, count: int, name: str = "wF") -> dict[str, list[int]]:
        """Up to `count` indices each: worst, median and best; no image twice unless there are fewer than 3 * count."""
        ranked = self.rank(name)
        middle = max((len(ranked) - count) // 2, 0)
        return {"worst": ranked[:count], "median": ranked[middle : middle + count], "best": ranked[::-1][:count]}

    def part(self, indices: Sequence[int]) -> Scores:
        """The scores of some of the images."""
        rows = self.rows[list(indices)]
        return Scores(rows, tuple(self.names[i] for i in indices), metrics.summarise(rows))

    def per_sample(self) -> list[dict[str, Any]]:
        """One dict per image: name and metrics.COLUMNS, without those that were not computed."""
        return [
            {"name": name} | {key: float(row[i]) for i, key in enumerate(metrics.COLUMNS) if not np.isnan(row[i])}
            for name, row in zip(self.names, self.rows, strict=True)
        ]


def evaluate(
    model: nn.Module,
    dataset: Evaluable,
    *,
    batch_size: int = 8,
    accelerator: Accelerator | None = None,
    precision: str = "fp32",
    fast: bool = False,
    workers: int = 2,
    mask_cache: MaskCache | None = None,
    progress: Progress | None = None,
    tta: TTA | None = None,
    counting: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Scores:
    """Score `model` on every image of `dataset`, at the size of the masks.

    Args:
        model: maps images [B, 3, S, S] in [0, 1] to logits [B, 1, S, S]; its training mode is restored.
        dataset: masks are those of `dataset.original`.
        batch_size: images per forward pass.
        accelerator: each of its processes computes its share, and all return the same Scores.
        precision: see polyscale.inference.precision.
        fast: leave E and F out (see `metrics.score_image`).
        workers: threads that read images.
        mask_cache: keeps the masks, one bit a pixel, from one call to the next on the same data set.
        progress: called with (images done, images of this process).
        tta: average the maps of each image mirrored and at several sizes.
        counting: entered around each pass whose maps count, see `predict_maps`.

    Raises:
        UserError: an empty data set, a bad file, or an output that is not finite, naming the image.
    """
    maps = predict_maps(
        model,
        dataset,
        batch_size=batch_size,
        accelerator=accelerator,
        precision=precision,
        workers=workers,
        progress=progress,
        tta=tta,
        counting=counting,
    )
    with closing(maps):  # an error must not leave the model in eval mode
        rows = {index: _score(dataset, index, probability, fast, mask_cache) for index, probability in maps}
    return _gather(rows, dataset, accelerator)


def score_maps(maps: Iterable[tuple[int, ProbabilityMap]], dataset: Evaluable) -> Scores:
    """Score maps of any origin, one for each image of `dataset`: (index, float [h, w] in [0, 1] of any size)."""
    return _gather({index: _score(dataset, index, found, False, None) for index, found in maps}, dataset, None)


def predict_maps(
    model: nn.Module,
    dataset: Evaluable,
    *,
    batch_size: int = 8,
    accelerator: Accelerator | None = None,
    precision: str = "fp32",
    workers: int = 2,
    progress: Progress | None = None,
    tta: TTA | None = None,
    counting: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Generator[tuple[int, ProbabilityMap], None, None]:
    """Yield (index, probability map float32 [S, S]) of this process's share of the data set, in order.

    `counting` is not entered around the passes that this process makes only to keep step with the others.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    batches = iterate_batches(dataset, batch_size, accelerator=accelerator, workers=workers, progress=progress)
    with eval_mode(model):
        for indices, batch in batches:
            images = torch.stack([sample["image"] for sample in batch])
            with counting() if indices else nullcontext():
                maps = map_images(model, images, device, precision, tta)
            yield from zip(indices, maps, strict=False)


def map_images(
    model: nn.Module, images: torch.Tensor, device: torch.device, precision: str, tta: TTA | None
) -> NDArray[np.float32]:
    """Map images [B, 3, S, S] of 8 bits, as float32 in [0, 1], to probabilities [B, S, S]."""
    if tta is None:
        return probability_maps(model, images, device, precision)

    def infer(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return probability_maps(model, torch.from_numpy(pixels).float().div_(255), device, precision)

    return tta(infer, images.mul(255).round().byte().numpy())


def evaluate_baselines(
    dataset: Evaluable,
    *,
    accelerator: Accelerator | None = None,
    fast: bool = False,
    progress: Progress | None = None,
) -> dict[str, Scores]:
    """Return the Scores of the maps in `baselines.BASELINES` by name, scored exactly as a model's."""
    rows: dict[str, dict[int, metrics.Row]] = {name: {} for name in BASELINES}
    share = [index for batch in shard_batches(len(dataset), 1, accelerator) for index in batch]
    for done, index in enumerate(share, start=1):
        image, mask = dataset.original(index)
        for name, baseline in BASELINES.items():
            rows[name][index] = metrics.score_image(baseline(image), mask, fast=fast)
        if progress is not None:
            progress(done, len(share))
    return {name: _gather(scored, dataset, accelerator) for name, scored in rows.items()}


def _score(
    dataset: Evaluable, index: int, probability: ProbabilityMap, fast: bool, mask_cache: MaskCache | None
) -> metrics.Row:
    if not np.isfinite(probability).all():
        raise UserError(f"{dataset.names[index]}: the model's output is not finite (NaN or infinite)")
    return metrics.score_image(probability, _mask(dataset, index, mask_cache), fast=fast)


def _mask(dataset: Evaluable, index: int, cache: MaskCache | None) -> NDArray[np.bool_]:
    if cache is None:
        return dataset.original(index)[1]
    if index not in cache:
        mask = dataset.original(index)[1]
        cache[index] = np.packbits(mask), (mask.shape[0], mask.shape[1])
    bits, (height, width) = cache[index]
    return np.unpackbits(bits, count=height * width).reshape(height, width).astype(bool)


def _gather(rows: dict[int, metrics.Row], dataset: Evaluable, accelerator: Accelerator | None) -> Scores:
    table = gather_rows(rows, (len(dataset), metrics.ROW_LENGTH), accelerator)
    return Scores(table, tuple(dataset.names), metrics.summarise(table))
