"""Prediction: every kind of image, original size, order, broken files, file names, and the map the evaluation has."""

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from camo_seg import predict
from camo_seg.data import CamoSet
from camo_seg.data.dataset import Sample
from camo_seg.evaluation.evaluate import predict_maps
from camo_seg.predict import Prediction, Predictor
from polyscale.data.images import read_image, resize_map
from polyscale.data.masks import read_mask
from polyscale.errors import UserError
from polyscale.inference import Failure


class Redness(nn.Module):
    """A stand-in segmenter: the logit grows with red and falls with blue, so that the answer is known."""

    input_size = 32

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 1, 1)
        self.mix.weight.data = torch.tensor([8.0, 0.0, -8.0]).view(1, 3, 1, 1)
        self.mix.bias.data.zero_()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.mix(images)


RED_LEFT = np.zeros((40, 60, 3), np.uint8)
RED_LEFT[:, :30] = 255, 0, 0
RED_LEFT[:, 30:] = 0, 0, 255
LEFT = np.zeros((40, 60), bool)
LEFT[:, :30] = True


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(Redness(), device="cpu", precision="fp32")


def save(path: Path, array: np.ndarray = RED_LEFT, mode: str | None = None, **options: Any) -> Any:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


def test_known_answer_at_original_size(predictor: Predictor) -> None:
    result = predictor(RED_LEFT)
    assert isinstance(result, Prediction)
    assert result.probability.shape == (40, 60)
    assert result.probability.dtype == np.float32
    assert result.probability[20, 5] == pytest.approx(1 / (1 + np.exp(-8)), abs=1e-5)
    np.testing.assert_array_equal(result.mask, LEFT)
    assert result.area == 0.5
    np.testing.assert_array_equal(result.image, RED_LEFT)


@pytest.mark.parametrize(
    "source",
    [
        Image.fromarray(RED_LEFT),
        RED_LEFT,
        RED_LEFT.astype(np.float32) / 255,
        torch.from_numpy(RED_LEFT).permute(2, 0, 1),
        torch.from_numpy(RED_LEFT).permute(2, 0, 1).float() / 255,
    ],
    ids=["PIL", "uint8 array", "float array", "uint8 tensor", "float tensor"],
)
def test_every_kind_of_source_gives_the_same(predictor: Predictor, source: Path) -> None:
    np.testing.assert_array_equal(predictor(source).probability, predictor(RED_LEFT).probability)


def test_path_text_and_path_object(predictor: Predictor, tmp_path: Path) -> None:
    path = save(tmp_path / "shot.png")
    for source in (path, str(path)):
        result = predictor(source)
        assert (result.name, result.source) == ("shot", path)
        np.testing.assert_array_equal(result.probability, predictor(RED_LEFT).probability)


def test_list_keeps_order_and_names(predictor: Predictor, tmp_path: Path) -> None:
    path = save(tmp_path / "b.png", RED_LEFT[::-1, ::-1].copy())
    results = predictor([RED_LEFT, path, RED_LEFT[:10]])
    assert [result.name for result in results] == ["image", "b", "image_2"]
    assert [result.mask[0, 0] for result in results] == [True, False, True]
    assert [len(result.probability) for result in results] == [40, 40, 10]
    assert predictor([]) == []


def test_alpha_cmyk_grey_and_16_bit(predictor: Predictor, tmp_path: Path) -> None:
    see_through = np.dstack([RED_LEFT, np.full((40, 60), 255, np.uint8)])
    rgba = predictor(save(tmp_path / "rgba.png", see_through))
    np.testing.assert_array_equal(rgba.mask, LEFT)
    cmyk = predictor(save(tmp_path / "cmyk.jpg", mode="CMYK", quality=95))
    assert (cmyk.mask == LEFT).mean() > 0.97
    for name, array in (("grey", np.full((9, 7), 90, np.uint8)), ("deep", np.full((9, 7), 40000, np.uint16))):
        result = predictor(save(tmp_path / f"{name}.png", array))
        np.testing.assert_allclose(result.probability, 0.5, atol=1e-6)  # no colour at all
        assert result.probability.shape == (9, 7)


