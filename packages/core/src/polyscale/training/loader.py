"""Which sample comes when, and with which random numbers: a pure function of (seed, epoch, position).

Accelerate's own sampler continues a shuffled epoch on another permutation after a mid-epoch resume; here nothing
depends on hidden state, so any batch of any epoch can be made again on its own, in any process, with any number of
workers. Data sets stay plain map-style ones that augment with torch's global generator.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from polyscale.errors import UserError
from polyscale.training.state import signals_held


class Key(NamedTuple):
    """One sample of a batch."""

    sample: int
    seed: int  # of its random numbers
    first: bool | None = None  # whether a recording begins with it; None where there are none


class Order(Protocol):
    """The order in which a loader serves a data set."""

    count: int
    """Samples of the data set."""

    def batches(self, batch_size: int, world: int) -> int:
        """Return the number of batches of one epoch, the same for each of `world` processes."""
        ...

    def epoch(self, seed: Sequence[int], batch_size: int, rank: int, world: int) -> Iterator[list[Key]]:
        """Yield the batches of process `rank` in the epoch that `seed` stands for."""
        ...


class Shuffled:
    """Every sample once an epoch, in random order; all processes get equally many batches of equal size.

    A ragged tail (less than one batch in every process) is left out, as another permutation catches it next epoch.
    A set smaller than one batch of all processes is repeated to fill exactly one, so that no process waits for another.
    """

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ValueError("count must be at least 1: the data set holds no sample")
        self.count = count

    def batches(self, batch_size: int, world: int) -> int:
        """Return the number of batches of one epoch."""
        return max(self.count // (batch_size * world), 1)

    def epoch(self, seed: Sequence[int], batch_size: int, rank: int, world: int) -> Iterator[list[Key]]:
        """Yield the batches of process `rank`."""
        batches, together = self.batches(batch_size, world), min(batch_size * world, max(self.count, world))
        order = np.resize(permutation(self.count, seed), batches * together)
        for batch in order.reshape(batches, together):
            share = np.array_split(batch, world)[0].size  # equal sizes: the last process repeats if it must
            mine = np.resize(batch[rank * share : (rank + 1) * share], share)
            yield [Key(int(i), sample_seed(seed, int(i))) for i in mine]


class Streams:
    """Recordings played in order: slot b of every batch stays on one recording until its end, then takes the next.

    For recurrent models: the state of slot b goes on from batch to batch, and the batch's "first" (bool [B]) tells
    where a recording begins and the state is to be reset. Each recording is played at least once an epoch; the slots
    that end early repeat theirs, so that every batch is full. All chunks of one playing share the random numbers of
    their augmentation: a recording that is flipped is flipped as a whole.

    Args:
        lengths: Chunks of each recording; sample i of the data set is chunk i of all recordings one after another.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        if not lengths or min(lengths) < 1:
            raise ValueError("lengths must hold at least 1 chunk for each of at least 1 recording")
        self.lengths = np.asarray(lengths, np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)[:-1]])
        self.count = int(self.lengths.sum())

    def batches(self, batch_size: int, world: int) -> int:
        """Return the number of batches of one epoch: the chunks of the fullest slot."""
        slots = self._deal(np.arange(len(self.lengths)), batch_size * world)
        return int(max(self.lengths[slot].sum() for slot in slots))

    def epoch(self, seed: Sequence[int], batch_size: int, rank: int, world: int) -> Iterator[list[Key]]:
        """Yield the batches of process `rank`."""
        generator = _generator(seed)
        slots = self._deal(generator.permutation(len(self.lengths)), batch_size * world)
        slots = [slots[place] for place in generator.permutation(len(slots))]  # the long ones to any process
        batches = self.batches(batch_size, world)
        played = [
            self._play(slot, generator.permutation(len(slot)), [*seed, place]) for place, slot in enumerate(slots)
        ]
        mine = played[rank * batch_size : (rank + 1) * batch_size]
        for _ in range(batches):
            yield [next(stream) for stream in mine]

    def _deal(self, recordings: np.ndarray, slots: int) -> list[list[int]]:
        """Deal recordings to slots, the longest first, each to the emptiest: how full slots get is no matter of chance.

        With fewer recordings than slots, some play in two.
        """
        recordings = np.resize(recordings, max(slots, len(recordings)))
        dealt: list[list[int]] = [[] for _ in range(slots)]
        filled = np.zeros(slots, np.int64)
        for recording in recordings[np.argsort(-self.lengths[recordings], kind="stable")]:
            slot = int(filled.argmin())
            dealt[slot].append(int(recording))
            filled[slot] += self.lengths[recording]
        return dealt

    def _play(self, recordings: list[int], order: np.ndarray, seed: Sequence[int]) -> Iterator[Key]:
        """Yield the chunks of a slot's recordings in `order`, again and again."""
        playing = 0
        while True:
            recording = recordings[order[playing % len(order)]]
            numbers = sample_seed(seed, playing)
            for chunk in range(self.lengths[recording]):
                yield Key(int(self.starts[recording] + chunk), numbers, chunk == 0)
            playing += 1


