"""FLIVE, also LIVE-FB (Ying et al. 2020): 39,810 photographs of 0 to 100; its three label files are the split.

labels_image.csv scores every image; labels=640_padded.csv lists those for training, is_valid True for validation;
labels640.csv lists the test images, those whose larger side exceeds 640.
"""

from pathlib import Path

from iqa.data.formats.files import find_images
from iqa.data.formats.tables import score_of
from iqa.data.listing import Entry, ScoredListing
from polyscale.data.listing import file_in, subfolder
from polyscale.data.naming import plural
from polyscale.data.tables import cell, column, read_csv
from polyscale.errors import UserError


def _table(root: Path, name: str) -> Path | None:
    return file_in(root, name, f"database/{name}")


def is_flive(root: Path) -> bool:
    """Whether the labels of all images are here."""
    return _table(root, "labels_image.csv") is not None


def list_flive(root: Path, images: Path | None) -> ScoredListing:
    """List FLIVE; `images` is the folder of its images where it is not the usual one."""
    table = _table(root, "labels_image.csv")
    if table is None:
        raise UserError(f"{root}: FLIVE needs labels_image.csv here or in the folder database")
    rows = read_csv(table)
    name_column, score_column = column(table, rows, "name", "name_image"), column(table, rows, "mos", "mos_image")
    names = [cell(table, row, name_column, number) for number, row in enumerate(rows, 1)]
    files = find_images(images or subfolder(root, "database") or root, names, table)
    split_of, notes = _official(root)
    splits: dict[str, list[Entry]] = {}
    for name, file, row in zip(names, files, rows, strict=True):
        entry = Entry(name, file, score_of(table, name, row[score_column]), Path(name).parent.name)
        splits.setdefault(split_of.get(Path(name).name, "unlisted") if split_of else "", []).append(entry)
    left = splits.pop("unlisted", [])
    if left:
        notes.append(f"{plural(len(left), 'image')} in no list of the official split left out, first {left[0].name}")
    return ScoredListing("FLIVE", splits, notes, low=0.0, high=100.0)


def _official(root: Path) -> tuple[dict[str, str], list[str]]:
    """(split by file name, notes); {} where the lists are missing."""
    training, test = _table(root, "labels=640_padded.csv"), _table(root, "labels640.csv")
    if training is None or test is None:
        missing = "labels=640_padded.csv and labels640.csv hold the official split and are not both here"
        return {}, [f"{missing}: results will not compare"]
    rows = read_csv(training)
    name, valid = column(training, rows, "name_image", "name"), column(training, rows, "is_valid")
    found = {Path(row[name]).name: "val" if row[valid].casefold() in ("true", "1") else "train" for row in rows}
    rows = read_csv(test)
    name = column(test, rows, "name_image", "name")
    return found | {Path(row[name]).name: "test" for row in rows}, []
