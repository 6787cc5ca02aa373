"""A model on one split next to the trivial baselines, and the report with its worst, median and best images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from camo_seg.data import CamoSet
from camo_seg.evaluation.evaluate import ProbabilityMap, Scores, evaluate, evaluate_baselines, map_images, score_maps
from camo_seg.evaluation.metrics import LOWER_IS_BETTER
from camo_seg.evaluation.tables import write_tables
from camo_seg.model.mixture import UseCounter
from camo_seg.objective import USE
from camo_seg.tta import TTA
from polyscale.commands import progress
from polyscale.data.images import resize_map, save_png
from polyscale.errors import UserError
from polyscale.evaluation import Assessment, Comparison, Difference, Stopwatch, compare, mean_difference, provenance
from polyscale.report import overlay, panel
from polyscale.training import read_journal

METRIC = "wF"
SHOWN = ("wF", "S", "E_mean", "F_mean", "MAE", "IoU", "wF_small", "wF_medium", "wF_large")
CAPTION = "E and F are means over 256 thresholds; wF_small, _medium, _large: objects below 1 %, 1 to 5 %, from 5 %."
USE_KEY = "expert_use"  # of metrics.json
EXAMPLES = 4  # images each of the worst, the median and the best


def assess(
    model: nn.Module,
    dataset: CamoSet,
    *,
    weights: str | Path = "",
    run: Path | None = None,
    accelerator: Accelerator | None = None,
    baselines: bool = True,
    batch_size: int = 8,
    precision: str = "fp32",
    workers: int = 2,
    tta: TTA | None = None,
) -> Assessment[Scores]:
    """Score `model` and the baselines on every image of `dataset`; the same in every process of `accelerator`.

    `weights` and `run` are recorded in the result.
    """
    watch, use = Stopwatch(), UseCounter(model)
    with progress("evaluating", total=len(dataset), transient=True) as bar:
        scores = evaluate(
            model,
            dataset,
            accelerator=accelerator,
            batch_size=batch_size,
            precision=precision,
            workers=workers,
            progress=bar.reach,
            tta=tta,
            counting=use.counting,
        )
    comparison: Comparison[Scores] = Comparison("", METRIC, {"model": scores})
    if baselines:
        with progress("baselines", total=len(dataset), transient=True) as bar:
            others = evaluate_baselines(dataset, accelerator=accelerator, progress=bar.reach)
        comparison = compare_scores(scores, others)
    result = assessment(comparison, dataset, provenance("polyscale-camo-seg", weights, watch, run=run))
    if tta is not None:
        result = replace(result, notes=(*result.notes, f"test-time augmentation: {tta}"))
    return with_use(result, expert_use(use.counts, accelerator))


def assess_maps(
    maps: Iterable[tuple[int, ProbabilityMap]], dataset: CamoSet, source: str | Path, *, baselines: bool = True
) -> Assessment[Scores]:
    """Score maps that any other model made of `dataset`, read from the folder `source`, as `assess` does."""
    watch = Stopwatch()
    with progress("evaluating", total=len(dataset), transient=True) as bar:
        scores = score_maps(advancing(maps, bar.advance), dataset)
    comparison: Comparison[Scores] = Comparison("", METRIC, {"model": scores})
    if baselines:
        with progress("baselines", total=len(dataset), transient=True) as bar:
            comparison = compare_scores(scores, evaluate_baselines(dataset, progress=bar.reach))
    return assessment(comparison, dataset, provenance("polyscale-camo-seg", source, watch))


def assessment(comparison: Comparison[Scores], dataset: CamoSet, about: Mapping[str, Any]) -> Assessment[Scores]:
    """Put a comparison into tables, with a row for each set of `dataset` where it holds several."""
    sets = [
        {"": name, "images": len(indices), **shown_metrics(comparison.scores["model"].part(indices))}
        for name, indices in dataset.parts.items()
    ]
    return Assessment(
        dataset.title,
        (replace(comparison, subsets=sets),),
        SHOWN,
        CAPTION,
        LOWER_IS_BETTER,
        about,
        tuple(dataset.notes),
    )


def expert_use(counts: Mapping[str, Tensor], accelerator: Accelerator | None) -> dict[str, float]:
    """Each expert's share of the choices, over all processes, from what a `UseCounter` counted."""
    if not counts:
        return {}
    total = torch.stack(list(counts.values()))
    if accelerator is not None:
        total = accelerator.reduce(total.to(accelerator.device)).cpu()
    return dict(zip(counts, (total / total.sum()).tolist(), strict=True))


