"""Evaluation over any number of processes, of a model and of baselines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import default_collate

from app_name.data.dataset import MaskSet
from app_name.evaluation.baselines import BASELINES, Predict
from app_name.evaluation.metrics import METRICS, score_masks
from app_name.predict import predict_maps
from polyscale.errors import UserError
from polyscale.evaluation import eval_mode, gather_rows, iterate_batches
from polyscale.evaluation.shard import Progress

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True, eq=False)
class Scores:
    """METRICS of every image: rows float64 [N, 2] in the order of names."""

    rows: NDArray[np.float64] = field(repr=False)
    names: tuple[str, ...] = field(repr=False)

    @property
    def summary(self) -> dict[str, float]:
        """The mean of each metric over the images."""
        return dict(zip(METRICS, self.rows.mean(axis=0).tolist(), strict=True))

    def column(self, metric: str) -> NDArray[np.float64]:
        """A metric of every image: float64 [N]."""
        return self.rows[:, METRICS.index(metric)]

    def per_sample(self) -> list[dict[str, Any]]:
        """One dict per image: name and METRICS."""
        scored = zip(self.names, self.rows.tolist(), strict=True)
        return [{"name": name, **dict(zip(METRICS, row, strict=True))} for name, row in scored]


def evaluate(
    model: nn.Module,
    dataset: MaskSet,
    *,
    accelerator: Accelerator | None = None,
    batch_size: int = 8,
    precision: str = "fp32",
    workers: int = 2,
    progress: Progress | None = None,
) -> Scores:
    """Score `model` on every image of `dataset`; each process of `accelerator` computes its share.

    Raises:
        UserError: an empty data set, a bad file, or an output that is not finite, naming the image.
    """
    device = next(p.device for p in model.parameters())
    with eval_mode(model):
        return _evaluate(
            {"": lambda images: predict_maps(model, images, device, precision)},
            dataset,
            accelerator,
            batch_size,
            workers,
            progress,
        )[""]


def evaluate_baselines(
    dataset: MaskSet, *, accelerator: Accelerator | None = None, progress: Progress | None = None
) -> dict[str, Scores]:
    """Return the Scores of the maps in BASELINES by name, scored exactly as a model's."""
    return _evaluate(BASELINES, dataset, accelerator, 8, 2, progress)


def _evaluate(
    predictors: Mapping[str, Predict],
    dataset: MaskSet,
    accelerator: Accelerator | None,
    batch_size: int,
    workers: int,
    progress: Progress | None,
) -> dict[str, Scores]:
    rows: dict[str, dict[int, list[float]]] = {name: {} for name in predictors}
    batches = iterate_batches(dataset, batch_size, accelerator=accelerator, workers=workers, progress=progress)
    for indices, samples in batches:
        batch = default_collate(samples)
        for name, predict in predictors.items():
            probability = predict(batch["image"])
            for index, map_ in zip(indices, probability, strict=False):  # none where the batch only keeps step
                if not map_.isfinite().all():
                    raise UserError(f"{dataset.names[index]}: the model's output is not finite (NaN or infinite)")
            found = score_masks(probability, batch["mask"]).tolist()
            rows[name] |= zip(indices, found, strict=False)
    shape = (len(dataset), len(METRICS))
    return {name: Scores(gather_rows(found, shape, accelerator), tuple(dataset.names)) for name, found in rows.items()}
