"""SPAQ (Fang et al. 2020): 11,125 photographs of smartphones, scores of 0 to 100, without an official split.

Annotations are an Excel sheet; forks carry CSV files whose paths and suffixes differ (Dataset/TestImage_512/00001.png),
so images are found by their number. They are in TestImage, up to 4000 pixels and more, or shrunk in TestImage_512.
"""

from pathlib import Path

from iqa.data.formats.files import find_by_stem
from iqa.data.formats.tables import score_of
from iqa.data.formats.xlsx import read_xlsx
from iqa.data.listing import Entry, ScoredListing
from polyscale.data.listing import file_in, subfolder
from polyscale.data.tables import Row, as_rows, cell, column, read_csv
from polyscale.errors import UserError

SHEET = "MOS and Image attribute scores.xlsx"
FOLDERS = ("TestImage", "TestImage_512", "SPAQ/TestImage", "Dataset/TestImage_512")


def _table(root: Path) -> Path | None:
    names = (SHEET, str(Path(SHEET).with_suffix(".csv")))
    found = file_in(root, *(f"{folder}{name}" for name in names for folder in ("", "Annotations/", "TestAnnotations/")))
    return found or next((path for path in sorted(root.glob("*.csv")) if "spaq" in path.name.casefold()), None)


def is_spaq(root: Path) -> bool:
    """Whether a table and the folder of images are here."""
    return _table(root) is not None and (file_in(root, SHEET) or subfolder(root, *FOLDERS)) is not None


def list_spaq(root: Path, images: Path | None) -> ScoredListing:
    """List SPAQ; `images` is the folder of its images where it is not the usual one."""
    table, folder = _table(root), images or subfolder(root, *FOLDERS)
    if table is None or folder is None:
        raise UserError(f"{root}: SPAQ needs Annotations/{SHEET}, or a CSV file of it, and the folder TestImage here")
    rows: list[Row] = as_rows(table, read_xlsx(table)) if table.suffix.casefold() == ".xlsx" else read_csv(table)
    name_column = column(table, rows, "image name", "image_name", "img_name", "dist_name", "name")
    score_column = column(table, rows, "mos")
    names = [Path(cell(table, row, name_column, number)).name for number, row in enumerate(rows, 1)]
    files = find_by_stem(folder, names, table)
    entries = [
        Entry(name, file, score_of(table, name, row[score_column]))
        for name, file, row in zip(names, files, rows, strict=True)
    ]
    return ScoredListing("SPAQ", {"": entries}, low=0.0, high=100.0)
