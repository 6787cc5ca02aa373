"""Workbooks and MATLAB files of strangers: read right, or refused in one line, whatever was done to them."""

import io
import random
import re
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from iqa.data.formats import matlab, xlsx
from iqa.data.formats.benchmarks.live import _numbers, _texts
from iqa.data.formats.matlab import read_matlab
from iqa.data.formats.xlsx import read_xlsx
from polyscale.errors import UserError

MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
LINK = 'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
BOOK = f'<workbook {MAIN} {LINK}><sheets><sheet name="a" r:id="r1"/></sheets></workbook>'
RELATIONS = '<Relationships><Relationship Id="r1" Target="worksheets/sheet1.xml"/></Relationships>'
STRINGS = f"<sst {MAIN}><si><t>na</t><t>me</t></si><si><t>MOS</t></si></sst>"
ROWS = (
    '<row><c r="A1" t="s"><v>0</v></c><c r="C1" t="s"><v>1</v></c></row>'
    '<row><c t="inlineStr"><is><t>x</t></is></c><c r="C2"><v>3.5</v></c></row>'
)


def workbook(rows: str = ROWS, **parts: str) -> bytes:
    buffer = io.BytesIO()
    sheet = f"<worksheet {MAIN}><sheetData>{rows}</sheetData></worksheet>"
    named = {"book": BOOK, "relations": RELATIONS, "strings": STRINGS, "sheet": sheet} | parts
    files = ("xl/workbook.xml", "xl/_rels/workbook.xml.rels", "xl/sharedStrings.xml", "xl/worksheets/sheet1.xml")
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as book:
        for file, name in zip(files, ("book", "relations", "strings", "sheet"), strict=True):
            book.writestr(file, named[name])
    return buffer.getvalue()


def mutations(content: bytes, count: int) -> list[bytes]:
    """Seeded damages: flipped, cut, doubled and zeroed bytes."""
    chance = random.Random(0)
    made = []
    for number in range(count):
        data = bytearray(content)
        for _ in range(chance.choice((1, 2, 8, 32))):
            at = chance.randrange(len(data))
            length = chance.choice((1, 4, 16))
            if number % 4 == 0:
                data[at] ^= 1 << chance.randrange(8)
            elif number % 4 == 1:
                data[at : at + length] = chance.randbytes(length)
            elif number % 4 == 2:
                data[at : at + length] = b"\xff" * length
            else:
                del data[at : at + length]
        made.append(bytes(data))
    return made


def survives(read: Callable[[Path], object], file: Path, content: bytes) -> None:
    """It is read, or refused in one line that names the file."""
    file.write_bytes(content)
    try:
        read(file)
    except UserError as error:
        assert re.match(rf"{re.escape(str(file))}: .{{1,500}}$", str(error))  # noqa: PT017  either is right


def test_cells_are_read(tmp_path: Path) -> None:
    file = tmp_path / "a.xlsx"
    file.write_bytes(workbook())
    assert read_xlsx(file) == read_xlsx(file, "a") == [["name", "", "MOS"], ["x", "", "3.5"]]
    with pytest.raises(UserError, match="has no sheet b; it has a"):
        read_xlsx(file, "b")


def test_damaged_workbooks_are_read_or_refused(tmp_path: Path) -> None:
    stored = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(workbook())) as packed, zipfile.ZipFile(stored, "w") as plain:
        for name in packed.namelist():
            plain.writestr(name, packed.read(name))
    for content in (workbook(), stored.getvalue()):
        for damaged in mutations(content, 200):
            survives(read_xlsx, tmp_path / "a.xlsx", damaged)


