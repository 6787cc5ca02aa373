"""Draws docs/images/event-det.png: the shipped model on three recordings of the embedded test set.

    python tools/recipes/event_image.py

Each column is a moment: events of 50 ms with the true boxes above, and with those found from a score of .3 below.
"""

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from event_det import Events, Predictor, Recording, write_recording
from event_det.data.synthetic import CAMERA, SIZE, scene_seed
from event_det.representations.drawing import draw_events, to_rgb
from event_det.simulation import film, make_scene
from polyscale.data.images import save_png
from polyscale.report import draw_boxes
from polyscale.report.drawing import category_colour, panel

ROOT = Path(__file__).parents[2]
MOMENTS = ((0, 1_500_000), (3, 2_000_000), (5, 2_500_000), (8, 3_000_000))
"""Number of the recording, and time in microseconds."""
ENLARGED = 3


def main() -> None:
    """Draw truth and detections of each moment."""
    predictor = Predictor("nano", "cpu", threshold=0.3)
    columns = [draw_moment(predictor, *moment) for moment in MOMENTS]
    rows = [panel([column[i] for column in columns], height=SIZE[0] * 2) for i in range(2)]
    save_png(ROOT / "docs/images/event-det.png", np.concatenate(rows))


def draw_moment(predictor: Predictor, number: int, time: int) -> list[NDArray[np.uint8]]:
    """Events with the true boxes, and with the found ones."""
    seed = scene_seed("test", number)
    filmed = film(make_scene(seed, SIZE), CAMERA, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.raw"
        write_recording(path, [filmed.events], SIZE[::-1])
        (found,) = [window for window in predictor.stream(Recording(path), start=0, end=time) if window.time == time]
    truth = filmed.boxes[time]
    return [
        draw(predictor, found.events, truth.xyxy, truth.labels),
        draw(predictor, found.events, found.boxes, found.labels, found.scores),
    ]


def draw(
    predictor: Predictor,
    events: Events,
    boxes: NDArray[np.float32],
    labels: NDArray[np.int64],
    scores: NDArray[np.float32] | None = None,
) -> NDArray[np.uint8]:
    """Enlarge the events and draw boxes over them."""
    image = to_rgb(draw_events(events, SIZE[::-1])).repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)
    names = [predictor.classes[label] for label in labels]
    colours = [category_colour(int(label)) for label in labels]
    return draw_boxes(image, ENLARGED * boxes, names, None if scores is None else scores.tolist(), colours)


if __name__ == "__main__":
    main()
