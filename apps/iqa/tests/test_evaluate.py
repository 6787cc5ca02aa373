"""Evaluation: scores of a loop by hand, the same from two processes, crops, cross-data rows, clear errors."""

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from iqa.data import QualitySet
from iqa.evaluation.crops import Crops
from iqa.evaluation.evaluate import cross_data, evaluate
from iqa.evaluation.metrics import correlations
from iqa.evaluation.scores import Scores
from polyscale.errors import UserError
from polyscale.testing.ranks import run_ranks

SHAPES = ((24, 40), (40, 24), (30, 30))


class Greys:
    """A source of noise of different brightness and shape; people like bright images."""

    def __init__(self, count: int, low: float = 0.0, high: float = 100.0, subsets: tuple[str, ...] = ("", "")) -> None:
        self.low, self.high = low, high
        self.names = [f"grey_{i}" for i in range(count)]
        self.subsets, self.references = [subsets[i % 2] for i in range(count)], [""] * count
        rng = np.random.default_rng(0)
        self.brightness = rng.permutation(np.linspace(0.1, 0.9, count))
        self.scores = low + (high - low) * np.clip(self.brightness + rng.normal(0, 0.05, count), 0, 1)

    def read(self, index: int) -> np.ndarray:
        rng = np.random.default_rng(index)
        noise = rng.normal(self.brightness[index], 0.05, (*SHAPES[index % len(SHAPES)], 3))
        return (255 * np.clip(noise, 0, 1)).astype(np.uint8)


class Tiny(nn.Module):
    """A stand-in for QualityNet with BatchNorm; the brighter the better, and brightness in the middle counts more."""

    low, high = 0.0, 100.0

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.weight = nn.BatchNorm2d(3), nn.Parameter(torch.tensor(4.0))
        self.calls = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls.append(tuple(images.shape))
        return torch.sigmoid(self.weight * (self.norm(images).mean((1, 2, 3)) - 0.5))

    def score(self, images: torch.Tensor) -> Any:
        return self.low + (self.high - self.low) * self(images)

    def score_with_spread(self, images: torch.Tensor) -> tuple[Any, ...]:
        scores = self.score(images)
        return scores, 0.1 * scores + 1


def greys(count: int = 7, **settings: Any) -> QualitySet:
    return QualitySet(Greys(count, **settings), 32, "greys", cache=False)


def by_hand(dataset: Any, model: Any) -> np.ndarray:
    model.eval()
    with torch.no_grad():
        return np.array([float(model.score(dataset[i]["image"][None])) for i in range(len(dataset))])


def test_scores_are_those_of_a_loop_by_hand() -> None:
    dataset, model = greys(), Tiny()
    result = evaluate(model, dataset, batch_size=2)
    np.testing.assert_allclose(result.predicted, by_hand(dataset, Tiny()), rtol=1e-6)
    np.testing.assert_allclose(result.std, 0.1 * result.predicted + 1, rtol=1e-6)
    np.testing.assert_array_equal(result.truth, dataset.scores)
    assert result.names == tuple(dataset.names)
    expected = correlations(result.predicted, result.truth)
    assert {name: result.summary[name] for name in ("SRCC", "PLCC", "MAE", "images")} == {
        **{name: expected[name] for name in ("SRCC", "PLCC", "MAE")}, "images": 7,
    }  # fmt: skip
    assert result.summary["SRCC"] > 0.9


def test_batches_hold_images_of_one_shape_only() -> None:
    model = Tiny()
    evaluate(model, greys(11), batch_size=2)
    sizes = [shape[0] for shape in model.calls]
    assert (sum(sizes), max(sizes)) == (11, 2)
    assert {shape[2:] for shape in model.calls} == set(SHAPES)
    assert sizes.count(1) <= len(SHAPES) * 2  # the ends of two windows of 4 batches


@pytest.mark.parametrize("settings", [{"batch_size": 1}, {"batch_size": 64}, {"batch_size": 3, "workers": 0}])
def test_batch_size_and_workers_do_not_matter(settings: dict[str, Any]) -> None:
    np.testing.assert_allclose(evaluate(Tiny(), greys(9), **settings).predicted, by_hand(greys(9), Tiny()), atol=1e-5)


def test_training_modes_are_left_as_they_were() -> None:
    model = Tiny().train()
    model.norm.eval()
    before = model.norm.running_mean.clone()
    evaluate(model, greys(3))
    assert (model.training, model.norm.training) == (True, False)
    model.norm.train()
    evaluate(model, greys(3))
    assert model.norm.training
    assert torch.equal(model.norm.running_mean, before)


class Diverged(Tiny):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scores = super().forward(images)
        return torch.where(torch.tensor(images.shape[2] == SHAPES[1][0]), float("nan"), scores)


def test_output_that_is_not_finite_names_the_image_and_restores_the_mode() -> None:
    model = Diverged().train()
    with pytest.raises(UserError, match="grey_1: the model's output is not finite"):
        evaluate(model, greys(3))
    assert model.training


def test_empty_data_set_and_bad_settings() -> None:
    with pytest.raises(UserError, match="has no image"):
        evaluate(Tiny(), greys(0))
    with pytest.raises(UserError, match="batch_size is 0"):
        evaluate(Tiny(), greys(1), batch_size=0)
    with pytest.raises(UserError, match="precision: 'fp64'"):
        evaluate(Tiny(), greys(1), precision="fp64")


