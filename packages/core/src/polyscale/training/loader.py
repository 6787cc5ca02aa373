"""Which sample comes when, and with which random numbers: a pure function of (seed, epoch, position).

Accelerate's own sampler continues a shuffled epoch on another permutation after a mid-epoch resume; here nothing
depends on hidden state, so any batch of any epoch can be made again on its own, in any process, with any number of
workers. Data sets stay plain map-style ones that augment with torch's global generator.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

Key = tuple[int, int]  # (index of the sample, seed of its random numbers)


def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The permutation of range(count) that epoch `epoch` walks through; the same on every platform."""
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(count)


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """A 63-bit seed for the random numbers of one sample in one epoch."""
    return int(np.random.SeedSequence([seed, epoch, index]).generate_state(1, np.uint64)[0]) >> 1


class EpochBatches(Sampler[list[Key]]):
    """Batches of keys for one process of `world`, all processes getting equally many batches of equal size.

    A ragged tail (less than one batch in every process) is left out, as another permutation catches it next epoch;
    a set smaller than one global batch is repeated to fill exactly one, so that no process waits for another.
    """

    def __init__(self, count: int, batch_size: int, seed: int, rank: int = 0, world: int = 1) -> None:
        if count < 1:
            raise ValueError("count: the data set holds no sample")
        self.count, self.batch_size, self.seed, self.rank, self.world = count, batch_size, seed, rank, world
        self.epoch = 0
        self.start = 0  # batches already done, for a resume in the middle of an epoch
        self.global_batch = min(batch_size * world, max(count, world))
        self.batches = max(count // (batch_size * world), 1)

    def __len__(self) -> int:
        return self.batches - self.start

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.resize(epoch_order(self.count, self.seed, self.epoch), self.batches * self.global_batch)
        for batch in order.reshape(self.batches, self.global_batch)[self.start :]:
            share = np.array_split(batch, self.world)[0].size  # equal sizes: the last process repeats if it must
            mine = np.resize(batch[self.rank * share : (self.rank + 1) * share], share)
            yield [(int(i), sample_seed(self.seed, self.epoch, int(i))) for i in mine]


class Seeded(Dataset[Any]):
    """Serves `dataset[index]` with torch's generator seeded by the key, and leaves the generator as it was."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __getitem__(self, key: Key) -> Any:
        index, seed = key
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self.dataset[index]
