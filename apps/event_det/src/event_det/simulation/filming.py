"""Filming a scene: its images through the model of an event camera, and the boxes of what is to be seen in them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from event_det.formats.events import Events
from event_det.simulation.camera import CameraModel, EventCamera
from event_det.simulation.rendering import draw_background, draw_sprite, mark_sprite
from event_det.simulation.scenes import FRAME, Scene

STILL = 0.05
"""Pixels that an object may move in the image within a step and count as standing."""
SEEN_AFTER = 2.0
"""Pixels that an object moves in the image before it has boxes: until then the events cannot tell it is there."""
LEAST_SHARE = 0.3
"""Share of an object that must be visible for it to have a box."""
LEAST_SIDE = 3.0


class Boxes(NamedTuple):
    """The boxes at one time.

    Attributes:
        xyxy: Corners in pixels, inside the image, float32 [N, 4].
        labels: Classes, int64 [N].
        tracks: Which object it is, int64 [N].
        standing: Whether the object stood still in the image since the boxes before, bool [N].
    """

    xyxy: NDArray[np.float32]
    labels: NDArray[np.int64]
    tracks: NDArray[np.int64]
    standing: NDArray[np.bool_]


class Film(NamedTuple):
    """Events from time 0 on, and the boxes by time in microseconds."""

    events: Events
    boxes: dict[int, Boxes]


def film(scene: Scene, model: CameraModel, seed: int, *, step: int = 50_000, first: int = 100_000) -> Film:
    """Film a scene.

    Args:
        scene: What is seen.
        model: The camera.
        seed: Of the camera's thresholds and noise.
        step: Microseconds between boxes, a multiple of `FRAME`.
        first: Time of the first boxes.
    """
    camera = EventCamera(model, scene.size, seed)
    image = np.empty(scene.size, np.float32)
    parts, boxes = [], {}
    for index in range(len(scene.view)):
        time = index * FRAME
        draw(scene, index, image)
        parts.append(camera.expose(image, time))
        if time >= first and (time - first) % step == 0:
            boxes[time] = find_boxes(scene, index, step // FRAME)
    return Film(Events.concatenate(parts), boxes)


def draw(scene: Scene, index: int, image: NDArray[np.float32]) -> None:
    """Draw image `index` of the scene into `image`."""
    left, top = scene.view[index]
    draw_background(image, scene.background, left, top)
    for actor in scene.actors:
        x, y = actor.corner(index)
        phase = actor.phase[index]
        draw_sprite(image, actor.sprite.grey[phase], actor.sprite.alpha[phase], x - left, y - top, actor.scale[index])


def find_boxes(scene: Scene, index: int, past: int) -> Boxes:
    """Return the boxes in image `index`, and who stood still in the `past` images before it."""
    height, width = scene.size
    left, top = scene.view[index]
    owner = np.full(scene.size, -1, np.int64)
    areas = []
    for number, actor in enumerate(scene.actors):
        x, y = actor.corner(index)
        alpha = actor.sprite.alpha[actor.phase[index]]
        areas.append(mark_sprite(owner, alpha, x - left, y - top, actor.scale[index], number))
    visible = np.bincount(owner[owner >= 0], minlength=len(scene.actors))
    found = []
    for number, actor in enumerate(scene.actors):
        if actor.label < 0 or visible[number] < LEAST_SHARE * areas[number] or not visible[number]:
            continue
        path = np.stack([actor.x, actor.foot], 1)[: index + 1] - scene.view[: index + 1]
        if np.abs(np.diff(path, axis=0)).sum() < SEEN_AFTER:
            continue
        x, y = actor.corner(index)
        box = actor.sprite.boxes[actor.phase[index]] * actor.scale[index] + (x - left, y - top) * 2
        box = np.clip(box, 0, (width - 1, height - 1) * 2)
        if min(box[2] - box[0], box[3] - box[1]) < LEAST_SIDE:
            continue
        recent = slice(max(index - past, 0), index + 1)
        moved = np.ptp(path[recent], axis=0).max()
        found.append((box, actor.label, number, bool(moved < STILL and not actor.speed[recent].any())))
    return Boxes(
        np.array([box for box, *_ in found], np.float32).reshape(-1, 4),
        np.array([label for _, label, *_ in found], np.int64),
        np.array([number for _, _, number, _ in found], np.int64),
        np.array([standing for *_, standing in found], bool),
    )
