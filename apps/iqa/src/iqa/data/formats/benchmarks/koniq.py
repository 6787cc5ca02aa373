"""KonIQ-10k (Hosu et al. 2020): 10,073 photographs, the official split of 7,058 / 1,000 / 2,015, scores of 0 to 100.

Its two tables both have a column MOS on different scales: koniq10k_distributions_sets.csv (with the split) holds 0 to
100, koniq10k_scores_and_distributions.csv 1 to 5 next to MOS_zscore of 0 to 100. The scale is detected by the
values, and scores of 0 to 100 are taken wherever there are any. Images are in 512x384 or 1024x768.
"""

from pathlib import Path

from iqa.data.formats.files import find_images
from iqa.data.formats.tables import score_of
from iqa.data.listing import Entry, ScoredListing
from polyscale.data.listing import file_in, subfolder
from polyscale.data.splits import SPLIT_WORDS
from polyscale.data.tables import cell, column, find_column, read_csv
from polyscale.errors import UserError

TABLES = ("koniq10k_distributions_sets.csv", "koniq10k_scores_and_distributions.csv")
FOLDERS = ("512x384", "1024x768")


def _table(root: Path) -> Path | None:
    return next((path for name in TABLES if (path := file_in(root, name, f"metadata/{name}"))), None)


def is_koniq(root: Path) -> bool:
    """Whether one of the two tables is here."""
    return _table(root) is not None


def list_koniq(root: Path, images: Path | None) -> ScoredListing:
    """List the splits of the table with a `set` column; everything under "" where only the other table is here."""
    table, folder = _table(root), images or subfolder(root, *FOLDERS, "images")
    if table is None or folder is None:
        wanted = f"one of {' or '.join(TABLES)} and one of the folders {' or '.join(FOLDERS)}"
        raise UserError(f"{root}: KonIQ-10k needs {wanted} here")
    rows = read_csv(table)
    name_column, score_column = column(table, rows, "image_name"), column(table, rows, "mos_zscore", "mos")
    set_column = find_column(rows, "set", "split")
    names = [cell(table, row, name_column, number) for number, row in enumerate(rows, 1)]
    splits: dict[str, list[Entry]] = {}
    for name, file, row in zip(names, find_images(folder, names, table), rows, strict=True):
        word = row[set_column] if set_column else ""
        if set_column and word.casefold() not in SPLIT_WORDS:
            raise UserError(f"{table}: {set_column} of {name} is '{word}'; accepted are training, validation and test")
        entry = Entry(name, file, score_of(table, name, row[score_column]))
        splits.setdefault(SPLIT_WORDS[word.casefold()] if set_column else "", []).append(entry)
    notes = _notes(root, folder, images, set_column)
    five = score_column == "mos" and not any(entry.score > 5 for part in splits.values() for entry in part)
    if five:
        notes.append(f"{table.name} has scores of 1 to 5 only; published results use 0 to 100 (MOS_zscore)")
    low, high = (1.0, 5.0) if five else (0.0, 100.0)
    return ScoredListing("KonIQ-10k", splits, notes, low=low, high=high)


def _notes(root: Path, folder: Path, images: Path | None, set_column: str | None) -> list[str]:
    notes = []
    if images is None and all(subfolder(root, name) for name in FOLDERS):
        notes.append(f"images of {folder.name} are taken; set images to name another folder")
    if set_column is None:
        notes.append(f"the official split is in {TABLES[0]}, which is not here: results will not compare")
    return notes
