"""Opening a data set by its path: the embedded world, or a folder or file in one of the known formats."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from caption_det.data.dataset import CaptionSet
from caption_det.data.formats import list_labels
from caption_det.data.records import Source
from caption_det.data.synthetic import World
from polyscale.errors import UserError

SYNTHETIC = "synthetic"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Opened:
    """The splits of a data set, before any image is read.

    `notes` are one-line remarks for the user: counts of what is passed over, splits that were drawn.
    """

    splits: dict[str, Source]
    notes: list[str] = field(default_factory=list)

    def source(self, split: str, path: str) -> Source:
        """Return one of train, val and test.

        Raises:
            UserError: there is no such split.
        """
        if split not in SPLITS:
            raise UserError(f"split {split}: choose from {', '.join(SPLITS)}", exit_code=2)
        if split not in self.splits:
            raise UserError(f"{path}: has no {split} split; it has {', '.join(self.splits)}", exit_code=2)
        return self.splits[split]


def open_data(
    path: str,
    *,
    images: str | None = None,
    val_fraction: float = 0.1,
    counts: tuple[int, int, int] = (8000, 200, 200),
    side: int = 128,
    recorded: Path | None = None,
) -> Opened:
    """Find the splits of a data set.

    Args:
        path: a folder or file, or synthetic.
        images: folder of the images where they do not lie next to the labels.
        val_fraction: share that becomes validation, and test, where the data set has no such split.
        counts: images to generate of each split, for the synthetic set.
        side: of those images.
        recorded: split.json of a run.
    """
    if path == SYNTHETIC:
        worlds: dict[str, Source] = {
            split: World(split, count, side=side) for split, count in zip(SPLITS, counts, strict=True)
        }
        return Opened(worlds)
    found = list_labels(Path(path), None if images is None else Path(images), val_fraction, recorded)
    return Opened(dict(found.splits), found.notes)


def open_split(path: str, split: str, size: int, *, cache: bool = False, **options: Any) -> CaptionSet:
    """Open the "train", "val" or "test" split of a data set with samples of side `size`; options of `open_data`."""
    opened = open_data(path, **options)
    return CaptionSet(opened.source(split, path), split, size, opened.notes, cache=cache)


def describe_sources(splits: Mapping[str, Source]) -> list[dict[str, Any]]:
    """One row for each split: images, captions, boxes, categories, how large the boxes are."""
    rows = []
    for split, source in splits.items():
        records = [source.record(i) for i in range(len(source))]
        boxes = [record.boxes for record in records if record.boxes is not None]
        sides = np.concatenate([np.zeros(0), *(np.sqrt(np.prod(b[:, 2:] - b[:, :2], 1)) for b in boxes)])
        captions = [len(record.captions) for record in records]
        rows.append(
            {
                "split": split,
                "images": len(source),
                "captions": sum(captions),
                "without_captions": captions.count(0),
                "boxes": len(sides),
                "without_boxes": len(records) - len(boxes),
                "categories": len(source.categories),
                "small_boxes": float((sides < 32).mean()) if len(sides) else float("nan"),
                "words": float(np.mean([float(len(c.split())) for r in records for c in r.captions] or [float("nan")])),
            }
        )
    return rows
