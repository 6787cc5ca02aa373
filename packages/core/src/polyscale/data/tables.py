"""Reading the tables that data sets come with: CSV with any usual delimiter, their columns by name."""

import csv
from collections.abc import Sequence
from pathlib import Path

from polyscale.errors import UserError

Row = dict[str, str]


def read_csv(path: Path) -> list[Row]:
    """Read the rows of a CSV file by lower-case column names, cells without the space around them.

    The delimiter is the one of comma, semicolon and tab that is most frequent in the header. A byte-order mark, empty
    lines and cells beyond the header are left out.

    Raises:
        UserError: The file cannot be read, or it holds no row; it is named.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            header = stream.readline()
            delimiter = max(",;\t", key=header.count)
            stream.seek(0)
            lines = list(csv.reader(stream, delimiter=delimiter))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read as CSV: {reason}") from error
    return as_rows(path, lines)


def as_rows(path: Path, lines: Sequence[Sequence[str]]) -> list[Row]:
    """Return rows by the names in the first line, cells that a line lacks as ""; lines without text are left out."""
    names = [name.strip().casefold() for name in lines[0]] if lines else []
    filled = [line for line in lines[1:] if any(text.strip() for text in line)]
    if not filled:
        raise UserError(f"{path}: holds no row below its header")
    padding = [""] * len(names)
    return [
        {name: text.strip() for name, text in zip(names, [*line, *padding], strict=False) if name} for line in filled
    ]


def find_column(rows: Sequence[Row], *names: str) -> str | None:
    """Return the first of `names` that the rows have a column for."""
    return next((name for name in names if name in rows[0]), None)


def column(path: Path, rows: Sequence[Row], *names: str) -> str:
    """Return as `find_column` does; raise UserError naming the file, what it needs and what it has."""
    found = find_column(rows, *names)
    if found is None:
        raise UserError(f"{path}: needs a column {' or '.join(names)}; it has {', '.join(rows[0])}")
    return found


def cell(path: Path, row: Row, name: str, number: int) -> str:
    """Return the text of one cell that must not be empty; `number` counts rows from 1 below the header."""
    if not row[name]:
        raise UserError(f"{path}: row {number} has no {name}")
    return row[name]