BOMBS = {
    "a cell far to the right": '<row><c r="ZZZZZZ1"><v>1</v></c></row>',
    "a cell in the last column of many rows": '<row><c r="XFD1"/></row>' * 50,
    "many cells": "<row>" + "<c/>" * 30_000 + "</row>",
    "many rows": "<row/>" * 30_000,
    "many elements": "<x/>" * 200_000,
    "much text": "<row><c><v>" + "1" * (3 << 20) + "</v></c></row>",
    "no such text": '<row><c t="s"><v>99</v></c></row>',
    "a text that is no number": '<row><c t="s"><v>x</v></c></row>',
    "a place that is none": '<row><c r="1"><v>1</v></c></row>',
    "deep": "<row>" * 30_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_workbook_that_unpacks_to_gigabytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for bound, value in (("MAX_CELLS", 20_000), ("MAX_ELEMENTS", 100_000), ("MAX_PART_BYTES", 1 << 21)):
        monkeypatch.setattr(xlsx, bound, value)  # the same at a scale of 1 to 50
    file = tmp_path / "a.xlsx"
    file.write_bytes(workbook(BOMBS[name]))
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=r"a\.xlsx: cannot be read as an Excel workbook"):
            read_xlsx(file)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_entities_and_missing_parts_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.xlsx"
    entity = '<!DOCTYPE a [<!ENTITY e "eeee">]>'
    for parts in (
        {"strings": f"{entity}<sst {MAIN}><si><t>&e;</t></si></sst>"},
        {"book": f"<workbook {MAIN}/>"},
        {"relations": "<Relationships/>"},
        {"relations": RELATIONS.replace("worksheets", "../..")},
        {"book": ""},
    ):
        file.write_bytes(workbook(**parts))
        with pytest.raises(UserError, match=r"a\.xlsx: cannot be read as an Excel workbook"):
            read_xlsx(file)


def saved(compress: bool = True, **variables: Any) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, variables, do_compression=compress)
    return buffer.getvalue()


NAMES = np.empty((1, 3), object)
NAMES[0] = ["a.bmp", "bé.bmp", "日本.bmp"]
VARIABLES = {"dmos": np.array([[1.5, -2.25, 3e9]]), "names": NAMES, "orgs": np.array([[1, 0, 1]], np.uint8)}


@pytest.mark.parametrize("compress", [False, True])
def test_a_matlab_file_is_read_as_scipy_wrote_it(tmp_path: Path, compress: bool) -> None:
    file = tmp_path / "a.mat"
    more = {"i": np.array([[-3, 4]], np.int16), "l": np.array([[True, False]]), "f": np.float32([[0.5]]), "t": "text"}
    more |= {"column": np.arange(6.0).reshape(2, 3), "empty": np.empty((0, 0))}
    file.write_bytes(saved(compress, **VARIABLES, **more, structure={"x": 1}))
    assert _numbers(file, "dmos").tolist() == [1.5, -2.25, 3e9]
    assert _numbers(file, "orgs").tolist() == [1, 0, 1]
    assert _texts(file, "names") == ["a.bmp", "bé.bmp", "日本.bmp"]
    assert [read_matlab(file, key).tolist() for key in ("i", "l", "f")] == [[-3, 4], [1, 0], [0.5]]
    assert read_matlab(file, "t") == "text"
    assert read_matlab(file, "column").tolist() == [0, 3, 1, 4, 2, 5]  # column by column
    assert read_matlab(file, "empty").size == 0
    for key in ("names", "t", "structure"):
        with pytest.raises(UserError, match=rf"{key} is not an array of finite numbers"):
            _numbers(file, key)
    for key in ("dmos", "t", "structure"):
        with pytest.raises(UserError, match=rf"{key} is not a list of names"):
            _texts(file, key)
    with pytest.raises(UserError, match="has no variable x; it has dmos, names, orgs"):
        read_matlab(file, "x")


@pytest.mark.parametrize("compress", [False, True])
def test_damaged_matlab_files_are_read_or_refused(tmp_path: Path, compress: bool) -> None:
    for damaged in mutations(saved(compress, **VARIABLES), 200):
        survives(lambda file: (_numbers(file, "dmos"), _texts(file, "names")), tmp_path / "a.mat", damaged)


def test_matlab_files_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.mat"
    header = b"MATLAB 5.0".ljust(124) + b"\x00\x01IM"
    bomb = zlib.compress(b"\0" * (100 << 20))
    for content, reason in (
        (b"", "no header"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 600, "version 7.3"),
        (b"MATLAB 7.3 MAT-file" + b" " * 600, "version 7.3"),
        (header + b"\x0e\0\0\0\xff\xff\xff\x7f", "cut short"),
        (header + b"\x0f\0\0\0" + len(bomb).to_bytes(4, "little") + bomb, "unpacks to more than 64 MB"),
    ):
        file.write_bytes(content)
        with pytest.raises(UserError, match=rf"a\.mat: cannot be read as a MATLAB file \(.*{reason}"):
            read_matlab(file, "x")
    monkeypatch.setattr(matlab, "MAX_ARRAYS", 3)
    file.write_bytes(saved(**VARIABLES))
    with pytest.raises(UserError, match="more than a million arrays"):
        read_matlab(file, "x")
    assert xlsx.MAX_COLUMNS == 16_384
