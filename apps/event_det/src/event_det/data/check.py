"""What a loader sees of a data set: counts, classes, sizes, what is unlabelled, and the boxes drawn over the events."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from event_det.data.steps import EventSet
from event_det.representations.drawing import draw_histogram, to_rgb
from polyscale.report import draw_boxes
from polyscale.terminal import Bar

COCO_SMALL, COCO_LARGE = 32**2, 96**2


def summarise_split(split: EventSet, bar: Bar | None = None) -> dict[str, Any]:
    """Count what a split holds; histograms are not read.

    Returns:
        recordings, steps, labelled, empty (labelled steps without a box), boxes, a count for each class,
        small, medium and large by COCO's areas in pixels of frames, standing (None where unknown), unknown (boxes of
        an id without a name), counted (boxes that count in an evaluation).
    """
    areas: list[NDArray[Any]] = []
    labels: list[NDArray[Any]] = []
    standing: list[NDArray[Any]] = []
    empty = counted = 0
    for index in split.labelled():
        found = split.labels(index)
        assert found is not None
        number, step = split.locate(index)
        sides = (found.boxes[:, 2:] - found.boxes[:, :2]).numpy()
        areas.append(sides.prod(1))
        labels.append(found.labels.numpy())
        empty += not len(sides)
        time = int(split.sequences[number].times[step])
        counted += int(split.evaluate.keep(sides[:, 0], sides[:, 1], time, sensor_width=split.size[1]).sum())
        if found.standing is not None:
            standing.append(found.standing.numpy())
        if bar is not None:
            bar.advance()
    area, label = (np.concatenate([np.zeros(0), *parts]) for parts in (areas, labels))
    sizes = {"small": area < COCO_SMALL, "large": area >= COCO_LARGE}
    return {
        "recordings": len(split.sequences),
        "steps": len(split),
        "labelled": len(split.labelled()),
        "empty": empty,
        "boxes": len(area),
        **{name: int((label == number).sum()) for number, name in enumerate(split.classes)},
        "small": int(sizes["small"].sum()),
        "medium": len(area) - int(sizes["small"].sum() + sizes["large"].sum()),
        "large": int(sizes["large"].sum()),
        "standing": int(np.concatenate(standing).sum()) if standing else None,
        "unknown": int((label >= len(split.classes)).sum()),
        "counted": counted,
    }


def draw_samples(split: EventSet, folder: Path, count: int) -> int:
    """Draw labelled steps, evenly spread, as RECORDING_TIME.png; return their number."""
    labelled = split.labelled()
    chosen = [labelled[len(labelled) * i // count] for i in range(count)] if len(labelled) > count else labelled
    folder.mkdir(parents=True, exist_ok=True)
    for index in chosen:
        sample, found = split[index], split.labels(index)
        assert found is not None
        names = [name_of(split.classes, int(label)) for label in found.labels]
        image = to_rgb(draw_histogram(sample["frames"].numpy()))
        scale = max(640 // image.shape[1], 1)
        image = np.repeat(np.repeat(image, scale, 0), scale, 1)
        drawn = draw_boxes(image, found.boxes.numpy() * scale, names)
        Image.fromarray(drawn).save(folder / f"{sample['recording']}_{sample['timestamp']}.png")
    return len(chosen)


def name_of(classes: tuple[str, ...], label: int) -> str:
    """Return the name of a class, or its number where it has none."""
    return classes[label] if label < len(classes) else f"class {label}"