def test_progress_counts_images() -> None:
    seen = []
    evaluate(Tiny(), greys(5), batch_size=2, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (5, 5)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_undefined_values_are_nan_with_a_note() -> None:
    result = evaluate(Tiny(), greys(2))
    assert np.isnan(result.summary["SRCC"])
    assert result.summary["MAE"] > 0
    assert result.notes == ("2 images: no correlations, no RMSE",)


def test_another_range_is_brought_to_that_of_the_data() -> None:
    same, other = evaluate(Tiny(), greys(21)), evaluate(Tiny(), greys(21, low=1, high=5))
    np.testing.assert_allclose(other.predicted, 1 + same.predicted / 25)
    np.testing.assert_allclose(other.std, same.std / 25)
    assert other.summary["SRCC"] == pytest.approx(same.summary["SRCC"])
    assert other.summary["MAE"] == pytest.approx(same.summary["MAE"] / 25)
    assert other.notes == ("scores brought from the model's 0 to 100 to the data's 1 to 5",)


def test_cross_data_gives_a_row_for_each_set() -> None:
    rows = cross_data(Tiny(), {"one": greys(9), "other": greys(6, low=1, high=5)}, batch_size=4)
    assert [(row[""], row["images"]) for row in rows] == [("one", 9), ("other", 6)]
    assert rows[0]["SRCC"] == evaluate(Tiny(), greys(9), batch_size=4).summary["SRCC"]
    assert list(rows[1]) == ["", "images", "SRCC", "PLCC", "PLCC_fitted", "KRCC"]


# Crops


def test_the_grid_reaches_every_border() -> None:
    image = torch.arange(50 * 91).view(1, 50, 91)
    for count, grid in ((20, {(4, 5)}), (25, {(5, 5)}), (6, {(2, 3), (3, 2)})):
        crops = Crops("grid", count, 32).cut(image, 0)
        assert crops.shape == (count, 1, 32, 32)
        tops, lefts = crops[:, 0, 0, 0] // 91, crops[:, 0, 0, 0] % 91
        assert (len(tops.unique()), len(lefts.unique())) in grid
        assert (tops.min(), tops.max(), lefts.min(), lefts.max()) == (0, 50 - 32, 0, 91 - 32)


def test_centre_and_short_images() -> None:
    image = torch.arange(10 * 20).view(1, 10, 20)
    (centre,) = Crops("centre", side=4).cut(image, 0)
    assert int(centre[0, 0, 0]) == 3 * 20 + 8
    assert Crops("random", 3, side=12).cut(image, 0).shape == (3, 1, 10, 12)
    assert torch.equal(Crops().cut(image, 0)[0], image)


def test_random_places_depend_on_seed_and_index_alone() -> None:
    image = torch.arange(40 * 60).view(1, 40, 60)
    first = Crops("random", 9, 8).cut(image, 5)
    assert torch.equal(first, Crops("random", 9, 8).cut(image, 5))
    assert not torch.equal(first, Crops("random", 9, 8).cut(image, 6))
    assert not torch.equal(first, Crops("random", 9, 8, seed=1).cut(image, 5))
    assert len({int(crop[0, 0, 0]) for crop in first}) == 9


def test_wrong_crops_are_refused() -> None:
    for settings, word in ((("grid", 7), "7 make no grid"), (("random", 0), "0 of 224"), (("corner",), "'corner'")):
        with pytest.raises(UserError, match=word):
            Crops(*settings)


def test_the_score_by_crops_is_their_mean_and_one_image_is_one_batch() -> None:
    dataset, model, crops = greys(4), Tiny(), Crops("grid", 4, 16)
    found = evaluate(model, dataset, crops=crops).predicted
    assert model.calls == [(4, 3, 16, 16)] * 4
    wanted = [np.mean(model.eval().score(crops.cut(dataset[i]["image"], i)).tolist()) for i in range(4)]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


# Scores


def test_scores_largest_errors_selection_and_rows() -> None:
    result = Scores.from_predictions(
        np.array([5.0, 2, 3, 9]), np.array([1.0, 2, 4, 3]), list("abcd"), ["x", "x", "y", "y"]
    )
    assert result.largest_errors(1) == {"over-rated": [3], "under-rated": [2]}
    assert result.largest_errors(9) == {"over-rated": [3, 0], "under-rated": [2]}
    assert result.per_sample()[1] == {"name": "b", "subset": "x", "truth": 2, "predicted": 2}
    some = result.select(np.array([True, False, True, True]))
    assert (some.names, some.summary["images"]) == (("a", "c", "d"), 3)
    assert some.summary["MAE"] == pytest.approx(11 / 3)


# Several processes


def evaluate_as_rank(folder: Path, rank: int) -> None:
    """One rank of an evaluation on uneven data; its scores go to a file."""
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    np.savez(folder / f"{rank}.npz", **scores_of(accelerator))
    accelerator.end_training()


def scores_of(accelerator: Any) -> dict[str, Any]:
    return {
        "uneven": evaluate(Tiny(), greys(19), batch_size=2, accelerator=accelerator).predicted,
        "one window": evaluate(Tiny(), greys(3), batch_size=4, accelerator=accelerator).predicted,
        "crops": evaluate(Tiny(), greys(5), accelerator=accelerator, crops=Crops("random", 3, 9)).predicted,
    }


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_two_processes_give_exactly_the_scores_of_one(tmp_path: Path) -> None:
    wait = run_ranks(evaluate_as_rank, 2, tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    one = scores_of(None)
    torch.set_num_threads(threads)
    wait()
    for rank in (0, 1):
        gathered = np.load(tmp_path / f"{rank}.npz")
        for name, scores in one.items():
            np.testing.assert_array_equal(gathered[name], scores, err_msg=f"{name}, rank {rank}")
