"""The worlds of the synthetic scenes: leaves, hills under a sky, a street, things on a table, an animal up close."""

import math
from collections.abc import Callable

import numpy as np

from iqa.data.synthetic.outlines import Scenery, World, blobs, boxes, branches, ridge, writing
from polyscale.data.noise import Rng

MOST_LEAVES = 600


def world(rng: Rng, height: int, width: int) -> World:
    """One of WORLDS for an image of this size."""
    scenery = Scenery(rng, height, width)
    WORLDS[rng.integers(len(WORLDS))](scenery)
    return scenery.finished()


def _leaves(s: Scenery, top: float, bottom: float, cover: float, largest: float) -> None:
    """Leaves with radii of density r ** -3 between two heights, in random order, of `cover` times the area there."""
    rng = s.rng
    finest = max(1.5 * s.pixel, largest / 60)
    area = s.width * max(bottom - top, 0.05)
    count = int(cover * area / (2 * math.pi * finest**2 * math.log(max(largest / finest, 2))))
    if count > MOST_LEAVES:  # fewer and larger ones cover as much
        finest *= math.sqrt(count / MOST_LEAVES)
    count = max(4, min(MOST_LEAVES, count))
    radii = 1 / np.sqrt(rng.uniform(largest**-2.0, min(finest, largest / 2) ** -2.0, count))
    centres = rng.uniform([0, top], [s.width, bottom], (count, 2))
    family = s.colours(7)[rng.integers(7, size=count)] * np.exp(rng.normal(0, 0.3, (count, 1)))
    domes = rng.uniform(0, 1, count) * rng.uniform(0.3, 1)
    s.put(blobs(rng, centres, radii, wavy=rng.uniform(0.05, 0.35)), family, s.materials_of(count), domes)


def _sky(s: Scenery) -> None:
    rng = s.rng
    hue = rng.uniform(0.0, 1.0)  # of the weather: blue to grey, now and then a sunset
    sky = np.array([0.25, 0.45, 0.8]) * (1 - hue) + np.array([0.7, 0.72, 0.75]) * hue
    if rng.random() < 0.15:
        sky = np.array([0.8, 0.5, 0.3]) * rng.uniform(0.5, 1)
    s.put(None, sky, (rng.choice([0.01, 0.03, 0.12]), 0.0), slope=(0, rng.uniform(0.1, 0.5)), shaded=0)


def _field(s: Scenery) -> None:
    s.put(None, s.colour(), s.materials_of(1)[0])
    _leaves(s, -0.1, s.height + 0.1, s.rng.uniform(1, 4), s.rng.uniform(0.15, 0.6))


