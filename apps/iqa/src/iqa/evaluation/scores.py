"""Predicted beside people's scores of a data set's images, and their summary (metrics.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iqa.evaluation.metrics import correlations


@dataclass(frozen=True, eq=False)
class Scores:
    """Predicted and people's scores of every image of a data set, in its order and its units.

    predicted, truth, spread: float64 [N]; spread is the deviation of opinions that the model expects, NaN of a
    predictor that has none. summary: metrics.NAMES as floats, NaN where undefined, and images. notes: why.
    """

    predicted: NDArray[np.float64] = field(repr=False)
    truth: NDArray[np.float64] = field(repr=False)
    spread: NDArray[np.float64] = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    subsets: tuple[str, ...] = field(repr=False)
    summary: dict[str, float]
    notes: tuple[str, ...] = ()

    def only(self, chosen: NDArray[np.bool_]) -> Scores:
        """The Scores of the images where `chosen` [N] is true."""
        kept = [int(i) for i in np.flatnonzero(chosen)]
        names, subsets = (tuple(values[i] for i in kept) for values in (self.names, self.subsets))
        return scored(self.predicted[chosen], self.truth[chosen], names, subsets, self.spread[chosen])

    def misjudged(self, count: int) -> dict[str, list[int]]:
        """Up to `count` indices each: "over-rated" and "under-rated", the furthest off first."""
        error = self.predicted - self.truth
        order = [int(i) for i in np.argsort(error, kind="stable")]
        return {
            "over-rated": [i for i in order[::-1] if error[i] > 0][:count],
            "under-rated": [i for i in order if error[i] < 0][:count],
        }

    def per_image(self) -> list[dict[str, Any]]:
        """One dict per image for a table or JSON: name, subset, truth, predicted and, where there is one, spread."""
        with_spread = bool(np.isfinite(self.spread).all())
        rows = zip(self.names, self.subsets, self.truth, self.predicted, self.spread, strict=True)
        return [
            {"name": name, "subset": subset, "truth": float(truth), "predicted": float(predicted)}
            | ({"spread": float(spread)} if with_spread else {})
            for name, subset, truth, predicted, spread in rows
        ]


def scored(
    predicted: NDArray[np.float64],
    truth: NDArray[np.float64],
    names: Sequence[str],
    subsets: Sequence[str],
    spread: NDArray[np.float64] | None = None,
    notes: Sequence[str] = (),
) -> Scores:
    """Scores with their summary. Raises ValueError for unequal lengths, none at all and values that are not finite."""
    values = correlations(predicted, truth)
    note = values.pop("note", None)
    summary = {name: float("nan") if value is None else value for name, value in values.items()}
    spread = np.full(len(truth), np.nan) if spread is None else spread
    every = (*notes, *([note] if note else []))
    return Scores(predicted, truth, spread, tuple(names), tuple(subsets), {**summary, "images": len(truth)}, every)


def rescaled(
    values: NDArray[np.float64], range_of: tuple[float, float], to: tuple[float, float]
) -> NDArray[np.float64]:
    """Scores of one declared range (low, high) brought linearly to another."""
    if range_of == to:
        return values
    return to[0] + (values - range_of[0]) * ((to[1] - to[0]) / (range_of[1] - range_of[0]))
