"""Reading the cells of an Excel sheet (.xlsx: zipped XML, ECMA-376) with the standard library; no formulas, no dates.

Two benchmarks publish their scores so. What a general reader does beyond this (styles, dates, formulas without their
value) none of them needs, which is why there is no further dependency.
"""

import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree

from polyscale.errors import UserError

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"


def read_xlsx(path: Path, sheet: str = "") -> list[list[str]]:
    """The cells of the sheet called `sheet`, "" for the first, as text by row and column; empty ones are "".

    Raises UserError naming the file where it is no workbook or has no such sheet.
    """
    try:
        with zipfile.ZipFile(path) as book:
            root, shared = ElementTree.fromstring(book.read(_part(path, book, sheet))), _shared(book)
            return [_cells(row, shared) for row in root.iter(f"{_MAIN}row")]
    except UserError:
        raise
    except (OSError, LookupError, ValueError, StopIteration, zipfile.BadZipFile, ElementTree.ParseError) as error:
        raise UserError(f"{path}: cannot be read as an Excel workbook (.xlsx): {error}") from error


def _part(path: Path, book: zipfile.ZipFile, sheet: str) -> str:
    """The name of the sheet's file in the archive."""
    sheets = list(ElementTree.fromstring(book.read("xl/workbook.xml")).iter(f"{_MAIN}sheet"))
    names = [found.get("name", "") for found in sheets]
    if sheet and sheet not in names:
        raise UserError(f"{path}: has no sheet {sheet}; it has {', '.join(names)}")
    wanted = sheets[names.index(sheet) if sheet else 0].get(_RELATION)
    relations = ElementTree.fromstring(book.read("xl/_rels/workbook.xml.rels"))
    target = next(found.get("Target", "") for found in relations if found.get("Id") == wanted)
    return target.lstrip("/") if target.startswith("/") else f"xl/{target}"


def _shared(book: zipfile.ZipFile) -> list[str]:
    """The table of texts that cells refer to by number."""
    if "xl/sharedStrings.xml" not in book.namelist():
        return []
    root = ElementTree.fromstring(book.read("xl/sharedStrings.xml"))
    return ["".join(text.text or "" for text in item.iter(f"{_MAIN}t")) for item in root.iter(f"{_MAIN}si")]


def _cells(row: ElementTree.Element, shared: list[str]) -> list[str]:
    cells: list[str] = []
    for cell in row.iter(f"{_MAIN}c"):
        place = _column(cell.get("r", "")) if cell.get("r") else len(cells)
        cells += [""] * (place + 1 - len(cells))
        cells[place] = _text(cell, shared)
    return cells


def _column(place: str) -> int:
    """0 for A7, 26 for AA1."""
    letters = re.match("[A-Z]+", place)
    number = 0
    for letter in letters.group() if letters else "A":
        number = 26 * number + ord(letter) - ord("A") + 1
    return number - 1


def _text(cell: ElementTree.Element, shared: list[str]) -> str:
    if cell.get("t") == "inlineStr":
        return "".join(text.text or "" for text in cell.iter(f"{_MAIN}t"))
    value = cell.findtext(f"{_MAIN}v", "")
    return shared[int(value)] if cell.get("t") == "s" and value else value