def test_exif_turn_gives_the_upright_image(predictor: Predictor, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # shown turned by 90 degrees clockwise: what lies left is on top
    result = predictor(save(tmp_path / "turned.jpg", exif=exif, quality=95))
    assert result.probability.shape == (60, 40)
    assert result.mask[:29].all()
    assert not result.mask[31:].any()


def test_one_pixel_and_extreme_shapes(predictor: Predictor) -> None:
    assert predictor(np.full((1, 1, 3), (255, 0, 0), np.uint8)).mask.tolist() == [[True]]
    assert predictor(np.zeros((1, 500, 3), np.uint8)).probability.shape == (1, 500)


class Neighbours(nn.Module):
    """A stand-in with spatial context and BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.ConvTranspose2d(8, 1, 2, 2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images)


def random_images(count: int) -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (20 + i, 50 - i, 3), dtype=np.uint8) for i in range(count)]


def test_batches_and_threads_do_not_change_the_result() -> None:
    predictor = Predictor(Neighbours(), device="cpu", precision="fp32", size=48)
    sources = random_images(7)
    alone = [predictor(source).probability for source in sources]
    for batch_size, workers in ((1, 0), (3, 2), (16, 3)):
        results = list(predictor.stream(sources, batch_size=batch_size, workers=workers))
        for result, expected in zip(results, alone, strict=True):
            np.testing.assert_allclose(result.probability, expected, atol=1e-5)


def test_same_map_as_the_evaluation() -> None:
    sources = random_images(3)

    class Memory:
        names = ("a", "b", "c")

        def read(self, index: int) -> Sample:
            return Sample(sources[index], np.ones(sources[index].shape[:2], bool))

    model = Neighbours()
    evaluated = dict(predict_maps(model, CamoSet(Memory(), 48, "memory"), precision="fp32", batch_size=3))
    predicted = Predictor(model, device="cpu", precision="fp32", size=48)(sources)
    for i, result in enumerate(predicted):
        np.testing.assert_allclose(result.probability, resize_map(evaluated[i], sources[i].shape[:2]), atol=1e-6)


def test_broken_files_stand_in_their_place(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    whole = save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:400])
    (tmp_path / "empty.png").touch()
    names = ["text.jpg", "whole.jpg", "cut.jpg", "missing.png", "empty.png", "whole.jpg"]
    for batch_size in (1, 2, 10):
        results = list(predictor.stream([tmp_path / name for name in names], batch_size=batch_size))
        assert [isinstance(result, Failure) for result in results] == [True, False, True, True, True, False]
        for name, result in zip(names, results, strict=True):
            if isinstance(result, Failure):
                assert name in result.error
                assert "\n" not in result.error
                assert json.loads(json.dumps(result.to_dict()))["file"] == str(tmp_path / name)
    with pytest.raises(UserError, match=r"text\.jpg"):
        predictor([whole, tmp_path / "text.jpg"])


def test_output_that_is_not_finite_is_a_failure(tmp_path: Path) -> None:
    model = Redness()
    model.mix.bias.data.fill_(float("nan"))
    predictor = Predictor(model, device="cpu")
    path = save(tmp_path / "shot.png")
    (result,) = predictor.stream(str(path))
    assert isinstance(result, Failure)
    assert str(path) in result.error
    with pytest.raises(UserError, match="not finite"):
        predictor(RED_LEFT)


def test_memory_is_bounded_by_batch_and_threads(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    lock = threading.Lock()

    def counting(source: Path, **named: Any) -> Any:
        with lock:
            read.append(source)
        return read_image(source)

    monkeypatch.setattr(predict, "read_image", counting)
    stream = predictor.stream([save(tmp_path / f"{i}.png", RED_LEFT[:8]) for i in range(60)], batch_size=3, workers=2)
    assert next(stream).name == "0"
    assert len(read) <= 2 * 3 + 2 + 1
    stream.close()
    assert len(read) <= 2 * 3 + 2 + 1


def test_save_and_read_back(predictor: Predictor, tmp_path: Path) -> None:
    result = predictor(save(tmp_path / "in" / "frog.png"))
    paths = result.save(tmp_path / "out")
    assert [path.name for path in paths] == ["frog_probability.png", "frog_mask.png", "frog_overlay.jpg"]
    np.testing.assert_array_equal(read_mask(paths[1]), LEFT)
    stored = np.asarray(Image.open(paths[0]))
    assert stored.dtype == np.uint8
    np.testing.assert_allclose(stored / 255, result.probability, atol=0.5 / 255 + 1e-6)
    assert Image.open(paths[2]).size == (60, 40)
    assert len(result.save(tmp_path / "two", overlay=False)) == 2
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["frog_mask.png", "frog_probability.png"]
    assert result.save(tmp_path / "out") == paths  # a second run replaces the first


def test_an_image_too_long_for_jpeg_is_saved_without_overlay(predictor: Predictor, tmp_path: Path) -> None:
    result = predictor(np.zeros((150, 70_000, 3), np.uint8))
    assert [path.suffix for path in result.save(tmp_path)] == [".png", ".png"]


def test_an_image_is_never_overwritten_by_its_result(predictor: Predictor, tmp_path: Path) -> None:
    path = save(tmp_path / "x_mask.png")
    result = replace(predictor(path), name="x")
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"x_mask\.png: would be overwritten"):
        result.save(tmp_path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_equal_stems_do_not_overwrite_each_other(predictor: Predictor, tmp_path: Path) -> None:
    paths = [save(tmp_path / name) for name in ("a/x.png", "b/x.png", "b/X.jpg", "a/y.png", "c/a_x.png")]
    results = list(predictor.stream([*paths, paths[3]]))
    assert [result.name for result in results][1:] == ["b_x", "X_jpg", "y", "c_a_x", "y_2"]
    for result in results:
        result.save(tmp_path / "out", overlay=False)
    assert len(list((tmp_path / "out").iterdir())) == 12


def test_to_dict_is_json_with_the_box(predictor: Predictor, tmp_path: Path) -> None:
    path = save(tmp_path / "shot.png")
    entry = json.loads(json.dumps(predictor(path).to_dict()))
    assert entry["box"] == [0, 0, 30, 40]
    assert (entry["name"], entry["file"], entry["width"], entry["height"]) == ("shot", str(path), 60, 40)
    assert (entry["area"], entry["threshold"]) == (0.5, 0.5)
    assert predictor(np.zeros((5, 5, 3), np.uint8) + np.array([0, 0, 255], np.uint8)).to_dict()["box"] is None


def test_threshold_moves_the_mask() -> None:
    grey = np.full((6, 6, 3), 128, np.uint8)  # probability .5
    assert Predictor(Redness(), device="cpu", precision="fp32", threshold=0.51)(grey).area == 0
    assert Predictor(Redness(), device="cpu", precision="fp32", threshold=0.5)(grey).area == 1


def test_bf16_stays_close(predictor: Predictor) -> None:
    result = Predictor(Redness(), device="cpu", precision="bf16")(RED_LEFT)
    assert result.probability.dtype == np.float32
    np.testing.assert_allclose(result.probability, predictor(RED_LEFT).probability, atol=0.01)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"threshold": 1.0}, "threshold is 1.0"),
        ({"precision": "half"}, "'half' is none of"),
        ({"precision": "fp16"}, "fp16 needs a CUDA device"),
        ({"size": 8}, "size is 8"),
        ({"device": "gpu"}, "device: 'gpu' is none of auto, cpu"),
        ({"device": "meta"}, "this machine has no meta"),
        ({"device": "cuda:99"}, "this machine has no cuda:99"),
    ],
)
def test_bad_options(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        Predictor(Redness(), **{"device": "cpu", **options})
    assert caught.value.exit_code == 2


def test_a_model_without_input_size_needs_one() -> None:
    with pytest.raises(UserError, match="size is None"):
        Predictor(Neighbours(), device="cpu")


def test_model_is_set_to_eval_and_its_training_state_unused() -> None:
    predictor = Predictor(Neighbours().train(), device="cpu", size=32)
    assert not predictor.network.model.training
    before = predictor.network.model.net[1].running_mean.clone()
    predictor(RED_LEFT)
    assert torch.equal(predictor.network.model.net[1].running_mean, before)


PEAK = """
import sys
from pathlib import Path
from camo_seg import Predictor
from polyscale.inference import predictor as module
module.LARGE_PIXELS = 1 << 22
def peak():
    return next(int(line.split()[1]) << 10 for line in Path("/proc/self/status").open() if line.startswith("VmHWM:"))
small, large, out = sys.argv[1:]
predictor = Predictor("nano", device="cpu")
predictor(small).save(out)
before = peak()
for prediction in predictor.stream([large] * 4):
    prediction.save(out)
print((peak() - before) / prediction.mask.size)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_of_large_images(tmp_path: Path) -> None:
    """Bytes a pixel: 3 of the image, 4 of the map, and what drawing and encoding take, however many images."""
    for name, side in (("small.jpg", 60), ("large.jpg", 2400)):
        Image.new("RGB", (side, side), (90, 120, 60)).save(tmp_path / name)
    command = [sys.executable, "-c", PEAK, *(str(tmp_path / name) for name in ("small.jpg", "large.jpg", "out"))]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    assert float(result.stdout) < 32
