"""Prediction of many images: order, batches, memory, failures at their place."""

import gc
import itertools
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from polyscale.data.images import ImageSource, read_image
from polyscale.errors import UserError
from polyscale.inference import predictor as module
from polyscale.inference.predictor import OPEN_BATCHES, Failure, Predictor

BROKEN = b"not an image"
INFINITE = 255  # an image of this value has no finite output


@dataclass(eq=False)
class Item:
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Mean:
    name: str
    path: Path | None
    value: float
    size: tuple[int, ...]


class Means(Predictor[Item, Mean]):
    """The mean of each image; keeps what it was asked for."""

    batch_size = 3

    def __init__(self) -> None:
        self.batches: list[tuple[int, ...]] = []
        self.alive: weakref.WeakSet[Item] = weakref.WeakSet()
        self.most, self.readers = 0, set[str]()

    def read(self, source: ImageSource) -> Item:
        item = Item(np.ascontiguousarray(read_image(source).transpose(2, 0, 1)))
        self.readers.add(threading.current_thread().name)
        self.alive.add(item)
        self.most = max(self.most, len(self.alive))
        return item

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        self.batches.append(images.shape)
        means = images.mean((1, 2, 3), dtype=np.float64)
        return np.where(means == INFINITE, np.nan, means)

    def result(self, name: str, path: Path | None, item: Item, output: float) -> Mean:
        if not np.isfinite(output):
            raise UserError(f"{name}: the output is not finite")
        return Mean(name, path, float(output), item.pixels.shape)


def grey(value: int, height: int = 4, width: int = 5) -> NDArray[np.uint8]:
    return np.full((height, width, 3), value, np.uint8)


@pytest.fixture
def means() -> Means:
    return Means()


def values(results: Iterator[Mean | Failure]) -> list[float | str]:
    return [result.error if isinstance(result, Failure) else result.value for result in results]


@pytest.mark.parametrize("workers", [0, 2, 5])
@pytest.mark.parametrize("batch_size", [1, 2, 7, None])
def test_results_keep_the_order_of_the_images(means: Means, workers: int, batch_size: int | None) -> None:
    sources = [grey(i, height=4 + i % 3) for i in range(40)]
    assert values(means.stream(sources, batch_size, workers)) == list(range(40))
    assert sum(batch[0] for batch in means.batches) == 40


def test_equal_sizes_go_through_the_network_together(means: Means) -> None:
    list(means.stream([grey(i, height=4 + i % 2) for i in range(12)], batch_size=3))
    assert sorted(means.batches) == [(3, 3, 4, 5)] * 2 + [(3, 3, 5, 5)] * 2
    means.batches.clear()
    assert [mean.value for mean in means([grey(1), grey(2), grey(3), grey(4)])] == [1, 2, 3, 4]
    assert [batch[0] for batch in means.batches] == [3, 1]


def test_a_rare_size_does_not_hold_up_the_others_for_ever(means: Means) -> None:
    read = iter([grey(0, height=9), *(grey(i) for i in range(1, 100))])
    for count, _ in enumerate(means.stream(read, batch_size=2, workers=0)):
        if count == 0:
            assert sum(batch[0] for batch in means.batches) <= OPEN_BATCHES * 2
            break


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("sizes", [1, 3, 200])
def test_few_images_are_in_memory(means: Means, workers: int, sizes: int) -> None:
    sources = [grey(i, width=1 + i % sizes) for i in range(200)]
    for _ in means.stream(sources, batch_size=2, workers=workers):
        gc.collect(0)
    assert means.most <= (OPEN_BATCHES + 1) * 2 + 2 * workers + 2


@pytest.mark.parametrize("workers", [0, 2])
def test_failures_are_at_their_place_and_the_rest_goes_on(means: Means, workers: int) -> None:
    found = list(means.stream([grey(1), BROKEN, grey(INFINITE), grey(2), BROKEN], workers=workers))
    assert [isinstance(result, Failure) for result in found] == [False, True, True, False, True]
    assert values(iter(found))[2] == "image_3: the output is not finite"
    assert [result.name for result in found] == ["image", "image_2", "image_3", "image_4", "image_5"]
    assert values(means.stream([BROKEN])) == [found[1].error]  # type: ignore[union-attr]


def test_a_failure_names_its_file(means: Means, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(BROKEN)
    (failure,) = means.stream(tmp_path / "a.png")
    assert isinstance(failure, Failure)
    assert failure.to_dict() == {"name": "a", "file": str(tmp_path / "a.png"), "error": failure.error}
    assert str(tmp_path / "a.png") in failure.error


def test_files_are_named_by_their_stem_made_different(means: Means, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("x/a.png", "y/a.png", "b.png")]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(grey(7)).save(file)
    results = [result for result in means.stream(files) if isinstance(result, Mean)]
    assert [result.name for result in results] == ["x_a", "y_a", "b"]
    assert [result.path for result in results] == files
    assert [result.name for result in means([str(file) for file in files])] == ["x_a", "y_a", "b"]


def test_a_stream_without_end_is_read_as_far_as_it_is_needed(means: Means, tmp_path: Path) -> None:
    read: list[int] = []

    def camera() -> Iterator[NDArray[np.uint8]]:
        for i in itertools.count():
            read.append(i)
            yield grey(i % 200)

    results = means.stream(camera(), batch_size=2, workers=2)
    assert [next(results).name for _ in range(5)] == ["image", *(f"image_{i}" for i in range(2, 6))]
    assert len(read) < 20
    results.close()  # type: ignore[attr-defined]
    files = [tmp_path / name for name in ("x/a.png", "y/a.png", "a.png", "x/a.png")]
    names = [result.name for result in means.stream(file for file in files)]
    assert names == ["a", "a_png", f"{tmp_path.name}_a", "x_a"]


def test_a_single_image_or_a_list(means: Means) -> None:
    assert means(grey(9)).value == 9
    assert means([]) == []
    assert [mean.value for mean in means((grey(1), grey(2)))] == [1, 2]
    with pytest.raises(UserError):
        means([grey(1), BROKEN])
    with pytest.raises(UserError, match="image: the output is not finite"):
        means(grey(INFINITE))


def test_workers_read_ahead_and_none_reads_in_the_caller(means: Means) -> None:
    list(means.stream([grey(i) for i in range(20)], workers=2))
    assert threading.main_thread().name not in means.readers
    means.readers.clear()
    list(means.stream([grey(i) for i in range(20)], workers=0))
    assert means.readers == {threading.main_thread().name}


def test_of_large_images_one_is_in_memory(means: Means, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGE_PIXELS", 100)
    sources = [grey(i, 40, 50) for i in range(12)]
    assert values(means.stream(sources, workers=4)) == list(range(12))
    assert means.most <= 2  # one, and the one before whose result was just handed on
    mixed = [grey(i, 40, 50) if i % 3 == 0 else grey(i) for i in range(12)]
    assert values(means.stream([*mixed, BROKEN], workers=4))[:12] == list(range(12))


@pytest.mark.parametrize(("batch_size", "workers"), [(0, 2), (1, -1)])
def test_sizes_that_cannot_be_are_one_line(means: Means, batch_size: int, workers: int) -> None:
    with pytest.raises(UserError, match=f"batch_size is {batch_size} and workers {workers}"):
        means.stream([grey(1)], batch_size, workers)


def test_a_bug_in_read_is_not_hidden(means: Means, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(source: ImageSource) -> Item:
        raise KeyError("bug")

    monkeypatch.setattr(means, "read", wrong)
    with pytest.raises(KeyError, match="bug"):
        list(means.stream([grey(1)]))
