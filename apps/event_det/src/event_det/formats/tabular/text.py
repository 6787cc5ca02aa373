"""Text tables: csv, and the space-separated txt of the Event Camera Dataset (t in seconds, x, y, p).

Fields are separated by commas, semicolons, tabs or spaces. A header line names the columns; without one, their values
tell them. Times are whole microseconds, or seconds where they have fractions. Numbers are parsed in integers, so that
no digit of a time is lost. Lines that begin with # or % are passed over.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from event_det.compiled import compiled
from event_det.formats.checks import NOT_NUMBERS, Block, Drop, narrow
from event_det.formats.events import Events, Sensor
from event_det.formats.tabular.columns import find_columns, guess_columns, in_seconds
from event_det.formats.writing import open_output
from polyscale.errors import UserError

BYTES = 1 << 22
LONGEST_LINE = 1 << 12
SEPARATORS = r"[,;\t ]+"


class CsvReader:
    """Reads a text table of events."""

    sensor: Sensor | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            head = file.read(1 << 16)
        lines, offset, skipped = head.splitlines(keepends=True), 0, 0
        if len(head) == 1 << 16 and lines:
            lines.pop()
        while lines and (not lines[0].strip() or lines[0].lstrip()[:1] in b"#%"):
            offset, skipped = offset + len(lines[0]), skipped + 1
            lines.pop(0)
        if not lines:
            raise UserError(f"{path}: holds no row of events in its first 64 KB")
        names = re.split(SEPARATORS, lines[0].decode("utf-8", "replace").lstrip("\ufeff").strip())
        order = None
        if any(re.fullmatch(r'"?[A-Za-z_]\w*"?', name) for name in names):
            order = find_columns(names, path)
            offset, skipped = offset + len(lines.pop(0)), skipped + 1
        sample = _parse_sample(lines)
        if order is None:
            if not len(sample):
                raise UserError(f"{path}: row {skipped + 1} is not four numbers, nor a header that names t, x, y and p")
            order = guess_columns(sample, path)
        self.fields = np.array([order[name] for name in "txyp"])
        self.seconds = len(sample) > 0 and in_seconds(sample[:, order["t"]])
        self.start = (offset, skipped + 1)

    def read(self, cursor: tuple[int, int]) -> Block:
        """Parse the block at `cursor`, the byte and the number (from 1) of its first line."""
        offset, row = cursor
        with self.path.open("rb") as file:
            file.seek(offset)
            content = file.read(BYTES)
        last = len(content) < BYTES
        if last and not content.endswith(b"\n"):
            content += b"\n"
        end = content.rfind(b"\n") + 1
        if end == 0:
            raise UserError(f"{self.path}: row {row:,} is longer than {BYTES >> 20} MB")
        table = np.empty((content.count(b"\n", 0, end), 4), np.int64)
        rows = np.empty(len(table), np.int64)
        text = np.frombuffer(content, np.uint8, end)
        good, bad, first_bad, lines = _parse(text, self.fields, 6 if self.seconds else 0, table, rows)
        drops = [Drop(NOT_NUMBERS, bad, f"row {row + first_bad:,}")]
        t, x, y, p = np.ascontiguousarray(table[:good].T)
        events, more, place = narrow(t, x, y, p, lambda index: f"row {row + rows[index]:,}")
        return Block(events, None if last else (offset + end, row + lines), drops + more, place)


def _parse_sample(lines: list[bytes]) -> NDArray[np.float64]:
    """Return the rows of numbers among the first lines that have as many columns as the first such row."""
    table: list[list[float]] = []
    for line in lines[:2000]:
        try:
            row = [float(word) for word in re.split(SEPARATORS, line.decode("ascii").strip())]
        except ValueError:
            continue
        if not table or len(row) == len(table[0]):
            table.append(row)
    return np.array(table, np.float64).reshape(len(table), -1) if table else np.zeros((0, 4))


@compiled
def _parse(
    text: NDArray[Any], fields: NDArray[Any], time_exponent: int, table: NDArray[Any], rows: NDArray[Any]
) -> tuple[int, int, int, int]:
    """Parse whole lines into rows of t, x, y, p; return (rows, bad lines, first bad line, lines)."""
    n, bad, first_bad, line, i = 0, 0, -1, 0, 0
    while i < text.size:
        field, found = 0, 0
        comment = text[i] == 35 or text[i] == 37  # "#" "%"
        while i < text.size and text[i] != 10:
            c = text[i]
            if comment or c == 32 or c == 9 or c == 44 or c == 59 or c == 13:  # space, tab, "," ";" "\r"
                i += 1
                continue
            value, i, fine = _parse_number(text, i, time_exponent if fields[0] == field else 0)
            for k in range(4):
                if fields[k] == field:
                    table[n, k] = value
                    found += fine
            field += 1
        if not comment and field > 0:
            if found == 4:
                rows[n] = line
                n += 1
            else:
                if bad == 0:
                    first_bad = line
                bad += 1
        i += 1
        line += 1
    return n, bad, first_bad, line


@compiled
def _parse_number(text: NDArray[Any], i: int, exponent: int) -> tuple[Any, int, bool]:
    """Parse the number at byte `i` times ten to the `exponent`, rounded; return (value, byte behind it, success)."""
    negative = text[i] == 45
    if text[i] == 45 or text[i] == 43:
        i += 1
    value: Any = np.int64(0)
    power: Any = np.int64(0)
    fine: Any = True
    digits, kept, fraction = 0, 0, False
    while i < text.size:
        c = text[i]
        if 48 <= c <= 57:
            digits += 1
            if kept < 18:
                value = value * 10 + np.int64(c) - 48
                kept += value > 0
                exponent -= fraction
            else:
                exponent += not fraction
        elif c == 46 and not fraction:
            fraction = True
        else:
            break
        i += 1
    fine = digits > 0
    if fine and i < text.size and (text[i] == 101 or text[i] == 69):  # "e" "E"
        i += 1
        sign, power, digits = 1, np.int64(0), 0
        if i < text.size and (text[i] == 45 or text[i] == 43):
            sign = -1 if text[i] == 45 else 1
            i += 1
        while i < text.size and 48 <= text[i] <= 57:
            power = min(power * 10 + np.int64(text[i]) - 48, np.int64(1000))
            digits += 1
            i += 1
        exponent += sign * power
        fine = digits > 0
    while (
        i < text.size
        and text[i] != 10
        and text[i] != 32
        and text[i] != 9
        and text[i] != 44
        and text[i] != 59
        and text[i] != 13
    ):
        fine = False  # something other than a separator follows
        i += 1
    while exponent > 0 and value != 0 and fine:
        fine = value < 1 << 59
        value *= 10
        exponent -= 1
    if exponent < -18:
        value, exponent = np.int64(0), 0
    if exponent < 0:
        scale = 1
        for _ in range(-exponent):
            scale *= 10
        value = value // scale + (value % scale >= (scale + 1) // 2)
    return (-value if negative else value), i, fine


def write_csv(path: Path, blocks: Iterable[Events], sensor: Sensor) -> int:
    """Write the columns t, x, y, p with a header line; return the number of events."""
    count = 0
    with open_output(path) as file:
        file.write(b"t,x,y,p\n")
        for events in blocks:
            rows = zip(events.t.tolist(), events.x.tolist(), events.y.tolist(), events.p.tolist(), strict=True)
            file.write("".join(f"{t},{x},{y},{p}\n" for t, x, y, p in rows).encode())
            count += len(events)
    return count
