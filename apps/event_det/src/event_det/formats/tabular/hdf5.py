"""HDF5 in its three layouts: RVT's, DSEC's and Metavision's.

- RVT (h5 files of the Prophesee toolbox): events/{x, y, p, t}, and often events/{height, width}.
- DSEC: the same with t relative to t_offset, and ms_to_idx, the index of the first event of every millisecond.
- Metavision: CD/events, rows of x, y, p, t; the size of the sensor is the attribute `geometry`.
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from event_det.formats.checks import INCOMPLETE, Block, Drop, narrow
from event_det.formats.events import BLOCK, Events, Sensor
from event_det.formats.tabular.columns import NAMES, find_columns, in_seconds, sensor_or_none
from event_det.formats.writing import replace_when_done
from polyscale.errors import UserError, first_line, foreign

COLUMNS = {"x": np.uint16, "y": np.uint16, "p": np.uint8, "t": np.int64}
ECF = 0x8ECF
FILTERS = {32001: "Blosc", 32026: "Blosc2", 32015: "Zstandard", 32004: "LZ4", 32008: "bitshuffle", ECF: "ECF"}


class Hdf5Reader:
    """Reads the three layouts; `layout` names the one that was found."""

    start = 0

    def __init__(self, path: Path) -> None:
        self.path = path
        with foreign(path, "an HDF5 file"):
            self.file = h5py.File(path, "r")
        with foreign(path, "a file of events"):
            self.layout, self.columns = self._find_columns()
            self.offset = self._scalar("t_offset") if self.layout == "DSEC" else 0
            self.sensor = self._find_sensor()
        for column in self.columns.values():
            require_filters(column, path)
        lengths = {len(column) for column in self.columns.values()}
        if len(lengths) != 1:
            raise UserError(f"{path}: t, x, y and p have different lengths: {sorted(lengths)}")
        self.count = lengths.pop()
        with foreign(path, "a file of events"):
            self.seconds = in_seconds(self._rows(0, 4096)["t"])

    def _find_columns(self) -> tuple[str, dict[str, h5py.Dataset]]:
        """Return the layout's name, and the data sets: t, x, y and p, or one of rows under the name rows."""
        for place in ("CD/events", "events"):
            if isinstance(rows := self.file.get(place), h5py.Dataset):
                if rows.dtype.names is None or rows.ndim != 1:
                    raise UserError(f"{self.path}: {place} should hold rows of x, y, p, t, not {rows.dtype}")
                self.fields = {
                    name: rows.dtype.names[i] for name, i in find_columns(rows.dtype.names, self.path).items()
                }
                return "Metavision" if place == "CD/events" else "rows", {"rows": rows}
        for group in (self.file.get("events"), self.file.get("CD"), self.file):
            if isinstance(group, h5py.Group) and any(name in group for name in NAMES["t"]):
                names = [name for name in group if isinstance(group[name], h5py.Dataset) and group[name].ndim == 1]
                order = find_columns(names, self.path)
                return "DSEC" if "t_offset" in self.file else "RVT", {c: group[names[i]] for c, i in order.items()}
        raise UserError(
            f"{self.path}: has neither events/x, y, t, p nor CD/events; found {', '.join(self.file) or 'nothing'}"
        )

    def _scalar(self, name: str) -> int:
        return int(np.asarray(self.file[name][()]).reshape(-1)[0])

    def _find_sensor(self) -> Sensor | None:
        geometry = str(self.file.attrs.get("geometry", "")).split("x")
        if len(geometry) == 2:
            return sensor_or_none(*(side if side.isdigit() else 0 for side in geometry))
        for group in (self.file.get("events"), self.file):
            for values in (group, getattr(group, "attrs", None)):
                if isinstance(group, h5py.Group) and values is not None and "width" in values and "height" in values:
                    return sensor_or_none(np.asarray(values["width"]), np.asarray(values["height"]))
        return None

    def _rows(self, index: int, count: int) -> dict[str, NDArray[Any]]:
        parts = {name: column[index : index + count] for name, column in self.columns.items()}
        return {name: parts["rows"][field] for name, field in self.fields.items()} if "rows" in parts else parts

    def read(self, cursor: int) -> Block:
        """Read the block that begins with row `cursor`; a part that cannot be decompressed ends the recording."""

        def row(index: int) -> str:
            return f"row {cursor + index:,}"

        try:
            columns = self._rows(cursor, BLOCK)
        except OSError as error:
            reason = f"{INCOMPLETE} or unreadable ({first_line(error)})"
            return Block(Events.allocate(0), None, [Drop(reason, self.count - cursor, row(0))], row)
        t = columns["t"]
        if self.seconds:
            t = t.astype(np.float64) * 1e6
        events, drops, place = narrow(t, columns["x"], columns["y"], columns["p"], row)
        events = events.shifted(self.offset) if self.offset else events
        end = cursor + BLOCK
        return Block(events, end if end < self.count else None, drops, place)


