"""A detector on one split next to the trivial baselines, and the report with frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from event_det.data import EventSet
from event_det.data.boxes import Ranking
from event_det.evaluation.average_precision import jackknife, jackknife_groups
from event_det.evaluation.baselines import BASELINES, Prior, run_baseline
from event_det.evaluation.evaluate import Protocol, Scores, as_rows, evaluate, score, subsets
from event_det.evaluation.latency import measure_latency
from event_det.model import EventDetector
from polyscale.data.images import save_png
from polyscale.evaluation import Assessment, Difference, Interval, Stopwatch, compare, gather, provenance, shard_batches
from polyscale.report import draw_boxes, panel
from polyscale.report.drawing import category_colour
from polyscale.terminal import progress
from polyscale.training import read_journal

if TYPE_CHECKING:
    from accelerate import Accelerator

METRIC = "AP"
SHOWN = ("AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L")
CAPTION = (
    "COCO's AP over overlaps .5 to .95, in fractions of 1. S, M, L: boxes below 32^2, to 96^2 and above, in square "
    "pixels of the frames. Intervals by the jackknife over recordings, or over parts of them where there are few."
)
EXAMPLES = 6
SHOWN_SCORE = 0.3
ON, OFF = (226, 74, 51), (53, 122, 189)


def assess(
    model: EventDetector,
    dataset: EventSet,
    *,
    prior: Prior | None = None,
    weights: str | Path = "",
    run: Path | None = None,
    accelerator: Accelerator | None = None,
    batch_size: int = 8,
    precision: str = "fp32",
    workers: int = 2,
    protocol: Protocol = "rvt",
    ranking: Ranking | None = None,
) -> Assessment[Scores]:
    """Score `model` on every recording of `dataset`; the same in every process of `accelerator`.

    `prior`: what boxes look like, from another split; with it the baselines are scored too. `weights` and `run` are
    recorded in the result, as is the time of a step.
    """
    watch = Stopwatch()
    with progress("evaluating", transient=True) as bar:
        scores = evaluate(
            model,
            dataset,
            batch_size=batch_size,
            accelerator=accelerator,
            precision=precision,
            workers=workers,
            protocol=protocol,
            ranking=ranking,
            progress=bar.reach,
        )
    others = {} if prior is None else evaluate_baselines(dataset, prior, accelerator, protocol)
    groups = jackknife_groups(scores.recordings)
    kept = [np.setdiff1d(np.arange(len(scores.names)), group) for group in groups]
    without: dict[int, NDArray[np.float64]] = {}

    def leave_out(of: Scores) -> NDArray[np.float64]:
        """AP without each group, computed once."""
        if id(of) not in without:
            without[id(of)] = np.array([of.precision.mean(frames) for frames in kept])
        return without[id(of)]

    def difference(a: Scores, b: Scores) -> Difference | None:
        value = a.summary[METRIC] - b.summary[METRIC]
        return None if np.isnan(value) else Difference(value, *jackknife(leave_out(a) - leave_out(b), value))

    def intervals(of: Scores) -> dict[str, Interval | None]:
        return {METRIC: Interval(*jackknife(leave_out(of), of.summary[METRIC]))} if of is scores else {}

    comparison = compare({"model": scores, **others}, METRIC, difference, intervals=intervals, subsets=subsets(scores))
    return Assessment(
        dataset.title,
        (comparison,),
        SHOWN,
        CAPTION,
        provenance=provenance(
            "polyscale-event-det",
            weights,
            watch,
            run=run,
            protocol=protocol,
            ranking=ranking or dataset.ranking,
            step=_step_time(model),
        ),
        notes=tuple(dataset.notes),
        unit="frame",
    )


def evaluate_baselines(
    dataset: EventSet, prior: Prior, accelerator: Accelerator | None = None, protocol: Protocol = "rvt"
) -> dict[str, Scores]:
    """Return the Scores of `baselines.BASELINES` by name, scored as the model is."""
    steps = dataset.labelled()
    place = {step: number for number, step in enumerate(steps)}
    share = [number for batch in shard_batches(len(dataset.recordings), 1, accelerator) for number in batch]
    scores = {}
    with progress("baselines", transient=True) as bar:
        for name in BASELINES:
            found = run_baseline(name, dataset, prior, share, bar.reach)
            rows = gather({place[step]: frame for step, frame in found.items()}, len(steps), accelerator)
            scores[name] = score(dataset, as_rows(rows), protocol=protocol)
    return scores


def write_report(
    result: Assessment[Scores],
    folder: Path,
    model: EventDetector,
    dataset: EventSet,
    *,
    config: str = "",
    journal: Path | None = None,
) -> Path:
    """Write report.html and frames/ (evenly spread over the split) into `folder`; returns the report's path."""
    report = result.report("event-det")
    if journal:
        report.history(read_journal(journal), ("AP", "AP50"))
    scores = result.scores
    chosen = np.linspace(0, len(scores.names) - 1, min(EXAMPLES, len(scores.names))).round().astype(int)
    drawn = []
    for index in chosen.tolist():
        name, images = scores.names[index], example(scores, dataset, index)
        titles = ["truth", f"found, from {SHOWN_SCORE}"]
        save_png(folder / "frames" / f"{name.replace('/', '_')}.png", panel(images, titles))
        drawn += list(zip(images, [f"{name}: truth", titles[1]], strict=True))
    report.images(drawn, title="Frames of the split", columns=2)
    if config:
        report.details("Settings", config)
    return report.save(folder / "report.html")


def example(scores: Scores, dataset: EventSet, index: int) -> list[NDArray[np.uint8]]:
    """A frame with its true boxes, and with those found."""
    step = scores.steps[index]
    image = draw_frame(dataset.frames(step, step + 1)[0])
    truth, found, products = scores.truth[index], scores.found[index], scores.products[index]
    shown = products >= SHOWN_SCORE

    def draw(boxes: NDArray[np.float32], labels: list[int], values: list[float] | None = None) -> NDArray[np.uint8]:
        names = [dataset.classes[label] for label in labels]
        return draw_boxes(image, boxes, names, values, [category_colour(label) for label in labels])

    return [
        draw(truth.boxes, truth.labels.tolist()),
        draw(found.boxes[shown], found.labels[shown].tolist(), products[shown].tolist()),
    ]


def draw_frame(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Draw a histogram [2 * bins, H, W] as an image [H, W, 3]: red is ON, blue is OFF."""
    bins = len(frame) // 2
    off, on = frame[:bins].sum(axis=0), frame[bins:].sum(axis=0)
    image = np.full((*frame.shape[1:], 3), 255, np.uint8)
    image[off > 0], image[on > off] = OFF, ON
    return image


def _step_time(model: EventDetector) -> str:
    """Time of a step in words."""
    times = measure_latency(model, repeats=20)
    middle, high = np.percentile(times["step"], [50, 95])
    share = float(np.median(times["histogram"]))
    return f"{middle:.1f} ms (p95 {high:.1f}) at batch 1 from events to boxes, histogram {share:.1f} ms of it"
