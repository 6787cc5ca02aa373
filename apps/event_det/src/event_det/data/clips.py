"""Sequences of steps to train with: recordings played in order, sequences from anywhere, or half of each as in RVT."""

from collections.abc import Iterator, Sequence
from typing import Literal, TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset

from event_det.data.augment import RANDOM, STREAM, Augment, Change
from event_det.data.sparse import SparseBatch, SparseFrames
from event_det.data.steps import EventSet
from polyscale.errors import UserError
from polyscale.training.loader import Key, Order, Shuffled, Streams

Sampling = Literal["stream", "random", "mixed"]
Target = tuple[Tensor, Tensor]
"""Boxes float32 [N, 4] as xyxy in pixels, and labels int64 [N]."""


class Clip(TypedDict):
    """A sequence.

    frames: uint8 [L, C, H, W], by their cells where they are stored so. targets: of L steps. steps: how many are real,
    not zeros at the end.
    """

    frames: Tensor | SparseFrames
    targets: list[Target | None]
    steps: int


class Batch(TypedDict, total=False):
    """A batch: see `event_det.data`; `steps` [B] counts the real steps of each sequence.

    frames of a set that is stored by its cells become dense on their way to a device: `frames.to(device)`.
    """

    frames: Tensor | SparseBatch
    targets: list[list[Target | None]]
    steps: Tensor
    first: Tensor


class Clips(Dataset[Clip]):
    """Sequences of `length` steps; those of streams come first, then those from anywhere.

    A sequence from anywhere ends with a labelled step. Where labels are missing for longer than a sequence, a recording
    falls into several streams.

    Args:
        split: The steps.
        length: Steps of a sequence.
        sampling: stream plays recordings in order; random takes sequences from anywhere, each with a fresh state;
            mixed fills half of each batch with either.
        augment: Whether to flip and zoom: a stream as a whole, other sequences each.

    Attributes:
        order: For `Run.loader`.
    """

    def __init__(self, split: EventSet, length: int, *, sampling: Sampling = "stream", augment: bool = False) -> None:
        self.split, self.length, self.augment = split, length, augment
        streams = split.streams(length, labelled=True) if sampling != "random" else []
        self._ranges = [part for stream in streams for part in stream]
        self._played = len(self._ranges)
        if sampling != "stream":
            self._ranges += [self._ending_with(index) for index in split.labelled()]
        if not self._ranges:
            raise UserError(f"{split.title}: no step of it is labelled, so there is nothing to learn from")
        self.order: Order
        if sampling == "stream":
            self.order = Streams([len(stream) for stream in streams])
        elif sampling == "random":
            self.order = Fresh(len(self._ranges))
        else:
            self.order = Mixed([len(stream) for stream in streams], len(self._ranges) - self._played)

    def _ending_with(self, index: int) -> range:
        start = self.split.starts[self.split.locate(index)[0]]
        return range(max(index - self.length + 1, start), index + 1)

    def __len__(self) -> int:
        return len(self._ranges)

    def __getitem__(self, index: int) -> Clip:
        steps = self._ranges[index]
        found = [self.split.labels(step) for step in steps]
        targets: list[Target | None] = [None if labels is None else (labels.boxes, labels.labels) for labels in found]
        change = Change()
        if self.augment:
            latest = next((target[0] for target in reversed(targets) if target and len(target[0])), None)
            rule: Augment = STREAM if index < self._played else RANDOM
            change = rule.draw(self.split.size, latest)
            targets = change_targets(change, targets, self.split.size)
        missing = self.length - len(steps)
        return {
            "frames": self._frames(steps, change),
            "targets": [*targets, *[None] * missing],
            "steps": len(steps),
        }

    def _frames(self, steps: range, change: Change) -> Tensor | SparseFrames:
        """Read and change frames, and fill them up with zeros to the length of a sequence."""
        if self.split.sparse:
            found = self.split.cells(steps.start, steps.stop).changed(change)
            return SparseFrames(found.cells, found.counts, (self.length, *found.shape[1:]))
        frames = change.frames(torch.from_numpy(self.split.frames(steps.start, steps.stop)))
        missing = self.length - len(steps)
        return torch.cat([frames, frames.new_zeros((missing, *frames.shape[1:]))]) if missing else frames


def change_targets(change: Change, targets: list[Target | None], size: tuple[int, int]) -> list[Target | None]:
    """Change the boxes of frames of a size."""
    changed: list[Target | None] = []
    for target in targets:
        if target is None:
            changed.append(None)
            continue
        boxes, keep = change.boxes(target[0], size)
        changed.append((boxes, target[1][keep]))
    return changed


def collate(clips: list[Clip]) -> Batch:
    """Make a batch of sequences."""
    frames = [clip["frames"] for clip in clips]
    dense = [part for part in frames if isinstance(part, Tensor)]
    return {
        "frames": torch.stack(dense, 1) if dense else SparseBatch([f for f in frames if isinstance(f, SparseFrames)]),
        "targets": [list(step) for step in zip(*(clip["targets"] for clip in clips), strict=True)],
        "steps": torch.tensor([clip["steps"] for clip in clips]),
    }


class Fresh(Shuffled):
    """Every sequence once an epoch in random order; each begins with a fresh state."""

    def epoch(self, seed: Sequence[int], batch_size: int, rank: int, world: int) -> Iterator[list[Key]]:
        """Yield the batches of process `rank`."""
        for batch in super().epoch(seed, batch_size, rank, world):
            yield [key._replace(first=True) for key in batch]


class Mixed:
    """Half of each batch plays streams, the other half (the smaller one) takes sequences from anywhere.

    An epoch plays every stream at least once. Sequences from anywhere follow the streams in the data set.

    Args:
        lengths: Sequences of each stream.
        others: Number of sequences from anywhere.
    """

    def __init__(self, lengths: list[int], others: int) -> None:
        self.streams, self.others = Streams(lengths), Fresh(others)
        self.count = self.streams.count + others

    def batches(self, batch_size: int, world: int) -> int:
        """Return the number of batches of one epoch."""
        return self.streams.batches(batch_size - batch_size // 2, world)

    def epoch(self, seed: Sequence[int], batch_size: int, rank: int, world: int) -> Iterator[list[Key]]:
        """Yield the batches of process `rank`."""
        half = batch_size // 2
        others = self._others(seed, half, rank, world)
        for batch in self.streams.epoch(seed, batch_size - half, rank, world):
            yield [*batch, *(next(others) for _ in range(half))]

    def _others(self, seed: Sequence[int], size: int, rank: int, world: int) -> Iterator[Key]:
        """Yield sequences from anywhere, again and again, each time in another order."""
        turn = 0
        while True:
            turn += 1
            for batch in self.others.epoch([*seed, turn], max(size, 1), rank, world):
                for key in batch:
                    yield key._replace(sample=key.sample + self.streams.count)
