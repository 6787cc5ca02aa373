"""A model on one split beside what needs no network: the table, metrics.json, scores.csv, report.html.

Beside the model stand the mean score of train for every image; where there are subsets, the mean of the image's
subset in train (its name alone orders BIQ2021 at SRCC .63); and the hand-crafted baseline where one was fitted.
Images that resemble training ones may be named in a csv: everything is then given with and without them.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from iqa.data import QualitySet
from iqa.evaluation.baselines import Baseline
from iqa.evaluation.comparison import Part, compare
from iqa.evaluation.crops import WHOLE, Crops
from iqa.evaluation.evaluate import evaluate
from iqa.evaluation.metrics import LOWER_IS_BETTER, NAMES
from iqa.evaluation.scores import Scores, rescaled, scored
from iqa.units import decimals, said_range
from polyscale.commands import progress
from polyscale.data.naming import plural
from polyscale.errors import UserError
from polyscale.report.page import Best, Report
from polyscale.training import read_journal

if TYPE_CHECKING:
    from accelerate import Accelerator

    from polyscale.commands.output import Bar

MEAN, SUBSET, CRAFTED = "mean of train", "subset name only", "hand-crafted"
CAPTION = (
    "PLCC_fitted and RMSE after the 4-parameter logistic, MAE before it; in brackets the 95 % bootstrap interval over "
    "the images; a dash where predictions or opinions are all equal, or the images too few."
)
EXAMPLES = 4  # images each of the over- and the under-rated


@dataclass(frozen=True, eq=False)
class Assessment:
    """A model on the split `title`: all of its images, and those left by the csv that `assess` was given."""

    title: str
    whole: Part
    clean: Part | None
    is_clean: NDArray[np.bool_]
    notes: tuple[str, ...]

    @property
    def parts(self) -> list[Part]:
        """The whole and, where asked for, the clean part."""
        return [self.whole] if self.clean is None else [self.whole, self.clean]

    @property
    def scores(self) -> Scores:
        """The model's, on all images."""
        return self.whole.scores["model"]

    def rows(self) -> list[dict[str, Any]]:
        """The metric table: the model first, then the baselines; on all images, then on the clean ones."""
        return [self._labelled(row, part) for part in self.parts for row in part.rows()]

    def subset_rows(self) -> list[dict[str, Any]]:
        """The table by subset, of all images and of the clean ones; empty where there are no subsets."""
        return [self._labelled(row, part) for part in self.parts for row in part.subset_rows()]

    def verdict(self) -> str:
        """One sentence on the model's SRCC and its gain over the best baseline, on the clean images if there are."""
        part = self.parts[-1]
        reached, interval = part.scores["model"].summary["SRCC"], part.intervals["model"]["SRCC"]
        if math.isnan(reached):
            return f"No correlation on {part.title}: {'; '.join(part.scores['model'].notes)}"
        bounds = "" if interval is None else f" [{interval.low:.3f}, {interval.high:.3f}]"
        said = f"SRCC {reached:.3f}{bounds} on {part.title}"
        if part.difference is None:
            return said
        d, floor = part.difference, part.scores[part.best].summary["SRCC"]
        return (
            f"{said} against {floor:.3f} of the best baseline ({part.best}): "
            f"difference {d.value:+.3f}, 95 % interval [{d.low:+.3f}, {d.high:+.3f}]"
        )

    def within_spread(self) -> float | None:
        """Share of images whose score lies within one predicted spread of the prediction; .68 if normal and right."""
        s = self.scores
        return float(np.mean(np.abs(s.predicted - s.truth) <= s.spread)) if np.isfinite(s.spread).all() else None

    def to_dict(self) -> dict[str, Any]:
        """What metrics.json holds."""
        document = {"data": self.title, **self.whole.to_dict(), "within_spread": self.within_spread()}
        if self.clean is not None:
            document["clean"] = self.clean.to_dict()
        return document | {"notes": list(self.notes)}

    def _labelled(self, row: dict[str, Any], part: Part) -> dict[str, Any]:
        return row if self.clean is None else {"": row[""], "part": part.title} | row


def assess(
    model: nn.Module,
    dataset: QualitySet,
    *,
    train: QualitySet | None = None,
    baseline: Baseline | None = None,
    leave_out: Path | None = None,
    accelerator: Accelerator | None = None,
    batch_size: int = 16,
    precision: str = "fp32",
    workers: int = 2,
    crops: Crops = WHOLE,
) -> Assessment:
    """Score `model` on every image of `dataset`; the same in every process of `accelerator`.

    train: the training split, whose scores (no images) give the trivial baselines. leave_out: a csv with the columns
    image_name and near_dup; images with near_dup 1 are left out of the clean part. Raises what `evaluate` raises,
    and UserError for a csv that does not fit the data set.
    """
    keep, notes = (np.ones(len(dataset), bool), []) if leave_out is None else clean_pictures(leave_out, dataset.names)
    with progress("evaluating", total=len(dataset), transient=True) as bar:
        scores = evaluate(
            model, dataset, accelerator=accelerator, batch_size=batch_size, precision=precision, workers=workers,
            crops=crops, progress=_counting(bar),
        )  # fmt: skip
    predictors = {"model": scores} | _baselines(dataset, train, baseline, workers)
    whole = compare(f"all {len(dataset)}", predictors)
    clean = None
    if leave_out is not None:
        clean = compare(f"clean {keep.sum()}", {name: s.only(keep) for name, s in predictors.items()})
    return Assessment(dataset.title, whole, clean, keep, (*dataset.notes, *scores.notes, *notes))


