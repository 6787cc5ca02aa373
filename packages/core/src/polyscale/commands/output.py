"""Data on stdout (tables, JSON, CSV), only from the main process, and the places of output files.

Names of files reach a terminal in printable form only (see polyscale.errors.printable).
"""

import contextlib
import csv
import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, TextIO

from polyscale.errors import UserError, printable
from polyscale.terminal import Terminal, console, is_main_process

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet runs a cell that begins so


def table(rows: Sequence[Mapping[str, Any]], title: str | None = None, *, digits: int = 4) -> None:
    """Print a table on stdout; nothing is cut off when stdout is a file.

    Args:
        rows: one mapping per row; the columns are the keys in order of first appearance, numbers align right.
        title: printed above.
        digits: decimals of floats; a cell that is missing, None or NaN is "-".
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if not is_main_process():
        return
    columns = list(dict.fromkeys(key for row in rows for key in row))
    wide = console if console.is_terminal else Terminal(width=10_000)

    def shown(text: object) -> str:
        return printable(str(text)).encode(wide.encoding, "backslashreplace").decode(wide.encoding)

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        numeric = all(isinstance(row.get(column), (int, float, type(None))) for row in rows)
        drawn.add_column(Text(shown(column)), justify="right" if numeric else "left", overflow="fold", no_wrap=numeric)
    for row in rows:
        drawn.add_row(*(Text(shown(_cell(row.get(column), digits))) for column in columns))
    if title:  # not the table's own, which is wrapped to the width of its columns
        wide.print(Text(shown(title), style="bold"), soft_wrap=True)
    wide.print(drawn)


def _cell(value: Any, digits: int) -> str:
    if value is None or value != value:
        return "-"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def print_json(document: Any) -> None:
    """Print a compact JSON document on one line of stdout; NaN and infinities become null, paths become text."""
    if is_main_process():
        sys.stdout.write(json.dumps(_jsonable(document), separators=(",", ":"), allow_nan=False) + "\n")
        sys.stdout.flush()


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_jsonable(item) for item in value]
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist"):  # numpy scalars and arrays, torch tensors
        return _jsonable(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def check_targets(targets: Iterable[Path], inputs: Iterable[Any] = ()) -> None:
    """Refuse before the work what could not be written after it.

    Raises:
        UserError: a target is named twice, a folder, one of `inputs`, in a place that cannot be written, or below a
            file.
    """
    # realpath, not resolve: that raises on a link to itself
    taken = {os.path.realpath(file) for file in inputs if isinstance(file, str | Path)}
    folders: set[Path] = set()
    named: set[str] = set()
    for target in targets:
        place = os.path.realpath(target)
        if place in taken:
            raise UserError(f"{target}: is one of the inputs and would be overwritten; choose another place")
        if place in named:
            raise UserError(f"{target}: would be written twice; name two files", exit_code=2)
        named.add(place)
        if target.is_dir():
            raise UserError(f"{target}: is a folder; name a file", exit_code=2)
        if target.exists() and not os.access(target, os.W_OK):
            raise UserError(f"{target}: cannot be written: no permission", exit_code=2)
        if target.is_symlink() and not Path(place).parent.is_dir():
            raise UserError(f"{target}: cannot be written: it is a link to what is not there", exit_code=2)
        folders.add(target.absolute().parent)
    for folder in folders:
        check_folder(folder)


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made or written in. Raises UserError naming what is in the way."""
    holder = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    if holder.is_symlink() and not holder.exists():
        raise UserError(f"{folder}: cannot be written: {holder} is a link to what is not there", exit_code=2)
    if not holder.is_dir():
        raise UserError(f"{folder}: cannot be written: {holder} is a file, not a folder", exit_code=2)
    if not os.access(holder, os.W_OK | os.X_OK):
        raise UserError(f"{folder}: cannot be written: no permission for {holder}", exit_code=2)


@contextlib.contextmanager
def csv_writer(target: str) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Give a function that appends one row to a CSV at once; the keys of the first row are the header.

    Args:
        target: a file, or "-" for stdout. Text that a spreadsheet would run gets an apostrophe in front.

    Raises:
        UserError: the file cannot be written.
    """
    with contextlib.ExitStack() as stack:
        if target == "-":
            file = _stdout_of_names()
        else:
            check_targets([Path(target)])
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(Path(target).open("w", newline="", encoding="utf-8", errors="surrogateescape"))
        writer: csv.DictWriter[str] | None = None

        def write(row: Mapping[str, Any]) -> None:
            nonlocal writer
            if writer is None:
                writer = csv.DictWriter(file, list(row), lineterminator="\n")
                writer.writeheader()
            clean = printable if file.isatty() else str
            cells = {key: csv_cell(value) for key, value in row.items()}
            writer.writerow({key: clean(cell) if isinstance(cell, str) else cell for key, cell in cells.items()})
            file.flush()

        yield write


def csv_cell(value: Any) -> Any:
    """Return a value as a CSV may hold it: lists as JSON, an apostrophe before text that a spreadsheet would run."""
    if isinstance(value, (list, tuple, Mapping)):
        return json.dumps(_jsonable(value), ensure_ascii=False)
    if not isinstance(value, str | PurePath):
        return value
    text = str(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def _stdout_of_names() -> TextIO:
    """Return stdout, able to take any file name: as its bytes in UTF-8, spelt out in an encoding that lacks them."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        utf8 = sys.stdout.encoding.lower().replace("-", "") == "utf8"
        sys.stdout.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")
    return sys.stdout
