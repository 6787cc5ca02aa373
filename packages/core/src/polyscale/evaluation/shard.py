"""Evaluation over any number of processes: batches shared out whole, results gathered in order.

Batches are cut before they are shared out, so every sample is computed in the same batch however many processes there
are, and results travel with their index. Two processes therefore give the numbers of one, on uneven data too, and no
padded or repeated sample counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from polyscale.data.prefetch import prefetch
from polyscale.errors import UserError

if TYPE_CHECKING:
    from accelerate import Accelerator

WINDOW = 4  # batches that may be open at once while samples of equal shape are gathered

Progress = Callable[[int, int], None]
"""Called with the samples done and all samples of this process."""

Sample = Mapping[str, Any]
Row = TypeVar("Row")


class Indexed(Protocol):
    """A data set of samples {"image": tensor, ...}."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


def shard_batches(samples: int, batch_size: int, accelerator: Accelerator | None = None) -> list[range]:
    """Return this process's batches of indices: every n-th of those that a single process would compute.

    Raises:
        UserError: there is no sample, or batch_size is below 1.
    """
    if samples < 1:
        raise UserError("the data set to evaluate has no image")
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}; at least 1 is needed", exit_code=2)
    batches = [range(start, min(start + batch_size, samples)) for start in range(0, samples, batch_size)]
    return batches if accelerator is None else batches[accelerator.process_index :: accelerator.num_processes]


def iterate_batches(
    dataset: Indexed,
    batch_size: int,
    *,
    accelerator: Accelerator | None = None,
    workers: int = 2,
    progress: Progress | None = None,
) -> Iterator[tuple[list[int], list[Sample]]]:
    """Yield this process's batches as (indices, samples), samples of one batch having images of equal shape.

    Samples are read by `workers` threads. The processes go in step, because the passes of a sharded model
    communicate: where this process has no batch left and another has, it gets the first sample without an index,
    ([], [sample]), whose result is to be dropped. `progress` is called after each batch that counts.
    """
    windows = shard_batches(len(dataset), WINDOW * batch_size, accelerator)
    flat = [index for window in windows for index in window]
    samples = iter(prefetch(lambda index: (index, dataset[index]), flat, workers=workers, ahead=batch_size))
    batches = (batch for window in windows for batch in _group_equal_shapes(islice(samples, len(window)), batch_size))
    done = 0
    while True:
        found = next(batches, None)
        if not _any_process(found is not None, accelerator):
            return
        if found is None:
            yield [], [dataset[0]]
            continue
        yield found
        done += len(found[0])
        if progress is not None:
            progress(done, len(flat))


def _any_process(here: bool, accelerator: Accelerator | None) -> bool:
    if accelerator is None or accelerator.num_processes == 1:
        return here
    return bool(accelerator.reduce(torch.tensor(float(here), device=accelerator.device)) > 0)


def gather_rows(
    rows: Mapping[int, Sequence[float] | NDArray[np.float64]],
    shape: tuple[int, int],
    accelerator: Accelerator | None = None,
) -> NDArray[np.float64]:
    """Return float64 [samples, values] of `shape`: the rows of all processes, keyed by their index, in order."""
    samples, values = shape
    table = np.array([[index, *row] for index, row in rows.items()], np.float64).reshape(-1, 1 + values)
    if accelerator is not None and accelerator.num_processes > 1:
        # Processes hold different numbers of rows: padded to the longest with index -1, which is dropped again.
        padded = accelerator.pad_across_processes(torch.from_numpy(table).to(accelerator.device), pad_index=-1)
        table = accelerator.gather(padded).cpu().numpy()
        table = table[table[:, 0] >= 0]
    table = table[np.argsort(table[:, 0])]
    _check_complete(table[:, 0].astype(int).tolist(), samples)
    return np.ascontiguousarray(table[:, 1:])


def gather(rows: Mapping[int, Row], samples: int, accelerator: Accelerator | None = None) -> list[Row]:
    """Return the rows of all processes in order of their index, whatever they are: captions, boxes of any number.

    Slower than `gather_rows`, which is for numbers of one width.
    """
    found = dict(rows)
    if accelerator is not None and accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        found = dict(gather_object(list(rows.items())))
    _check_complete(sorted(found), samples)
    return [found[index] for index in range(samples)]


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put `model` in eval mode inside, and every module as it was afterwards: some may have been frozen in eval."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _group_equal_shapes(samples: Iterable[tuple[int, Sample]], limit: int) -> Iterator[tuple[list[int], list[Sample]]]:
    """Group samples by the shape of their image, up to `limit` each; full groups come as soon as they are full.

    Samples without an image, which hold what was computed from it before, are all of one shape.
    """
    groups: dict[torch.Size | None, tuple[list[int], list[Sample]]] = {}
    for index, sample in samples:
        shape = sample["image"].shape if "image" in sample else None
        indices, batch = groups.setdefault(shape, ([], []))
        indices.append(index)
        batch.append(sample)
        if len(batch) == limit:
            yield groups.pop(shape)
    yield from groups.values()


def _check_complete(indices: Sequence[int], samples: int) -> None:
    if list(indices) != list(range(samples)):
        raise RuntimeError(f"{len(indices)} rows were gathered for {samples} samples")