def require_filters(column: h5py.Dataset, path: Path) -> None:
    """Raise UserError if the data set is compressed with a filter that is not installed."""
    settings = column.id.get_create_plist()
    for index in range(settings.get_nfilters()):
        code = settings.get_filter(index)[0]
        if h5py.h5z.filter_avail(code):
            continue
        with contextlib.suppress(ImportError):
            import hdf5plugin  # noqa: F401  registers its filters
        if not h5py.h5z.filter_avail(code):
            name = f"{FILTERS[code]} (filter {code})" if code in FILTERS else f"filter {code}"
            remedy = "set HDF5_PLUGIN_PATH to the folder of Prophesee's ECF plugin"
            if code != ECF:
                remedy = "install it with: pip install 'polyscale-event-det[hdf5plugin]'"
            raise UserError(f"{path}: {column.name} is compressed with {name}, which is missing here; {remedy}")


def write_rvt(path: Path, blocks: Iterable[Events], sensor: Sensor) -> int:
    """Write RVT's layout and return the number of events."""
    return _write_columns(path, blocks, sensor, relative=False)


def write_dsec(path: Path, blocks: Iterable[Events], sensor: Sensor) -> int:
    """Write DSEC's layout and return the number of events."""
    return _write_columns(path, blocks, sensor, relative=True)


def _write_columns(path: Path, blocks: Iterable[Events], sensor: Sensor, *, relative: bool) -> int:
    count, offset = 0, None
    edges = [np.zeros(0, np.int64)]  # ms_to_idx, in parts
    with replace_when_done(path) as part, h5py.File(part, "w") as file:
        group = file.create_group("events")
        columns = {name: _growing(group, name, kind) for name, kind in COLUMNS.items()}
        for events in blocks:
            if not len(events):
                continue
            if offset is None:
                offset = int(events.t[0]) if relative else 0
            shifted = events.shifted(-offset)
            for name, column in columns.items():
                _append(column, getattr(shifted, name))
            if relative:
                steps = np.arange(sum(map(len, edges)), shifted.t[-1] // 1000 + 1) * 1000
                edges.append(count + np.searchsorted(shifted.t, steps))
            count += len(events)
        group["width"], group["height"] = sensor
        if relative:
            file["t_offset"] = offset or 0
            file["ms_to_idx"] = np.concatenate(edges).astype(np.uint64)
    return count


def write_metavision(path: Path, blocks: Iterable[Events], sensor: Sensor) -> int:
    """Write Metavision's layout, compressed with gzip instead of ECF; return the number of events."""
    kind = np.dtype([("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")])
    count = 0
    with replace_when_done(path) as part, h5py.File(part, "w") as file:
        file.attrs["geometry"] = "x".join(map(str, sensor))
        column = _growing(file.create_group("CD"), "events", kind)
        for events in blocks:
            rows = np.empty(len(events), kind)
            for name in COLUMNS:
                rows[name] = getattr(events, name)
            _append(column, rows)
            count += len(events)
    return count


def _growing(group: h5py.Group, name: str, kind: Any) -> h5py.Dataset:
    settings = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "chunks": (1 << 16,)}
    return group.create_dataset(name, (0,), kind, maxshape=(None,), **settings)


def _append(column: h5py.Dataset, values: NDArray[Any]) -> None:
    start = len(column)
    column.resize(start + len(values), axis=0)
    column[start:] = values
