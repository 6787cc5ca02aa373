"""Decoding ahead: run a function over items in threads, hand the results on in order, hold only a few of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def prefetch(function: Callable[[T], R], items: Iterable[T], *, workers: int = 2, ahead: int = 8) -> Iterator[R]:
    """`function(item)` for each item, in the order of the items, computed by `workers` threads up to `ahead` early.

    At most `ahead` + 1 results exist that the caller has not asked for, however many items there are; `items` is
    itself read only that far. workers=0 computes in the calling thread. An exception of `function` is raised at its
    item's turn. Threads suit work that leaves the interpreter (decoding, reading); stopping early waits only for the
    items already begun.

    Raises ValueError for workers below 0 or ahead below 1.
    """
    if workers < 0 or ahead < 1:
        raise ValueError(f"workers is {workers} and ahead is {ahead}; at least 0 and 1 are needed")
    return map(function, items) if workers == 0 else _threaded(function, items, workers, ahead)


def _threaded(function: Callable[[T], R], items: Iterable[T], workers: int, ahead: int) -> Iterator[R]:
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prefetch")
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
