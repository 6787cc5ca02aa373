"""All steps of the recordings of a split, one after another."""

import bisect
import os
from collections import OrderedDict
from typing import NamedTuple, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from event_det.data.boxes import BoxFilter, Ranking
from event_det.data.rvt import Sequence
from event_det.data.sparse import SparseFrames
from polyscale.errors import UserError

OPEN_FILES = 32
"""Files of histograms that stay open in a process."""


class Sample(TypedDict):
    """One step: see `event_det.data`."""

    frames: Tensor
    boxes: Tensor | None
    labels: Tensor | None
    standing: Tensor | None
    timestamp: int
    recording: str
    first: bool


class Labels(NamedTuple):
    """The boxes of a step: float32 [N, 4] xyxy, int64 [N], and bool [N] or None."""

    boxes: Tensor
    labels: Tensor
    standing: Tensor | None


class EventSet(Dataset[Sample]):
    """A split: step i is step i of all its recordings, one after another.

    Args:
        sequences: The recordings.
        classes: Names by class id.
        title: Name of the data set and split.
        evaluate: Which boxes count in an evaluation, in pixels of the frames.
        ranking: How boxes are ranked where nobody chooses.
        notes: Remarks for the user.

    Attributes:
        classes: Names by class id.
        size: Rows and columns of a frame.
        channels: Channels of a frame.
        starts: Number of the first step of each recording, and of one after the last.
    """

    def __init__(
        self,
        sequences: list[Sequence],
        classes: tuple[str, ...],
        title: str,
        evaluate: BoxFilter | None = None,
        ranking: Ranking = "product",
        notes: list[str] | None = None,
    ) -> None:
        self.sequences, self.classes, self.title = sequences, classes, title
        self.evaluate, self.ranking, self.notes = evaluate or BoxFilter(), ranking, notes or []
        self.channels, *size = sequences[0].histograms.shape
        self.size: tuple[int, int] = (size[0], size[1])
        self.scale = 0.5 if sequences[0].half else 1.0
        self.starts: list[int] = [0, *np.cumsum([len(sequence) for sequence in sequences]).tolist()]
        self._open: OrderedDict[int, None] = OrderedDict()
        self._process = os.getpid()
        for sequence in sequences:
            sequence.close()

    @property
    def recordings(self) -> list[str]:
        """Names of the recordings."""
        return [sequence.name for sequence in self.sequences]

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, index: int) -> Sample:
        index = range(len(self))[index]
        number, step = self.locate(index)
        found = self.labels(index)
        boxes, labels, standing = (None, None, None) if found is None else found
        return {
            "frames": torch.from_numpy(self.frames(index, index + 1)[0]),
            "boxes": boxes,
            "labels": labels,
            "standing": standing,
            "timestamp": int(self.sequences[number].times[step]),
            "recording": self.sequences[number].name,
            "first": step == 0,
        }

    def locate(self, index: int) -> tuple[int, int]:
        """Return the recording of a step and its place in it."""
        number = bisect.bisect_right(self.starts, index) - 1
        return number, index - self.starts[number]

    def frames(self, start: int, stop: int) -> np.ndarray:
        """Read the histograms of steps of one recording, uint8 [stop - start, C, H, W]."""
        sequence, step = self._opened(start)
        return sequence.frames(step, step + stop - start)

    def cells(self, start: int, stop: int) -> SparseFrames:
        """Read the same by their cells."""
        sequence, step = self._opened(start)
        return sequence.cells(step, step + stop - start)

    @property
    def sparse(self) -> bool:
        """Whether all recordings are stored by their cells."""
        return all(sequence.sparse for sequence in self.sequences)

    def _opened(self, index: int) -> tuple[Sequence, int]:
        """Return the recording of a step, its file open, and the step's place in it."""
        number, step = self.locate(index)
        sequence = self.sequences[number]
        if os.getpid() != self._process:  # a forked worker: the parent's files are not shared
            self._process = os.getpid()
            self._open.clear()
            for other in self.sequences:
                other.__dict__.pop("histograms", None)
        self._open[number] = None
        self._open.move_to_end(number)
        if len(self._open) > OPEN_FILES:
            self.sequences[self._open.popitem(last=False)[0]].close()
        if sequence.histograms.shape != (self.channels, *self.size):
            expected, found = [self.channels, *self.size], list(sequence.histograms.shape)
            raise UserError(f"{sequence.path}: frames of {found}, where others of the data set have {expected}")
        return sequence, step

    def labels(self, index: int) -> Labels | None:
        """Return the boxes of a step in pixels of the frames, None where it is unlabelled."""
        number, step = self.locate(index)
        found = self.sequences[number].labels(step)
        if found is None:
            return None
        rows, standing = found
        xyxy = np.stack([rows["x"], rows["y"], rows["x"] + rows["w"], rows["y"] + rows["h"]], 1) * self.scale
        limit = np.array([self.size[1] - 1, self.size[0] - 1] * 2, np.float32)
        return Labels(
            torch.from_numpy(np.clip(xyxy, 0, limit).astype(np.float32)),
            torch.from_numpy(rows["class_id"].astype(np.int64)),
            None if standing is None else torch.from_numpy(standing.copy()),
        )

    def labelled(self) -> list[int]:
        """Return the numbers of all labelled steps."""
        return [
            start + step
            for start, sequence in zip(self.starts, self.sequences, strict=False)
            for step in sorted(sequence.frame_of_step)
        ]

    def streams(self, length: int, *, labelled: bool = False) -> list[list[range]]:
        """Cut each recording into sequences of `length` steps, the last of each shorter.

        Args:
            length: Steps of a sequence.
            labelled: Leave out the parts in which no step is labelled for longer than `length`, as RVT does in
                training: a recording then falls into several streams.

        Returns:
            For each stream the ranges of its steps: `polyscale.training.Streams([len(s) for s in streams])`.
        """
        parts = []
        for start, stop, sequence in zip(self.starts[:-1], self.starts[1:], self.sequences, strict=True):
            if not labelled:
                parts.append((start, stop))
                continue
            steps = np.array(sorted(sequence.frame_of_step), np.int64)
            for run in np.split(steps, np.flatnonzero(np.diff(steps) > length) + 1):
                if len(run):
                    parts.append((start + max(int(run[0]) - length + 1, 0), start + int(run[-1]) + 1))
        return [[range(a, min(a + length, stop)) for a in range(start, stop, length)] for start, stop in parts]
