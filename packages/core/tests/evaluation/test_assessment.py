"""One table, one metrics.json and one report for every application."""

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import polyscale
from polyscale.evaluation import Assessment, Comparison, Difference, Interval, Stopwatch, compare, provenance
from polyscale.evaluation.provenance import checkout_commit

NAN = float("nan")


@dataclass(frozen=True)
class Fixed:
    """Scores that are given."""

    summary: dict[str, float]
    names: tuple[str, ...] = ("a", "b")

    def per_sample(self) -> list[dict[str, Any]]:
        return [{"name": name, "F": float(i)} for i, name in enumerate(self.names)]


MODEL, GOOD, BAD = (Fixed({"F": f, "MAE": mae}) for f, mae in ((0.7, 0.1), (0.5, 0.2), (0.3, NAN)))


def gap(metric: str) -> Any:
    def difference(a: Fixed, b: Fixed) -> Difference:
        value = a.summary[metric] - b.summary[metric]
        return Difference(value, value - 0.1, value + 0.1)

    return difference


def comparison(**named: Any) -> Comparison[Fixed]:
    return compare({"model": MODEL, "bad": BAD, "good": GOOD}, "F", gap("F"), **named)


def assessment(*parts: Comparison[Fixed], **named: Any) -> Assessment[Fixed]:
    return Assessment("set, test", (comparison(), *parts), ("F", "MAE"), lower_is_better=frozenset({"MAE"}), **named)


def test_the_best_baseline_is_the_one_to_beat() -> None:
    assert comparison().best == "good"
    assert comparison().difference == pytest.approx(Difference(0.2, 0.1, 0.3))
    by_error = compare({"model": MODEL, "bad": BAD, "good": GOOD}, "MAE", gap("MAE"), lower_is_better=True)
    assert by_error.best == "good"  # the other one's is not defined
    alone = compare({"model": MODEL}, "F", gap("F"))
    assert (alone.best, alone.difference) == ("", None)
    undefined = compare({"model": MODEL, "bad": BAD}, "MAE", gap("MAE"))
    assert (undefined.best, undefined.difference) == ("", None)


def test_predictors_on_different_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="different images"):
        compare({"model": MODEL, "x": Fixed({"F": 1.0}, ("b", "a"))}, "F", gap("F"))


def test_the_verdict_is_one_sentence() -> None:
    assert comparison().verdict() == (
        "F 0.700 against 0.500 of the best baseline (good): difference +0.200, 95 % interval [+0.100, +0.300]"
    )
    intervals = {"F": Interval(0.6, 0.8), "MAE": None}
    part = compare({"model": MODEL}, "F", gap("F"), title="clean 2", intervals=lambda scores: intervals)
    assert part.verdict() == "F 0.700 [0.600, 0.800] on clean 2"
    assert assessment(part).verdict() == part.verdict()
    assert compare({"model": Fixed({"F": NAN})}, "F", gap("F")).verdict() == "F is not defined here."


def test_rows_are_the_model_then_the_baselines() -> None:
    assert assessment().rows() == [
        {"": "model", "F": 0.7, "MAE": 0.1},
        {"": "bad", "F": 0.3, "MAE": None},
        {"": "good", "F": 0.5, "MAE": 0.2},
    ]
    intervals = {"F": Interval(0.6, 0.8), "MAE": None}
    subsets = [{"subset": "x", "F": 1.0}]
    part = compare({"model": MODEL}, "F", gap("F"), title="clean", intervals=lambda _: intervals, subsets=subsets)
    result = assessment(part)
    assert [(row[""], row["part"]) for row in result.rows()][-2:] == [("good", ""), ("model", "clean")]
    assert result.rows()[-1] == {
        **{"": "model", "part": "clean"},
        **{"F": 0.7, "F 95 %": "[0.600, 0.800]", "MAE": 0.1, "MAE 95 %": None},
    }


