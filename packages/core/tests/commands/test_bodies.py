"""Bodies of commands: results come out as they are made, outputs are refused first, nothing is lost at the end."""

import csv
import io
import json
import weakref
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer
from numpy.typing import NDArray
from PIL import Image

from polyscale.commands.bodies import (
    Outputs,
    PredictOptions,
    finish_training,
    list_inputs,
    predict_images,
    show_assessment,
)
from polyscale.commands.output import check_folder, check_targets
from polyscale.data.images import ImageSource, read_image
from polyscale.errors import UserError
from polyscale.evaluation import Assessment, Difference, compare
from polyscale.inference.predictor import Predictor


@dataclass(eq=False)
class Item:
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Grey:
    name: str
    value: float

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "value": self.value}


class Greys(Predictor[Item, Grey]):
    """The mean of each image; `on_infer` is called before each batch."""

    def __init__(self) -> None:
        self.read_files: list[ImageSource] = []
        self.on_infer = lambda: None

    def read(self, source: ImageSource) -> Item:
        self.read_files.append(source)
        return Item(read_image(source).transpose(2, 0, 1))

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        self.on_infer()
        return images.mean((1, 2, 3))

    def result(self, name: str, path: Path | None, item: Item, output: float) -> Grey:
        return Grey(name, float(output))


ONE_BY_ONE = {"batch_size": 1, "workers": 0}


