import warnings
from collections.abc import Callable

import numpy as np
import pytest

from polyscale.report.drawing import (
    CATEGORY_COLOURS,
    HIGHLIGHT,
    category_colour,
    colour_bar,
    colour_table,
    draw_boxes,
    heatmap,
    overlay,
    panel,
)

GREEN = np.full((60, 80, 3), (40, 90, 30), np.uint8)
DISC = np.hypot(*(np.indices((60, 80)) - np.array([30, 40])[:, None, None])) < 18


def is_colour(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (image == np.array(colour, np.uint8)).all(axis=-1)


def test_overlay_tints_inside_outlines_and_leaves_the_rest() -> None:
    before = GREEN.copy()
    drawn = overlay(GREEN, DISC, colour=(250, 0, 100), alpha=0.5)
    np.testing.assert_array_equal(GREEN, before)
    assert drawn[30, 40].tolist() == [145, 45, 65]  # half colour, half ground
    assert is_colour(drawn, (40, 90, 30))[:5].all()
    line = is_colour(drawn, (250, 0, 100))
    distance = np.hypot(*np.where(line) - np.array([30, 40])[:, None])
    assert line.sum() > 80
    assert distance.min() > 16.5
    assert distance.max() < 20
    plain = overlay(GREEN, DISC, contour=False)
    assert (is_colour(plain, (40, 90, 30)) == ~DISC).all()


def test_overlay_of_a_probability_is_as_strong_as_it_is_sure() -> None:
    probability = np.linspace(0, 1, 80, dtype=np.float32)[None].repeat(60, 0)
    drawn = overlay(np.zeros_like(GREEN), probability, colour=(200, 200, 200), alpha=1.0, contour=False)
    np.testing.assert_allclose(drawn[0, :, 0], probability[0] * 200, atol=1)
    columns = np.where(is_colour(overlay(GREEN, probability, threshold=0.25), HIGHLIGHT).all(axis=0))[0]
    assert columns.tolist() == [19]  # the last below 0.25


@pytest.mark.parametrize("mask", [np.zeros((60, 80), bool), np.ones((60, 80), bool)])
def test_an_empty_or_full_mask_has_no_outline(mask: np.ndarray) -> None:
    expected = np.rint(GREEN * 0.55 + np.array(HIGHLIGHT) * 0.45) if mask.any() else GREEN
    np.testing.assert_allclose(overlay(GREEN, mask), expected, atol=1)


@pytest.mark.parametrize("side", [200, 400, 1600])
def test_the_outline_is_as_thick_as_the_image_is_large_and_evenly_round(side: int) -> None:
    ground = np.full((side, side, 3), 90, np.uint8)
    middle = side // 2
    dot = np.zeros((side, side), bool)
    dot[middle, middle] = True
    drawn = overlay(ground, dot)
    width = max(1, round(side / 180))
    line = is_colour(drawn, HIGHLIGHT)
    distance = np.hypot(*(np.indices(line.shape) - middle))
    assert line[(distance <= 0.85 * width) & ~dot].all()  # a lone pixel is ringed
    assert not line[distance > 1.2 * width + 1].any()
    hem = is_colour(drawn, (30, 30, 30))
    assert hem.any()
    assert (distance[hem] >= 0.85 * width).all()
    assert is_colour(drawn, (90, 90, 90))[distance > 1.9 * width + 2].all()


def test_panel_lays_out_rows_with_titles_above() -> None:
    red, mask = np.full((50, 100, 3), (200, 0, 0), np.uint8), np.ones((50, 100), bool)
    tall = np.full((100, 50), 0.5)
    sheet = panel([red, mask, tall], ["red", "mask", "tall"], height=100, columns=2, gap=10)
    assert sheet.shape[1] == 10 + 200 + 10 + 200 + 10
    top = sheet.shape[0] // 2
    caption = round(12 * 1.7)
    assert sheet.shape[0] == 2 * (100 + caption + 10) + 10
    coloured = is_colour(sheet, (200, 0, 0))
    rows, columns = np.where(coloured)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10 + caption, 109 + caption, 10, 209)
    assert (sheet[10 : 10 + caption, 10:60] < 120).any()  # the title's ink
    assert is_colour(sheet, (128, 128, 128)).sum() == 50 * 100  # 0.5 in grey, second row
    assert np.where(is_colour(sheet, (128, 128, 128)))[0].min() > top


def test_panel_without_titles_and_with_one_too_long() -> None:
    assert panel([GREEN], height=60, gap=0).shape == (60, 80, 3)
    long = panel([GREEN], ["word " * 40], height=60, gap=10)
    assert (long[:, 92:] == 255).all()  # nothing runs out of its cell
    assert (panel([np.zeros((1, 1, 3), np.uint8)], ["dot"], height=30) == 0).any()