class Loader:
    """Endless batches of a data set from where a run stands; made by `Run.loader`.

    `position` counts the batches that were handed out since the run began; it is kept in every checkpoint.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        order: Order,
        collate: Callable[[list[Any]], Any] | None,
        batch_size: int,
        *,
        seed: Sequence[int],
        place: tuple[int, int] = (0, 1),
        workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        if order.count != len(dataset):  # type: ignore[arg-type]
            raise ValueError(f"order must be of the data set's samples, got {order.count} of them")
        self.order, self.batch_size, self.position = order, batch_size, 0
        self.batches = order.batches(batch_size, place[1])
        """Batches of one pass over the data set, for one process."""
        self._keys = _Keys(self, seed, place)
        workers = min(workers, os.cpu_count() or 1)  # of more torch warns; the results are the same
        self._data: DataLoader[Any] = DataLoader(
            _Seeded(dataset),
            batch_sampler=self._keys,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=_Collate(collate or default_collate),
            worker_init_fn=_ignore_signals,
            pin_memory=pin_memory,
            generator=torch.Generator(),  # else opening an iterator draws from dropout's generator
        )
        self._batches: Iterator[Any] = iter(())
        self._workers: set[Any] = set()
        # multiprocessing ends workers with SIGTERM and waits for them, for ever; this comes before, in any process
        self._at_exit = Finalize(None, self.close, exitpriority=1) if workers else None

    def state_dict(self) -> dict[str, int]:
        """Return the position, and what must be the same when the run is resumed."""
        about = {"samples": self.order.count, "batch size": self.batch_size, "batches": self.batches}
        return about | {"position": self.position}

    def load_state_dict(self, state: Mapping[str, int], run: Path) -> None:
        """Go on where a loader of the same data set stopped.

        Raises:
            UserError: The data set or the batch size is another one.
        """
        for key, value in self.state_dict().items():
            if key != "position" and state.get(key) != value:
                text = f"{value} {key} do not fit the run, which was trained with {state.get(key, 'other data')}"
                raise UserError(f"{run}: {text}; restore the data set or the setting, or start a new run")
        self.position = state["position"]

    def take(self, count: int) -> Iterator[Any]:
        """Yield the next `count` batches."""
        self._keys.count = count
        before = set(multiprocessing.active_children())
        with signals_held():  # workers are born deaf to what ends a run: it still needs their batches
            self._batches = iter(self._data)
        self._workers |= set(multiprocessing.active_children()) - before
        for batch in self._batches:
            self.position += 1
            yield batch

    def close(self) -> None:
        """End the workers, which no signal but SIGKILL reaches."""
        getattr(self._batches, "_shutdown_workers", lambda: None)()
        for worker in self._workers:
            worker.kill()
        if self._at_exit is not None:
            self._at_exit.cancel()


class _Keys(Sampler[list[Key]]):
    """The keys of the next `count` batches of a loader, over as many epochs as it takes."""

    def __init__(self, loader: Loader, seed: Sequence[int], place: tuple[int, int]) -> None:
        self._loader, self._seed, self._place = loader, seed, place
        self.count = 0

    def __iter__(self) -> Iterator[list[Key]]:
        loader, remaining = self._loader, self.count
        epoch, start = divmod(loader.position, loader.batches)
        while remaining > 0:
            seed = [self._seed[0], epoch, *self._seed[1:]]
            keys = list(loader.order.epoch(seed, loader.batch_size, *self._place))[start : start + remaining]
            yield from keys
            remaining -= len(keys)
            epoch, start = epoch + 1, 0


class _Seeded(Dataset[tuple[Any, bool | None]]):
    """Serves (sample, first) with torch's generator seeded by the key, and leaves the generator as it was."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __getitem__(self, key: Key) -> tuple[Any, bool | None]:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(key.seed)
            return self.dataset[key.sample], key.first


class _Collate:
    """Collates samples and puts the streams' "first" into the batch."""

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, samples: list[tuple[Any, bool | None]]) -> Any:
        batch = self.collate([sample for sample, _ in samples])
        if samples[0][1] is not None:
            if not isinstance(batch, dict):
                raise TypeError(
                    f"a batch of streams must be a dict, to which first is added; got {type(batch).__name__}"
                )
            batch["first"] = torch.tensor([first for _, first in samples])
        return batch


def permutation(count: int, seed: Sequence[int]) -> np.ndarray:
    """Return a permutation of range(count) that is the same on every platform."""
    return _generator(seed).permutation(count)


def sample_seed(seed: Sequence[int], index: int) -> int:
    """Return a 63-bit seed for the random numbers of one sample in one epoch."""
    return int(np.random.SeedSequence([*seed, index]).generate_state(1, np.uint64)[0]) >> 1


def _generator(seed: Sequence[int]) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(list(seed)))


def _ignore_signals(worker: int) -> None:
    """Leave SIGTERM and SIGINT of the whole process group to the run, which still needs its workers to end well."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
