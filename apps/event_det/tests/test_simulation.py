"""The camera model against what it promises, and scenes whose boxes enclose what is drawn."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from event_recordings import DATA

from event_det import Events, Recording
from event_det.simulation import CLASSES, CameraModel, EventCamera, Film, Scene, film, film_frames, make_scene
from event_det.simulation.filming import draw, find_boxes
from event_det.simulation.rendering import draw_sprite
from event_det.simulation.scenes import FRAME
from event_det.video import mp4_writer, read_video
from polyscale.testing.command import call

IDEAL = CameraModel(threshold=0.2, mismatch=0, refractory=0, leak=0, shot=0)


def ramp(levels: np.ndarray, model: CameraModel, seed: int = 0, every: int = 10_000) -> tuple[Events, EventCamera]:
    """Show images whose log brightness is `levels` [T, H, W]."""
    camera = EventCamera(model, levels.shape[1:], seed)
    parts = [camera.expose(np.exp(level), every * index) for index, level in enumerate(levels)]
    return Events.concatenate(parts), camera


def test_an_ideal_pixel_fires_once_for_each_threshold() -> None:
    rng = np.random.default_rng(0)
    start = rng.uniform(-1.5, -1, (6, 7))
    change = rng.uniform(-0.9, 0.9, (6, 7))
    events, _ = ramp(np.stack([start, start + change]), IDEAL)
    counts = np.zeros((6, 7), int)
    np.add.at(counts, (events.y, events.x), np.where(events.p == 1, 1, -1))
    assert np.array_equal(counts, np.fix(change / 0.2 + 1e-9 * np.sign(change)).astype(int))
    first = {(y, x): t for t, x, y in zip(events.t[::-1], events.x[::-1], events.y[::-1], strict=True)}
    for (y, x), t in first.items():
        assert t == np.ceil(10_000 * 0.2 / abs(change[y, x]))
    assert (np.diff(events.t) >= 0).all()
    assert events.t.dtype == np.int64


def test_events_rebuild_the_brightness_to_within_a_threshold() -> None:
    rng = np.random.default_rng(1)
    levels = np.cumsum(rng.normal(0, 0.15, (30, 5, 5)), 0).clip(-1.1, 1.1) - 1.2
    events, _ = ramp(levels, IDEAL)
    rebuilt = levels[0].copy()
    np.add.at(rebuilt, (events.y, events.x), np.where(events.p == 1, 0.2, -0.2))
    assert np.abs(rebuilt - levels[-1]).max() < 0.2 + 1e-9


def test_off_events_mirror_on_events() -> None:
    levels = np.cumsum(np.random.default_rng(2).uniform(-0.3, 0.3, (10, 4, 4)), 0).clip(-1, 1) - 1.3
    up, _ = ramp(levels, IDEAL)
    down, _ = ramp(-2.6 - levels, IDEAL)
    assert len(up) > 30
    for name in "txy":
        assert np.array_equal(getattr(up, name), getattr(down, name))
    assert np.array_equal(up.p, 1 - down.p)


def test_a_pixel_rests_after_an_event() -> None:
    model = CameraModel(threshold=0.05, mismatch=0.01, refractory=700, leak=5, shot=200)
    levels = np.cumsum(np.random.default_rng(3).uniform(-0.5, 0.5, (20, 4, 4)), 0).clip(-1, 1) - 1.3
    events, _ = ramp(levels, model)
    pixel = events.y.astype(int) * 4 + events.x
    gaps = np.concatenate([np.diff(events.t[pixel == i]) for i in range(16)])
    assert len(gaps) > 300
    assert gaps.min() >= 700


@pytest.mark.parametrize(("model", "rate", "on"), [
    (CameraModel(mismatch=0, leak=0, shot=20, refractory=0), 20, 0.5),
    (CameraModel(mismatch=0, leak=5, shot=0), 5, 1.0),
])  # fmt: skip
def test_noise_comes_at_its_rate(model: CameraModel, rate: float, on: float) -> None:
    events, _ = ramp(np.full((11, 20, 20), -1.0), model, every=200_000)
    expected = rate * 2.0 * 400  # pixels, for 2 s
    assert abs(len(events) - expected) < 5 * np.sqrt(expected)
    assert events.p.mean() == pytest.approx(on, abs=0.03)


def test_noise_does_not_depend_on_how_often_images_are_taken() -> None:
    model = CameraModel(leak=2, shot=5)
    often, _ = ramp(np.full((41, 9, 9), -1.0), model, every=5_000)
    seldom, _ = ramp(np.full((3, 9, 9), -1.0), model, every=100_000)
    assert len(often) > 50
    for name in "txyp":
        assert np.array_equal(getattr(often, name), getattr(seldom, name))


def test_the_camera_refuses_what_it_cannot_see() -> None:
    camera = EventCamera(IDEAL, (4, 4), 0)
    with pytest.raises(ValueError, match="shape"):
        camera.expose(np.ones((3, 4)), 0)
    camera.expose(np.ones((4, 4)), 10)
    with pytest.raises(ValueError, match="time must grow"):
        camera.expose(np.ones((4, 4)), 10)


@pytest.fixture(scope="module")
def films() -> list[tuple[Scene, Film]]:
    scenes = [make_scene(seed, duration=2_000_000) for seed in range(4)]
    return [(scene, film(scene, CameraModel(), seed)) for seed, scene in enumerate(scenes)]


def test_equal_seeds_give_equal_films(films: list[tuple[Scene, Film]]) -> None:
    again = film(make_scene(1, duration=2_000_000), CameraModel(), 1)
    assert np.array_equal(again.events.t, films[1][1].events.t)
    assert all(np.array_equal(boxes.xyxy, films[1][1].boxes[time].xyxy) for time, boxes in again.boxes.items())
    assert len(films[0][1].events) != len(films[1][1].events)


def test_boxes_are_tight_around_what_is_drawn() -> None:
    for seed in range(6):
        scene = make_scene(seed, duration=1_500_000)
        index = len(scene.view) - 1
        boxes = find_boxes(scene, index, 10)
        left, top = scene.view[index]
        for box, track in zip(boxes.xyxy, boxes.tracks, strict=True):
            actor = scene.actors[track]
            x, y = actor.corner(index)
            alpha = np.ascontiguousarray(actor.sprite.alpha[actor.phase[index]])
            cover = np.zeros(scene.size, np.float32)
            draw_sprite(cover, np.ones_like(alpha), alpha, x - left, y - top, actor.scale[index])
            rows, columns = np.flatnonzero((cover > 0.5).any(1)), np.flatnonzero((cover > 0.5).any(0))
            tight = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            assert np.abs(box - tight).max() <= 1.5


def test_scenes_hold_all_that_makes_them_hard(films: list[tuple[Scene, Film]]) -> None:
    boxes = [found for _, filmed in films for found in filmed.boxes.values()]
    labels = np.concatenate([found.labels for found in boxes])
    heights = np.concatenate([found.xyxy[:, 3] - found.xyxy[:, 1] for found in boxes])
    standing = np.concatenate([found.standing for found in boxes])
    assert set(labels.tolist()) == set(range(len(CLASSES)))
    assert heights.min() < 12
    assert heights.max() > 35
    assert 0.03 < standing.mean() < 0.6
    assert len({bool(np.ptp(scene.view[:, 0]) > 0) for scene, _ in films}) == 2  # still and moving cameras


def test_what_stands_gives_no_events_but_noise(films: list[tuple[Scene, Film]]) -> None:
    inside = quiet = 0.0
    for _, filmed in films:
        for time, boxes in filmed.boxes.items():
            window = filmed.events.between(time - 50_000, time + 1)
            for box, standing in zip(boxes.xyxy, boxes.standing, strict=True):
                x1, y1, x2, y2 = np.round(box).astype(int)
                hits = ((window.x >= x1) & (window.x < x2) & (window.y >= y1) & (window.y < y2)).sum()
                area = max((x2 - x1) * (y2 - y1), 1)
                if standing:
                    quiet = max(quiet, float(hits / area)) if area > 200 else quiet
                else:
                    inside = max(inside, float(hits / area))
    assert inside > 1
    assert quiet < inside


def test_an_image_is_drawn_within_the_range() -> None:
    scene = make_scene(5, duration=FRAME * 4)
    image = np.full(scene.size, np.nan, np.float32)
    draw(scene, 3, image)
    assert image.min() >= 0
    assert image.max() <= 1


def test_a_video_becomes_a_recording(tmp_path: Path) -> None:
    pytest.importorskip("av")
    columns = np.arange(64)
    with mp4_writer(tmp_path / "a.mp4", 40) as show:  # a bright bar that moves to the right, 2 pixels a frame
        for number in range(20):
            inside = (columns >= 5 + 2 * number) & (columns < 15 + 2 * number)
            show(np.repeat(np.where(inside, 220, 40).astype(np.uint8)[None, :, None], 32, 0).repeat(3, 2))
    done = call("event-det", "data", "simulate", tmp_path / "a.mp4", tmp_path / "a.raw", "--leak", "0", "--shot", "0")
    assert done.returncode == 0, done.stderr
    recording = Recording(tmp_path / "a.raw")
    events = recording.read()
    assert recording.sensor == (64, 32)
    assert len(events) > 1000
    assert events.t[-1] <= 19 * 40_000
    for late in (200_000, 600_000):  # ON at the front of the bar, OFF at its back
        window = events.between(late, late + 40_000)
        front, back = (float(np.median(window.x[window.p == polarity])) for polarity in (1, 0))
        assert front - back == pytest.approx(10, abs=3)
        assert front == pytest.approx(15 + 2 * late / 40_000, abs=3)


@pytest.mark.skipif(not DATA.is_dir(), reason="the recordings at hand are not there")
def test_a_real_video_becomes_a_recording(tmp_path: Path) -> None:
    pytest.importorskip("av")
    frames = list(itertools.islice(read_video(DATA / "video.mp4"), 5))
    events = Events.concatenate(film_frames(frames, CameraModel(), 0))
    assert len(events) > 1000
    assert (np.diff(events.t) >= 0).all()
    assert frames[0][0] <= events.t[0] <= events.t[-1] <= frames[-1][0]
