"""A model on one split beside the trivial baselines: the table, metrics.json, images.csv, overlays, report.html."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from torch import nn

from camo_seg.data import CamoSet
from camo_seg.evaluation.evaluate import Comparison, Scores, compare, evaluate, evaluate_baselines
from camo_seg.evaluation.metrics import LOWER_IS_BETTER
from camo_seg.predict import probability_maps
from polyscale.commands import progress
from polyscale.data.images import resize_map, save_png
from polyscale.report.drawing import overlay, panel
from polyscale.report.page import Report
from polyscale.training import read_journal

SHOWN = ("wF", "S", "E_mean", "F_mean", "MAE", "IoU", "wF_small", "wF_medium", "wF_large")
CAPTION = "E and F are means over 256 thresholds; wF_small, _medium, _large: objects below 1 %, 1 to 5 %, from 5 %."
EXAMPLES = 4  # images each of the worst, the median and the best


@dataclass(frozen=True)
class Assessment:
    """Scores of a model on `title`, and where asked for those of the baselines and the comparison with the best."""

    title: str
    scores: Scores
    baselines: dict[str, Scores]
    comparison: Comparison | None

    def rows(self) -> list[dict[str, Any]]:
        """The metric table: the model first, then the baselines."""
        summaries = {"model": self.scores.summary} | {k: v.summary for k, v in self.baselines.items()}
        return [{"": name} | {k: s[k] for k in SHOWN if k in s} for name, s in summaries.items()]

    def verdict(self) -> str:
        """One sentence on the gain over the best baseline."""
        c = self.comparison
        if c is None:
            return ""
        d = c.difference
        return (
            f"{c.metric} {c.model_value:.3f} against {c.baseline_value:.3f} of the best baseline ({c.baseline}): "
            f"difference {d.mean:+.3f}, 95 % interval [{d.low:+.3f}, {d.high:+.3f}]"
        )

    def to_dict(self) -> dict[str, Any]:
        """What metrics.json holds."""
        c = self.comparison
        compared = c and {"metric": c.metric, "baseline": c.baseline, **c.difference._asdict()}
        return {
            "data": self.title,
            "model": self.scores.summary,
            "baselines": {k: v.summary for k, v in self.baselines.items()},
            "difference": compared,
        }


def assess(
    model: nn.Module,
    dataset: CamoSet,
    *,
    accelerator: Accelerator | None = None,
    baselines: bool = True,
    batch_size: int = 8,
    precision: str = "auto",
) -> Assessment:
    """Score `model` and the baselines on every image of `dataset`; the same in every process of `accelerator`."""
    with progress("evaluating", total=len(dataset), transient=True) as bar:
        scores = evaluate(
            model,
            dataset,
            accelerator=accelerator,
            batch_size=batch_size,
            precision=precision,
            progress=lambda *_: bar.advance(),
        )
    if not baselines:
        return Assessment(dataset.title, scores, {}, None)
    with progress("baselines", total=len(dataset), transient=True) as bar:
        others = evaluate_baselines(dataset, accelerator=accelerator, progress=lambda *_: bar.advance())
    return Assessment(dataset.title, scores, others, compare(scores, others))


def write_results(result: Assessment, folder: Path) -> None:
    """metrics.json and images.csv (one line per image) into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(result.to_dict(), indent=2) + "\n", encoding="utf-8")
    rows = result.scores.per_image()
    with (folder / "images.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_report(
    result: Assessment,
    folder: Path,
    model: nn.Module,
    dataset: CamoSet,
    *,
    config: str = "",
    journal: Path | None = None,
) -> Path:
    """report.html and overlays/ (the worst, median and best images) in `folder`; returns the report's path."""
    report = Report("camo-seg", result.title)
    report.text(result.verdict() or "Scored without baselines.")
    rows = result.rows()
    report.table(rows, CAPTION, highlight={k: "min" if k in LOWER_IS_BETTER else "max" for k in SHOWN if k in rows[0]})
    if journal:
        report.history(read_journal(journal), ("wF", "S", "MAE"))
    heading = ""
    for example in examples(model, dataset, result.scores):
        name = f"{example.kind}_{example.name.replace('/', '_')}.png"
        titles = ["image", "truth", "prediction", f"weighted F {example.score:.2f}"]
        save_png(folder / "overlays" / name, panel(example.pictures, titles))
        captions = [example.name, *titles[1:]]
        title = f"The {example.kind} by weighted F" if example.kind != heading else ""
        report.images(list(zip(example.pictures, captions, strict=True)), title=title, columns=4)
        heading = example.kind
    if config:
        report.details("Settings", config)
    report.save(folder / "report.html")
    return folder / "report.html"


@dataclass(frozen=True, eq=False)
class Example:
    """One image of the report: image, truth, probability map and overlay, all at the image's size."""

    kind: str
    name: str
    score: float
    pictures: list[np.ndarray]


def examples(model: nn.Module, dataset: CamoSet, scores: Scores) -> Iterator[Example]:
    """The worst, median and best images by weighted F."""
    device = next(model.parameters()).device
    for kind, indices in scores.examples(EXAMPLES).items():
        for index in indices:
            probability = probability_maps(model, dataset[index]["image"][None], device, "fp32")[0]
            image, mask = dataset.original(index)
            drawn = resize_map(probability, image.shape[:2])
            pictures = [image, mask, drawn, overlay(image, drawn)]
            yield Example(kind, dataset.names[index], float(scores.column("wF")[index]), pictures)
