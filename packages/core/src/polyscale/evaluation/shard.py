"""What every evaluation shares: batches dealt to processes, rows gathered in order, eval mode for a while.

Batches are cut before they are dealt, so that every sample is computed in the same batch however many processes there
are; rows travel with their index. Two processes therefore give the numbers of one, on uneven data too, and nothing
padded or repeated is counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from polyscale.errors import UserError

if TYPE_CHECKING:
    from accelerate import Accelerator


def shard_batches(samples: int, batch_size: int, accelerator: Accelerator | None = None) -> list[range]:
    """This process's batches of indices: every n-th of those that a single process would compute.

    Raises UserError where there is no sample, or batch_size is below 1.
    """
    if samples < 1:
        raise UserError("the data set to evaluate holds no image")
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}; at least 1 is needed", exit_code=2)
    batches = [range(start, min(start + batch_size, samples)) for start in range(0, samples, batch_size)]
    return batches if accelerator is None else batches[accelerator.process_index :: accelerator.num_processes]


def most_batches(samples: int, batch_size: int, accelerator: Accelerator | None = None) -> int:
    """Batches of the process that got most: a sharded model communicates in every pass, so all make as many."""
    return -(-samples // (batch_size * (1 if accelerator is None else accelerator.num_processes)))


def gather_rows(
    rows: Mapping[int, Sequence[float] | NDArray[np.float64]],
    shape: tuple[int, int],
    accelerator: Accelerator | None = None,
) -> NDArray[np.float64]:
    """float64 [samples, values] of `shape`: the rows of all processes, each known by its index, in order."""
    samples, values = shape
    table = np.array([[index, *row] for index, row in rows.items()], np.float64).reshape(-1, 1 + values)
    if accelerator is not None and accelerator.num_processes > 1:
        # Processes hold different numbers of rows: padded to the longest with index -1, which is dropped again.
        padded = accelerator.pad_across_processes(torch.from_numpy(table).to(accelerator.device), pad_index=-1)
        table = accelerator.gather(padded).cpu().numpy()
        table = table[table[:, 0] >= 0]
    table = table[np.argsort(table[:, 0])]
    if not np.array_equal(table[:, 0], np.arange(samples)):
        raise RuntimeError(f"{len(table)} rows were gathered for {samples} samples")
    return np.ascontiguousarray(table[:, 1:])


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """eval() inside, afterwards every module as it was: a backbone may keep its BatchNorm frozen while training."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
