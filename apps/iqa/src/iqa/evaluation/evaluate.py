"""Scores of a whole data set, over any number of processes, and how well they follow the MOS (metrics.py).

Images differ in size and are never squeezed to one: batches are made of equal shapes (polyscale.evaluation.shard).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from iqa.evaluation.crops import WHOLE, Crops
from iqa.evaluation.scores import Scores, rescale
from polyscale.errors import UserError
from polyscale.evaluation import eval_mode, gather_rows, iterate_batches
from polyscale.evaluation.shard import Progress, Sample
from polyscale.inference import autocast, resolve_precision

if TYPE_CHECKING:
    from accelerate import Accelerator


class Evaluable(Protocol):
    """What a data set must have, as a QualitySet has it."""

    names: list[str]
    scores: NDArray[np.float64]
    subsets: list[str]
    low: float
    high: float

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> dict[str, Any]: ...


def evaluate(
    model: nn.Module,
    dataset: Evaluable,
    *,
    batch_size: int = 8,
    accelerator: Accelerator | None = None,
    precision: str = "fp32",
    workers: int = 2,
    crops: Crops = WHOLE,
    progress: Progress | None = None,
) -> Scores:
    """Score `model` on every image of `dataset`; equal for any number of processes.

    A model with another range of scores than the data set's is brought to it linearly, with a note.

    Args:
        model: a QualityNet; its training mode is restored.
        dataset: a sample holds "image".
        batch_size: images of equal size per forward pass; with crops the crops of one image are a batch.
        accelerator: each of its processes computes its share, and all return the same Scores.
        precision: see polyscale.inference.precision.
        workers: threads that read images.
        crops: parts of the image whose mean score counts.
        progress: called with (images done, images of this process) after each batch.

    Raises:
        UserError: an empty data set, a bad file or precision, or an output that is not finite, naming the image.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    resolve_precision(precision, device)
    batches = iterate_batches(
        dataset,
        batch_size if crops.kind == "whole" else 1,
        accelerator=accelerator,
        workers=workers,
        progress=progress,
    )
    rows: dict[int, list[float]] = {}
    with eval_mode(model):
        for indices, samples in batches:
            images = _stack(samples, crops, indices)
            with autocast(precision, device):
                table = _forward(model, images.to(device))
            if crops.kind != "whole":
                table = table.mean(0, keepdim=True)
            for index, row in zip(indices, table.tolist(), strict=False):  # no index: a pass made to keep in step
                if not np.isfinite(row).all():
                    raise UserError(f"{dataset.names[index]}: the model's output is not finite (NaN or infinite)")
                rows[index] = row
    return _summarise(model, dataset, gather_rows(rows, (len(dataset), 2), accelerator))


def cross_data(model: nn.Module, datasets: Mapping[str, Evaluable], **settings: Any) -> list[dict[str, Any]]:
    """Return a row per data set: title, images, and the metrics that do not depend on its units.

    `settings` are those of `evaluate`.
    """
    rows = []
    for title, dataset in datasets.items():
        result = evaluate(model, dataset, **settings)
        summary = {name: result.summary[name] for name in ("SRCC", "PLCC", "PLCC_fitted", "KRCC")}
        rows.append({"": title, "images": len(result.names)} | summary)
    return rows


def _stack(samples: Sequence[Sample], crops: Crops, indices: Sequence[int]) -> Tensor:
    """The network's input: images [B, 3, h, w], or crops of one image."""
    if crops.kind == "whole":
        return torch.stack([sample["image"] for sample in samples])
    return crops.cut(samples[0]["image"], indices[0] if indices else 0)


@torch.inference_mode()
def _forward(model: nn.Module, images: Tensor) -> Tensor:
    """Float64 [B, 2]: score and std."""
    scores, stds = model.score_with_spread(images)  # type: ignore[operator]
    return torch.stack([scores.float(), stds.float()], 1).cpu().double()


def _summarise(model: nn.Module, dataset: Evaluable, table: NDArray[np.float64]) -> Scores:
    source, target = (float(model.low), float(model.high)), (dataset.low, dataset.high)  # type: ignore[arg-type]
    predicted, std = rescale(table[:, 0], source, target), table[:, 1]
    notes = []
    if source != target:
        ranges = f"the model's {source[0]:g} to {source[1]:g} to the data's {target[0]:g} to {target[1]:g}"
        notes.append(f"scores brought from {ranges}")
        std = std * ((target[1] - target[0]) / (source[1] - source[0]))
    truth = np.asarray(dataset.scores, np.float64)
    return Scores.from_predictions(predicted, truth, dataset.names, dataset.subsets, std, notes)
