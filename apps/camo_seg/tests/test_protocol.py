"""The protocol by commands: several test sets, maps of any model, comparisons, and the check of a data set."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camo_seg.data.check import check
from camo_seg.evaluation.maps import match_maps, read_map
from camo_seg.evaluation.metrics import score_image
from camo_seg.evaluation.tables import to_latex
from polyscale.errors import UserError
from polyscale.testing.command import call, one_line

SETS = {"CAMO": 3, "CHAMELEON": 2}


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of two test sets of bright discs; both hold an image called disc_0."""
    root = tmp_path_factory.mktemp("bundle")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:30, :40]
    for name, count in SETS.items():
        for i in range(count):
            disc = np.hypot(y - 15, x - 12 - 6 * i) < 6 + i
            image = rng.integers(0, 90, (30, 40, 3)) + 120 * disc[..., None]
            _save(root / "TestDataset" / name / "Imgs" / f"disc_{i}.png", image.astype(np.uint8))
            _save(root / "TestDataset" / name / "GT" / f"disc_{i}.png", (disc * 255).astype(np.uint8))
    return root


@pytest.fixture(scope="module")
def maps(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Maps of every image but for noise equal to its mask, by set."""
    folder = tmp_path_factory.mktemp("maps") / "other"
    rng = np.random.default_rng(1)
    for path in _masks(bundle):
        mask = np.asarray(Image.open(path)).astype(int)
        noisy = np.clip(mask + rng.integers(-60, 60, mask.shape), 0, 255).astype(np.uint8)
        _save(folder / path.parents[1].name / path.name, noisy)
    return folder


def _masks(bundle: Path) -> Iterator[Path]:
    yield from sorted(bundle.glob("TestDataset/*/GT/*.png"))


def test_maps_of_any_model_are_scored_by_the_protocol_set_by_set(bundle: Path, maps: Path, tmp_path: Path) -> None:
    result = call(
        "camo-seg", "eval", "--data", bundle, "--predictions", maps, "--no-baselines", "--json", "-o", tmp_path
    )
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    rows = [score_image(read_map(maps / path.parents[1].name / path.name), _mask(path)) for path in _masks(bundle)]
    assert document["model"]["wF"] == pytest.approx(np.mean([row[1] for row in rows]), abs=1e-12)
    assert {row[""]: row["images"] for row in document["subsets"]} == SETS
    assert document["subsets"][1]["MAE"] == pytest.approx(np.mean([row[2] for row in rows[3:]]), abs=1e-12)
    table = list(csv.DictReader((tmp_path / "table.csv").open()))
    assert [row["name"] for row in table] == list(SETS)
    assert float(table[0]["wF"]) == pytest.approx(document["subsets"][0]["wF"])
    assert r"CAMO & 3 & ." in (tmp_path / "table.tex").read_text()
    assert "CHAMELEON" in (tmp_path / "report.html").read_text()


def _mask(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)) > 128


def test_missing_and_extra_maps_are_listed(bundle: Path, maps: Path, tmp_path: Path) -> None:
    names = ["CAMO/disc_0", "CAMO/disc_1", "CHAMELEON/disc_0"]
    paths, extra = match_maps(maps, names)
    assert [path.parent.name for path in paths] == ["CAMO", "CAMO", "CHAMELEON"]
    assert extra == ["CAMO/disc_2", "CHAMELEON/disc_1"]
    with pytest.raises(UserError, match="2 of 3 images have no map: cat, dog"):
        match_maps(maps, ["cat", "CAMO/disc_0", "x/dog"])
    with pytest.raises(UserError, match=r"CAMO/disc_0, CHAMELEON/disc_0 could all be the map of disc_0"):
        match_maps(maps, ["disc_0"])
    _save(tmp_path / "spare.png", np.zeros((4, 4), np.uint8))
    for path in maps.rglob("*.png"):
        _save(tmp_path / path.relative_to(maps), np.asarray(Image.open(path)))
    line = call("camo-seg", "eval", "--data", bundle, "--predictions", tmp_path, "--no-baselines").stderr
    assert "1 file without an image in the data set left out: spare" in line


def test_the_maps_that_predict_writes_are_found_among_its_files(tmp_path: Path) -> None:
    for ending in ("_probability", "_mask", "_cutout"):
        _save(tmp_path / f"a{ending}.png", np.full((4, 4), 255, np.uint8))
    paths, extra = match_maps(tmp_path, ["a"])
    assert [path.name for path in paths] == ["a_probability.png"]
    assert extra == []


def test_maps_are_read_in_eight_and_sixteen_bits_and_never_in_colour(tmp_path: Path) -> None:
    _save(tmp_path / "deep.png", np.array([[0, 65535], [32768, 1]], np.uint16))
    assert read_map(tmp_path / "deep.png")[1, 0] == pytest.approx(0.5, abs=1e-4)
    _save(tmp_path / "grey.png", np.full((2, 2, 3), 51, np.uint8))
    assert read_map(tmp_path / "grey.png").tolist() == [[pytest.approx(0.2)] * 2] * 2
    _save(tmp_path / "red.png", np.array([[[200, 0, 0]]], np.uint8))
    with pytest.raises(UserError, match=r"red.png: a map is a grey image, this one has colours"):
        read_map(tmp_path / "red.png")


def test_predictions_and_a_model_exclude_each_other(bundle: Path, maps: Path) -> None:
    one_line(call("camo-seg", "eval", "--predictions", maps), 2, "give --data")
    one_line(call("camo-seg", "eval", "runs/x", "--data", bundle, "--predictions", maps), 2, "no MODEL")
    for option in (("--device", "cpu"), ("--precision", "bf16"), ("--batch-size", 2), ("--workers", 0)):
        line = call("camo-seg", "eval", "--data", bundle, "--predictions", maps, *option)
        one_line(line, 2, "no network runs")


def test_compare_shows_where_two_folders_of_maps_differ_most(bundle: Path, maps: Path, tmp_path: Path) -> None:
    worse = tmp_path / "worse"
    for path in maps.rglob("*.png"):
        pixels = np.asarray(Image.open(path))
        wrong = path.parent.name == "CHAMELEON" and path.stem == "disc_1"
        _save(worse / path.relative_to(maps), 255 - pixels if wrong else pixels)
    out = tmp_path / "out"
    result = call("camo-seg", "compare", maps, worse, "--data", bundle, "--out", out, "--json")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["most_different"] == ["CHAMELEON/disc_1"]
    assert document["differences"][0]["first better on"] == 1
    assert document["models"]["other"]["wF"] > document["models"]["worse"]["wF"]
    assert [row["set"] for row in document["rows"]] == ["CAMO", "CAMO", "CHAMELEON", "CHAMELEON", "all", "all"]
    page = (out / "comparison.html").read_text()
    assert page.count("<img") == 4
    assert (out / "table.tex").is_file()
    one_line(call("camo-seg", "compare", maps, maps, "--data", bundle), 2, "two or more")
    one_line(call("camo-seg", "compare", maps, worse, "--data", bundle, "--device", "nowhere"), 2, "device: 'nowhere'")


def test_compare_takes_models_beside_maps(bundle: Path, maps: Path, tmp_path: Path) -> None:
    how = ("--test-set", "chameleon", "--device", "cpu", "--workers", 0)
    result = call("camo-seg", "compare", "nano", maps, "--data", bundle, *how, "-o", tmp_path)
    assert result.returncode == 0, result.stderr
    assert "nano - other" in result.stdout
    assert "2 images" in result.stdout


def test_compare_opens_all_before_it_scores_one(
    bundle: Path, maps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[object] = []
    monkeypatch.setattr("camo_seg.evaluation.evaluate.score_maps", lambda *words: scored.append(words))
    result = call("camo-seg", "compare", maps, tmp_path / "none", "--data", bundle, "-o", tmp_path / "page")
    one_line(result, 1, "none: no such model")
    assert scored == []


def test_latex_escapes_and_prints_as_papers_do() -> None:
    text = to_latex([{"": "a_b & c", "wF": 0.7344, "MAE": None}, {"": "d", "wF": 1.0, "MAE": 0.05}], {"MAE"})
    assert r" & wF $\uparrow$ & MAE $\downarrow$ \\" in text
    assert r"a\_b \& c & .734 & -- \\" in text
    assert r"d & 1.000 & .050 \\" in text


def test_the_check_names_every_fault(bundle: Path, tmp_path: Path) -> None:
    clean = check(bundle)
    assert {finding.level for finding in clean} == {"note"}
    assert any("CAMO test: 3 pairs found, the published set has 250" in finding.line() for finding in clean)
    for split, names in {"Train": ("a", "b", "c", "d"), "Test": ("e", "f")}.items():
        for i, name in enumerate(names):
            stem = f"COD10K-CAM-1-Aquatic-3-Crab-{name}"
            _save(tmp_path / split / "Image" / f"{stem}.png", np.full((8, 8, 3), 20 * i, np.uint8))
            _save(tmp_path / split / "GT_Object" / f"{stem}.png", np.eye(8, dtype=np.uint8) * 255)
    crab = tmp_path / "Train" / "Image" / "COD10K-CAM-1-Aquatic-3-Crab-b.png"
    crab.write_bytes(crab.read_bytes()[:40])
    _save(tmp_path / "Test" / "GT_Object" / "COD10K-CAM-1-Aquatic-3-Crab-f.png", np.eye(8, dtype=np.uint8) * 3 + 1)
    _save(tmp_path / "Train" / "GT_Object" / "COD10K-CAM-1-Aquatic-3-Crab-c.png", np.zeros((8, 8), np.uint8))
    found = check(tmp_path)
    errors, warnings, notes = (
        "\n".join(finding.line() for finding in found if finding.level == level)
        for level in ("error", "warning", "note")
    )
    assert "Crab-b.png" in errors
    assert "Crab-f.png" in errors
    shared = "COD10K-CAM-1-Aquatic-3-Crab-e = COD10K-CAM-1-Aquatic-3-Crab-a"
    assert f"1 image of test, pixel for pixel in train or val too: {shared}" in warnings
    assert "1 mask empty: COD10K-CAM-1-Aquatic-3-Crab-c" in notes
    result = call("camo-seg", "data", "check", tmp_path)
    assert result.returncode == 1
    assert "error: " in result.stdout
    assert call("camo-seg", "data", "check", bundle).returncode == 0


def test_soft_masks_are_told_from_binary_ones(tmp_path: Path) -> None:
    soft = np.zeros((20, 20), np.uint8)
    soft[5:15, 5:15] = 255
    soft[4, 5:15] = np.arange(20, 120, 10)
    for i in range(8):
        _save(tmp_path / "images" / f"{i}.png", np.full((20, 20, 3), i, np.uint8))
        _save(tmp_path / "masks" / f"{i}.png", soft if i == 3 else (soft > 128).astype(np.uint8) * 255)
    found = check(tmp_path)
    assert all(finding.level != "error" for finding in found)
    assert [finding.line() for finding in found if "more than two values" in finding.text] == [
        "1 mask of more than two values, read as soft edges: 3"
    ]
