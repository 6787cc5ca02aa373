"""Histograms by their cells that are not zero: of 50 ms windows one to two in a hundred.

On disk and between processes a cell takes five bytes, its place and its count, and the zeros are put back on the device
that computes. What comes out is bit-equal to the dense histograms, flipped and zoomed or not.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from event_det.data.augment import Change


@dataclass(frozen=True, eq=False)
class SparseFrames:
    """Frames [L, C, H, W] by their cells.

    Attributes:
        cells: Places in the flattened frames, each once, int64 [N].
        counts: What stands there, uint8 [N].
        shape: L, C, H, W.
    """

    cells: NDArray[np.int64]
    counts: NDArray[np.uint8]
    shape: tuple[int, ...]

    @classmethod
    def from_dense(cls, frames: NDArray[np.uint8]) -> "SparseFrames":
        """Take the cells of dense frames that are not zero."""
        flat = frames.reshape(-1)
        cells = np.flatnonzero(flat)
        return cls(cells, flat[cells], frames.shape)

    def to_dense(self) -> NDArray[np.uint8]:
        """Put the zeros back."""
        frames = np.zeros(self.shape, np.uint8)
        frames.reshape(-1)[self.cells] = self.counts
        return frames

    def changed(self, change: Change) -> "SparseFrames":
        """Flip and zoom as `Change.frames` does, by the places of the cells alone."""
        height, width = self.shape[-2:]
        above, columns = np.divmod(self.cells, width)
        planes, rows = np.divmod(above, height)
        counts = self.counts
        if change.flip:
            columns = width - 1 - columns
        if change.zoom is not None:
            rows, kept = _spread(rows, _sources(change.zoom.inwards, change.zoom.top, change.zoom.height, height))
            planes, columns, counts = planes[kept], columns[kept], counts[kept]
            columns, kept = _spread(columns, _sources(change.zoom.inwards, change.zoom.left, change.zoom.width, width))
            planes, rows, counts = planes[kept], rows[kept], counts[kept]
        return SparseFrames((planes * height + rows) * width + columns, counts, self.shape)


def _sources(inwards: bool, start: int, window: int, length: int) -> NDArray[np.int64]:
    """Return from where each of `length` rows is taken, ascending; -1 and `length` stand for nowhere."""
    steps = np.arange(length if inwards else window, dtype=np.float32) + np.float32(0.5)
    if inwards:
        return (steps * np.float32(window / length)).astype(np.int64) + start
    taken = (steps * np.float32(length / window)).astype(np.int64)
    return np.concatenate([np.full(start, -1), taken, np.full(length - start - window, length)])


def _spread(places: NDArray[np.int64], sources: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where cells at `places` go, none, one or several times, and which cell each is."""
    first = np.searchsorted(sources, places, side="left")
    times = np.searchsorted(sources, places, side="right") - first
    kept = np.repeat(np.arange(len(places)), times)
    before = np.cumsum(times) - times
    return first[kept] + np.arange(len(kept)) - before[kept], kept


class SparseBatch:
    """Frames [L, B, C, H, W] of a batch by their cells; `to(device)` gives the dense frames there.

    What sends batches to a device (Accelerate) calls `to` of whatever has it, so that a training sees dense frames.
    """

    def __init__(self, clips: list[SparseFrames]) -> None:
        length, *inner = clips[0].shape
        self.shape = (length, len(clips), *inner)
        size = int(np.prod(inner))
        cells = []
        for number, clip in enumerate(clips):
            step, place = np.divmod(clip.cells, size)
            cells.append((step * len(clips) + number) * size + place)
        whole = torch.from_numpy(np.concatenate(cells))
        self.cells = whole.int() if int(np.prod(self.shape)) < 2**31 else whole
        self.counts = torch.from_numpy(np.concatenate([clip.counts for clip in clips]))

    @property
    def nbytes(self) -> int:
        """Bytes that are moved to the device."""
        return self.cells.nbytes + self.counts.nbytes

    def pin_memory(self) -> "SparseBatch":
        """Bring the cells to where a GPU reads them without waiting."""
        self.cells, self.counts = self.cells.pin_memory(), self.counts.pin_memory()
        return self

    def to(self, device: torch.device | str, non_blocking: bool = False, **_: Any) -> Tensor:
        """Return the dense frames on a device, uint8 [L, B, C, H, W]."""
        cells = self.cells.to(device, non_blocking=non_blocking).long()
        counts = self.counts.to(device, non_blocking=non_blocking)
        frames = torch.zeros(self.shape, dtype=torch.uint8, device=device)
        frames.view(-1)[cells] = counts
        return frames
