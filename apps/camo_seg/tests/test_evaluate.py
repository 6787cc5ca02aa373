"""Evaluation: the rows a hand-made loop gives, the same from two processes, baselines beside, clear errors."""

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from camo_seg.data import CamoSet
from camo_seg.data.dataset import Sample
from camo_seg.evaluation import evaluate as evaluation
from camo_seg.evaluation.assess import compare_scores as compare
from camo_seg.evaluation.evaluate import evaluate, evaluate_baselines, predict_maps
from camo_seg.evaluation.metrics import ROW_LENGTH, score_image, summarise
from camo_seg.model import CamoSegmenter
from camo_seg.model.mixture import UseCounter
from polyscale.errors import UserError
from polyscale.testing.ranks import run_ranks


class Discs:
    """A source of discs of different sizes on noise; the image of index `empty` has none."""

    def __init__(self, count: int, empty: Any = None) -> None:
        self.names = [f"disc_{i}" for i in range(count)]
        self.empty = empty

    def read(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        height, width = 24 + 3 * index, 40 - index
        y, x = np.mgrid[:height, :width]
        centre, radius = rng.uniform(8, 16, 2), 2 + index
        mask = np.hypot(y - centre[0], x - centre[1]) < (0 if index == self.empty else radius)
        image = rng.integers(0, 60, (height, width, 3), dtype=np.uint8) + (mask * 120).astype(np.uint8)[..., None]
        return Sample(image, mask)


class Tiny(nn.Module):
    """A stand-in segmenter with BatchNorm, whose output depends on the whole batch in training mode."""

    input_size = 32

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first, self.norm, self.last = (
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.Conv2d(4, 1, 3, padding=1),
        )
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5, generator=generator)
        nn.init.ones_(self.norm.weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.norm(self.first(images))))


def discs(count: int = 7, empty: Any = None) -> CamoSet:
    return CamoSet(Discs(count, empty), 32, "discs")


def test_scores_are_those_of_a_loop_by_hand() -> None:
    dataset, model = discs(), Tiny()
    scores = evaluate(model, dataset, batch_size=3, precision="fp32")
    model.eval()
    with torch.no_grad():
        maps = [model(dataset[i]["image"][None]).sigmoid()[0, 0].numpy() for i in range(len(dataset))]
    expected = np.stack([score_image(maps[i], dataset.original(i).mask) for i in range(len(dataset))])
    np.testing.assert_allclose(scores.rows, expected, atol=1e-3)  # a batch's rounding may move a pixel by a level
    assert scores.summary == summarise(scores.rows)
    assert scores.names == tuple(dataset.names)
    assert len({float(value) for value in scores.column("wF")}) == 7


def test_batch_size_does_not_matter() -> None:
    wide, narrow = (evaluate(Tiny(), discs(), batch_size=size, precision="fp32") for size in (7, 1))
    np.testing.assert_allclose(wide.rows, narrow.rows, atol=5e-4)


def test_mask_cache_give_the_same_scores_without_reading_again() -> None:
    dataset, kept = discs(), {}
    first = evaluate(Tiny(), dataset, mask_cache=kept)
    dataset.original = None  # not to be called any more
    again = evaluate(Tiny(), dataset, mask_cache=kept)
    np.testing.assert_array_equal(again.rows, first.rows)
    np.testing.assert_array_equal(first.rows, evaluate(Tiny(), discs()).rows)


def test_training_modes_are_left_as_they_were() -> None:
    model = Tiny().train()
    model.norm.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    evaluate(model, discs(2), fast=True)
    assert (model.training, model.first.training, model.norm.training) == (True, True, False)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


class Diverged(Tiny):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images) * float("nan")


def test_output_that_is_not_finite_names_the_image_and_restores_the_mode() -> None:
    model = Diverged().train()
    with pytest.raises(UserError, match="disc_0: the model's output is not finite"):
        evaluate(model, discs(3))
    assert model.training


def test_empty_data_set_and_bad_batch_size() -> None:
    with pytest.raises(UserError, match="has no image"):
        evaluate(Tiny(), discs(0))
    with pytest.raises(UserError, match="has no image"):
        evaluate_baselines(discs(0))
    with pytest.raises(UserError, match="batch_size is 0"):
        evaluate(Tiny(), discs(1), batch_size=0)


