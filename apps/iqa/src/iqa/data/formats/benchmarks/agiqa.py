"""AGIQA-3K (Li et al. 2023): 2,982 generated images, quality of 0 to 5; subsets are the generators.

It has no official split. Images of one prompt show the same thing and stay together in a cut.
"""

from pathlib import Path

from iqa.data.formats.files import find_folder, find_images
from iqa.data.formats.tables import score_of
from iqa.data.listing import Entry, ScoredListing
from polyscale.data.listing import file_in
from polyscale.data.tables import cell, column, find_column, read_csv
from polyscale.errors import UserError


def is_agiqa(root: Path) -> bool:
    """Whether data.csv with scores of quality is here."""
    table = file_in(root, "data.csv")
    return table is not None and "mos_quality" in read_csv(table)[0]


def list_agiqa(root: Path, images: Path | None) -> ScoredListing:
    """List AGIQA-3K; `images` is the folder of its images where it is not the usual one."""
    table = file_in(root, "data.csv")
    if table is None:
        raise UserError(f"{root}: AGIQA-3K needs data.csv here")
    rows = read_csv(table)
    name_column, score_column = column(table, rows, "name"), column(table, rows, "mos_quality")
    prompt = find_column(rows, "prompt")
    names = [cell(table, row, name_column, number) for number, row in enumerate(rows, 1)]
    files = find_images(images or find_folder(table, names), names, table)
    entries = [
        Entry(name, file, score_of(table, name, row[score_column]), name.split("_")[0], row[prompt] if prompt else "")
        for name, file, row in zip(names, files, rows, strict=True)
    ]
    return ScoredListing("AGIQA-3K", {"": entries}, low=0.0, high=5.0)
