"""One recording in RVT's layout: a folder with histograms of windows of 50 ms, and the boxes of some of them.

    event_representations_v2/stacked_histogram_dt=50_nbins=10/
        event_representations.h5        data: uint8 [N, 20, H, W], one chunk a window; or .._ds2_nearest.h5, half size
        event_representations_sparse.h5 ours, in place of it: cells (uint32) and counts (uint8) of all that is not zero,
                                        starts (int64 [N + 1]) of each window in them; attributes shape, half
        timestamps_us.npy               int64 [N], the end of each window
        objframe_idx_2_repr_idx.npy     int64 [F], the window that ends at each labelled frame
    labels_v2/
        labels.npz                      labels: rows of BOX_DTYPE; objframe_idx_2_label_idx: first row of each frame
        timestamps_us.npy               int64 [F]

evlib writes the folder's name without the "=". A frame without a box has the first row of the next: RVT itself does not
read such a frame. The embedded set adds `standing`, bool by row, to labels.npz, which RVT passes over.
"""

import itertools
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from event_det.data.boxes import BOX_DTYPE
from event_det.data.sparse import SparseFrames
from event_det.formats.tabular.hdf5 import require_filters
from polyscale.data.listing import folders_in, subfolder
from polyscale.errors import UserError, foreign

FRAMES, LABELS = "event_representations_v2", "labels_v2"
FULL, HALF = "event_representations.h5", "event_representations_ds2_nearest.h5"
SPARSE = "event_representations_sparse.h5"
HISTOGRAM = "stacked_histogram_dt={window}_nbins={bins}"
_PREPARED = re.compile(r"stacked_histogram_dt=?(\d+)_nbins=?(\d+)")