def test_progress_counts_images() -> None:
    seen = []
    evaluate(Tiny(), discs(5), batch_size=2, fast=True, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_empty_masks_are_apart_and_not_ranked() -> None:
    scores = evaluate(Tiny(), discs(4, empty=2), fast=True)
    assert (scores.summary["images"], scores.summary["empty_images"]) == (3, 1)
    assert sorted(scores.rank()) == [0, 1, 3]


def ranking(values: Any, name: str = "wF") -> Any:
    rows = np.full((len(values), ROW_LENGTH), 0.5)
    rows[:, ("S", "wF", "MAE").index(name)] = values
    return evaluation.Scores(rows, tuple(map(str, range(len(values)))), summarise(rows))


def test_examples_worst_median_best() -> None:
    scores = ranking([0.5, 0.1, 0.9, 0.3, 0.7])
    assert scores.rank() == [1, 3, 0, 4, 2]
    assert scores.examples(2) == {"worst": [1, 3], "median": [3, 0], "best": [2, 4]}
    assert scores.examples(1) == {"worst": [1], "median": [0], "best": [2]}
    assert ranking([0.5, 0.1, 0.9], "MAE").rank("MAE") == [2, 0, 1]


def test_per_image_leaves_out_what_was_not_computed() -> None:
    entry = evaluate(Tiny(), discs(1), fast=True).per_sample()[0]
    assert set(entry) == {"name", "S", "wF", "MAE", "IoU", "area", "predicted_area"}
    assert entry["name"] == "disc_0"


def test_baselines_are_scored_as_a_model_is() -> None:
    dataset = discs(4)
    baselines = evaluate_baselines(dataset)
    mask = dataset.original(1).mask
    empty = score_image(np.zeros(mask.shape, np.float32), mask)
    np.testing.assert_array_equal(baselines["empty map"].rows[1], empty)
    assert baselines["colour contrast"].summary["wF"] > baselines["empty map"].summary["wF"]  # bright discs


def test_comparison_takes_the_best_baseline_and_only_images_with_an_object() -> None:
    good, middle, bad = ranking([0.9, 0.8, 0.7]), ranking([0.4, 0.5, 0.6]), ranking([0.1, 0.1, 0.1])
    result = compare(good, {"bad": bad, "middle": middle})
    assert (result.best, result.scores["model"].summary["wF"]) == ("middle", pytest.approx(0.8))
    assert result.difference.value == pytest.approx(0.3)
    assert 0.09 < result.difference.low < 0.3 < result.difference.high < 0.51
    good.rows[0, 6] = 0  # no object any more
    assert compare(good, {"middle": middle}).difference.value == pytest.approx(0.2)
    low, high = ranking([0.1, 0.2], "MAE"), ranking([0.3, 0.4], "MAE")
    assert compare(low, {"low": low, "high": high}, "MAE").best == "low"


def test_comparison_refuses_other_images() -> None:
    with pytest.raises(ValueError, match="different images"):
        compare(ranking([0.1, 0.2]), {"other": ranking([0.1, 0.2, 0.3])})


class Ranks:
    """What the sharing asks of an Accelerator; one of the others has one batch more than this process."""

    device = torch.device("cpu")

    def __init__(self, index: int, count: int) -> None:
        self.process_index, self.num_processes, self.passes = index, count, 0

    def reduce(self, tensor: torch.Tensor) -> Any:
        self.passes += 1
        return tensor + (self.passes == 1)


def test_every_process_makes_the_same_number_of_passes() -> None:
    calls = []

    class Counting(Tiny):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            calls.append(len(images))
            return super().forward(images)

    indices = [index for index, _ in predict_maps(Counting(), discs(3), batch_size=2, accelerator=Ranks(2, 3))]
    assert (indices, calls) == ([], [1])


def test_passes_that_only_keep_step_with_the_others_do_not_count_as_use_of_the_experts() -> None:
    network = CamoSegmenter("test_resnet", width=8, image_size=32, scales=(1.0,), experts=3, top_k=2)
    for rank, images in ((0, 3), (1, 0)):
        use = UseCounter(network)
        maps = predict_maps(network, discs(3), batch_size=1, accelerator=Ranks(rank, 2), counting=use.counting)
        assert len(list(maps)) == images
        assert sum(use.counts.values()) == 2 * images


def evaluate_as_rank(folder: Path, rank: int) -> None:
    """One rank of an evaluation on uneven data; its rows go to a file."""
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    rows = rows_of(accelerator, torch.nn.parallel.DistributedDataParallel(Tiny()))
    np.savez(folder / f"{rank}.npz", **rows)
    accelerator.end_training()


def rows_of(accelerator: Any, wrapped: Any) -> Any:
    settings = {"accelerator": accelerator, "precision": "fp32"}
    rows = {
        "uneven": evaluate(Tiny(), discs(7), batch_size=2, **settings).rows,
        "fewer batches than processes": evaluate(Tiny(), discs(2), batch_size=4, **settings).rows,
        "wrapped": evaluate(wrapped, discs(5), batch_size=2, **settings).rows,
    }
    return rows | {name: scores.rows for name, scores in evaluate_baselines(discs(3), accelerator=accelerator).items()}


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_two_processes_give_exactly_the_rows_of_one(tmp_path: Path) -> None:
    wait = run_ranks(evaluate_as_rank, 2, tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    one = rows_of(None, Tiny())
    torch.set_num_threads(threads)
    wait()
    for rank in (0, 1):
        gathered = np.load(tmp_path / f"{rank}.npz")
        assert set(gathered.files) == set(one)
        for name, rows in one.items():
            np.testing.assert_array_equal(gathered[name], rows, err_msg=f"{name}, rank {rank}")
