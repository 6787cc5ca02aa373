"""A model next to baselines on one data set: one table, one metrics.json and one report for every application.

An application brings its Scores (what each image got, and the summary) and says which metric decides; tables, verdict,
files and the page of the report are made here.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from polyscale.data.naming import plural
from polyscale.evaluation.bootstrap import Difference, Interval
from polyscale.report.page import Best, Report

MODEL = "model"


class Scores(Protocol):
    """What one predictor got on a data set."""

    @property
    def names(self) -> Sequence[str]:
        """Of the samples, in order."""
        ...

    @property
    def summary(self) -> Mapping[str, float]:
        """Metrics of the whole set; NaN where undefined."""
        ...

    def per_sample(self) -> list[dict[str, Any]]:
        """One flat row per sample, beginning with its name."""
        ...


S = TypeVar("S", bound=Scores)
Intervals = Mapping[str, Interval | None]


@dataclass(frozen=True, eq=False)
class Comparison(Generic[S]):
    """Predictors by name on the same samples, the model first.

    Attributes:
        title: which samples: "all 240", "clean 1849"; empty where there is only one comparison.
        metric: what decides which baseline is best.
        scores: of each predictor.
        intervals: of each predictor's metrics, where there are any.
        best: name of the best baseline, empty without one.
        difference: the model's metric less that of `best`.
        subsets: ready rows of the table by subset.
    """

    title: str
    metric: str
    scores: dict[str, S]
    intervals: dict[str, Intervals] = field(default_factory=dict)
    best: str = ""
    difference: Difference | None = None
    subsets: list[dict[str, Any]] = field(default_factory=list)

    def rows(self, shown: Sequence[str]) -> list[dict[str, Any]]:
        """The metric table with the columns `shown`, each followed by its interval where there is one."""
        return [{"": name} | cells(s.summary, self.intervals.get(name, {}), shown) for name, s in self.scores.items()]

    def verdict(self) -> str:
        """One sentence on the model's metric and its gain over the best baseline."""
        model = self.scores[MODEL]
        reached, bounds = model.summary[self.metric], self.intervals.get(MODEL, {}).get(self.metric)
        if math.isnan(reached):
            return f"{self.metric} is not defined here."
        text = f"{self.metric} {reached:.3f}" + (f" [{bounds.low:.3f}, {bounds.high:.3f}]" if bounds else "")
        text += f" on {self.title}" if self.title else ""
        if self.difference is None:
            return text
        other, d = self.scores[self.best].summary[self.metric], self.difference
        return (
            f"{text} against {other:.3f} of the best baseline ({self.best}): "
            f"difference {d.value:+.3f}, 95 % interval [{d.low:+.3f}, {d.high:+.3f}]"
        )

    def to_dict(self) -> dict[str, Any]:
        """The entries of metrics.json: model, baselines, difference, subsets."""
        entries = {name: self._entry(name) for name in self.scores}
        gain = self.difference and {"metric": self.metric, "baseline": self.best, **self.difference._asdict()}
        document = {MODEL: entries.pop(MODEL), "baselines": entries, "difference": gain}
        return document | ({"subsets": self.subsets} if self.subsets else {})

    def _entry(self, name: str) -> dict[str, Any]:
        values: dict[str, Any] = {key: _known(value) for key, value in self.scores[name].summary.items()}
        found = {key: value and value._asdict() for key, value in self.intervals.get(name, {}).items()}
        return values | ({"intervals": found} if found else {})


def compare(
    scores: dict[str, S],
    metric: str,
    difference: Callable[[S, S], Difference | None],
    *,
    title: str = "",
    lower_is_better: bool = False,
    intervals: Callable[[S], Intervals] | None = None,
    subsets: Sequence[dict[str, Any]] = (),
) -> Comparison[S]:
    """Compare predictors on the same samples; the model is called "model" and comes first.

    Args:
        scores: of each predictor by name.
        metric: by which the best baseline is chosen.
        difference: (model, best baseline) -> the model's metric less the other's, None where it is not defined.
        title: which samples.
        lower_is_better: for `metric`.
        intervals: scores -> interval by metric.
        subsets: rows of the table by subset.

    Raises:
        ValueError: the predictors were scored on different samples.
    """
    model = scores[MODEL]
    others = {name: s for name, s in scores.items() if name != MODEL}
    if any(list(s.names) != list(model.names) for s in others.values()):
        raise ValueError("model and baselines were scored on different images")
    values = {name: s.summary.get(metric, math.nan) for name, s in others.items()}  # a baseline may have other metrics
    defined = {name: value for name, value in values.items() if not math.isnan(value)}
    best = (min if lower_is_better else max)(defined, key=lambda name: defined[name], default="")
    gain = difference(model, others[best]) if best else None
    found = {} if intervals is None else {name: intervals(s) for name, s in scores.items()}
    return Comparison(title, metric, scores, found, best, gain, list(subsets))


