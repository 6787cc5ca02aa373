"""The embedded world as a source of records."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caption_det.data.records import Record
from caption_det.data.synthetic.phrases import captions_of, is_true, read_caption
from caption_det.data.synthetic.scenes import Scene, paint_scene, plan_scene
from caption_det.data.synthetic.shapes import SHAPES
from polyscale.errors import UserError

SPLITS = {"train": 0, "val": 1, "test": 2}


@dataclass(frozen=True)
class World:
    """`count` scenes of a split, drawn anew whenever they are read; scene i is a function of (seed, split, i, side).

    Every second scene of the test split has a pair of colour and shape that training never saw.
    """

    split: str
    count: int
    seed: int = 0
    side: int = 128

    categories = SHAPES
    title = "synthetic"

    def __post_init__(self) -> None:
        if self.count < 1 or self.side < 64:
            raise UserError(f"synthetic: {self.count} images of {self.side} px; at least 1 of 64 px is needed")

    def __len__(self) -> int:
        return self.count

    @property
    def names(self) -> list[str]:
        """Of the scenes."""
        return [self.name(index) for index in range(self.count)]

    def draw(self, index: int) -> tuple[NDArray[np.uint8], Scene]:
        """Return image and scene `index`."""
        rng = self._generator(index)
        scene, placed = plan_scene(rng, self.side, self.is_held_out(index))
        return paint_scene(rng, scene, placed), scene

    def scene(self, index: int) -> Scene:
        """Return scene `index` without painting it."""
        return plan_scene(self._generator(index), self.side, self.is_held_out(index))[0]

    def record(self, index: int) -> Record:
        """Return captions and boxes of scene `index`."""
        return self._record(index, self.scene(index))

    def read(self, index: int) -> tuple[NDArray[np.uint8], Record]:
        """Return image and record of scene `index`."""
        image, scene = self.draw(index)
        return image, self._record(index, scene)

    def image_size(self, index: int) -> tuple[int, int]:
        """Return (side, side)."""
        return self.side, self.side

    def name(self, index: int) -> str:
        """Return the name of scene `index`."""
        return f"synthetic_{self.split}_{index:05d}"

    def judge(self, index: int, caption: str) -> bool:
        """Whether everything that a caption of scene `index` says is true, and nothing is missing."""
        return is_true(read_caption(caption), self.scene(index))

    def is_held_out(self, index: int) -> bool:
        """Whether scene `index` has a pair of colour and shape that training never saw."""
        return self.split == "test" and index % 2 == 1

    def _generator(self, index: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, SPLITS[self.split], index])

    def _record(self, index: int, scene: Scene) -> Record:
        labels = [SHAPES.index(group.shape) for group in scene.groups for _ in range(group.count)]
        boxes = np.concatenate(scene.boxes)
        return Record(self.name(index), tuple(captions_of(scene)), boxes, np.array(labels, np.int64))
