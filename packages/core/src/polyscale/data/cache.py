"""Keeping the decoded samples of a data set in memory."""

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar


class _Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


S = TypeVar("S", bound=_Sized)


class SampleCache(Generic[S]):
    """Samples (tensors or arrays) by their index, at most `limit` bytes in all.

    It is empty after pickling: a copy in another process fills its own, while a forked one has what was there before.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held = 0
        self._samples: dict[int, S] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return SampleCache, (self.limit,)

    def __len__(self) -> int:
        return len(self._samples)

    def get(self, index: int, make: Callable[[int], S]) -> S:
        """Return sample `index`, from `make(index)` the first time; it is kept as long as there is room."""
        if index in self._samples:
            return self._samples[index]
        sample = make(index)
        if self._held + sample.nbytes <= self.limit:
            self._samples[index] = sample
            self._held += sample.nbytes
        return sample