def test_heatmap_order_range_and_gamut() -> None:
    table = colour_table().astype(float)
    luminance = table @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) >= 0).mean() > 0.99
    assert luminance[0] < 20
    assert luminance[-1] > 220
    assert np.abs(np.diff(table, axis=0)).max() <= 3  # no kink, which clipping to the gamut would make
    drawn = heatmap(np.array([[0.0, 5.0, 10.0]]))
    np.testing.assert_array_equal(drawn[0], colour_table()[[0, 128, 255]])
    np.testing.assert_array_equal(
        heatmap(np.array([[-1.0, 0.5, 9.0]]), low=0, high=1)[0], colour_table()[[0, 128, 255]]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(heatmap(np.full((2, 2), 3.0)), np.broadcast_to(colour_table()[0], (2, 2, 3)))


def test_boxes_frame_and_tag() -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    drawn = draw_boxes(image, np.array([[50, 60, 150, 140]]), ["cat"], [0.876], [(255, 176, 0)])
    assert not image.any()
    ink = is_colour(drawn, (255, 176, 0))
    rows, columns = np.where(ink)
    assert (rows.max(), columns.min(), columns.max()) == (139, 50, 149)
    assert ink[139, 50:150].all()
    assert ink[60:140, 50].all()
    assert not ink[70:130, 60:140].any()
    tag = drawn[rows.min() : 60, 50:70]
    assert 60 - rows.min() >= 13
    assert (tag.sum(-1) < 100).any()  # black letters on a light tag
    assert (draw_boxes(image, [[50, 60, 150, 140]], ["cat"], [0.1], [(255, 176, 0)]) != drawn).any()  # score is shown


def test_boxes_beyond_the_edge_and_none() -> None:
    image = np.zeros((40, 50, 3), np.uint8)
    drawn = draw_boxes(image, [[-20, -20, 500, 500], [60, 60, 90, 90], [9, 9, 9, 9], [30, 30, 20, 20]], list("abcd"))
    assert drawn.shape == image.shape
    assert is_colour(drawn, CATEGORY_COLOURS[0])[39, 10:40].all()
    np.testing.assert_array_equal(draw_boxes(image, []), image)
    np.testing.assert_array_equal(draw_boxes(image, np.zeros((0, 4)), [], [], []), image)


def test_box_colours_follow_labels_and_best_score_lies_on_top() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    boxes = [[10, 30, 90, 90], [10, 30, 90, 90], [40, 50, 60, 70]]
    drawn = draw_boxes(image, boxes, ["a", "b", "a"], [0.9, 0.2, 0.5])
    assert is_colour(drawn, CATEGORY_COLOURS[0])[31:90, 10].all()  # "a" at 0.9 over "b"
    assert is_colour(drawn, CATEGORY_COLOURS[0])[69, 45]
    assert len({category_colour(i) for i in range(24)}) == 24


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: overlay(GREEN, DISC[1:]), r"mask must be of the image's size \[60, 80\], given \[59, 80\]"),
        (lambda: overlay(GREEN, DISC * 255), r"mask must be bool or values in \[0, 1\], given 0 to 255"),
        (lambda: overlay(GREEN, DISC * np.nan), "mask must be bool"),
        (lambda: overlay(GREEN / 255, DISC), r"image must be uint8 \[H, W, 3\], given float64"),
        (lambda: panel([]), "at least one"),
        (lambda: panel([GREEN], ["a", "b"]), r"titles must be as many as images \(1\), given 2"),
        (lambda: heatmap(np.array([[np.nan]])), "must be finite"),
        (lambda: heatmap(np.zeros(3)), r"given shape \[3\]"),
        (lambda: draw_boxes(GREEN, [[1, 2, 3]]), r"shaped \[N, 4\], given shape \[1, 3\]"),
        (lambda: draw_boxes(GREEN, [[1, 2, 3, np.inf]]), "must be finite"),
        (lambda: draw_boxes(GREEN, [[1, 2, 3, 4]], ["a", "b"]), r"labels must be as many as boxes \(1\), given 2"),
        (lambda: draw_boxes(GREEN, [[1, 2, 3, 4]], scores=[]), "scores must be as many"),
    ],
)
def test_bad_arguments(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_colour_bar_runs_over_all_colours_with_its_ends_named() -> None:
    bar = colour_bar("0.1", "0.9", 256, height=40)
    assert bar.shape == (40, 256, 3)
    np.testing.assert_array_equal(bar[5], colour_table())
    ink = (bar[13:].max(2) < 200).any(0)
    assert ink[:30].any()
    assert ink[-30:].any()
    assert not ink[60:-60].any()
