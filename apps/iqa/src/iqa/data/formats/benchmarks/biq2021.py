"""BIQ2021 (Ahmed and Asif 2022): 12,000 photographs of three subsets, 512 x 512, opinions of 30 observers in a lab.

Official split 10,000 / 2,000; the subset is the beginning of the name ("ss02 (1014).JPG"). 151 images of the test
split have near-duplicates in train, and train has them within itself: validation is cut with those kept together.
"""

from pathlib import Path

from iqa.data.formats.files import find_images
from iqa.data.formats.tables import score_of
from iqa.data.listing import Entry, ScoredListing
from polyscale.data.listing import file_in, subfolder
from polyscale.data.tables import cell, column, read_csv

_TABLES = {"train": "Train (Images and MOS).csv", "test": "Test (Images and MOS).csv"}


def is_biq2021(root: Path) -> bool:
    """Whether one of the two tables is here."""
    return any(file_in(root, name) for name in _TABLES.values())


def list_biq2021(root: Path, images: Path | None) -> ScoredListing:
    """List BIQ2021; `images` is the folder of its images where it is not the usual one."""
    folder = images or subfolder(root, "Images") or root
    splits = {split: _entries(table, folder) for split, name in _TABLES.items() if (table := file_in(root, name))}
    return ScoredListing("BIQ2021", splits, low=0.0, high=1.0, near_duplicates=True)


def _entries(table: Path, folder: Path) -> list[Entry]:
    rows = read_csv(table)
    name_column, score_column = column(table, rows, "image name"), column(table, rows, "mos")
    names = [cell(table, row, name_column, number) for number, row in enumerate(rows, 1)]
    files = find_images(folder, names, table)
    return [
        Entry(name, file, score_of(table, name, row[score_column]), name.split(" ")[0].casefold())
        for name, file, row in zip(names, files, rows, strict=True)
    ]