@dataclass(frozen=True, eq=False)
class Assessment(Generic[S]):
    """A model on one split.

    Attributes:
        title: data set and split.
        comparisons: on all samples, and on parts of them.
        shown: metrics of the table, in order.
        caption: explains the table in the report.
        lower_is_better: metrics where less is better.
        provenance: see `evaluation.provenance`.
        notes: one-line remarks for the user.
        extra: further entries of metrics.json.
        marks: further columns of the per-image table, one value per image.
        unit: what a sample is: "image", "frame".
    """

    title: str
    comparisons: tuple[Comparison[S], ...]
    shown: tuple[str, ...]
    caption: str = ""
    lower_is_better: frozenset[str] = frozenset()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    marks: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    unit: str = "image"

    @property
    def scores(self) -> S:
        """The model's on all samples."""
        return self.comparisons[0].scores[MODEL]

    @property
    def heading(self) -> str:
        """Data set, split, and how many samples."""
        return f"{self.title}, {plural(len(self.scores.names), self.unit)}"

    def rows(self) -> list[dict[str, Any]]:
        """The metric table: the model first, then the baselines; on all samples, then on the parts."""
        return [self._labelled(row, part) for part in self.comparisons for row in part.rows(self.shown)]

    def subset_rows(self) -> list[dict[str, Any]]:
        """The table by subset; empty where there are no subsets."""
        return [self._labelled(row, part) for part in self.comparisons for row in part.subsets]

    def verdict(self) -> str:
        """One sentence on the last comparison."""
        return self.comparisons[-1].verdict()

    def to_dict(self) -> dict[str, Any]:
        """What metrics.json holds."""
        first, *parts = self.comparisons
        document = {"data": self.title, "metric": first.metric, **first.to_dict(), **self.extra}
        if parts:
            document["parts"] = {part.title: part.to_dict() for part in parts}
        return document | {"notes": list(self.notes), "provenance": dict(self.provenance)}

    def write(self, folder: Path) -> None:
        """Write metrics.json and images.csv (one line per image; named by the unit) into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.json").write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        rows = self.scores.per_sample()
        for name, values in self.marks.items():
            rows = [row | {name: value} for row, value in zip(rows, values, strict=True)]
        with (folder / f"{self.unit}s.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    def report(self, application: str, subtitle: str = "") -> Report:
        """Begin the report: verdict, tables, notes and provenance; the application adds curves and images."""
        page = Report(application, subtitle or self.heading)
        page.text(self.verdict())
        best: dict[str, Best] = {name: "min" if name in self.lower_is_better else "max" for name in self.shown}
        for part in self.comparisons:
            rows = part.rows(self.shown)
            marked = {name: side for name, side in best.items() if name in rows[0]} if len(rows) > 1 else {}
            page.table(rows, f"{part.title}: {self.caption}" if len(self.comparisons) > 1 else self.caption, marked)
            if part.subsets:
                page.table(part.subsets, f"The model by subset. {part.title}")
        if self.notes:
            page.text("\n".join(self.notes))
        if self.provenance:
            page.table(_readable(self.provenance), "What these numbers were made with.")
        return page

    def _labelled(self, row: dict[str, Any], part: Comparison[S]) -> dict[str, Any]:
        return row if len(self.comparisons) == 1 else {"": row[""], "part": part.title} | row


def cells(values: Mapping[str, Any], intervals: Intervals, shown: Sequence[str]) -> dict[str, Any]:
    """One row's cells: the metrics `shown`, each followed by its interval where there is one."""
    row: dict[str, Any] = {}
    for name in shown:
        if name not in values:
            continue
        row[name] = _known(values[name])
        if name in intervals:
            found = intervals[name]
            row[f"{name} 95 %"] = None if found is None else f"[{found.low:.3f}, {found.high:.3f}]"
    return row


def _readable(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Entries of `evaluation.provenance` for people: the date without its T, seconds with their unit."""
    shown = dict(provenance)
    if "date" in shown:
        shown["date"] = datetime.fromisoformat(shown["date"]).strftime("%Y-%m-%d %H:%M:%S, UTC%z")
    if "seconds" in shown:
        shown["seconds"] = f"{shown['seconds']:.1f} s of evaluation"
    return shown


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
