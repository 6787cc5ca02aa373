"""NumPy files: npy (structured with t, x, y, p, or N x 4) and npz (one array for each of t, x, y, p)."""

import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from event_det.formats.checks import INCOMPLETE, Block, Drop, narrow
from event_det.formats.events import BLOCK, Events, Sensor
from event_det.formats.tabular.columns import find_columns, guess_columns, in_seconds, sensor_or_none
from event_det.formats.writing import open_output
from polyscale.errors import UserError, foreign

FIELDS = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")])
KINDS = "iufb"


class Member:
    """An npy file, alone or in a zip archive: its shape and type, and its rows in order."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self.file, self.path = file, path
        with foreign(path, "a NumPy array"):
            version = npy_format.read_magic(file)
            read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
            self.shape, fortran, self.dtype = read(file)
        fields = [self.dtype.fields[name][0] for name in self.dtype.names] if self.dtype.fields else [self.dtype]
        if any(field.kind not in KINDS or field.shape for field in fields):
            raise UserError(f"{path}: expected numbers, found {self.dtype}")
        if not 1 <= len(self.shape) <= 2 or 0 in self.shape[1:] or (len(self.shape) == 2 and self.shape[1] > 64):
            raise UserError(f"{path}: expected columns t, x, y, p, found an array of shape {list(self.shape)}")
        self.columns = 1 if len(self.shape) == 1 else self.shape[1]
        self.by_column = fortran and self.columns > 1
        self.start = file.tell()

    def read(self, row: int, count: int) -> NDArray[Any]:
        """Read up to `count` rows from `row` on; fewer where the file ends early."""
        count = max(min(count, self.shape[0] - row), 0)
        if not self.by_column:
            return self._values(row * self.columns, count * self.columns).reshape(-1, *self.shape[1:])
        columns = [self._values(column * self.shape[0] + row, count) for column in range(self.columns)]
        return np.stack([column[: len(columns[-1])] for column in columns], axis=1)

    def _values(self, index: int, count: int) -> NDArray[Any]:
        """Read up to `count` values in the order of the file, whole rows only."""
        with foreign(self.path, "a NumPy array"):
            self.file.seek(self.start + index * self.dtype.itemsize)
            content = self.file.read(count * self.dtype.itemsize)
        whole = len(content) // self.dtype.itemsize
        if not self.by_column:
            whole -= whole % self.columns
        return np.frombuffer(content, self.dtype, count=whole)


class ArrayReader:
    """Reads rows of t, x, y and p that stand in one array or in four."""

    start = 0
    sensor: Sensor | None = None

    def __init__(self, path: Path, members: dict[str, Member]) -> None:
        self.path, self.members = path, members
        lengths = {member.shape[0] for member in members.values()}
        if len(lengths) != 1:
            raise UserError(f"{path}: t, x, y and p have different lengths: {sorted(lengths)}")
        self.count = lengths.pop()
        sample = self.rows(0, 4096)
        if len(sample) == 1:
            (array,) = sample.values()
            self.columns = guess_columns(array, path) if array.dtype.names is None else None
            if array.dtype.names is not None:
                order = find_columns(array.dtype.names, path)
                self.fields = {name: array.dtype.names[index] for name, index in order.items()}
        self.seconds = in_seconds(self.split(sample)["t"])

    def rows(self, index: int, count: int) -> dict[str, NDArray[Any]]:
        """Read up to `count` rows of every member, as many as all of them have."""
        parts = {name: member.read(index, count) for name, member in self.members.items()}
        shortest = min(len(part) for part in parts.values())
        return {name: part[:shortest] for name, part in parts.items()}

    def split(self, rows: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the columns t, x, y and p."""
        if len(rows) > 1:
            return rows
        (array,) = rows.values()
        if self.columns is not None:
            return {name: array[:, index] for name, index in self.columns.items()}
        return {name: array[field] for name, field in self.fields.items()}

    def read(self, cursor: int) -> Block:
        """Read the block that begins with row `cursor`."""
        columns = self.split(self.rows(cursor, BLOCK))
        rows = len(columns["t"])
        if self.seconds:
            columns["t"] = columns["t"].astype(np.float64) * 1e6
        t, x, y, p = (columns[name] for name in "txyp")
        events, drops, place = narrow(t, x, y, p, lambda index: f"row {cursor + index:,}")
        end = cursor + rows
        if end < self.count and rows < BLOCK:
            drops.append(Drop(INCOMPLETE, self.count - end, f"row {end:,}"))
            return Block(events, None, drops, place)
        return Block(events, end if end < self.count else None, drops, place)


