"""Histograms by their cells: equal to dense ones on disk, flipped and zoomed, in batches, on the way to a device."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.utils import send_to_device

from event_det.data import BOX_DTYPE, Clips, EventSet, Sequence, collate, write_sequence
from event_det.data.augment import RANDOM, Change, Zoom
from event_det.data.sparse import SparseBatch, SparseFrames
from polyscale.errors import UserError

SIZE = (30, 44)


def random_frames(steps: int, seed: int = 0, share: float = 0.03) -> np.ndarray:
    rng = np.random.default_rng(seed)
    kept = rng.random((steps, 20, *SIZE)) < share
    return (rng.integers(1, 11, kept.shape) * kept).astype(np.uint8)


def write(folder: Path, *, sparse: bool, half: bool = False) -> EventSet:
    for number in range(2):
        data = random_frames(9 - number, number)
        data[4] = 0
        boxes = np.zeros(1, BOX_DTYPE)
        boxes["x"], boxes["y"], boxes["w"], boxes["h"] = 3, 4, 9, 8
        times = 100_000 + 50_000 * np.arange(len(data))
        frames = {int(times[k]): boxes for k in (1, 3, 7)}
        write_sequence(folder / f"r{number}", data, times, frames, sparse=sparse, half=half)
    return EventSet([Sequence(folder / f"r{number}") for number in range(2)], ("car",), "made up")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[EventSet, EventSet]:
    folder = tmp_path_factory.mktemp("sets")
    return write(folder / "dense", sparse=False), write(folder / "sparse", sparse=True)


def test_sparse_storage_holds_the_same_frames(both: tuple[EventSet, EventSet]) -> None:
    dense, sparse = both
    assert (dense.sparse, sparse.sparse) == (False, True)
    assert (sparse.size, sparse.channels, len(sparse)) == (dense.size, dense.channels, len(dense))
    for index in range(len(dense)):
        assert torch.equal(dense[index]["frames"], sparse[index]["frames"])
    assert np.array_equal(sparse.frames(2, 8), dense.frames(2, 8))
    assert np.array_equal(dense.cells(2, 8).to_dense(), sparse.cells(2, 8).to_dense())
    sizes = [split.sequences[0].path.stat().st_size for split in both]
    assert sizes[1] < sizes[0]


def test_half_is_kept(tmp_path: Path) -> None:
    split = write(tmp_path, sparse=True, half=True)
    assert split.scale == 0.5
    labels = split.labels(1)
    assert labels is not None
    assert labels.boxes.tolist() == [[1.5, 2, 6, 6]]


@pytest.mark.parametrize("seed", range(40))
def test_flips_and_zooms_are_bit_equal(seed: int) -> None:
    torch.manual_seed(seed)
    frames = random_frames(2, seed)
    change = RANDOM.draw(SIZE, torch.tensor([[4.0, 5, 20, 25]]))
    expected = change.frames(torch.from_numpy(frames)).numpy()
    found = SparseFrames.from_dense(frames).changed(change)
    assert len(np.unique(found.cells)) == len(found.cells)
    assert np.array_equal(found.to_dense(), expected)


@pytest.mark.parametrize("zoom", [Zoom(True, 0, 0, *SIZE), Zoom(False, 0, 0, *SIZE), Zoom(True, 43, 29, 1, 1), None])
def test_extreme_zooms_are_bit_equal(zoom: Zoom | None) -> None:
    frames = random_frames(2, 5)
    change = Change(flip=True, zoom=zoom)
    found = SparseFrames.from_dense(frames).changed(change).to_dense()
    assert np.array_equal(found, change.frames(torch.from_numpy(frames)).numpy())


@pytest.mark.parametrize("sampling", ["stream", "mixed"])
def test_batches_are_bit_equal_on_the_device(both: tuple[EventSet, EventSet], sampling: str) -> None:
    batches = []
    for split in both:
        clips = Clips(split, 4, sampling=sampling, augment=True)  # type: ignore[arg-type]
        made = []
        for index in range(len(clips)):
            torch.manual_seed(index)
            made.append(clips[index])
        batches.append(collate(made))
    dense, sparse = batches
    assert isinstance(sparse["frames"], SparseBatch)
    moved = send_to_device(sparse, torch.device("cpu"), non_blocking=True)
    assert moved["frames"].dtype == torch.uint8
    assert torch.equal(moved["frames"], dense["frames"])  # type: ignore[arg-type]
    assert sparse["frames"].nbytes < dense["frames"].nbytes / 4
    for left, right in zip(dense["targets"], sparse["targets"], strict=True):
        for a, b in zip(left, right, strict=True):
            assert (a is None) == (b is None)
            assert a is None or b is None or (torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]))


def test_a_batch_survives_the_way_from_a_worker(both: tuple[EventSet, EventSet]) -> None:
    batch = collate([Clips(both[1], 4)[0]])["frames"]
    assert torch.equal(pickle.loads(pickle.dumps(batch)).to("cpu"), batch.to("cpu"))


def test_a_cut_file_is_one_line(tmp_path: Path) -> None:
    split = write(tmp_path, sparse=True)
    path = split.sequences[0].path
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UserError, match=r"event_representations_sparse\.h5: cannot be read as histograms") as error:
        Sequence(path.parents[2]).frames(0, 1)
    assert "\n" not in str(error.value)
