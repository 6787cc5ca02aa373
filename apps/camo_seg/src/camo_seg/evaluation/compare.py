"""Two or more models, or folders of their maps, side by side on one data set, with the images on which they differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from camo_seg.data import CamoSet
from camo_seg.evaluation.assess import CAPTION, METRIC, SHOWN, shown_metrics
from camo_seg.evaluation.evaluate import ProbabilityMap, Scores
from camo_seg.evaluation.metrics import LOWER_IS_BETTER
from camo_seg.evaluation.tables import write_tables
from polyscale.data.images import resize_map
from polyscale.evaluation import mean_difference
from polyscale.report import Report, overlay
from polyscale.report.page import Best

DIFFERENT = 12  # images that are shown


@dataclass(frozen=True, eq=False)
class Contest:
    """What each of several models got on the images of one data set.

    Attributes:
        dataset: the images.
        scores: by the name of the model.
        maps: by the name of the model: index -> probability map of any size.
    """

    dataset: CamoSet
    scores: Mapping[str, Scores]
    maps: Mapping[str, Callable[[int], ProbabilityMap]] = field(repr=False)

    def rows(self) -> list[dict[str, Any]]:
        """The table: one row a model, for each set of the data set where it holds several, and over all images."""
        parts = self.dataset.parts if len(self.dataset.parts) > 1 else {}
        rows = [
            {"": name, "set": part, **shown_metrics(scores.part(indices))}
            for part, indices in parts.items()
            for name, scores in self.scores.items()
        ]
        whole: dict[str, Any] = {"set": "all"} if parts else {}
        return [*rows, *({"": name, **whole, **shown_metrics(scores)} for name, scores in self.scores.items())]

    def differences(self) -> list[dict[str, Any]]:
        """One row for each pair of models: the mean difference in METRIC with its 95 % bootstrap interval."""
        rows = []
        for first, second in combinations(self.scores, 2):
            chosen = self.scores[first].has_object
            if not chosen.any():
                continue
            a, b = (self.scores[name].column(METRIC)[chosen] for name in (first, second))
            found = mean_difference(a, b)
            interval = None if found is None else f"[{found.low:+.3f}, {found.high:+.3f}]"
            better = int((a > b).sum()), int((a < b).sum())
            row = {"": f"{first} - {second}", METRIC: float((a - b).mean()), "95 %": interval}
            rows.append({**row, "first better on": better[0], "second better on": better[1]})
        return rows

    def most_different(self, count: int = DIFFERENT) -> list[int]:
        """Indices of the images on which the models' METRIC lies furthest apart, the furthest first."""
        columns = np.stack([scores.column(METRIC) for scores in self.scores.values()])
        spread = np.ptp(columns, axis=0)
        order = [int(i) for i in np.argsort(-spread, kind="stable") if spread[i] > 0]
        return order[:count]

    def to_dict(self) -> dict[str, Any]:
        """What comparison.json holds."""
        names = [self.dataset.names[i] for i in self.most_different()]
        return {
            "data": self.dataset.title,
            "models": {name: scores.summary for name, scores in self.scores.items()},
            "rows": self.rows(),
            "differences": self.differences(),
            "most_different": names,
        }

    def write(self, folder: Path) -> Path:
        """Write comparison.html, table.csv and table.tex into `folder`; returns the path of the page."""
        page = Report("camo-seg", f"{', '.join(self.scores)} on {self.dataset.title}, {len(self.dataset)} images")
        best: dict[str, Best] = {name: "min" if name in LOWER_IS_BETTER else "max" for name in SHOWN}
        rows = self.rows()
        page.table(rows, CAPTION, {} if self.dataset.parts else {k: v for k, v in best.items() if k in rows[0]})
        if self.differences():
            page.table(self.differences(), f"Mean differences in {METRIC} with their 95 % bootstrap intervals.")
        chosen = self.most_different()
        for index in chosen:
            page.images(self._figures(index), title=self.dataset.names[index], columns=len(self.scores) + 2)
        if not chosen:
            page.text("The models score alike on every image.")
        write_tables(folder, rows, LOWER_IS_BETTER)
        return page.save(folder / "comparison.html")

    def _figures(self, index: int) -> Sequence[tuple[np.ndarray, str]]:
        image, mask = self.dataset.original(index)
        drawn = [
            (overlay(image, resize_map(maps(index), mask.shape)), f"{name}: {METRIC} {self._score(name, index):.2f}")
            for name, maps in self.maps.items()
        ]
        return [(image, "image"), (mask, "truth"), *drawn]

    def _score(self, name: str, index: int) -> float:
        return float(self.scores[name].column(METRIC)[index])
