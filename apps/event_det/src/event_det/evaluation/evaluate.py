"""Detection on a split by the field's protocol: recordings played from their start, boxes of the labelled steps scored.

RVT's protocol and its quirks, which every published table has: boxes of the first half second and small ones do not
count, neither true nor found; a frame without a true box that counts is left out, so that false alarms in it are free;
boxes are ranked by the probability of the class alone, though suppression used it times the objectness (a data set
without published tables is ranked by that product). A box belongs
to the label whose window ends at most 50 ms away: windows are 50 ms long and end at labels. Across processes boxes are
gathered and scored once; RVT averages the AP of processes, which is another number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from event_det.data import EventSet
from event_det.data.boxes import Ranking
from event_det.evaluation.average_precision import AveragePrecision, Found, Truth
from event_det.model.detections import Detections, detect
from polyscale.data.prefetch import prefetch
from polyscale.errors import UserError
from polyscale.evaluation import eval_mode, gather, shard_batches
from polyscale.evaluation.shard import Progress
from polyscale.inference.precision import autocast

if TYPE_CHECKING:
    from accelerate import Accelerator

Protocol = Literal["rvt", "coco"]
CHUNK = 10  # steps computed at once; results do not depend on it
Raw = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]
"""Boxes, scores, class scores and labels of a frame."""


@dataclass(frozen=True, eq=False)
class Scores:
    """What a predictor found on the labelled frames that count.

    Attributes:
        names: of the frames, recording/microseconds.
        steps: number of each frame's step in the data set.
        recordings: int64 [F], the number of each frame's recording.
        seconds: float64 [F], since the recording's start.
        truth: of each frame.
        found: of each frame, by the scores that rank them.
        products: float32 of each frame, objectness times class probability of the boxes found: what a threshold is for.
        precision: of these boxes.
        summary: AP, AP50, AP75, by size and class, frames and boxes.
    """

    names: tuple[str, ...] = field(repr=False)
    steps: list[int] = field(repr=False)
    recordings: NDArray[np.int64] = field(repr=False)
    seconds: NDArray[np.float64] = field(repr=False)
    truth: list[Truth] = field(repr=False)
    found: list[Found] = field(repr=False)
    products: list[NDArray[np.float32]] = field(repr=False)
    precision: AveragePrecision = field(repr=False)
    summary: dict[str, float]

    def per_sample(self) -> list[dict[str, Any]]:
        """One dict per frame: its name, true boxes, found boxes and the best score."""
        return [
            {
                "name": name,
                "boxes": len(truth.boxes),
                "found": len(found.boxes),
                "best_score": float(found.scores.max()) if len(found.scores) else 0.0,
            }
            for name, truth, found in zip(self.names, self.truth, self.found, strict=True)
        ]


def evaluate(
    model: nn.Module,
    dataset: EventSet,
    *,
    batch_size: int = 8,
    accelerator: Accelerator | None = None,
    precision: str = "fp32",
    workers: int = 2,
    protocol: Protocol = "rvt",
    ranking: Ranking | None = None,
    threshold: float = 0.001,
    progress: Progress | None = None,
) -> Scores:
    """Score `model` on the labelled frames of `dataset`.

    Args:
        model: an EventDetector; its training mode is restored.
        dataset: a split.
        batch_size: recordings that are played at once.
        accelerator: each of its processes plays its share, and all return the same Scores.
        precision: see polyscale.inference.precision.
        workers: threads that read ahead, one at a time.
        protocol: "rvt", or "coco": every labelled frame and every box counts.
        ranking: as the data set has it by default.
        threshold: least product of both of a box.
        progress: called with (steps done, steps of this process).

    Raises:
        UserError: classes that are not the model's, no frame that counts, or an output that is not finite.
    """
    if tuple(model.classes) != tuple(dataset.classes):  # type: ignore[arg-type]
        theirs, ours = ", ".join(dataset.classes), ", ".join(model.classes)  # type: ignore[arg-type]
        raise UserError(f"{dataset.title}: its classes ({theirs}) are not those of the model ({ours})")
    steps = dataset.labelled()
    place = {step: number for number, step in enumerate(steps)}
    rows: dict[int, Raw] = {}
    shares = shard_batches(len(dataset.recordings), batch_size, accelerator)
    total = sum(dataset.starts[i + 1] - dataset.starts[i] for share in shares for i in share)
    done = 0
    with eval_mode(model):
        for share in shares:
            played = play(model, dataset, share, precision=precision, workers=workers, threshold=threshold)
            for count, frames in played:
                rows |= {place[step]: _raw(found) for step, found in frames.items()}
                done += count
                if progress is not None:
                    progress(done, total)
    return score(dataset, gather(rows, len(steps), accelerator), protocol=protocol, ranking=ranking)


@torch.no_grad()
def play(
    model: nn.Module,
    dataset: EventSet,
    recordings: Sequence[int],
    *,
    chunk: int = CHUNK,
    precision: str = "fp32",
    workers: int = 2,
    threshold: float = 0.001,
) -> Iterator[tuple[int, dict[int, Detections]]]:
    """Play recordings side by side from their start; yield (steps that were played, boxes by labelled step)."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    starts = [dataset.starts[i] for i in recordings]
    lengths = [dataset.starts[i + 1] - start for i, start in zip(recordings, starts, strict=True)]
    labelled = set(dataset.labelled())
    state = None
    reading = Lock()  # of HDF5, and of the files that the data set has open

    def read(part: tuple[int, int]) -> Tensor:
        with reading:
            return torch.from_numpy(dataset.frames(*part))

    begins = range(0, max(lengths), chunk)
    chunks = [[min(begin + chunk, length) for length in lengths] for begin in begins]
    parts = (
        (start + begin, start + end)
        for begin, ends in zip(begins, chunks, strict=True)
        for start, end in zip(starts, ends, strict=True)
        if end > begin
    )
    clips = iter(prefetch(read, parts, workers=workers, ahead=len(starts)))
    for begin, ends in zip(begins, chunks, strict=True):
        frames = torch.zeros(
            (max(ends) - begin, len(starts), dataset.channels, *dataset.size), dtype=torch.uint8, device=device
        )
        for slot, end in enumerate(ends):
            if end > begin:
                frames[: end - begin, slot] = next(clips).to(device)
        wanted = {
            t * len(starts) + slot: start + begin + t
            for slot, (start, end) in enumerate(zip(starts, ends, strict=True))
            for t in range(max(end - begin, 0))
            if start + begin + t in labelled
        }
        with autocast(precision, device):  # without a labelled step one frame is predicted and dropped
            cells, state = model(frames, state, None, torch.tensor(list(wanted) or [0], device=device))
        if not cells.objectness.isfinite().all() or not cells.boxes.isfinite().all():
            where = ", ".join(dataset.recordings[i] for i in recordings)
            raise UserError(f"{where}: the model's output is not finite (NaN or infinite)")
        found = detect(cells, dataset.size, threshold)
        yield sum(max(end - begin, 0) for end in ends), dict(zip(wanted.values(), found, strict=False))


