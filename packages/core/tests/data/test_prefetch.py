"""Prefetching: order, bounds, errors at their turn, and an end without waiting for the rest."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from polyscale.data.prefetch import prefetch


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_order_is_kept_when_later_items_are_faster(workers: int) -> None:
    def slow_when_even(i: int) -> Any:
        time.sleep(0.002 if i % 2 == 0 else 0)
        return i * i

    assert list(prefetch(slow_when_even, range(20), workers=workers, ahead=3)) == [i * i for i in range(20)]


def test_it_works_in_parallel() -> None:
    both = threading.Barrier(2, timeout=5)  # breaks unless two items are in work at once
    assert [i >= 0 for i in prefetch(lambda i: both.wait(), range(4), workers=2, ahead=2)] == [True] * 4


def test_items_and_results_are_bounded() -> None:
    begun = []

    def items() -> Iterator[Any]:
        for i in range(1000):
            begun.append(i)
            yield i

    results = prefetch(lambda i: i, items(), workers=2, ahead=5)
    assert next(results) == 0
    assert len(begun) == 6
    results.close()
    assert len(begun) == 6


def test_an_error_comes_at_its_turn() -> None:
    def fails_at_two(i: int) -> Any:
        if i == 2:
            raise OSError("item 2")
        return i

    results = prefetch(fails_at_two, range(5), workers=2, ahead=4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(OSError, match="item 2"):
        next(results)


def test_stopping_early_cancels_what_has_not_begun() -> None:
    done = []

    def work(i: int) -> Any:
        time.sleep(0.02)
        done.append(i)
        return i

    results = prefetch(work, range(100), workers=1, ahead=50)
    next(results)
    results.close()
    assert len(done) < 10
    assert threading.active_count() < 20


@pytest.mark.parametrize(("workers", "ahead"), [(-1, 1), (1, 0)])
def test_bad_arguments(workers: int, ahead: int) -> None:
    with pytest.raises(ValueError, match="at least 0 and 1"):
        prefetch(str, [1], workers=workers, ahead=ahead)