@pytest.fixture
def greys() -> Greys:
    return Greys()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Five images: img10 is 50, img2 is 20, a is 30, c is broken, b is 10."""
    monkeypatch.chdir(tmp_path)
    values = {"img10": 50, "img2": 20, "a": 30, "c": None, "b": 10}
    for name, value in values.items():
        if value is None:
            Path(f"{name}.png").write_bytes(b"not an image")
        else:
            Image.new("RGB", (6, 4), (value,) * 3).save(f"{name}.png")
    return [Path(f"{name}.png") for name in values]


def entries(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def rows(text: str) -> list[tuple[str, float]]:
    return [(row["name"], float(row["value"])) for row in csv.DictReader(io.StringIO(text))]


IN_ORDER = [("img10", 50.0), ("img2", 20.0), ("a", 30.0), ("b", 10.0)]


def test_json_lines_name_failures_at_their_place(
    greys: Greys, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = predict_images(greys, files, PredictOptions(as_json=True), Outputs[Grey]())
    out, err = capsys.readouterr()
    assert [entry["name"] for entry in entries(out)] == ["img10", "img2", "a", "c", "b"]
    assert ["error" in entry for entry in entries(out)] == [False, False, False, True, False]
    assert entries(out)[3]["file"] == "c.png"
    assert err.count("error: ") == 1
    assert (len(outcome.kept), outcome.counted, outcome.failed) == (4, 4, 1)


def test_csv_is_written_as_results_come(greys: Greys, files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[int] = []
    greys.on_infer = lambda: seen.append(len(rows(Path("new/rows.csv").read_text())))
    predict_images(greys, files, PredictOptions(csv="new/rows.csv", **ONE_BY_ONE), Outputs[Grey]())  # type: ignore[arg-type]
    assert seen == [0, 1, 2, 3]
    assert rows(Path("new/rows.csv").read_text()) == IN_ORDER
    assert capsys.readouterr().err.splitlines()[-1] == "made new/rows.csv: 4 images"


def test_csv_to_stdout_holds_nothing_else(greys: Greys, files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    outputs = Outputs(row=Grey.to_dict)
    predict_images(greys, files, PredictOptions(csv="-"), outputs)
    assert rows(capsys.readouterr().out) == IN_ORDER
    with pytest.raises(UserError, match="--json and --csv -") as refused:
        list_inputs(["x.png"], PredictOptions(csv="-", as_json=True))
    assert refused.value.exit_code == 2


def test_limit_stops_and_sort_keeps_the_first(
    greys: Greys, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"as_json": True, **ONE_BY_ONE}
    predict_images(greys, files, PredictOptions(limit=2, **options), Outputs[Grey]())  # type: ignore[arg-type]
    assert [entry["name"] for entry in entries(capsys.readouterr().out)] == ["img10", "img2"]
    assert len(greys.read_files) == 2
    outputs = Outputs[Grey](sort_keys={"value": lambda grey: grey.value})
    for sort, want in (("value", ["b", "img2"]), ("name", ["a", "b"])):
        predict_images(greys, files, PredictOptions(limit=2, sort=sort, as_json=True), outputs)
        lines = [entry for entry in entries(capsys.readouterr().out) if "error" not in entry]
        assert [entry["name"] for entry in lines] == want
    dropped = Outputs[Grey](keep=lambda grey: grey.value < 25)
    outcome = predict_images(greys, files, PredictOptions(limit=1), dropped)
    assert [kept.fields["name"] for kept in outcome.kept] == ["img2"]
    assert (outcome.counted, outcome.left_out) == (1, 1)  # it stopped there
    by_value = Outputs[Grey](keep=lambda grey: grey.value < 35, sort_keys={"value": lambda grey: grey.value})
    outcome = predict_images(greys, files, PredictOptions(sort="value", limit=1), by_value)
    assert (len(outcome.kept), outcome.counted, outcome.left_out) == (1, 3, 1)  # of all, more than are kept


@pytest.mark.parametrize("options", [{"limit": 2}, {"sort": "value", "limit": 2}, {"sort": "value"}])
def test_files_are_written_of_what_is_kept_only(greys: Greys, files: list[Path], options: dict[str, Any]) -> None:
    saved: list[str] = []
    outputs = Outputs[Grey](save=lambda grey: saved.append(grey.name), sort_keys={"value": lambda grey: grey.value})
    outcome = predict_images(greys, files, PredictOptions(**options), outputs)
    assert sorted(saved) == sorted(kept.fields["name"] for kept in outcome.kept)
    assert len(saved) == options.get("limit", 4)


@pytest.mark.parametrize("options", [{}, {"sort": "value"}, {"sort": "value", "limit": 3}])
def test_results_are_not_held_longer_than_needed(greys: Greys, tmp_path: Path, options: dict[str, Any]) -> None:
    """A result may hold an image of 100 megapixels: a folder of them has to fit into memory."""
    alive: weakref.WeakSet[Grey] = weakref.WeakSet()
    most: list[int] = []

    def result(name: str, path: Path | None, item: Item, output: float) -> Grey:
        grey = Grey(name, float(output) + len(most) % 7)
        alive.add(grey)
        most.append(len(alive))
        return grey

    greys.result = result  # type: ignore[method-assign]
    images = [np.full((4, 6, 3), i, np.uint8) for i in range(60)]
    outputs = Outputs[Grey](sort_keys={"value": lambda grey: grey.value})
    outcome = predict_images(greys, images, PredictOptions(**ONE_BY_ONE, **options), outputs)
    assert len(outcome.kept) == options.get("limit", 60)
    assert max(most) <= 3 + options.get("limit", 0)


def test_one_result_that_cannot_be_saved_does_not_end_it(
    greys: Greys, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    saved: list[str] = []

    def save(grey: Grey) -> None:
        if grey.name == "img2":
            raise UserError("img2_out.png: cannot be written: No space left on device")
        saved.append(grey.name)

    outcome = predict_images(greys, files, PredictOptions(), Outputs(save=save))
    assert saved == ["img10", "a", "b"]
    assert (len(outcome.kept), outcome.failed) == (3, 2)
    assert "error: img2_out.png: cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("options", [{}, {"csv": "rows.csv"}, {"as_json": True}])
def test_an_interrupt_shows_what_is_done(
    greys: Greys, files: list[Path], capsys: pytest.CaptureFixture[str], options: dict[str, Any]
) -> None:
    batches = iter(range(10))

    def interrupt() -> None:
        if next(batches) == 2:
            raise KeyboardInterrupt

    greys.on_infer = interrupt
    with pytest.raises(KeyboardInterrupt):
        predict_images(greys, files, PredictOptions(**ONE_BY_ONE, **options), Outputs(row=Grey.to_dict))
    out = capsys.readouterr().out
    shown = Path("rows.csv").read_text() if "csv" in options else out
    assert [name in shown for name in ("img10", "img2", "50.0", "20.0")] == [True] * 4
    assert "30.0" not in shown


def test_targets_are_refused_before_the_first_image_is_read(greys: Greys, files: list[Path]) -> None:
    Path("folder").mkdir()
    outputs = Outputs[Grey](save=lambda grey: None, files=lambda name: [Path(f"{name}.png")])
    cases: list[tuple[dict[str, Any], Outputs[Grey], str]] = [
        ({}, outputs, r"img10\.png: is one of the inputs and would be overwritten"),
        ({"csv": "a.png"}, Outputs(), r"a\.png: is one of the inputs"),
        ({"csv": "folder"}, Outputs(), "folder: is a folder; name a file"),
        ({"csv": "a.png/rows.csv"}, Outputs(), "is a file, not a folder"),
    ]
    before = [file.read_bytes() for file in files]
    for options, wanted, message in cases:
        with pytest.raises(UserError, match=message):
            predict_images(greys, files, PredictOptions(**options), wanted)
    assert greys.read_files == []
    assert [file.read_bytes() for file in files] == before
    link = Path("link.png")
    link.symlink_to("a.png")
    with pytest.raises(UserError, match="overwritten"):
        check_targets([link], files)


def test_links_to_what_is_not_there_are_no_targets(tmp_path: Path) -> None:
    """Such as to a drive that is not mounted: what is written there would be lost after the work."""
    gone, itself = tmp_path / "gone", tmp_path / "itself"
    gone.symlink_to(tmp_path / "drive" / "folder")
    itself.symlink_to(itself)
    for folder in (gone, gone / "deeper", itself):
        with pytest.raises(UserError, match="is a link to what is not there") as refused:
            check_folder(folder)
        assert refused.value.exit_code == 2
        with pytest.raises(UserError, match="is a link to what is not there"):
            check_targets([folder / "a.csv"])
    with pytest.raises(UserError, match="is a link to what is not there"):
        check_targets([gone])
    (tmp_path / "drive").mkdir()
    check_targets([gone])  # makes the file


def test_folders_that_cannot_be_written_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_folder(tmp_path / "new/deeper")
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file/deeper"):
        with pytest.raises(UserError, match="file is a file, not a folder") as refused:
            check_folder(folder)
        assert refused.value.exit_code == 2
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(UserError, match="no permission"):
        check_folder(tmp_path / "new")


def test_inputs_that_are_not_there_are_named_and_the_others_go_on(
    files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    found, refused = list_inputs(["a.png", "none.png"], PredictOptions(as_json=True))
    out, err = capsys.readouterr()
    assert ([Path(file) for file in found], refused) == ([Path("a.png")], True)
    assert "none.png: no such file" in err
    assert entries(out)[0].keys() == {"name", "file", "error"}
    with pytest.raises(typer.Exit) as ended:
        list_inputs(["none.png"], PredictOptions())
    assert ended.value.exit_code == 1


@dataclass(frozen=True)
class Fixed:
    summary: dict[str, float]
    names: tuple[str, ...] = ("a", "b")

    def per_sample(self) -> list[dict[str, Any]]:
        return [{"name": name} for name in self.names]


@pytest.fixture
def result() -> Assessment[Fixed]:
    predictors = {"model": Fixed({"F": 0.75}), "centre": Fixed({"F": 0.5})}
    comparison = compare(predictors, "F", lambda a, b: Difference(0.25, 0.2, 0.3))
    return Assessment("set, test", (comparison,), ("F",))


def broken_drawing(*_: object) -> Path:
    raise OSError("broken data stream when writing image file")  # what Pillow said of a noisy image


def finished(out: Path, is_main: bool = True) -> Any:
    progress, config = SimpleNamespace(best_epoch=1), SimpleNamespace(epochs=4)
    return SimpleNamespace(out=out, is_main=is_main, progress=progress, config=config)


@pytest.mark.parametrize("as_json", [False, True])
def test_the_numbers_of_train_are_out_before_anything_is_drawn(
    result: Assessment[Fixed], tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    with pytest.raises(OSError, match="broken data stream"):
        finish_training("app", finished(tmp_path), result, broken_drawing, as_json=as_json)
    out, err = capsys.readouterr()
    assert json.loads((tmp_path / "metrics.json").read_text())["model"] == {"F": 0.75}
    if as_json:
        assert {"run": str(tmp_path), "best_epoch": 2, "model": {"F": 0.75}}.items() <= json.loads(out).items()
    else:
        assert "0.7500" in out
        assert "2 images, epoch 2 of 4, chosen on val" in " ".join(out.split())
        assert "difference +0.250" in err


def test_train_says_what_it_made_and_only_the_main_process_speaks(
    result: Assessment[Fixed], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finish_training("app", finished(tmp_path / "x", is_main=False), result, broken_drawing, as_json=False)
    assert capsys.readouterr() == ("", "")
    assert not (tmp_path / "x").exists()
    finish_training("app", finished(tmp_path), result, lambda: tmp_path / "report.html", as_json=False)
    err = capsys.readouterr().err
    assert f"made {tmp_path}: best/ (weights), metrics.json, images.csv, report.html" in err
    assert f"next: app predict IMAGES --model {tmp_path}" in err


def test_eval_prints_first_and_writes_where_it_is_told(
    result: Assessment[Fixed], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_assessment(result, None, broken_drawing, as_json=True)
    assert json.loads(capsys.readouterr().out)["baselines"] == {"centre": {"F": 0.5}}
    with pytest.raises(OSError, match="broken data stream"):
        show_assessment(replace(result, unit="frame"), tmp_path, broken_drawing, as_json=False)
    out = capsys.readouterr().out
    assert "0.7500" in out
    assert out.startswith("set, test, 2 frames\n")
    assert (tmp_path / "frames.csv").read_text().splitlines() == ["name", "a", "b"]