def score(
    dataset: EventSet,
    rows: Sequence[Raw],
    *,
    protocol: Protocol = "rvt",
    ranking: Ranking | None = None,
) -> Scores:
    """Score the boxes of all labelled steps, in order; arguments as in `evaluate`.

    Raises:
        UserError: no frame counts.
    """
    names, steps, recordings, seconds = [], [], [], []
    truths, founds, products = [], [], []
    for step, (boxes, scores, class_scores, labels) in zip(dataset.labelled(), rows, strict=True):
        true = dataset.labels(step)
        assert true is not None
        number, place = dataset.locate(step)
        times = dataset.sequences[number].times
        keep = _counts(dataset, true.boxes.numpy(), int(times[place]), protocol)
        if protocol == "rvt" and not keep.any():
            continue
        standing = None if true.standing is None else true.standing.numpy()[keep]
        truths.append(Truth(true.boxes.numpy()[keep], true.labels.numpy()[keep], standing))
        kept = _counts(dataset, boxes, int(times[place]), protocol)
        ranks = class_scores if (ranking or dataset.ranking) == "class" else scores
        founds.append(Found(boxes[kept], ranks[kept], labels[kept]))
        products.append(scores[kept])
        names.append(f"{dataset.recordings[number]}/{int(times[place])}")
        steps.append(step)
        recordings.append(number)
        seconds.append((int(times[place]) - int(times[0])) / 1e6)
    if not names:
        raise UserError(f"{dataset.title}: no labelled frame counts in an evaluation: nothing is left to score")
    matched = AveragePrecision(truths, founds, len(dataset.classes))
    summary = matched.summary(dataset.classes)
    summary |= {"frames": len(names), "boxes": sum(len(frame.boxes) for frame in truths)}
    return Scores(
        tuple(names), steps, np.array(recordings), np.array(seconds), truths, founds, products, matched, summary
    )


def subsets(scores: Scores, bounds: Sequence[float] = (0, 1, 2, 4, 8, 16, 60)) -> list[dict[str, Any]]:
    """AP by the position in the recording, and of standing and moving objects where that is known."""
    rows = []
    for low, high in zip(bounds, [*bounds[1:], float("inf")], strict=True):
        chosen = np.flatnonzero((scores.seconds >= low) & (scores.seconds < high))
        if len(chosen):
            name = f"{low:g} to {high:g} s" if np.isfinite(high) else f"from {low:g} s"
            rows.append(_row(name, scores, scores.precision.precision(chosen), len(chosen)))
    known = [frame.standing for frame in scores.truth if frame.standing is not None]
    if len(known) == len(scores.truth):
        for name, only in (("standing", known), ("moving", [~standing for standing in known])):
            if any(frame.any() for frame in only):
                matched = AveragePrecision(scores.truth, scores.found, scores.precision.classes, only)
                rows.append(_row(name, scores, matched.precision(), sum(bool(frame.any()) for frame in only)))
    return rows


def _row(name: str, scores: Scores, table: NDArray[np.float64], frames: int) -> dict[str, Any]:
    every = table[..., 0]

    def mean(values: NDArray[np.float64]) -> float | None:
        return None if np.isnan(values).all() else float(np.nanmean(values))

    return {"subset": name, "frames": frames, "AP": mean(every), "AP50": mean(every[0]), "AP75": mean(every[5])}


def _counts(dataset: EventSet, boxes: NDArray[np.float32], time: int, protocol: Protocol) -> NDArray[np.bool_]:
    """Which boxes count, bool [n]."""
    if protocol == "coco":
        return np.ones(len(boxes), bool)
    sides = boxes[:, 2:] - boxes[:, :2]
    return dataset.evaluate.keep(sides[:, 0], sides[:, 1], time, sensor_width=dataset.size[1])


def _raw(found: Detections) -> Raw:
    boxes, scores, labels, class_scores = (tensor.cpu().numpy() for tensor in found)
    return boxes, scores, class_scores, labels


def as_rows(found: Sequence[Found]) -> list[Raw]:
    """What a baseline found in each labelled step, as `score` takes it; its score ranks in both ways."""
    return [(frame.boxes, frame.scores, frame.scores, frame.labels) for frame in found]