def _hills(s: Scenery) -> None:
    rng = s.rng
    _sky(s)
    horizon = rng.uniform(0.2, 0.65) * s.height
    for step in range(rng.integers(1, 5)):
        haze = 0.5 ** (step + 1)
        colour = s.colour(0.05, 0.7) * (1 - haze) + haze * np.array([0.45, 0.55, 0.7])
        s.put(ridge(s, horizon, rng.uniform(0.01, 0.1)), colour, s.materials_of(1)[0], shaded=0.1)
        horizon = min(horizon + rng.uniform(0.04, 0.2), 0.9 * s.height)
    for step in range(rng.integers(1, 4)):  # larger and nearer towards the viewer
        top = horizon + (s.height - horizon) * step / 3
        _leaves(s, top, s.height + 0.1, 1.5, rng.uniform(0.04, 0.1) * (step + 1))
    for _ in range(rng.integers(0, 4)):
        root = np.array([rng.uniform(0, s.width), rng.uniform(horizon, s.height)])
        wood = branches(s, root, rng.uniform(0.12, 0.3), -math.pi / 2, max(rng.uniform(0.008, 0.03), s.pixel))
        s.put(np.stack(wood), s.colour(0, 0.5), (0.1, 0.25), 0.3)
        tips = np.stack(wood)[-len(wood) * 2 // 3 :, 2]
        if rng.random() < 0.6:
            tips = np.repeat(tips, 2, 0) + rng.normal(0, 0.02, (2 * len(tips), 2))
            crown = blobs(rng, tips, rng.uniform(0.004, 0.03, len(tips)), 12)
            tones = s.colour(0.1, 0.8) * np.exp(rng.normal(0, 0.35, (len(tips), 1)))
            s.put(crown, tones, (0.3, 0.1), 0.5)


def _street(s: Scenery) -> None:
    rng = s.rng
    _sky(s)
    x = -rng.uniform(0, 0.2)
    ground = rng.uniform(0.7, 0.95) * s.height
    while x < s.width:
        width, top = rng.uniform(0.15, 0.7), rng.uniform(-0.1, 0.5) * s.height
        s.put(boxes(x, top, x + width, ground), s.colour(0.1), s.materials_of(1)[0], 0, (rng.uniform(-0.4, 0.4), 0))
        pitch = max(rng.uniform(0.03, 0.14), 6 * s.pixel)
        wide, tall = rng.uniform(0.35, 0.75), rng.uniform(0.5, 1.0)
        rows = np.arange(top + 0.4 * pitch, ground - pitch, 1.35 * pitch)
        columns = np.arange(x + 0.3 * pitch, x + width - 0.8 * pitch, pitch)
        left, up = (v.ravel() for v in np.meshgrid(columns, rows))
        if len(left):
            frame = 0.1 * pitch
            s.put(
                boxes(left - frame, up - frame, left + wide * pitch + frame, up + tall * pitch + frame), s.colour(0.2)
            )
            panes = s.colour(0, 0.6) * np.exp(rng.normal(0, 0.4, (len(left), 1)))
            s.put(boxes(left, up, left + wide * pitch, up + tall * pitch), panes, slope=(0.2, 0.4))
        if rng.random() < 0.5:
            lower = ground - rng.uniform(0.05, 0.2)
            s.put(boxes(x, lower - 0.12, x + width, lower), s.colour(0.2), slope=(0.2, 0))
            letters = writing(s, x, lower - 0.12, x + width, lower)
            s.put(letters, s.colour(0, 0.4), shaded=0)
        x += width
    s.put(boxes(-1, ground, s.width + 1, s.height + 1), s.colour(0, 0.7), (0.2, 0.2), slope=(0, 0.2))
    _leaves(s, ground - 0.05, s.height, rng.uniform(0.2, 1), rng.uniform(0.05, 0.15))


def _table(s: Scenery) -> None:
    rng = s.rng
    slope = rng.uniform(-0.4, 0.4, 2)
    s.put(None, s.colour(0.2), (rng.uniform(0.01, 0.1), 0.0), slope=(slope[0], slope[1]), shaded=0.3)
    edge = rng.uniform(0.4, 0.8) * s.height
    s.put(boxes(-1, edge, s.width + 1, s.height + 1), s.colour(), (0.05, rng.uniform(0, 0.4)))
    for _ in range(rng.integers(1, 5)):
        x, y, width, height = rng.uniform([-0.1, -0.1, 0.2, 0.1], [s.width - 0.3, s.height - 0.2, 0.7, 0.6])
        s.put(boxes(x, y, x + width, y + height), s.colour(0.4), slope=(0.1, 0.1))
        s.put(writing(s, x, y, x + width, y + height), s.colour(0, 0.4), shaded=0)
    for _ in range(rng.integers(3, 10)):
        centre = rng.uniform([[0, 0.3 * s.height]], [[s.width, s.height]])
        radius = rng.uniform(0.05, 0.25)
        s.put(blobs(rng, centre, np.array([radius]), 48, 0.12), s.colour(), s.materials_of(1), rng.uniform(0.5, 1.1))
        spots = centre + rng.normal(0, 0.3 * radius, (rng.integers(0, 9), 2))
        if len(spots):
            s.put(blobs(rng, spots, radius * rng.uniform(0.02, 0.15, len(spots))), s.colour(), (0.05, 0.0), 0.4)


def _animal(s: Scenery) -> None:
    rng = s.rng
    s.put(None, s.colour(), s.materials_of(1)[0])
    _leaves(s, 0, s.height, 1.0, 0.7)
    centre = rng.uniform(0.3, 0.7, 2) * [s.width, s.height]
    coat, fur = s.colours(5, 0.1), rng.uniform(0.2, 0.6)
    parts = centre + rng.normal(0, 0.17, (12, 2))
    body = blobs(rng, parts, rng.uniform(0.08, 0.3, 12), 36, 0.15)
    s.put(body, coat[0] * np.exp(rng.normal(0, 0.15, (12, 1))), (0.15, fur), 0.7, shaded=0.35)
    marks = blobs(rng, centre + rng.normal(0, 0.15, (30, 2)), 0.06 * rng.random(30) ** 2 + 0.004, wavy=0.4)
    s.put(marks, coat[rng.integers(1, 4, 30)], (0.1, fur), 0.2, shaded=0.1)
    eyes = centre + rng.uniform(-0.15, 0.15) + np.array([[-0.06, 0.0], [0.06, 0.0]]) * rng.uniform(0.6, 1.5)
    s.put(blobs(rng, eyes, np.full(2, 0.03), 24, 0.03), coat[4], (0.02, 0.0), 1.0)
    s.put(blobs(rng, eyes, np.full(2, 0.016), 16, 0.02), np.full(3, 0.004), (0.0, 0.0))
    s.put(blobs(rng, eyes - 0.006, np.full(2, 0.004), 12, 0.02), np.full(3, 0.95), (0.0, 0.0))


WORLDS: tuple[Callable[[Scenery], None], ...] = (_field, _hills, _street, _table, _animal)
