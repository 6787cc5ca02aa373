"""Reading the cells of an Excel sheet (.xlsx: zipped XML, ECMA-376) with the standard library; no formulas, no dates.

Two benchmarks publish their scores so. What a general reader does beyond this (styles, dates, formulas without their
value) none of them needs, which is why there is no further dependency. The XML is read as a stream and bounded, as a
workbook of a few hundred bytes may unpack to gigabytes or place one cell in column 300,000.
"""

import re
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from polyscale.errors import UserError, foreign

MAX_FILE_BYTES = MAX_PART_BYTES = 1 << 26
MAX_CELLS = 1_000_000  # empty ones to the left of a cell included
MAX_COLUMNS = 16_384  # Excel's own
MAX_ELEMENTS = 4_000_000
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_CHUNK = 1 << 16


def read_xlsx(path: Path, sheet: str = "") -> list[list[str]]:
    """Return the cells of a sheet as text by row and column; empty ones are "".

    Args:
        path: the workbook.
        sheet: name of the sheet; "" is the first.

    Raises:
        UserError: the file is no workbook, is larger than the bounds above, or has no such sheet.
    """
    with foreign(path, "an Excel workbook (.xlsx)"):
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ValueError(f"larger than {MAX_FILE_BYTES >> 20} MB")
        with zipfile.ZipFile(path) as book:
            part = _find_part(path, book, sheet)
            shared = _Strings()
            if "xl/sharedStrings.xml" in book.namelist():
                _parse(book, "xl/sharedStrings.xml", shared)
            cells = _Cells(shared.texts)
            _parse(book, part, cells)
            return cells.rows


class _Handler:
    """Target of an XML parser that builds no tree."""

    def __init__(self) -> None:
        self.elements = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.elements += 1
        if self.elements > MAX_ELEMENTS:
            raise ValueError(f"more than {MAX_ELEMENTS:,} elements")
        self.open(tag.rpartition("}")[2], attributes)

    def end(self, tag: str) -> None:
        self.close_element(tag.rpartition("}")[2])

    def data(self, text: str) -> None:
        """Take text between tags."""

    def doctype(self, *_: Any) -> None:
        raise ValueError("a document type, which may define entities")

    def open(self, tag: str, attributes: dict[str, str]) -> None:
        """Begin an element."""

    def close_element(self, tag: str) -> None:
        """End an element."""

    def close(self) -> None:
        """End the document."""


class _Elements(_Handler):
    """Collects (tag, attributes) of all elements of a small part."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []

    def open(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self.found) >= 10_000:
            raise ValueError("more than 10,000 sheets or relations")
        self.found.append((tag, attributes))


class _Text(_Handler):
    """Joins the text of elements of the kind `wanted`."""

    wanted: tuple[str, ...] = ("t",)

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.pieces = False, list[str]()

    def open(self, tag: str, attributes: dict[str, str]) -> None:
        self.inside = self.inside or tag in self.wanted

    def data(self, text: str) -> None:
        if self.inside:
            self.pieces.append(text)

    def close_element(self, tag: str) -> None:
        self.inside = self.inside and tag not in self.wanted

    def take(self) -> str:
        text = "".join(self.pieces)
        self.pieces.clear()
        return text


class _Strings(_Text):
    """The table of texts that cells refer to by number."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def close_element(self, tag: str) -> None:
        super().close_element(tag)
        if tag == "si":
            self.texts.append(self.take())
            if len(self.texts) > MAX_CELLS:
                raise ValueError(f"more than {MAX_CELLS:,} texts")


class _Cells(_Text):
    """The rows of a sheet."""

    wanted = ("v", "t")

    def __init__(self, shared: list[str]) -> None:
        super().__init__()
        self.shared, self.rows, self.count = shared, list[list[str]](), 0
        self.attributes: dict[str, str] = {}

    def open(self, tag: str, attributes: dict[str, str]) -> None:
        super().open(tag, attributes)
        if tag == "row":
            self.rows.append([])
            self._count(1)
        elif tag == "c":
            self.attributes = attributes
            self.pieces.clear()

    def close_element(self, tag: str) -> None:
        super().close_element(tag)
        if tag == "c" and self.rows:
            row, text = self.rows[-1], self.take()
            place = _column(self.attributes["r"]) if self.attributes.get("r") else len(row)
            missing = max(0, place + 1 - len(row))
            self._count(missing)
            row += [""] * missing
            row[place] = self.shared[int(text)] if self.attributes.get("t") == "s" and text else text

    def _count(self, more: int) -> None:
        self.count += more
        if self.count > MAX_CELLS:
            raise ValueError(f"more than {MAX_CELLS:,} cells")


def _parse(book: zipfile.ZipFile, name: str, target: _Handler) -> None:
    parser = ElementTree.XMLParser(target=target)
    left = MAX_PART_BYTES
    with book.open(name) as part:
        while chunk := part.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise ValueError(f"{name} unpacks to more than {MAX_PART_BYTES >> 20} MB")
            parser.feed(chunk)
    parser.close()


def _find_part(path: Path, book: zipfile.ZipFile, sheet: str) -> str:
    """Return the name of the sheet's file in the archive."""
    workbook, relations = _Elements(), _Elements()
    _parse(book, "xl/workbook.xml", workbook)
    _parse(book, "xl/_rels/workbook.xml.rels", relations)
    sheets = [attributes for tag, attributes in workbook.found if tag == "sheet"]
    names = [found.get("name", "") for found in sheets]
    if sheet and sheet not in names:
        raise UserError(f"{path}: has no sheet {sheet}; it has {', '.join(names)[:200]}")
    if not sheets:
        raise ValueError("no sheet in it")
    wanted = sheets[names.index(sheet) if sheet else 0].get(_RELATION)
    targets = [found.get("Target", "") for _, found in relations.found if wanted and found.get("Id") == wanted]
    if not targets:
        raise ValueError("its sheet is not in it")
    return targets[0].lstrip("/") if targets[0].startswith("/") else f"xl/{targets[0]}"


def _column(place: str) -> int:
    """Return 0 for A7, 26 for AA1."""
    letters = re.match("[A-Z]{1,3}(?![A-Z])", place)
    if letters is None:
        raise ValueError(f"a cell at {place[:20]!r}")
    number = 0
    for letter in letters.group():
        number = 26 * number + ord(letter) - ord("A") + 1
    if number > MAX_COLUMNS:
        raise ValueError(f"more than {MAX_COLUMNS:,} columns")
    return number - 1
