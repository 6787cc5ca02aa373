"""The table of formats, and how the format of a file is detected: by its content first, then by its name."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from event_det.formats.checks import Block
from event_det.formats.events import Events, Sensor
from event_det.formats.prophesee.headers import read_header
from polyscale.errors import UserError, first_line


class Reader(Protocol):
    """What a format's reader has. A cursor is any value; the first is `start`, `read` names the next."""

    start: Any
    sensor: Sensor | None

    def read(self, cursor: Any) -> Block:
        """Decode a block of bounded size."""
        ...


@dataclass(frozen=True)
class Format:
    """A row of the table.

    Attributes:
        about: What the format is.
        suffixes: Endings of file names; the first is the usual one. A suffix belongs to its first row.
        reader: Module and class, imported when needed.
        writer: Module and function `write(path, blocks, sensor) -> count`, None where it is only read.
    """

    about: str
    suffixes: tuple[str, ...]
    reader: str
    writer: str | None

    def open(self, path: Path) -> Reader:
        """Open a file for reading."""
        return _load(self.reader)(path)


FORMATS = {
    "dat": Format("Prophesee DAT, also N-CARS", (".dat",), "prophesee.dat.DatReader", "prophesee.dat.write_dat"),
    "evt3": Format("Prophesee RAW, EVT3", (".raw",), "prophesee.evt3.Evt3Reader", "prophesee.evt3.write_evt3"),
    "evt2": Format("Prophesee RAW, EVT2", (".raw",), "prophesee.evt2.Evt2Reader", "prophesee.evt2.write_evt2"),
    "evt21": Format(
        "Prophesee RAW, EVT2.1, mask first", (".raw",), "prophesee.evt2.Evt21Reader", "prophesee.evt2.write_evt21"
    ),
    "evt21-legacy": Format(
        "Prophesee RAW, EVT2.1, type first",
        (".raw",),
        "prophesee.evt2.Evt21LegacyReader",
        "prophesee.evt2.write_evt21_legacy",
    ),
    "npy": Format(
        "NumPy array, structured or N x 4", (".npy",), "tabular.arrays.NpyReader", "tabular.arrays.write_npy"
    ),
    "npz": Format("NumPy archive of t, x, y, p", (".npz",), "tabular.arrays.NpzReader", "tabular.arrays.write_npz"),
    "csv": Format(
        "text with a row for each event", (".csv", ".txt"), "tabular.text.CsvReader", "tabular.text.write_csv"
    ),
    "h5": Format("HDF5, layout of RVT", (".h5", ".hdf5"), "tabular.hdf5.Hdf5Reader", "tabular.hdf5.write_rvt"),
    "h5-dsec": Format("HDF5, layout of DSEC", (".h5", ".hdf5"), "tabular.hdf5.Hdf5Reader", "tabular.hdf5.write_dsec"),
    "h5-metavision": Format(
        "HDF5, layout of Metavision", (".h5", ".hdf5"), "tabular.hdf5.Hdf5Reader", "tabular.hdf5.write_metavision"
    ),
    "bin": Format("N-MNIST and N-Caltech101", (".bin",), "bins.BinReader", "bins.write_bin"),
    "aedat4": Format("iniVation AEDAT4 (extra: aedat)", (".aedat4", ".aedat"), "aedat.AedatReader", None),
}
MAGIC = {b"\x93NUMPY": "npy", b"PK\x03\x04": "npz", b"\x89HDF\r\n\x1a\n": "h5", b"#!AER-DAT4": "aedat4"}
TEXT = frozenset(b"\t\n\r" + bytes(range(32, 127)))
BOM = b"\xef\xbb\xbf"


def _load(name: str) -> Callable[..., Any]:
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(f"event_det.formats.{module}"), attribute)


def find_format(name: str) -> Format:
    """Return a row of the table.

    Raises:
        UserError: there is no format of that name.
    """
    if name not in FORMATS:
        raise UserError(f"{name!r} is no format; choose from {', '.join(FORMATS)}", exit_code=2)
    return FORMATS[name]


def read_head(path: Path) -> bytes:
    """Read the first 4096 bytes of a recording.

    Raises:
        UserError: the file is missing, empty, unreadable or no regular file.
    """
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: is {'a folder' if path.is_dir() else 'not a regular file'}, not a recording")
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise UserError(
            f"{path}: {'no such file' if isinstance(error, FileNotFoundError) else first_line(error)}"
        ) from None
    if not head:
        raise UserError(f"{path}: the file is empty")
    return head


def detect_format(path: Path, head: bytes) -> str:
    """Detect the format of a recording by its content; the suffix decides only for formats without a mark.

    Args:
        path: The file.
        head: Its first 4096 bytes.

    Raises:
        UserError: the file is of no known format.
    """
    for magic, name in MAGIC.items():
        if head.startswith(magic):
            return name
    suffix = path.suffix.lower()
    if head.startswith(b"#!AER-DAT"):
        raise UserError(
            f"{path}: AEDAT {head[9:12].decode('ascii', 'replace')} is not read; convert it to AEDAT 4 with DV"
        )
    if head.startswith(b"% ") and (header := read_header(path)):
        if header.encoding:
            return header.encoding
        if suffix == ".dat" or "data" in header:  # "% Data file containing ..."
            return "dat"
        if not set(head) <= TEXT:
            raise UserError(f"{path}: the header names no format of events; name it with --format evt2, evt21 or evt3")
    if set(head.removeprefix(BOM)) <= TEXT:
        return "csv"
    if suffix == ".bin":
        return "bin"
    known = f"; if it has lost its header, name its format with --format ({', '.join(FORMATS)})"
    raise UserError(f"{path}: is no recording of a known format{known}")


def format_of_suffix(path: Path) -> str:
    """Return the format that a file is written in if only its name says so; .raw is EVT3, .h5 the layout of RVT.

    Raises:
        UserError: no format is written under this suffix.
    """
    for name, row in FORMATS.items():
        if path.suffix.lower() in row.suffixes and row.writer:
            return name
    known = ", ".join(dict.fromkeys(suffix for row in FORMATS.values() if row.writer for suffix in row.suffixes))
    raise UserError(
        f"{path}: no format is written as {path.suffix or 'a file without suffix'}; use {known}", exit_code=2
    )


def write_recording(path: Path | str, blocks: Iterable[Events], sensor: Sensor, *, format: str = "auto") -> int:
    """Write events to a file, which appears when it is complete.

    Args:
        path: The file.
        blocks: Events in the order of their times, a part at a time.
        sensor: Width and height in pixels.
        format: A name in `FORMATS`; auto takes it from the suffix.

    Returns:
        The number of events written.

    Raises:
        UserError: the format is unknown, is only read, or cannot hold the events.
    """
    path = Path(path)
    name = format_of_suffix(path) if format == "auto" else format
    writer = find_format(name).writer
    if writer is None:
        raise UserError(f"{path}: {name} is only read", exit_code=2)
    return _load(writer)(path, blocks, sensor)
