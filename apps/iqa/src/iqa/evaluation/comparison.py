"""A model and baselines on the same images: metrics with intervals, by subset, and the gain over the best."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from iqa.evaluation.metrics import NAMES, Difference, Interval, by_subset, correlations, difference, intervals
from iqa.evaluation.scores import Scores


@dataclass(frozen=True, eq=False)
class Part:
    """Predictors by name, the model first, on the same images; `difference`: its SRCC less that of `best`."""

    title: str
    scores: dict[str, Scores]
    intervals: dict[str, dict[str, Interval | None]]
    subsets: dict[str, dict[str, Any]]
    best: str
    difference: Difference | None

    def rows(self) -> list[dict[str, Any]]:
        """The metric table."""
        return [{"": name} | _cells(s.summary, self.intervals[name]) for name, s in self.scores.items()]

    def subset_rows(self) -> list[dict[str, Any]]:
        """The model in each subset, and the SRCC of the baselines that tell its images apart."""
        return [
            {"": name, "images": found["images"]}
            | _cells(found, found["intervals"])
            | {f"{other}: SRCC": value for other, value in found["baselines"].items()}
            for name, found in self.subsets.items()
        ]

    def to_dict(self) -> dict[str, Any]:
        """The part in metrics.json."""
        entries = {
            name: {key: _known(value) for key, value in scores.summary.items()} | {"intervals": self.intervals[name]}
            for name, scores in self.scores.items()
        }
        model = entries.pop(next(iter(entries)))
        return {
            "model": model,
            "baselines": entries,
            "subsets": self.subsets,
            "difference": self.difference and {"metric": "SRCC", "baseline": self.best, **self.difference._asdict()},
        }


def compare(title: str, scores: dict[str, Scores]) -> Part:
    """The Part of predictors by name, the model first, that were scored on the same images.

    The best baseline is the one of the highest SRCC. Raises ValueError for predictors of different images.
    """
    model, *others = scores
    if any(scores[name].names != scores[model].names for name in others):
        raise ValueError("model and baselines were scored on different images")
    ordering = [name for name in others if not math.isnan(scores[name].summary["SRCC"])]
    best = max(ordering, key=lambda name: scores[name].summary["SRCC"], default="")
    gain = None
    if best:
        gain = difference(scores[model].predicted, scores[best].predicted, scores[model].truth)["SRCC"]
    found = {name: intervals(s.predicted, s.truth) for name, s in scores.items()}
    return Part(title, scores, found, _by_subset(scores), best, gain)


def _by_subset(scores: dict[str, Scores]) -> dict[str, dict[str, Any]]:
    """The first predictor's metrics in each subset, with intervals, and the SRCC that others reach there."""
    model, *_ = scores.values()
    table = by_subset(model.predicted, model.truth, model.subsets)
    for subset, found in table.items():
        inside = [own == subset for own in model.subsets]
        found["intervals"] = intervals(model.predicted[inside], model.truth[inside])
        srcc = {n: correlations(scores[n].predicted[inside], model.truth[inside])["SRCC"] for n in list(scores)[1:]}
        found["baselines"] = {name: value for name, value in srcc.items() if value is not None}
    return table


def _cells(values: dict[str, Any], interval: dict[str, Interval | None]) -> dict[str, Any]:
    """A table row's cells: NAMES, and the interval behind each value that has one."""
    cells: dict[str, Any] = {}
    for name in NAMES:
        cells[name] = _known(values[name])
        if name in interval:
            found = interval[name]
            cells[f"{name} 95 %"] = None if found is None else f"[{found.low:.3f}, {found.high:.3f}]"
    return cells


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
