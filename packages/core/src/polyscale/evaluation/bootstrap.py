"""Bootstrap intervals over the samples of a data set: percentiles of a statistic on seeded resamples."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Values = NDArray[np.float64]

_MAX_INDICES = 2_000_000  # held at a time, 16 MB


class Interval(NamedTuple):
    """A 95 % bootstrap interval."""

    low: float
    high: float


class Difference(NamedTuple):
    """How much higher a metric of one predictor is than another's on the same samples, with its 95 % interval."""

    value: float
    low: float
    high: float


def bootstrap(statistic: Callable[[Indices], Values], samples: int, *, rounds: int = 1000, seed: int = 0) -> Values:
    """Compute `statistic` on `rounds` resamples of `samples` samples, drawn with replacement.

    Args:
        statistic: maps indices [R, samples] to values [..., R]. Pair two predictors by using the same indices for both.
        samples: size of the data set.
        rounds: number of resamples.
        seed: of the draw; the resamples are the same for one seed.

    Returns:
        float64 [..., rounds].

    Raises:
        ValueError: no sample, or rounds below 1.
    """
    if samples < 1 or rounds < 1:
        raise ValueError(f"samples and rounds must be at least 1, got {samples} and {rounds}")
    generator = np.random.default_rng(seed)
    step = max(1, _MAX_INDICES // samples)
    parts = [
        statistic(generator.integers(samples, size=(min(step, rounds - start), samples)))
        for start in range(0, rounds, step)
    ]
    return np.concatenate(parts, axis=-1)


def interval(values: Values) -> Interval:
    """The 95 % percentile interval of resampled values [R]; resamples without a value (NaN) do not count."""
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return Interval(float(low), float(high))


def mean_difference(a: Values, b: Values, *, rounds: int = 2000, seed: int = 0) -> Difference | None:
    """The mean of paired differences a - b with its bootstrap interval; None of one sample, which has no interval.

    Args:
        a: scores [N] of one predictor.
        b: scores [N] of another on the same samples, in the same order.
        rounds: number of resamples.
        seed: of the draw.

    Raises:
        ValueError: unequal shapes, N = 0, or a value that is not finite.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"a and b must be vectors of the same samples, got shapes {a.shape} and {b.shape}")
    gaps = a - b
    if not np.isfinite(gaps).all():
        raise ValueError("a and b must be finite")
    if len(gaps) == 1:
        return None
    resampled = bootstrap(lambda index: gaps[index].mean(axis=1), len(gaps), rounds=rounds, seed=seed)
    return Difference(float(gaps.mean()), *interval(resampled))
