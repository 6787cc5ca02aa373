"""Prediction on any number of images: read ahead, batch equal sizes, keep the order, outlive a broken file.

An application says how an image is read, what the network makes of a batch, and what a result is; everything else is
here. Nothing in this file needs torch, so that a model in another runtime can be used by the same calls.
"""

from __future__ import annotations

import itertools
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from polyscale.data.images import ImageSource, image_size
from polyscale.data.naming import names_as_they_come, unique_names
from polyscale.data.prefetch import prefetch
from polyscale.errors import UserError

LARGE_PIXELS = 1 << 25  # larger images are not read ahead: one at a time is in memory
OPEN_BATCHES = 8  # batches that may be open at once while images of equal size are gathered


class Item(Protocol):
    """An image that was read, `pixels` uint8 [3, h, w] at the network's size; the rest is the application's."""

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """What the network gets."""
        ...


ItemT = TypeVar("ItemT", bound=Item)
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Failure:
    """An image without a result, at its place in the stream; `error` is one line that names it."""

    name: str
    error: str
    source: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """Name, file and error, for JSON."""
        return {"name": self.name, "file": None if self.source is None else str(self.source), "error": self.error}


@dataclass(eq=False)
class _Entry(Generic[ItemT]):
    name: str
    path: Path | None
    source: ImageSource
    large: bool = False
    item: ItemT | None = None
    output: Any = None
    failure: Failure | None = None

    @property
    def done(self) -> bool:
        return self.failure is not None or self.output is not None


class Predictor(ABC, Generic[ItemT, ResultT]):
    """A model ready for images: `Predictor("nano")("photo.jpg")`.

    Subclasses give `read`, `infer` and `result`, and may change `batch_size`, which is used for lists.
    """

    batch_size = 8

    @abstractmethod
    def read(self, source: ImageSource) -> ItemT:
        """Read an image and bring it to the network's size. Raises UserError naming what cannot be read."""

    @abstractmethod
    def infer(self, images: NDArray[np.uint8]) -> Sequence[Any] | NDArray[Any]:
        """Run the network on uint8 [B, 3, h, w]; returns one output per image."""

    @abstractmethod
    def result(self, name: str, path: Path | None, item: ItemT, output: Any) -> ResultT:
        """Make the result of one image. Raises UserError for an output that is not finite."""

    @overload
    def __call__(self, source: list[ImageSource] | tuple[ImageSource, ...]) -> list[ResultT]: ...
    @overload
    def __call__(self, source: ImageSource) -> ResultT: ...
    def __call__(self, source: ImageSource) -> ResultT | list[ResultT]:
        """Predict one image, or each of a list, whose results all stay in memory (see `stream`).

        Args:
            source: what `polyscale.data.images.read_image` takes: a path, encoded bytes, a PIL image, an array
                [H, W], [H, W, 1|3|4] or a tensor [H, W], [1|3|4, H, W]; or a list or tuple of such.

        Raises:
            UserError: the first image that cannot be read or has no finite result.
        """
        many = isinstance(source, list | tuple)
        results = []
        for result in self._stream(list(source) if many else [source], self.batch_size if many else 1, 2 * many):
            if isinstance(result, Failure):
                raise UserError(result.error)
            results.append(result)
        return results if many else results[0]

    def stream(
        self, sources: str | os.PathLike[str] | Iterable[ImageSource], batch_size: int | None = None, workers: int = 2
    ) -> Iterator[ResultT | Failure]:
        """Yield a result for each image in order; one that cannot be predicted gives a Failure, and the rest goes on.

        Images that have the same size for the network go through it together. At most (OPEN_BATCHES + 1) batches and
        `workers` more images wait in memory, of those above LARGE_PIXELS only one. Names are the stems of the files,
        made different by suffix or folder.

        Args:
            sources: images as `__call__` takes them. A generator is read as far as it is needed; its images are named
                as they come, so that the first of a stem keeps it.
            batch_size: images per forward pass; None is the predictor's own.
            workers: threads that read ahead; 0 reads in the calling thread.
        """
        size = self.batch_size if batch_size is None else batch_size
        if size < 1 or workers < 0:
            raise UserError(f"batch_size is {size} and workers {workers}; at least 1 and 0 are needed", exit_code=2)
        return self._stream([sources] if isinstance(sources, str | os.PathLike) else sources, size, workers)

    def _stream(
        self, sources: Iterable[ImageSource], batch_size: int, workers: int
    ) -> Generator[ResultT | Failure, None, None]:
        queue: deque[_Entry[ItemT]] = deque()
        groups: dict[tuple[int, ...], list[_Entry[ItemT]]] = {}
        for entry in prefetch(self._load, _named(sources), workers=workers, ahead=batch_size + workers):
            queue.append(entry)
            if entry.large:
                while groups:
                    self._infer(groups.popitem()[1])
                yield from self._finished(queue)
                self._read(entry)
                self._infer([entry] if entry.item is not None else [])
            elif entry.item is not None:
                shape = entry.item.pixels.shape
                groups.setdefault(shape, []).append(entry)
                if len(groups[shape]) == batch_size:
                    self._infer(groups.pop(shape))
            oldest = queue[0]
            if len(queue) == OPEN_BATCHES * batch_size and oldest.item is not None and not oldest.done:
                self._infer(groups.pop(oldest.item.pixels.shape))
            yield from self._finished(queue)
        for group in groups.values():
            self._infer(group)
        yield from self._finished(queue)

    def _load(self, named: tuple[str, ImageSource]) -> _Entry[ItemT]:
        name, source = named
        entry: _Entry[ItemT] = _Entry(name, _path(source), source)
        try:
            height, width = image_size(source)
            entry.large = height * width > LARGE_PIXELS
        except UserError as error:
            entry.failure = Failure(name, str(error), entry.path)
        else:
            if not entry.large:
                self._read(entry)
        return entry

    def _read(self, entry: _Entry[ItemT]) -> None:
        try:
            entry.item = self.read(entry.source)
        except UserError as error:
            entry.failure = Failure(entry.name, str(error), entry.path)

    def _infer(self, group: Sequence[_Entry[ItemT]]) -> None:
        if not group:
            return
        items = [entry.item for entry in group if entry.item is not None]
        outputs = self.infer(np.stack([item.pixels for item in items]))
        for entry, output in zip(group, outputs, strict=True):
            entry.output = output

    def _finished(self, queue: deque[_Entry[ItemT]]) -> Iterator[ResultT | Failure]:
        """Take finished entries from the front; a result is made only now, as it may be far larger than its output."""
        while queue and queue[0].done:
            entry = queue.popleft()
            if entry.failure is not None or entry.item is None:
                assert entry.failure is not None
                yield entry.failure
                continue
            try:
                yield self.result(entry.name, entry.path, entry.item, entry.output)
            except UserError as error:
                yield Failure(entry.name, str(error), entry.path)


def _named(sources: Iterable[ImageSource]) -> Iterator[tuple[str, ImageSource]]:
    if isinstance(sources, Sequence):
        return zip(unique_names([_path(source) for source in sources]), sources, strict=True)
    first, second = itertools.tee(sources)
    return zip(names_as_they_come(map(_path, first)), second, strict=True)


def _path(source: ImageSource) -> Path | None:
    return Path(source) if isinstance(source, str | os.PathLike) else None
