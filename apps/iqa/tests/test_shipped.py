"""The shipped model on free photographs: edits that no viewer sees hardly move it, and its scores fall with JPEG."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from iqa.data.edits import EDITS, save_again
from iqa.predict import Predictor

QUALITIES = (95, 60, 30, 10)
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "stereo_motorcycle")


@pytest.fixture(scope="module")
def scores() -> NDArray[np.float64]:
    """Scores [photographs, 1 + edits + qualities]: untouched, edited, saved at falling quality."""
    data: Any = pytest.importorskip("skimage.data")
    predictor, rows = Predictor("nano", "cpu"), []
    for name in PHOTOGRAPHS:
        found = getattr(data, name)()  # in the package itself: nothing is fetched
        photo = np.ascontiguousarray(found[0] if isinstance(found, tuple) else found)
        versions = [photo, *(edit(photo) for edit in EDITS.values()), *(save_again(photo, q) for q in QUALITIES)]
        rows.append([result.score for result in predictor(versions)])
    return np.array(rows)


@pytest.mark.parametrize(
    ("edit", "mean", "most"),
    [("saved again", 1.0, 5.0), ("1 px cut off", 0.5, 5.0), ("mirrored", 0.5, 5.0), ("90 % size", 1.5, 5.0)],
)
def test_edits_that_no_viewer_sees_hardly_move_a_score(
    scores: NDArray[np.float64], edit: str, mean: float, most: float
) -> None:
    moved = np.abs(scores[:, 1 + list(EDITS).index(edit)] - scores[:, 0])
    assert moved.mean() <= mean
    assert moved.max() <= most


def test_scores_fall_with_the_quality_of_jpeg(scores: NDArray[np.float64]) -> None:
    assert (np.diff(scores[:, -len(QUALITIES) :]) < 0).all()
    assert (scores[:, -len(QUALITIES)] - scores[:, -1] > 10).all()  # of 100, from 95 to 10


def test_good_photographs_score_high_and_none_at_the_end(scores: NDArray[np.float64]) -> None:
    assert (scores[:, 0] > 70).all()
    assert (scores[:, 0] < 99).all()
