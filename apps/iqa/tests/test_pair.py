"""Two versions of one image: what is known of their difference is what invisible edits do, never the model's spread."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from iqa.data.edits import EDITS
from iqa.predict import Prediction, Predictor
from iqa.predict_pair import ImagePair, change_by, compare_images


class Left(nn.Module):
    """Scores how bright the left third is: only mirroring moves it much."""

    low, high, input_size = 0.0, 100.0, 512

    def score_with_spread(self, images: torch.Tensor) -> tuple[Any, ...]:
        left = images[..., : images.shape[-1] // 3].mean((1, 2, 3))
        return 100 * left, torch.full_like(left, 0.01)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    smooth = np.random.default_rng(0).integers(0, 255, (9, 12, 3), np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(smooth).resize((240, 180), Image.Resampling.BICUBIC).save(path)
    return path


def prediction(score: float, spread: float = 5.0) -> Prediction:
    return Prediction("ab"[score > 50], score, spread, 0.0, 100.0, 10, 10)


def test_two_versions_get_no_probability_whatever_the_spread(photo: Path, tmp_path: Path) -> None:
    predictor = Predictor(Left(), device="cpu")
    Image.open(photo).save(tmp_path / "again.jpg", quality=95)
    pair = compare_images(predictor, photo, tmp_path / "again.jpg")
    assert pair.moved == pytest.approx(
        max(change_by(predictor, file, ["mirrored"]) for file in (photo, tmp_path / "again.jpg"))
    )
    assert pair.moved is not None
    assert pair.moved > abs(pair.difference)
    assert pair.spread is pair.probability is None
    assert not pair.exceeds
    assert pair.to_dict()["better"] is None
    assert pair.verdict().startswith("too close to call")


def test_a_difference_beyond_invisible_edits_names_the_higher_score() -> None:
    said = ImagePair(prediction(60, 30.0), prediction(40, 30.0), moved=1.5).verdict()
    assert said.startswith("b scores higher: difference 20.0; ")
    assert said.endswith("by up to 1.5")
    assert "probability" not in said


def test_two_images_of_their_own_keep_the_spread(photo: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (90, 120, 3), np.uint8)).save(other)
    pair = compare_images(Predictor(Left(), device="cpu"), photo, other)
    assert pair.moved is None
    assert pair.spread == pytest.approx(0.01 * 2**0.5)
    assert pair.probability is not None
    assert "right with probability" in pair.verdict()


def test_edits_change_what_they_say() -> None:
    image = np.random.default_rng(0).integers(0, 255, (50, 40, 3), np.uint8)
    shapes = {name: edit(image).shape[:2] for name, edit in EDITS.items()}
    assert shapes == {
        "saved again": (50, 40),
        "1 px cut off": (49, 39),
        "4 px cut off": (46, 36),
        "mirrored": (50, 40),
        "90 % size": (45, 36),
    }
    assert np.array_equal(EDITS["mirrored"](EDITS["mirrored"](image)), image)
    assert np.array_equal(EDITS["4 px cut off"](image), image[4:, 4:])
    assert not np.array_equal(EDITS["saved again"](image), image)
    assert all(edit(image[:1, :1]).shape == (1, 1, 3) for edit in EDITS.values())


def test_json_has_the_digits_of_its_scores() -> None:
    """What is left of float32 behind them says nothing, and differs from the difference of the scores."""
    pair = ImagePair(prediction(60.123456, 4.04), prediction(40.1, 3.03))
    found = pair.to_dict()
    assert (found["difference"], found["spread"]) == (20.02, 5.05)
    assert found["probability_first_better"] == 1.0
    assert ImagePair(prediction(60), prediction(40), moved=1.23456).to_dict()["invisible_edits_move"] == 1.23