def with_use(result: Assessment[Scores], use: Mapping[str, float]) -> Assessment[Scores]:
    """Add the use of a mixture's experts to an assessment, where there is a mixture."""
    if not use:
        return result
    shares = ", ".join(f"{name} {share:.0%}" for name, share in use.items())
    return replace(result, extra={USE_KEY: dict(use)}, notes=(*result.notes, f"use of the experts: {shares}"))


def shown_metrics(scores: Scores) -> dict[str, float]:
    """The metrics of the tables, as far as they are defined."""
    return {name: scores.summary[name] for name in SHOWN if name in scores.summary}


def advancing(
    maps: Iterable[tuple[int, ProbabilityMap]], advance: Callable[[], object]
) -> Iterator[tuple[int, ProbabilityMap]]:
    """Pass `maps` on and count them."""
    for found in maps:
        yield found
        advance()


def compare_scores(model: Scores, baselines: dict[str, Scores], metric: str = METRIC) -> Comparison[Scores]:
    """Compare a model with baselines in `metric`, one of metrics.COLUMNS, on the images that have an object.

    Raises:
        ValueError: the scores are of different images.
        UserError: no image has an object.
    """
    if not model.has_object.any():
        raise UserError("no image has an object: there is nothing to compare")

    def difference(a: Scores, b: Scores) -> Difference | None:
        chosen = a.has_object
        return mean_difference(a.column(metric)[chosen], b.column(metric)[chosen])

    lower = metric in LOWER_IS_BETTER
    return compare({"model": model, **baselines}, metric, difference, lower_is_better=lower)


def write_report(
    result: Assessment[Scores],
    folder: Path,
    maps: Callable[[int], ProbabilityMap],
    dataset: CamoSet,
    *,
    config: str = "",
    journal: Path | None = None,
) -> Path:
    """Write report.html, tables and overlays/ (the worst, median and best images) into `folder`.

    `maps(index)` is the probability map of an image, of any size (see `maps_of`). Returns the path of the report.
    """
    report = result.report("camo-seg")
    records = read_journal(journal) if journal else []
    if records:
        report.history(records, ("wF", "S", "MAE"))
    if use := use_by_epoch(records):
        report.curves(use, title="Use of the experts in training", xlabel="epoch", ylabel="share of the choices")
    if USE_KEY in result.extra:
        report.bars(result.extra[USE_KEY], title="Use of the experts on these images", xlabel="share of the choices")
    heading = ""
    for example in examples(maps, dataset, result.scores):
        name = f"{example.kind}_{example.name.replace('/', '_')}.png"
        titles = ["image", "truth", "prediction", f"weighted F {example.score:.2f}"]
        save_png(folder / "overlays" / name, panel(example.images, titles))
        captions = [example.name, *titles[1:]]
        title = f"The {example.kind} by weighted F" if example.kind != heading else ""
        report.images(list(zip(example.images, captions, strict=True)), title=title, columns=4)
        heading = example.kind
    if config:
        report.details("Settings", config)
    write_tables(folder, result.subset_rows() or result.rows(), LOWER_IS_BETTER)
    return report.save(folder / "report.html")


def use_by_epoch(records: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Each expert's mean share of the choices by epoch, from the lines of log.jsonl: name -> (epoch, share)."""
    lines = [record for record in records if record["kind"] == "training"]
    names = dict.fromkeys(key for record in lines for key in record if key.startswith(USE))
    epochs = dict.fromkeys(record["epoch"] for record in lines)
    return {
        name.removeprefix(USE): [
            (epoch + 1, float(np.mean([r[name] for r in lines if r["epoch"] == epoch and name in r])))
            for epoch in epochs
        ]
        for name in names
    }


def maps_of(model: nn.Module, dataset: CamoSet, tta: TTA | None = None) -> Callable[[int], ProbabilityMap]:
    """The map that `model` gives of an image of `dataset`, by its index."""
    device = next(model.parameters()).device
    return lambda index: map_images(model, dataset[index]["image"][None], device, "fp32", tta)[0]


@dataclass(frozen=True, eq=False)
class Example:
    """One image of the report: image, truth, probability map and overlay, all at the image's size."""

    kind: str
    name: str
    score: float
    images: list[np.ndarray]


def examples(maps: Callable[[int], ProbabilityMap], dataset: CamoSet, scores: Scores) -> Iterator[Example]:
    """Yield the worst, median and best images by weighted F."""
    for kind, indices in scores.examples(EXAMPLES).items():
        for index in indices:
            image, mask = dataset.original(index)
            drawn = resize_map(maps(index), image.shape[:2])
            images = [image, mask, drawn, overlay(image, drawn)]
            yield Example(kind, dataset.names[index], float(scores.column("wF")[index]), images)
