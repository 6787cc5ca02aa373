"""Flip and zoom of whole sequences, frames and boxes alike, with the chances of RVT's training.

RVT mirrors a box as if its right edge were its last pixel; here edges lie between pixels, so that boxes move as what is
drawn in the frames does.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Zoom(NamedTuple):
    """A window at (left, top): zooming in fills the frame with it, zooming out shrinks the frame into it."""

    inwards: bool
    left: int
    top: int
    height: int
    width: int


class Change(NamedTuple):
    """What is done to a sequence."""

    flip: bool = False
    zoom: Zoom | None = None

    def frames(self, frames: Tensor) -> Tensor:
        """Change frames [..., H, W]."""
        frames = frames.flip(-1) if self.flip else frames
        if self.zoom is None:
            return frames
        inwards, left, top, height, width = self.zoom
        rows, columns = frames.shape[-2:]
        if inwards:
            window = frames[..., top : top + height, left : left + width]
            return resize_nearest(window, rows, columns)
        canvas = torch.zeros_like(frames)
        canvas[..., top : top + height, left : left + width] = resize_nearest(frames, height, width)
        return canvas

    def boxes(self, boxes: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Change boxes [N, 4] as xyxy in a frame of `size`; returns those that are left, and which they were [N]."""
        rows, columns = size
        if self.flip:
            x1, y1, x2, y2 = boxes.unbind(1)
            boxes = torch.stack([columns - x2, y1, columns - x1, y2], 1)
        if self.zoom is not None:
            inwards, left, top, height, width = self.zoom
            corner = boxes.new_tensor([left, top, left, top])
            factor = boxes.new_tensor([width / columns, height / rows] * 2)
            boxes = (boxes - corner) / factor if inwards else boxes * factor + corner
        boxes = torch.minimum(boxes.clamp(min=0), boxes.new_tensor([columns - 1, rows - 1] * 2))
        keep = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        return boxes[keep], keep


@dataclass(frozen=True)
class Augment:
    """How often what is done; numbers are drawn from torch's generator.

    Attributes:
        flip: Chance of mirroring left and right.
        zoom: Chance of a zoom.
        inwards: Share of the zooms that are inwards, by a factor of up to 1.5; the others are outwards, up to 1.2.
    """

    flip: float = 0.5
    zoom: float = 0.5
    inwards: float = 0.0

    def draw(self, size: tuple[int, int], boxes: Tensor | None = None) -> Change:
        """Draw a change; zooming in keeps one of `boxes` (of the unchanged frame) whole, and is left out without any.

        Six numbers are drawn in every case, so that all parts of a recording that is played get the same change.
        """
        flip, zoom, which, factor, x, y = torch.rand(6).tolist()
        change = Change(flip < self.flip)
        if zoom >= self.zoom:
            return change
        rows, columns = size
        if which >= self.inwards:
            factor = 1 + 0.2 * factor
            height, width = int(rows / factor), int(columns / factor)
            return change._replace(
                zoom=Zoom(False, int(x * (columns - width)), int(y * (rows - height)), height, width)
            )
        if boxes is None or not len(boxes):
            return change
        height, width = int(rows / (1 + 0.5 * factor)), int(columns / (1 + 0.5 * factor))
        moved, _ = change.boxes(boxes, size)
        x1, y1, x2, y2 = moved[int(torch.randint(len(moved), ()))].tolist()
        left, top = _place(x1, x2, width, columns, x), _place(y1, y2, height, rows, y)
        return change._replace(zoom=Zoom(True, left, top, height, width))


STREAM = Augment(flip=0.5, zoom=0.5)
"""RVT's for recordings that are played in order."""
RANDOM = Augment(flip=0.5, zoom=0.8, inwards=0.8)
"""RVT's for sequences from anywhere."""


def _place(low: float, high: float, window: int, length: int, share: float) -> int:
    """Return where a window of that length begins so that it holds low..high, or as much of it as it can."""
    first = min(max(high - window, 0), length - window)
    last = max(min(low, length - window), 0)
    first, last = sorted((first, last))
    return round(first + share * (last - first))


def resize_nearest(frames: Tensor, rows: int, columns: int) -> Tensor:
    """Resize [..., H, W] by taking the nearest cell, as torch's "nearest-exact" does, for any type of number."""
    down = ((torch.arange(rows) + 0.5) * (frames.shape[-2] / rows)).long()
    across = ((torch.arange(columns) + 0.5) * (frames.shape[-1] / columns)).long()
    return frames.index_select(-2, down).index_select(-1, across)