def test_metrics_json_has_one_schema(tmp_path: Path) -> None:
    part = compare({"model": MODEL}, "F", gap("F"), title="clean", intervals=lambda _: {"F": Interval(0.6, 0.8)})
    result = assessment(part, notes=("one",), extra={"within": 0.5}, provenance={"date": "now"})
    result.write(tmp_path / "new")
    document = json.loads((tmp_path / "new/metrics.json").read_text(encoding="utf-8"))
    assert document == result.to_dict()
    assert list(document) == [
        *("data", "metric", "model", "baselines", "difference", "within", "parts", "notes", "provenance")
    ]
    assert document["baselines"] == {"bad": {"F": 0.3, "MAE": None}, "good": {"F": 0.5, "MAE": 0.2}}
    assert list(document["difference"]) == ["metric", "baseline", "value", "low", "high"]
    assert document["parts"]["clean"]["model"]["intervals"] == {"F": {"low": 0.6, "high": 0.8}}
    assert document["parts"]["clean"]["difference"] is None
    assert "NaN" not in (tmp_path / "new/metrics.json").read_text(encoding="utf-8")


def test_images_csv_has_a_line_per_image(tmp_path: Path) -> None:
    assessment(marks={"seen": [True, False]}).write(tmp_path)
    with (tmp_path / "images.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [
            {"name": "a", "F": "0.0", "seen": "True"},
            {"name": "b", "F": "1.0", "seen": "False"},
        ]
    with pytest.raises(ValueError, match="zip"):
        assessment(marks={"seen": [True]}).write(tmp_path)


def test_the_report_says_when_and_with_what() -> None:
    made = provenance("polyscale", "runs/a/best", Stopwatch(), run=Path("runs/a"), unknown=None)
    html = assessment(notes=("a note",), provenance=made).report("app").html()
    for text in ("app", "set, test, 2 images", "a note", "runs/a/best", "0.500", made["date"].replace("T", " ")[:19]):
        assert text in html, text
    assert "s of evaluation" in html
    assert 'class="best">0.700' in html


def test_provenance_is_flat_and_complete(tmp_path: Path) -> None:
    made = provenance("polyscale", tmp_path, Stopwatch(), run=tmp_path / "run", unknown=None)
    assert list(made)[:5] == ["date", "seconds", "weights", "version", "torch"]
    assert made["version"].startswith("polyscale ")
    assert made["run"] == str(tmp_path / "run")
    assert "unknown" not in made
    assert made["date"][10] == "T"
    assert made["date"][-6] in "+-"
    assert math.isfinite(made["seconds"])
    assert json.loads(json.dumps(made)) == made


def test_the_commit_is_that_of_the_checkout(tmp_path: Path) -> None:
    commit = "0123456789abcdef" * 2 + "01234567"
    git, file = tmp_path / "main/.git", tmp_path / "main/a/b.py"
    (git / "refs/heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert checkout_commit(file) is None  # a branch without a commit
    (git / "packed-refs").write_text(f"# pack-refs\n{commit} refs/heads/main\n")
    assert checkout_commit(file) == commit[:12]
    (git / "refs/heads/main").write_text("f" * 40 + "\n")
    assert checkout_commit(file) == "f" * 12
    (git / "HEAD").write_text(f"{commit}\n")
    assert checkout_commit(file) == commit[:12]
    tree, own = tmp_path / "tree", git / "worktrees/tree"
    tree.mkdir()
    own.mkdir(parents=True)
    (tree / ".git").write_text(f"gitdir: {own}\n")
    (own / "HEAD").write_text("ref: refs/heads/main\n")
    (own / "commondir").write_text("../..\n")
    assert checkout_commit(tree / "b.py") == "f" * 12
    (own / "HEAD").unlink()
    assert checkout_commit(tree / "b.py") is None


def test_what_runs_from_its_source_has_a_version_too() -> None:
    described = provenance("polyscale-of-nobody", "nano", Stopwatch())
    assert described["version"] == f"polyscale-of-nobody {polyscale.__version__} (from source)"
