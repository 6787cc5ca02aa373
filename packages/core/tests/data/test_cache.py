"""The cache of decoded samples: bounded in bytes, read once, empty in another process."""

import pickle

import numpy as np

from polyscale.data.cache import SampleCache


def test_samples_are_made_once_within_the_limit_and_stay_behind_when_pickled() -> None:
    made: list[int] = []

    def make(index: int) -> np.ndarray:
        made.append(index)
        return np.full(10, index, np.uint8)

    cache: SampleCache[np.ndarray] = SampleCache(25)
    for index in (3, 1, 2, 3, 1, 2):
        assert cache.get(index, make)[0] == index
    assert made == [3, 1, 2, 2]  # there is no room for a third
    assert len(cache) == 2
    there = pickle.loads(pickle.dumps(cache))
    assert (len(there), there.limit) == (0, 25)
    assert len(pickle.dumps(cache)) < 200


def test_a_cache_without_room_keeps_nothing() -> None:
    cache: SampleCache[np.ndarray] = SampleCache(0)
    cache.get(0, lambda _: np.zeros(1))
    assert len(cache) == 0
