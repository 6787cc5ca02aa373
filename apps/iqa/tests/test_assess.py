"""A model beside the baselines: tables, files, report, and images that are left out."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from iqa.data import QualitySet
from iqa.evaluation.assess import assess, assess_baseline, write_report
from iqa.evaluation.exclude import read_exclusions
from iqa.evaluation.metrics import correlations
from iqa.evaluation.scores import Scores, compare
from polyscale.errors import UserError


class Greys:
    """Grey images whose brightness people like; subset b is the brighter half."""

    def __init__(self, count: int, seed: int = 0, low: float = 0.0, high: float = 1.0, subsets: bool = True) -> None:
        self.low, self.high = low, high
        rng = np.random.default_rng(seed)
        self.brightness = rng.uniform(0.1, 0.9, count)
        self.names = [f"folder/grey_{i}.jpg" for i in range(count)]
        self.subsets = ["b" if subsets and value > 0.5 else "a" if subsets else "" for value in self.brightness]
        self.references = [""] * count
        self.scores = low + (high - low) * np.clip(self.brightness + rng.normal(0, 0.1, count), 0, 1)

    def read(self, index: int) -> np.ndarray:
        return np.full((8, 8 + index % 2, 3), round(255 * self.brightness[index]), np.uint8)


class Brightness(nn.Module):
    """The right answer but for a little that depends on nothing."""

    low, high = 0.0, 1.0

    def __init__(self, sign: int = 1) -> None:
        super().__init__()
        self.sign = nn.Parameter(torch.tensor(float(sign)))

    def score_with_spread(self, images: torch.Tensor) -> tuple[Any, ...]:
        scores = 0.5 + self.sign * (images.mean((1, 2, 3)) - 0.5)
        return scores, torch.full_like(scores, 0.1)


class HandCrafted:
    """A stand-in for iqa.evaluation.baselines.Baseline."""

    low, high = 0.0, 1.0

    def __init__(self) -> None:
        self.chosen = {"trees": 3}

    def predict(self, dataset: Any, *, progress: Any) -> Any:
        progress("statistics", len(dataset), len(dataset))
        return dataset.source.brightness + np.random.default_rng(5).normal(0, 0.3, len(dataset))


def greys(count: int = 60, **settings: Any) -> QualitySet:
    return QualitySet(Greys(count, **settings), 16, "greys/test", ["a note"], cache=False)


def doubtful(folder: Path, names: Any, flagged: Any) -> Any:
    path = folder / "doubtful.csv"
    lines = [f"{name.split('/')[-1]},{int(i in flagged)}" for i, name in enumerate(names)]
    path.write_text("\n".join(["image_name,near_dup", *lines]) + "\n")
    return path


def test_model_and_baselines_side_by_side() -> None:
    dataset = greys()
    result = assess(Brightness(), dataset, train=greys(200, seed=1), baseline=HandCrafted())
    rows = {row[""]: row for row in result.rows()}
    assert list(rows) == ["model", "mean of train", "subset name only", "hand-crafted"]
    assert rows["model"]["SRCC"] == correlations(result.scores.predicted, dataset.scores)["SRCC"] > 0.9
    assert rows["mean of train"]["SRCC"] is None
    assert 0.2 < rows["mean of train"]["MAE"] < 0.4
    assert 0.5 < rows["subset name only"]["SRCC"] < rows["model"]["SRCC"]
    assert rows["hand-crafted"]["SRCC"] < rows["model"]["SRCC"]
    assert all(low < high for low, high in [json.loads(rows["model"]["SRCC 95 %"])])
    part = result.comparisons[0]
    assert part.best == max(("subset name only", "hand-crafted"), key=lambda name: rows[name]["SRCC"])
    assert part.difference.value == pytest.approx(rows["model"]["SRCC"] - rows[part.best]["SRCC"])
    assert 0 < part.difference.low < part.difference.high
    assert f"of the best baseline ({part.best}): difference +" in result.verdict()
    assert result.notes == ("a note",)
    assert 0.5 < result.to_dict()["within_spread"] < 0.85


def test_the_subset_baseline_is_each_subsets_mean_in_train() -> None:
    train, dataset = greys(50, seed=1), greys(20)
    predicted = assess(Brightness(), dataset, train=train).comparisons[0].scores["subset name only"].predicted
    for name in "ab":
        inside = np.array(dataset.subsets) == name
        assert predicted[inside] == pytest.approx(train.scores[np.array(train.subsets) == name].mean())


def test_train_and_baseline_of_another_range() -> None:
    result = assess(Brightness(), greys(low=1, high=5), train=greys(80, seed=1), baseline=HandCrafted())
    same = assess(Brightness(), greys(), train=greys(80, seed=1), baseline=HandCrafted())
    for name, scores in result.comparisons[0].scores.items():
        np.testing.assert_allclose(scores.predicted, 1 + 4 * same.comparisons[0].scores[name].predicted)
    assert "brought from the model's 0 to 1" in result.notes[1]


def test_by_subset() -> None:
    dataset = greys()
    result = assess(Brightness(), dataset, train=greys(200, seed=1), baseline=HandCrafted())
    rows = result.subset_rows()
    assert [row[""] for row in rows] == ["a", "b"]
    inside = np.array(dataset.subsets) == "a"
    scores = result.comparisons[0].scores
    assert rows[0]["images"] == inside.sum()
    assert rows[0]["SRCC"] == correlations(scores["model"].predicted[inside], dataset.scores[inside])["SRCC"]
    assert rows[0]["SRCC 95 %"].startswith("[")
    crafted = correlations(scores["hand-crafted"].predicted[inside], dataset.scores[inside])["SRCC"]
    assert rows[0]["hand-crafted: SRCC"] == crafted
    assert "subset name only: SRCC" not in rows[0]


def test_without_subsets_and_train() -> None:
    result = assess(Brightness(), greys(subsets=False))
    assert [row[""] for row in result.rows()] == ["model"]
    assert result.subset_rows() == []
    assert result.verdict().startswith("SRCC 0.")
    assert "baseline" not in result.verdict()
    named = assess(Brightness(), greys(subsets=False), train=greys(30, subsets=False))
    assert [row[""] for row in named.rows()] == ["model", "mean of train"]
    assert named.comparisons[0].difference is None


def test_constant_predictions_have_no_verdict() -> None:
    result = assess(Brightness(sign=0), greys(), train=greys(80, seed=1))
    assert result.verdict() == "SRCC is not defined here."
    assert result.notes[-1] == "the predictions are all equal: no correlations, no RMSE"
    assert result.comparisons[0].difference is None
    assert result.to_dict()["model"]["SRCC"] is None


def test_images_left_out(tmp_path: Path) -> None:
    dataset = greys()
    path = doubtful(tmp_path, dataset.names, {0, 7})
    result = assess(Brightness(), dataset, train=greys(80, seed=1), exclude=path)
    assert [(row[""], row["part"]) for row in result.rows()] == [
        (name, part) for part in ("all 60", "clean 58") for name in ("model", "mean of train", "subset name only")
    ]
    keep = ~np.isin(np.arange(60), [0, 7])
    assert (
        result.comparisons[1].scores["model"].summary["SRCC"]
        == (correlations(result.scores.predicted[keep], dataset.scores[keep])["SRCC"])
    )
    assert sum(row["images"] for row in result.subset_rows() if row["part"] == "clean 58") == 58
    assert "on clean 58" in result.verdict()
    result.write(tmp_path / "out")
    document = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert document["parts"]["clean 58"]["model"]["images"] == 58
    with (tmp_path / "out" / "images.csv").open() as file:
        assert [row["clean"] for row in csv.DictReader(file)] == [str(int(kept)) for kept in keep]


def test_a_csv_that_does_not_fit(tmp_path: Path) -> None:
    names = greys(9).names
    keep, notes = read_exclusions(doubtful(tmp_path, [*names, "elsewhere.jpg"], {3, 9}), names)
    assert (list(np.flatnonzero(~keep)), notes) == ([3], ["1 of 2 images of doubtful.csv are not in this split"])
    path = tmp_path / "wrong.csv"
    for text, word in (
        ("name,near_dup\na,1\n", "no column image_name"),
        ("", "no column image_name and near_dup"),
        ("image_name,near_dup\na,yes\n", "near_dup of a is neither 0 nor 1"),
        ("image_name,near_dup\na,1\n", "leaves out 0 of the 9"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=word):
            read_exclusions(path, names)
    with pytest.raises(UserError, match="leaves out 9 of the 9"):
        read_exclusions(doubtful(tmp_path, names, set(range(9))), names)
    with pytest.raises(UserError, match="cannot be read"):
        read_exclusions(tmp_path / "absent.csv", names)


def test_files_hold_every_image(tmp_path: Path) -> None:
    dataset = greys()
    result = assess(Brightness(), dataset, train=greys(80, seed=1))
    result.write(tmp_path)
    with (tmp_path / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["name", "subset", "truth", "predicted", "spread"]
    assert [row["name"] for row in rows] == dataset.names
    assert [float(row["truth"]) for row in rows] == list(dataset.scores)
    document = json.loads((tmp_path / "metrics.json").read_text())
    assert document["data"] == "greys/test"
    assert document["model"]["SRCC"] == result.scores.summary["SRCC"]
    low, high = (document["model"]["intervals"]["SRCC"][side] for side in ("low", "high"))
    assert low < document["model"]["SRCC"] < high
    assert document["baselines"]["mean of train"]["SRCC"] is None
    assert document["difference"]["baseline"] == "subset name only"
    assert set(document["difference"]) == {"metric", "baseline", "value", "low", "high"}
    assert [row[""] for row in document["subsets"]] == ["a", "b"]
    assert document["notes"] == ["a note"]


def test_report_shows_tables_scatter_curves_and_largest_errors(tmp_path: Path) -> None:
    dataset, journal = greys(), tmp_path / "log.jsonl"
    journal.write_text(
        '{"kind": "training", "epoch": 0, "loss": 0.5}\n{"kind": "validation", "epoch": 0, "SRCC": 0.7, "PLCC": 0.6}\n'
    )
    path = doubtful(tmp_path, dataset.names, {0, 7})
    result = assess(Brightness(), dataset, train=greys(80, seed=1), exclude=path)
    html = write_report(result, tmp_path, dataset, config="seed: 0", journal=journal).read_text()
    for word in ("greys/test", "clean 58", "subset name only", "by subset", "SRCC 95 %", "Validation", "seed: 0"):
        assert word in html
    assert "The most over-rated" in html
    assert "The most under-rated" in html
    worst = result.scores.largest_errors(1)["over-rated"][0]
    predicted, truth = result.scores.predicted[worst], result.scores.truth[worst]
    assert f"{dataset.names[worst]}: predicted {predicted:.3f}, MOS {truth:.3f}" in html
    assert html.count("<circle") >= 60


def test_comparison_refuses_other_images() -> None:
    one = Scores.from_predictions(np.array([1.0, 2, 3]), np.array([1.0, 2, 3]), "abc", ["", "", ""])
    other = Scores.from_predictions(np.array([1.0, 2, 3]), np.array([1.0, 2, 3]), "abd", ["", "", ""])
    with pytest.raises(ValueError, match="different images"):
        compare({"model": one, "other": other})


def test_the_baseline_alone_stands_in_the_place_of_the_model(tmp_path: Path) -> None:
    dataset = greys()
    result = assess_baseline(HandCrafted(), dataset, doubtful(tmp_path, dataset.names, {0, 7}))
    assert [(row[""], row["part"]) for row in result.rows()] == [("model", "all 60"), ("model", "clean 58")]
    assert result.to_dict()["chosen"] == {"trees": 3}
    assert result.provenance["weights"] == "hand-crafted"
