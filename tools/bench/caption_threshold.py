"""Precision and recall of a model's boxes by score: `python tools/bench/caption_threshold.py MODEL DATA [options]`.

    --images FOLDER      of the photographs
    --features FOLDER    maps of the frozen tower that a training kept (data.features), in place of the photographs
    --count N            images of the validation split that are looked at, the first ones (default 500)

A box is right where it overlaps a box of its class that no better one took by .5. F1 is chosen on validation images:
the table goes on with boxes of all classes that overlap by more than .6 or .8 of which the best alone is kept.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou, nms

from caption_det.data import CaptionSet
from caption_det.data.dataset import network_input
from caption_det.data.features import open_maps
from caption_det.data.open import open_split
from caption_det.model import CaptionDetModel, ScoredBoxes, load

OVERLAP = 0.5
BATCH = 8
THRESHOLDS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
LOWEST = 0.1


def main() -> None:
    """Print one table for each suppression."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--images")
    parser.add_argument("--features", type=Path)
    parser.add_argument("--count", type=int, default=500)
    options = parser.parse_args()
    model = load(options.model)
    dataset = open_split(options.data, "val", model.config.image_size, images=options.images)
    if options.features is not None:
        encoder = model.encoder
        folder, weights = options.features / "val", encoder.tower.state_dict()
        dataset.features = open_maps(folder, dataset, encoder.tower_features, weights)
    count = min(options.count, len(dataset))
    found = find(model, dataset, count)
    truth = [truth_of(dataset, i) for i in range(count)]
    print(f"{options.model}, {count} images of {dataset.title}, {sum(len(t[0]) for t in truth)} boxes")
    for across in (None, 0.8, 0.6):
        kept = found if across is None else [suppressed(boxes, across) for boxes in found]
        print("\nper class" if across is None else f"\nacross classes, {across}")
        print("| threshold | precision | recall | F1 | boxes an image |\n|---|---|---|---|---|")
        scores, right = judged(kept, truth)
        for threshold in THRESHOLDS:
            chosen = scores >= threshold
            hits, total = int(right[chosen].sum()), sum(len(t[0]) for t in truth)
            precision, recall = hits / max(int(chosen.sum()), 1), hits / total
            f1 = 2 * precision * recall / max(precision + recall, 1e-9)
            print(f"| {threshold} | {precision:.3f} | {recall:.3f} | {f1:.3f} | {chosen.sum() / count:.1f} |")


@torch.inference_mode()
def find(model: CaptionDetModel, dataset: CaptionSet, count: int) -> list[ScoredBoxes]:
    """Scored boxes of the first images."""
    found: list[ScoredBoxes] = []
    for start in range(0, count, BATCH):
        samples = [dataset[i] for i in range(start, min(start + BATCH, count))]
        found += model.detect(model.encoder(**network_input(samples)), threshold=LOWEST)
        sys.stderr.write(f"\r{len(found)} of {count}")
    return found


def truth_of(dataset: CaptionSet, index: int) -> tuple[Tensor, Tensor]:
    """Corners as fractions [T, 4] and labels of an image."""
    record, (height, width) = dataset.record(index), dataset.image_size(index)
    boxes = np.zeros((0, 4)) if record.boxes is None else record.boxes / np.array([width, height, width, height])
    return torch.from_numpy(boxes).float(), torch.from_numpy(record.labels)


def suppressed(boxes: ScoredBoxes, overlap: float) -> ScoredBoxes:
    """The best boxes whatever their class."""
    kept = nms(boxes.boxes, boxes.scores, overlap)
    return ScoredBoxes(boxes.boxes[kept], boxes.scores[kept], boxes.labels[kept])


def judged(found: list[ScoredBoxes], truth: list[tuple[Tensor, Tensor]]) -> tuple[np.ndarray, np.ndarray]:
    """Score of each box of all images, and whether it is right."""
    scores: list[float] = []
    right: list[bool] = []
    for boxes, (wanted, labels) in zip(found, truth, strict=True):
        overlaps = box_iou(boxes.boxes, wanted) * (boxes.labels[:, None] == labels)
        for i in range(len(boxes.scores)):
            best = int(overlaps[i].argmax()) if len(wanted) else 0
            hit = bool(len(wanted)) and float(overlaps[i, best]) >= OVERLAP
            if hit:
                overlaps[:, best] = 0
            scores.append(float(boxes.scores[i]))
            right.append(hit)
    return np.array(scores), np.array(right, bool)


if __name__ == "__main__":
    main()