class Sequence:
    """Reads one recording; the histograms are opened when they are first asked for, anew in each process.

    Args:
        folder: The folder of the recording.
        window: Milliseconds of a window.
        bins: Time bins of a window.

    Raises:
        UserError: a file is missing or does not fit the others.
    """

    def __init__(self, folder: Path, window: int = 50, bins: int = 10) -> None:
        self.folder, self.name = folder, folder.name
        self.frames_folder = _frames_folder(folder, window, bins)
        files = [self.frames_folder / name for name in (SPARSE, HALF, FULL)]
        self.path = next((path for path in files if path.is_file()), files[-1])
        self.sparse = self.path.name == SPARSE
        """Whether the histograms are stored by their cells."""
        if not self.path.is_file():
            raise UserError(f"{self.path}: no such file; the recording was not prepared to its end")
        self.times = _integers(self.frames_folder / "timestamps_us.npy")
        self.frame_times = _integers(folder / LABELS / "timestamps_us.npy")
        self._step_of_frame = _integers(self.frames_folder / "objframe_idx_2_repr_idx.npy")
        self.boxes, self.standing, self._first_row = self._read_labels()
        self._check()
        self.frame_of_step = {int(step): frame for frame, step in enumerate(self._step_of_frame)}
        """Number of the labelled frame by step; the other steps are unlabelled."""

    def _read_labels(self) -> tuple[NDArray[Any], NDArray[np.bool_] | None, NDArray[np.int64]]:
        path = self.folder / LABELS / "labels.npz"
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        with foreign(path, "labels of RVT"), np.load(path, allow_pickle=False) as archive:
            boxes, first = archive["labels"], archive["objframe_idx_2_label_idx"].astype(np.int64)
            standing = archive["standing"].astype(bool) if "standing" in archive else None
        return named(boxes, path), standing, np.append(first, len(boxes))

    def _check(self) -> None:
        frames = len(self._step_of_frame)
        if not len(self._first_row) - 1 == len(self.frame_times) == frames:
            raise UserError(
                f"{self.folder}: labels.npz has {len(self._first_row) - 1} frames, its times "
                f"{len(self.frame_times)} and objframe_idx_2_repr_idx.npy {frames}; they should be equal"
            )
        if frames and not 0 <= self._step_of_frame.min() <= self._step_of_frame.max() < len(self.times):
            raise UserError(f"{self.folder}: objframe_idx_2_repr_idx.npy names windows outside the {len(self.times)}")

    def __len__(self) -> int:
        return len(self.times)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "histograms"}

    @cached_property
    def histograms(self) -> "DenseFile | SparseFile":
        """The histograms of all steps, in their file."""
        with foreign(self.path, "histograms of RVT"):
            return (SparseFile if self.sparse else DenseFile)(self.path, len(self))

    @cached_property
    def half(self) -> bool:
        """Whether the histograms are of half the size of the sensor."""
        return self.histograms.half

    def close(self) -> None:
        """Close the file of histograms; it is opened again when asked for."""
        if "histograms" in self.__dict__:
            self.__dict__.pop("histograms").file.close()

    def frames(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Read the histograms of steps start to stop, [stop - start, C, H, W]."""
        with foreign(self.path, "histograms of RVT"):
            return self.histograms.read(start, stop)

    def cells(self, start: int, stop: int) -> SparseFrames:
        """Read the same by their cells."""
        if not isinstance(self.histograms, SparseFile):
            return SparseFrames.from_dense(self.frames(start, stop))
        with foreign(self.path, "histograms of RVT"):
            return self.histograms.cells(start, stop)

    def labels(self, step: int) -> tuple[NDArray[Any], NDArray[np.bool_] | None] | None:
        """Return the boxes at the end of a step in pixels of the sensor, and which stand; None if unlabelled."""
        frame = self.frame_of_step.get(step)
        if frame is None:
            return None
        rows = slice(int(self._first_row[frame]), int(self._first_row[frame + 1]))
        return self.boxes[rows], None if self.standing is None else self.standing[rows]


class DenseFile:
    """Histograms as RVT stores them; `shape` is C, H, W."""

    def __init__(self, path: Path, steps: int) -> None:
        self.file = h5py.File(path, "r")
        self.data, self.half = self.file["data"], path.name == HALF
        if self.data.ndim != 4 or self.data.dtype != np.uint8 or len(self.data) != steps:
            found = f"{self.data.dtype} {list(self.data.shape)}"
            raise UserError(f"{path}: data should be uint8 [{steps}, C, H, W], not {found}")
        require_filters(self.data, path)
        self.shape: tuple[int, ...] = self.data.shape[1:]

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Read dense histograms."""
        return self.data[start:stop]


class SparseFile:
    """Histograms by their cells; `shape` is C, H, W."""

    def __init__(self, path: Path, steps: int) -> None:
        self.file = h5py.File(path, "r")
        self.starts = self.file["starts"][:]
        self.shape = tuple(int(side) for side in self.file.attrs["shape"])
        self.half = bool(self.file.attrs["half"])
        if len(self.starts) != steps + 1 or len(self.shape) != 3:
            raise UserError(f"{path}: is of {len(self.starts) - 1} windows, not of {steps}")

    def cells(self, start: int, stop: int) -> SparseFrames:
        """Read the cells of histograms."""
        first, last = int(self.starts[start]), int(self.starts[stop])
        step = np.repeat(np.arange(stop - start), np.diff(self.starts[start : stop + 1]))
        cells = self.file["cells"][first:last].astype(np.int64) + step * int(np.prod(self.shape))
        return SparseFrames(cells, self.file["counts"][first:last], (stop - start, *self.shape))

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Read dense histograms."""
        return self.cells(start, stop).to_dense()


def prepared_windows(split: Path) -> tuple[int, int] | None:
    """Return milliseconds and bins of the windows of a split's first recording; None where it has none or several."""
    for recording in folders_in(split):
        inner = subfolder(recording, FRAMES)
        found = [_PREPARED.fullmatch(path.name) for path in folders_in(inner)] if inner else []
        known = [(int(match[1]), int(match[2])) for match in found if match]
        if known:
            return known[0] if len(known) == 1 else None
    return None


def _frames_folder(folder: Path, window: int, bins: int) -> Path:
    name = HISTOGRAM.format(window=window, bins=bins)
    for candidate in (name, name.replace("=", "")):
        if (found := folder / FRAMES / candidate).is_dir():
            return found
    present = sorted(path.name for path in (folder / FRAMES).iterdir()) if (folder / FRAMES).is_dir() else []
    raise UserError(
        f"{folder / FRAMES}: holds no {name}; found {', '.join(present) or 'nothing'} "
        "(a training reads it with representation.window_ms and representation.bins set so, data check with --window "
        "and --bins; a model sees windows such as it was trained on)"
    )


def _integers(path: Path) -> NDArray[np.int64]:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with foreign(path, "whole numbers"):
        values = np.load(path, allow_pickle=False)
        if values.ndim != 1 or values.dtype.kind not in "iu":
            raise UserError(f"{path}: expected whole numbers in one row, found {values.dtype} {list(values.shape)}")
    return values.astype(np.int64)


def named(boxes: NDArray[Any], path: Path) -> NDArray[Any]:
    """Bring rows of boxes to BOX_DTYPE by the names of their fields; older files say ts and confidence.

    Raises:
        UserError: t, x, y, w, h or class_id is missing.
    """
    older = {"t": "ts", "class_confidence": "confidence"}
    names = boxes.dtype.names or ()
    rows = np.zeros(len(boxes), BOX_DTYPE)
    rows["class_confidence"] = 1
    for name in BOX_DTYPE.names or ():
        given = name if name in names else older.get(name, name)
        if given in names:
            rows[name] = boxes[given]
        elif name not in ("track_id", "class_confidence"):
            raise UserError(f"{path}: the boxes have no {name}; they should have t, x, y, w, h and class_id")
    return rows


def write_sequence(
    folder: Path,
    histograms: Iterable[NDArray[np.uint8]],
    times: NDArray[np.int64],
    frames: dict[int, NDArray[Any]],
    *,
    standing: NDArray[np.bool_] | None = None,
    half: bool = False,
    sparse: bool = False,
    window: int = 50,
    compression: Any = "lzf",
) -> None:
    """Write one recording; its file of histograms appears last, when all is written.

    Args:
        folder: The folder of the recording.
        histograms: One [C, H, W] for each time.
        times: Ends of the windows in microseconds, ascending.
        frames: Boxes (rows of BOX_DTYPE) by time; each time is one of `times`.
        standing: Whether each box stands, in the order of `frames`.
        half: The histograms are of half the size of the sensor.
        sparse: Store them by their cells; RVT does not read that.
        window: Milliseconds of a window.
        compression: Options of h5py for the histograms, or the name of a filter.
    """
    labelled = np.array(sorted(frames), np.int64)
    steps = np.searchsorted(times, labelled)
    if not np.array_equal(times[steps], labelled):
        raise ValueError("every labelled time must be the end of a window")
    iterator = iter(histograms)
    first = next(iterator)
    inner = folder / FRAMES / HISTOGRAM.format(window=window, bins=len(first) // 2)
    inner.mkdir(parents=True, exist_ok=True)
    (folder / LABELS).mkdir(exist_ok=True)
    counts = [len(frames[int(time)]) for time in labelled]
    rows = np.zeros(sum(counts), BOX_DTYPE)
    if len(rows):
        rows[:] = np.concatenate([frames[int(time)] for time in labelled])
    more: dict[str, Any] = {} if standing is None else {"standing": standing}
    starts = np.concatenate([[0], np.cumsum(counts)])[: len(counts)].astype(np.int64)
    np.savez(folder / LABELS / "labels.npz", labels=rows, objframe_idx_2_label_idx=starts, **more)
    np.save(folder / LABELS / "timestamps_us.npy", labelled)
    np.save(inner / "timestamps_us.npy", times)
    np.save(inner / "objframe_idx_2_repr_idx.npy", steps)
    target = inner / file_name(half, sparse)
    part = target.with_name(f"{target.stem}_in_progress.h5")
    options = {"compression": compression} if isinstance(compression, str) else compression
    with h5py.File(part, "w") as file:
        write = _write_cells if sparse else _write_dense
        write(file, itertools.chain([first], iterator), len(times), options)
        if sparse:
            file.attrs["half"] = half
    part.replace(target)


def file_name(half: bool, sparse: bool) -> str:
    """Return the name of the file of histograms."""
    return SPARSE if sparse else HALF if half else FULL


def _write_dense(file: h5py.File, histograms: Iterator[NDArray[np.uint8]], steps: int, options: Any) -> None:
    for step, histogram in enumerate(histograms):
        if step == 0:
            shape = (steps, *histogram.shape)
            data = file.create_dataset("data", shape, np.uint8, chunks=(1, *histogram.shape), **options)
        data[step] = histogram


def _write_cells(file: h5py.File, histograms: Iterator[NDArray[np.uint8]], steps: int, options: Any) -> None:
    growing = {"shape": (0,), "maxshape": (None,), "chunks": (1 << 14,), **options}
    cells = file.create_dataset("cells", dtype=np.uint32, shuffle=True, **growing)
    counts = file.create_dataset("counts", dtype=np.uint8, **growing)
    starts = [0]
    for histogram in histograms:
        file.attrs["shape"] = histogram.shape
        found = SparseFrames.from_dense(histogram[None])
        starts.append(starts[-1] + len(found.cells))
        for column, values in ((cells, found.cells), (counts, found.counts)):
            column.resize(starts[-1], axis=0)
            column[starts[-2] :] = values
    file["starts"] = np.array(starts, np.int64)
