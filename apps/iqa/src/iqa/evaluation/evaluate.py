"""Scores of a whole data set, over any number of processes, and how well they follow people's (metrics.py).

Images differ in size and are never squeezed to one: batches are made of equal shapes, within windows of images that
are cut before they are dealt to the processes. Every image is therefore computed in the same batch however many
processes there are; scores are gathered with their index and sorted, so nothing padded or repeated counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from iqa.evaluation.crops import WHOLE, Crops
from iqa.evaluation.scores import Scores, rescaled, scored
from polyscale.data.prefetch import prefetch
from polyscale.errors import UserError
from polyscale.evaluation.shard import eval_mode, gather_rows, most_batches, shard_batches
from polyscale.inference.precision import autocast, resolve_precision

if TYPE_CHECKING:
    from accelerate import Accelerator

Progress = Callable[[int, int], None]  # images done, images in all, of this process
Batch = list[tuple[int, dict[str, Any]]]  # indices and what the data set gave for them

WINDOW = 4  # batches that may be open at once while images of equal size are gathered


class Evaluable(Protocol):
    """What is asked of a data set; QualitySet has it, a ViewSet as its `base`."""

    names: list[str]
    scores: NDArray[np.float64]
    subsets: list[str]
    low: float
    high: float

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> dict[str, Any]: ...


def evaluate(
    model: nn.Module,
    dataset: Any,
    *,
    batch_size: int = 16,
    accelerator: Accelerator | None = None,
    precision: str = "fp32",
    workers: int = 2,
    crops: Crops = WHOLE,
    progress: Progress | None = None,
) -> Scores:
    """`model` (a QualityNet) on every image of `dataset`, a QualitySet or a ViewSet; see `predict_scores`.

    A model that learnt another scale than the data set's is brought to it linearly, from range to range, with a note.
    """
    known: Evaluable = getattr(dataset, "base", dataset)
    table = _predicted(model, dataset, batch_size, accelerator, precision, workers, crops, progress)
    own, its = (float(model.low), float(model.high)), (known.low, known.high)  # type: ignore[arg-type]
    predicted, spread = rescaled(table[:, 0], own, its), table[:, 1] * ((its[1] - its[0]) / (own[1] - own[0]))
    notes = []
    if own != its:
        notes.append(f"scores brought from the model's {own[0]:g} to {own[1]:g} to the data's {its[0]:g} to {its[1]:g}")
    return scored(predicted, np.asarray(known.scores, np.float64), known.names, known.subsets, spread, notes)


def predict_scores(
    model: nn.Module,
    dataset: Any,
    *,
    batch_size: int = 16,
    accelerator: Accelerator | None = None,
    precision: str = "fp32",
    workers: int = 2,
    crops: Crops = WHOLE,
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """Scores float64 [N] in the model's units, in the order of the data set, equal for any number of processes.

    With an `accelerator` of several processes each computes its share and all return the same. Images are decoded by
    `workers` threads ahead of the model, whose training mode is left as it was.

    Raises UserError for an empty data set, a bad file or precision, and an output that is not finite, naming the
    image; ValueError for crops of a ViewSet, whose statistics are of whole images.
    """
    return _predicted(model, dataset, batch_size, accelerator, precision, workers, crops, progress)[:, 0]


def cross_data(model: nn.Module, datasets: Mapping[str, Any], **settings: Any) -> list[dict[str, Any]]:
    """A row per data set, by title: images and the metrics that do not depend on its scale, as `evaluate` gives them.

    `settings` are those of `evaluate`.
    """
    rows = []
    for title, dataset in datasets.items():
        result = evaluate(model, dataset, **settings)
        summary = {name: result.summary[name] for name in ("SRCC", "PLCC", "PLCC_fitted", "KRCC")}
        rows.append({"": title, "images": len(result.names)} | summary)
    return rows


def _predicted(
    model: nn.Module,
    dataset: Any,
    batch_size: int,
    accelerator: Accelerator | None,
    precision: str,
    workers: int,
    crops: Crops,
    progress: Progress | None,
) -> NDArray[np.float64]:
    """float64 [N, 2]: score and spread of each image, of all processes."""
    known: Evaluable = getattr(dataset, "base", dataset)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    resolve_precision(precision, device)
    windows = shard_batches(len(dataset), WINDOW * batch_size, accelerator)
    share = sum(map(len, windows))
    rows: dict[int, list[float]] = {}
    with eval_mode(model):
        for batch, counts in _batches(dataset, windows, batch_size, accelerator, workers, crops.kind == "whole"):
            table = _forward(model, batch, crops, device, precision)
            if not counts:
                continue
            for (index, _), row in zip(batch, table.tolist(), strict=True):
                if not np.isfinite(row).all():
                    raise UserError(f"{known.names[index]}: the model's output is not finite (NaN or infinite)")
                rows[index] = row
            if progress is not None:
                progress(len(rows), share)
    return gather_rows(rows, (len(dataset), 2), accelerator)


@torch.inference_mode()
def _forward(model: nn.Module, batch: Batch, crops: Crops, device: torch.device, precision: str) -> Tensor:
    """float64 [B, 2]: score and spread of each image of a batch, of which there is one where it is cropped."""
    (first_index, first), samples = batch[0], [sample for _, sample in batch]
    inputs = [torch.stack([sample[key] for sample in samples]) for key in ("image", "statistics") if key in first]
    if crops.kind != "whole":
        if len(inputs) > 1:
            raise ValueError("crops need the images themselves, not a view with statistics of the whole")
        inputs = [crops.cut(first["image"], first_index)]
    with autocast(precision, device):
        scores, spreads = model.score_with_spread(*(tensor.to(device) for tensor in inputs))  # type: ignore[operator]
    table = torch.stack([scores.float(), spreads.float()], 1).cpu().double()
    return table if crops.kind == "whole" else table.mean(0, keepdim=True)


def _batches(
    dataset: Any,
    windows: list[range],
    batch_size: int,
    accelerator: Accelerator | None,
    workers: int,
    together: bool,
) -> Iterator[tuple[Batch, bool]]:
    """This process's batches in order, and whether their scores count.

    Every process makes the same number of passes, because those of a sharded model communicate: where another has more
    batches in its window, this one computes the first image again and forgets it.
    """
    flat = [index for window in windows for index in window]
    samples = iter(prefetch(lambda index: (index, dataset[index]), flat, workers=workers, ahead=batch_size))
    limit = batch_size if together else 1
    if accelerator is None or accelerator.num_processes == 1:
        for window in windows:
            yield from ((batch, True) for batch in _alike(islice(samples, len(window)), limit))
        return
    for number in range(most_batches(len(dataset), WINDOW * batch_size, accelerator)):
        window = windows[number] if number < len(windows) else range(0)
        batches = list(_alike(islice(samples, len(window)), limit))
        yield from ((batch, True) for batch in batches)
        most = accelerator.gather(torch.tensor([len(batches)], device=accelerator.device)).max()
        yield from [([(0, dataset[0])], False)] * (int(most) - len(batches))


def _alike(samples: Iterable[tuple[int, dict[str, Any]]], limit: int) -> Iterator[Batch]:
    """The samples of a window in batches of equal shapes, up to `limit` each, full ones as soon as they are."""
    groups: dict[torch.Size, Batch] = {}
    for index, sample in samples:
        group = groups.setdefault(sample["image"].shape, [])
        group.append((index, sample))
        if len(group) == limit:
            yield groups.pop(sample["image"].shape)
    yield from groups.values()
