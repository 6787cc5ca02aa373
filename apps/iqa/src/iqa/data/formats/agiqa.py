"""AGIQA-3K (Li et al. 2023): 2,982 generated images, quality of 0 to 5; subsets are the generators.

It has no official split. Images of one prompt show the same thing and stay together in a cut.
"""

from pathlib import Path

from iqa.data.formats.files import file_in, picture_folder, pictures
from iqa.data.formats.tables import score_of
from iqa.data.listing import Entry, Listing
from polyscale.data.tables import cell, column, find_column, read_csv
from polyscale.errors import UserError


def is_agiqa(root: Path) -> bool:
    table = file_in(root, "data.csv")
    return table is not None and "mos_quality" in read_csv(table)[0]


def list_agiqa(root: Path, images: Path | None) -> Listing:
    table = file_in(root, "data.csv")
    if table is None:
        raise UserError(f"{root}: AGIQA-3K needs data.csv here")
    rows = read_csv(table)
    name_column, score_column = column(table, rows, "name"), column(table, rows, "mos_quality")
    prompt = find_column(rows, "prompt")
    names = [cell(table, row, name_column, number) for number, row in enumerate(rows, 1)]
    files = pictures(images or picture_folder(table, names), names, table)
    entries = [
        Entry(name, file, score_of(table, name, row[score_column]), name.split("_")[0], row[prompt] if prompt else "")
        for name, file, row in zip(names, files, rows, strict=True)
    ]
    return Listing("AGIQA-3K", {"": entries}, 0.0, 5.0)