def write_results(result: Assessment, folder: Path) -> None:
    """metrics.json and scores.csv (one line per image; clean 0 marks what the csv left out) into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(result.to_dict(), indent=2) + "\n", encoding="utf-8")
    rows = result.scores.per_image()
    if result.clean is not None:
        rows = [row | {"clean": int(clean)} for row, clean in zip(rows, result.is_clean, strict=True)]
    with (folder / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_report(
    result: Assessment, folder: Path, dataset: QualitySet, *, config: str = "", journal: Path | None = None
) -> Path:
    """report.html in `folder`, with curves where `journal` (a run's log.jsonl) has any; returns its path."""
    count = plural(len(dataset), "image")
    report = Report("iqa", f"{result.title}, {count}, {said_range(dataset.low, dataset.high)}")
    report.text(result.verdict())
    best: dict[str, Best] = {name: "min" if name in LOWER_IS_BETTER else "max" for name in NAMES}
    for part in result.parts:
        title = part.title if result.clean is not None else ""
        report.table(part.rows(), f"{title}: {CAPTION}" if title else CAPTION, highlight=best)
        if part.subsets:
            report.table(part.subset_rows(), f"The model by subset; {part.title}.")
    if result.notes:
        report.text("\n".join(result.notes))
    scores = result.scores
    report.scatter(
        scores.truth.tolist(), scores.predicted.tolist(), title="Predicted against people's scores",
        xlabel="people", ylabel="predicted", names=scores.names, diagonal=True,
    )  # fmt: skip
    _curves(report, journal)
    for kind, indices in scores.misjudged(EXAMPLES).items():
        pictures = [(dataset.original(i), _caption(scores, i, decimals(dataset.low, dataset.high))) for i in indices]
        if pictures:
            report.images(pictures, title=f"The most {kind}", columns=EXAMPLES)
    if config:
        report.details("Settings", config)
    return report.save(folder / "report.html")


def _curves(report: Report, journal: Path | None) -> None:
    records = read_journal(journal) if journal else []
    for kind, keys in (("training", ("loss",)), ("validation", ("SRCC", "PLCC", "cross_SRCC"))):
        series = {key: [(r["epoch"] + 1, r[key]) for r in records if r["kind"] == kind and key in r] for key in keys}
        series = {key: points for key, points in series.items() if points}
        if series:
            report.curves(series, title=kind.capitalize(), xlabel="epoch", ylabel=", ".join(series))


def _caption(scores: Scores, index: int, digits: int) -> str:
    predicted, truth = scores.predicted[index], scores.truth[index]
    return f"{scores.names[index]}: predicted {predicted:.{digits}f}, people {truth:.{digits}f}"


def clean_pictures(path: Path, names: Sequence[str]) -> tuple[NDArray[np.bool_], list[str]]:
    """Which of `names` the csv `path` (columns image_name and near_dup, 0 or 1) does not leave out: bool [N]; notes.

    An image is found by its name, or by the file's name where `names` hold folders. Raises UserError for a file that
    cannot be read, a missing column, another value than 0 or 1, and where it leaves out no image, or all.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    missing = [column for column in ("image_name", "near_dup") if column not in (rows[0] if rows else {})]
    if missing:
        raise UserError(f"{path}: no column {' and '.join(missing)}")
    wrong = [row["image_name"] for row in rows if row["near_dup"] not in ("0", "1")]
    if wrong:
        raise UserError(f"{path}: near_dup of {wrong[0]} is neither 0 nor 1")
    flagged = {row["image_name"] for row in rows if row["near_dup"] == "1"}
    keep = np.array([not flagged & {name, PurePosixPath(name).name} for name in names])
    left_out = int((~keep).sum())
    if left_out in (0, len(names)):
        raise UserError(f"{path}: leaves out {left_out} of the {len(names)} images; is it of another data set?")
    absent = len(flagged) - left_out
    return keep, [f"{absent} of {len(flagged)} images of {path.name} are not in this split"] if absent else []


def _baselines(
    dataset: QualitySet, train: QualitySet | None, baseline: Baseline | None, workers: int
) -> dict[str, Scores]:
    """Scores of what stands beside the model, in the units of `dataset`."""
    found: dict[str, NDArray[np.float64]] = {}
    to = dataset.low, dataset.high
    if train is not None:
        own = rescaled(train.scores, (train.low, train.high), to)
        found[MEAN] = np.full(len(dataset), own.mean())
        of = np.asarray(train.subsets, dtype=object)
        means = {name: own[of == name].mean() for name in set(train.subsets) - {""}}
        if len(set(dataset.subsets)) > 1 and set(dataset.subsets) <= set(means):
            found[SUBSET] = np.array([means[name] for name in dataset.subsets])
    if baseline is not None:
        with progress("hand-crafted", total=len(dataset), transient=True) as bar:
            count = _counting(bar)
            predicted = baseline.predict(dataset, workers=workers, progress=lambda _, done, total: count(done, total))
        found[CRAFTED] = rescaled(predicted, (baseline.low, baseline.high), to)
    return {n: scored(values, dataset.scores, dataset.names, dataset.subsets) for n, values in found.items()}


def _counting(bar: Bar) -> Callable[[int, int], None]:
    """What advances `bar` to the count it is told."""
    counted = 0

    def count(done: int, total: int) -> None:
        nonlocal counted
        bar.advance(done - counted)
        counted = done

    return count