class NpyReader(ArrayReader):
    """Reads npy."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, {"": Member(path.open("rb"), path)})


class NpzReader(ArrayReader):
    """Reads npz, a block at a time; nothing is unpacked as a whole."""

    def __init__(self, path: Path) -> None:
        with foreign(path, "an npz archive"):
            archive = zipfile.ZipFile(path)
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            size = {name: Member(archive.open(f"{name}.npy"), path) for name in names if name in ("width", "height")}
            rest = [name for name in names if name not in size]
            if not rest:
                raise UserError(f"{path}: the archive holds no array of events")
            chosen = {"": rest[0]} if len(rest) == 1 else {c: rest[i] for c, i in find_columns(rest, path).items()}
            members = {column: Member(archive.open(f"{name}.npy"), path) for column, name in chosen.items()}
        if len(members) > 1 and any(len(member.shape) != 1 or member.dtype.names for member in members.values()):
            raise UserError(f"{path}: t, x, y and p should be one column each")
        super().__init__(path, members)
        if len(size) == 2:
            self.sensor = sensor_or_none(size["width"].read(0, 1), size["height"].read(0, 1))


def write_npy(path: Path, blocks: Iterable[Events], sensor: Sensor) -> int:
    """Write a structured array with the fields t (int64), x, y (uint16), p (uint8); return the number of events."""
    count = 0
    with open_output(path) as file:
        file.write(_array_header(FIELDS, 0))
        for events in blocks:
            rows = np.empty(len(events), FIELDS)
            for name in FIELDS.names or ():
                rows[name] = getattr(events, name)
            file.write(rows.tobytes())
            count += len(events)
        file.seek(0)
        file.write(_array_header(FIELDS, count))
    return count


def write_npz(path: Path, blocks: Iterable[Events], sensor: Sensor) -> int:
    """Write a compressed archive with the arrays t, x, y, p, width and height; return the number of events."""
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        columns = {name: Path(folder, f"{name}.npy") for name in "txyp"}
        files = {name: column.open("wb") for name, column in columns.items()}
        try:
            for name, file in files.items():
                file.write(_array_header(FIELDS[name], 0))
            for events in blocks:
                for name, file in files.items():
                    file.write(getattr(events, name).tobytes())
                count += len(events)
            for name, file in files.items():
                file.seek(0)
                file.write(_array_header(FIELDS[name], count))
        finally:
            for file in files.values():
                file.close()
        with (
            open_output(path) as output,
            zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        ):
            for name, column in columns.items():
                archive.write(column, f"{name}.npy")
            for name, side in zip(("width", "height"), sensor, strict=True):
                header = _array_header(np.dtype("<i8"), 1)
                archive.writestr(f"{name}.npy", header + np.int64(side).tobytes())
    return count


def _array_header(dtype: np.dtype[Any], count: int) -> bytes:
    """Return an npy header of 192 bytes for `count` rows; its length does not depend on the count."""
    descr = npy_format.dtype_to_descr(dtype)
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': ({count},), }}"
    return b"\x93NUMPY\x01\x00" + (192 - 10).to_bytes(2, "little") + text.ljust(192 - 11).encode() + b"\n"
