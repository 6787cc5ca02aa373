"""Formats of labels, one file each: COCO's json, Karpathy's json, JSON lines and tables, Flickr30k Entities."""

from pathlib import Path

from caption_det.data.files import Found, make_sources
from caption_det.data.formats import coco, lines
from polyscale.errors import UserError

FORMATS = (coco, lines)


def list_labels(path: Path, images: Path | None, val_fraction: float, recorded: Path | None = None) -> Found:
    """Return the splits of the data set at `path`, a folder or a label file.

    Raises:
        UserError: nothing is there, no format fits, or the labels cannot be used.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if images is not None and not images.is_dir():
        raise UserError(f"{images}: no such folder of images")
    for known in FORMATS:
        if known.fits(path):
            items, categories, notes = known.read(path)
            folder = images or (path if path.is_dir() else path.parent)
            found = make_sources(path.name, items, categories, folder, val_fraction, recorded)
            return Found(found.splits, [*notes, *found.notes])
    raise UserError(
        f"{path}: no labels found: captions_train.json and instances_train.json (COCO; train2017 as well), "
        "a .jsonl file, or a .csv or captions.txt with the columns image and caption"
    )
