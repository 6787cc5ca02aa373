"""Predictions next to MOS on a data set's images, their summary, and predictors compared on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iqa.evaluation.metrics import NAMES, by_subset, correlations, difference, intervals
from polyscale.evaluation import Comparison
from polyscale.evaluation import compare as compare_scores
from polyscale.evaluation.assessment import MODEL, cells

METRIC = "SRCC"

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scores:
    """Predictions and MOS of every image of a data set, in its order and units.

    Attributes:
        predicted: float64 [N].
        truth: MOS, float64 [N].
        std: predicted standard deviation of the MOS, float64 [N]; NaN of a predictor that gives none.
        names: of the images.
        subsets: of the images, "" for none.
        summary: metrics.NAMES and "images"; NaN where undefined.
        notes: reasons for what is undefined, and remarks on units.
    """

    predicted: Values = field(repr=False)
    truth: Values = field(repr=False)
    std: Values = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    subsets: tuple[str, ...] = field(repr=False)
    summary: dict[str, float]
    notes: tuple[str, ...] = ()

    @classmethod
    def from_predictions(
        cls,
        predicted: Values,
        truth: Values,
        names: Sequence[str],
        subsets: Sequence[str],
        std: Values | None = None,
        notes: Sequence[str] = (),
    ) -> Scores:
        """Summarise predictions.

        Raises:
            ValueError: unequal lengths, no image, or a value that is not finite.
        """
        values = correlations(predicted, truth)
        note = values.pop("note", None)
        summary = {name: float("nan") if value is None else value for name, value in values.items()}
        std = np.full(len(truth), np.nan) if std is None else std
        reasons = (*notes, *([note] if note else []))
        return cls(predicted, truth, std, tuple(names), tuple(subsets), {**summary, "images": len(truth)}, reasons)

    def select(self, chosen: NDArray[np.bool_]) -> Scores:
        """Return the Scores of the images where `chosen` [N] is true."""
        kept = [int(i) for i in np.flatnonzero(chosen)]
        names, subsets = (tuple(values[i] for i in kept) for values in (self.names, self.subsets))
        return self.from_predictions(self.predicted[chosen], self.truth[chosen], names, subsets, self.std[chosen])

    def largest_errors(self, count: int) -> dict[str, list[int]]:
        """Return up to `count` indices each of "over-rated" and "under-rated" images, the largest error first."""
        error = self.predicted - self.truth
        order = [int(i) for i in np.argsort(error, kind="stable")]
        return {
            "over-rated": [i for i in order[::-1] if error[i] > 0][:count],
            "under-rated": [i for i in order if error[i] < 0][:count],
        }

    def within_std(self) -> float | None:
        """The share of images whose MOS is within one std of the prediction: .68 where errors are normal."""
        if not np.isfinite(self.std).all():
            return None
        return float(np.mean(np.abs(self.predicted - self.truth) <= self.std))

    def per_sample(self) -> list[dict[str, Any]]:
        """One row per image: name, subset, truth, predicted and, where there is one, spread (the std)."""
        with_std = bool(np.isfinite(self.std).all())
        rows = zip(self.names, self.subsets, self.truth, self.predicted, self.std, strict=True)
        return [
            {"name": name, "subset": subset, "truth": float(truth), "predicted": float(predicted)}
            | ({"spread": float(std)} if with_std else {})
            for name, subset, truth, predicted, std in rows
        ]


def rescale(values: Values, source: tuple[float, float], target: tuple[float, float]) -> Values:
    """Map scores linearly from one range (low, high) to another."""
    if source == target:
        return values
    return target[0] + (values - source[0]) * ((target[1] - target[0]) / (source[1] - source[0]))


def compare(scores: dict[str, Scores], title: str = "") -> Comparison[Scores]:
    """Compare predictors, "model" and baselines, by SRCC, with intervals and by subset.

    Raises:
        ValueError: the predictors were scored on different images.
    """
    return compare_scores(
        scores,
        METRIC,
        lambda a, b: difference(a.predicted, b.predicted, a.truth)[METRIC],
        title=title,
        intervals=lambda s: intervals(s.predicted, s.truth),
        subsets=_subset_rows(scores),
    )


def _subset_rows(scores: dict[str, Scores]) -> list[dict[str, Any]]:
    """The model in each subset, and the SRCC of the baselines whose predictions differ there."""
    model = scores[MODEL]
    rows = []
    for subset, found in by_subset(model.predicted, model.truth, model.subsets).items():
        inside = np.array([own == subset for own in model.subsets])
        truth = model.truth[inside]
        row = {"": subset, "images": found["images"]}
        row |= cells({n: found[n] for n in NAMES}, intervals(model.predicted[inside], truth), NAMES)
        srcc = {n: correlations(s.predicted[inside], truth)[METRIC] for n, s in scores.items() if n != MODEL}
        rows.append(row | {f"{name}: {METRIC}": value for name, value in srcc.items() if value is not None})
    return rows
