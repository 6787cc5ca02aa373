"""The embedded world: its boxes are exact, its captions true, its split honest."""

import numpy as np
import pytest

from caption_det.data.synthetic import SHAPES, World, captions_of, read_caption
from caption_det.data.synthetic.phrases import is_true
from caption_det.data.synthetic.scenes import COLOURS, HELD_OUT
from polyscale.errors import UserError

WORLDS = {split: World(split, 60, side=96) for split in ("train", "val", "test")}


@pytest.fixture(scope="module")
def drawn() -> dict[str, list]:
    return {split: [world.draw(i) for i in range(60)] for split, world in WORLDS.items()}


def test_a_scene_is_a_function_of_its_number() -> None:
    world = World("train", 3, side=96)
    first, again = world.read(2)[0], world.read(2)[0]
    assert np.array_equal(first, again)
    assert world.read(2)[1].captions == world.record(2).captions  # planned, not painted
    assert np.array_equal(world.read(2)[1].boxes, world.record(2).boxes)
    assert not np.array_equal(first, World("val", 3, side=96).read(2)[0])


def test_every_caption_is_true_of_its_scene_and_of_few_others(drawn: dict[str, list]) -> None:
    scenes, elsewhere = [scene for _, scene in drawn["train"]], 0
    for i, scene in enumerate(scenes):
        captions = captions_of(scene)
        assert len(set(captions)) == 5
        for caption in captions:
            assert is_true(read_caption(caption), scene), caption
            elsewhere += sum(is_true(read_caption(caption), other) for other in scenes[:i])
    assert elsewhere < 0.01 * 5 * 60 * 59 / 2


@pytest.mark.parametrize("wrong", ["a small red circle", "", "two things", "a shiny ball on a plain background"])
def test_other_captions_are_not_true(wrong: str, drawn: dict[str, list]) -> None:
    scene = next(scene for _, scene in drawn["train"] if len(scene.groups) == 2)
    assert not is_true(read_caption(wrong), scene)


def test_a_wrong_word_makes_a_caption_untrue(drawn: dict[str, list]) -> None:
    scene = next(s for _, s in drawn["train"] if s.relation == "left of")
    caption = captions_of(scene)[0]
    changes = {"to the left of": "to the right of", scene.groups[0].colour: "pink", scene.groups[0].shape: "cube"}
    for old, new in changes.items():
        assert not is_true(read_caption(caption.replace(old, new, 1)), scene)


def test_boxes_hold_the_object_and_nothing_else(drawn: dict[str, list]) -> None:
    for image, scene in drawn["train"]:
        for group, boxes in zip(scene.groups, scene.boxes, strict=True):
            assert len(boxes) == group.count
            tone = np.array(COLOURS[group.colour], np.float64)
            for x1, y1, x2, y2 in boxes.astype(int):
                assert 0 <= x1 < x2 <= scene.side
                assert 0 <= y1 < y2 <= scene.side
                inside = image[y1:y2, x1:x2].reshape(-1, 3).astype(np.float64)
                share = (np.abs(inside - tone).max(1) < 60).mean()
                assert share > 0.15, (group, share)


def test_held_out_pairs_are_in_every_second_test_scene_only(drawn: dict[str, list]) -> None:
    assert {colour for colour, _ in HELD_OUT} == set(COLOURS)
    assert {shape for _, shape in HELD_OUT} == set(SHAPES)
    for split in ("train", "val"):
        assert not any(group.is_held_out for _, scene in drawn[split] for group in scene.groups)
    for i, (_, scene) in enumerate(drawn["test"]):
        assert any(group.is_held_out for group in scene.groups) == WORLDS["test"].is_held_out(i) == (i % 2 == 1)


def test_a_world_too_small_is_refused() -> None:
    with pytest.raises(UserError, match="64 px"):
        World("train", 3, side=32)
