"""Scores of every kind of image: one preprocessing, order, batches of equal size, broken and huge files, maps."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from iqa import predict
from iqa.data import network_image, read_network_image, read_network_pixels
from iqa.model.network import QualityNet
from iqa.predict import Prediction, Predictor, ScoreRange
from iqa.predict_map import draw_quality, map_quality
from polyscale.data.images import read_image
from polyscale.errors import UserError
from polyscale.inference import Failure
from polyscale.inference.predictor import OPEN_BATCHES


class Brightness(nn.Module):
    """A stand-in whose answer is known: the mean of all samples as a score from 0 to 10, the spread a tenth of it."""

    low, high, input_size = 0.0, 10.0, 64

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(10.0))
        self.batches = []

    def score_with_spread(self, images: torch.Tensor) -> tuple[Any, ...]:
        self.batches.append(tuple(images.shape))
        scores = self.factor * images.mean((1, 2, 3))
        return scores, scores / 10


GREY = np.full((20, 30, 3), 102, np.uint8)  # 0.4


def tiny(**changes: Any) -> Any:
    torch.manual_seed(0)
    options = {"backbone": "test_resnet", "drop_path": 0.0, "image_size": 64}
    network = QualityNet(**{**options, "high": 1.0, **changes})
    with torch.no_grad():  # fresh weights judge far outside the range
        for head in (network.hyper.last_weight, network.hyper.last_bias):
            head.weight.mul_(0.05)
        network.hyper.last_bias.bias.fill_(0.5)
    return network


def noise(seed: int, *shape: object) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def save(path: Path, array: np.ndarray = GREY, mode: str | None = None, **options: Any) -> Any:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(Brightness(), device="cpu")


def test_known_answer_and_what_a_result_says(predictor: Predictor, tmp_path: Path) -> None:
    path = save(tmp_path / "shot.png")
    result = predictor(path)
    assert (result.name, result.source, result.width, result.height) == ("shot", path, 30, 20)
    assert (result.low, result.high, result.lower_better) == (0, 10, False)
    assert result.score == pytest.approx(4, abs=1e-6)
    assert result.spread == pytest.approx(0.4, abs=1e-6)
    assert str(result) == "shot: 4.00 ± 0.40 (0 to 10, higher is better)"
    fields = ["name", "file", "score", "spread", "low", "high", "lower_better", "width", "height"]
    entry = json.loads(json.dumps(result.to_dict()))
    assert list(entry) == fields
    assert (entry["file"], entry["score"]) == (str(path), 4.0)
    assert predictor(GREY).to_dict()["file"] is None


def test_every_kind_of_source_gives_the_same(predictor: Predictor, tmp_path: Path) -> None:
    array = noise(0, 20, 30)
    sources = [
        save(tmp_path / "a.png", array),
        str(tmp_path / "a.png"),
        (tmp_path / "a.png").read_bytes(),
        Image.fromarray(array),
        array,
        array / 255,
        torch.from_numpy(array).permute(2, 0, 1),
    ]
    scores = [result.score for result in predictor(sources)]
    assert scores == [pytest.approx(10 * array.mean() / 255, abs=1e-5)] * 7
    assert predictor([]) == []


def test_alpha_16_bit_grey_cmyk_turned_and_animated(predictor: Predictor, tmp_path: Path) -> None:
    see_through = np.dstack([GREY, np.zeros((20, 30), np.uint8)])
    assert predictor(save(tmp_path / "rgba.png", see_through)).score == pytest.approx(10)  # laid over white
    assert predictor(save(tmp_path / "deep.png", np.full((9, 7), 26214, np.uint16))).score == pytest.approx(4)
    assert predictor(save(tmp_path / "grey.png", GREY[..., 0])).score == pytest.approx(4)
    assert predictor(save(tmp_path / "cmyk.jpg", mode="CMYK", quality=95)).score == pytest.approx(4, abs=0.1)
    exif = Image.Exif()
    exif[274] = 6
    turned = predictor(save(tmp_path / "turned.jpg", exif=exif))
    assert (turned.width, turned.height) == (20, 30)
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert predictor(tmp_path / "moving.gif").score == pytest.approx(4, abs=0.05)  # the first frame


def test_tiny_and_extreme_shapes() -> None:
    predictor = Predictor(tiny(), device="cpu")
    for shape in ((1, 1), (1, 500), (700, 2), (33, 65)):
        result = predictor(noise(1, *shape))
        assert (result.height, result.width) == shape
        assert 0 <= result.score <= 1
        assert result.spread > 0


def test_a_panorama_is_scored_whole(predictor: Predictor, tmp_path: Path) -> None:
    wide = np.zeros((300, 20_000, 3), np.uint8)
    wide[:, -10_000:] = 255
    result = predictor(save(tmp_path / "wide.jpg", wide, quality=80))
    assert (result.width, result.height) == (20_000, 300)
    assert result.score == pytest.approx(5, abs=0.01)
    assert predictor.draw_map(tmp_path / "wide.jpg").shape[1] < 3000


def test_equal_sizes_share_a_batch_and_order_is_kept() -> None:
    model = Brightness()
    shapes = [(8, 8), (9, 9), (8, 8), (100, 100), (9, 9), (8, 8), (200, 200), (8, 8)]
    sources = [np.full((*shape, 3), 10 * i, np.uint8) for i, shape in enumerate(shapes)]
    results = list(Predictor(model, device="cpu").stream(sources, batch_size=3))
    assert [round(result.score * 25.5) for result in results] == [10 * i for i in range(8)]
    assert sorted(model.batches) == [(1, 3, 8, 8), (2, 3, 9, 9), (2, 3, 64, 64), (3, 3, 8, 8)]


def test_batches_threads_and_batch_mates_do_not_change_a_score() -> None:
    predictor = Predictor(tiny(), device="cpu")
    sources = [noise(i, 40 + 8 * (i % 2), 50) for i in range(9)]
    alone = [predictor(source).score for source in sources]
    assert len({round(score, 4) for score in alone}) > 5
    for batch_size, workers in ((1, 0), (3, 2), (16, 3)):
        results = list(predictor.stream(sources, batch_size=batch_size, workers=workers))
        np.testing.assert_allclose([result.score for result in results], alone, atol=1e-5)
        assert [result.to_dict()["score"] for result in results] == [round(score, 4) for score in alone]
    assert [predictor(source).score for source in sources] == alone  # bit for bit


def test_the_preprocessing_of_training(tmp_path: Path) -> None:
    network, shipped = tiny(), QualityNet.from_pretrained("nano")
    for name, shape in (("small", (40, 60)), ("large", (300, 410)), ("huge", (1200, 900))):
        path = save(
            tmp_path / f"{name}.jpg",
            np.kron(noise(2, shape[0] // 10, shape[1] // 10), np.ones((10, 10, 1))).astype(np.uint8),
        )
        pixels = read_network_image(path, 64)
        assert pixels.shape[1] * pixels.shape[2] <= 64 * 64
        with torch.inference_mode():
            expected, spread = network.eval().score_with_spread(pixels[None].float() / 255)
            whole = shipped.score(network_image(read_image(path), 64)[None].float() / 255)
            part = shipped.score(pixels[None].float() / 255)
        result = Predictor(network, device="cpu")(path)
        assert result.score == pytest.approx(float(expected), abs=1e-6)
        assert result.spread == pytest.approx(float(spread), abs=1e-6)
        assert float(part) == pytest.approx(float(whole), abs=8)  # of 100, on noise of 64 pixels


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


def test_output_that_is_not_finite_is_a_failure(predictor: Predictor, tmp_path: Path) -> None:
    predictor.network.model.factor.data.fill_(float("nan"))
    path = save(tmp_path / "shot.png")
    (result,) = predictor.stream(str(path))
    assert isinstance(result, Failure)
    assert f"{path}: the model's output is not finite" in result.error


def test_memory_is_bounded_and_large_files_are_read_one_at_a_time(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, at_once, most = [], 0, 0
    lock = threading.Lock()

    def counting(source: Path, size: int) -> Any:
        nonlocal at_once, most
        with lock:
            read.append(source)
            at_once += 1
            most = max(most, at_once)
        try:
            return read_network_pixels(source, size)
        finally:
            with lock:
                at_once -= 1

    monkeypatch.setattr(predict, "read_network_pixels", counting)
    monkeypatch.setattr("polyscale.inference.predictor.LARGE_PIXELS", 0)
    paths = [save(tmp_path / f"{i}.png", noise(i, 2 + i, 3)) for i in range(60)]  # no two alike
    stream = predictor.stream(paths, batch_size=2, workers=3)
    assert next(stream).name == "0"
    stream.close()
    assert len(read) <= (OPEN_BATCHES + 1) * 2 + 3 + 1
    assert most == 1


def test_equal_stems_get_different_names(predictor: Predictor, tmp_path: Path) -> None:
    paths = [save(tmp_path / name) for name in ("a/x.png", "b/x.png", "b/X.jpg")]
    assert len({result.name.casefold() for result in predictor.stream(paths)}) == 3


def test_a_map_has_the_images_own_size_and_the_scores_units(tmp_path: Path) -> None:
    model = Brightness()
    model.input_size = 512
    predictor = Predictor(model, device="cpu")
    left_dark = np.zeros((200, 300, 3), np.uint8)
    left_dark[:, 150:] = 255
    path = save(tmp_path / "half.png", left_dark)
    quality = predictor.map(path)
    assert quality.dtype == np.float32
    assert quality.shape == (200, 300)
    assert quality[:, 20].max() < 1
    assert quality[:, -20].min() > 9
    drawn = predictor.draw_map(path)
    assert drawn.dtype == np.uint8
    assert drawn.ndim == 3
    assert Predictor(tiny(), device="cpu").map(noise(0, 150, 40)).shape == (150, 40)


def test_the_map_reaches_every_border() -> None:
    pixels = noise(4, 100, 300).transpose(2, 0, 1)

    def last_corner(tiles: np.ndarray) -> np.ndarray:
        assert len(tiles) <= 16
        return tiles[:, 0, -1, -1:].astype(np.float32)

    quality = map_quality(last_corner, pixels, tile=64, step=32)
    assert quality.shape == (3, 9)
    assert quality[-1, -1] == pixels[0, -1, -1]
    assert quality[0, 0] == pixels[0, 63, 63]
    assert map_quality(last_corner, pixels, tile=400).shape == (1, 1)


def test_a_score_has_one_colour_in_every_map() -> None:
    image = np.full((40, 40, 3), 128, np.uint8)

    def colour(quality: list[float]) -> list[int]:
        drawn = draw_quality(image, np.array([quality], np.float32), ScoreRange(0, 100))
        return [int(value) for value in drawn[320, 680]]  # the left end of the map

    assert colour([40, 90]) == colour([40, 41]) == colour([40, 40])
    assert colour([40, 40]) != colour([60, 60])
    even = draw_quality(image, np.full((1, 2), 50, np.float32), ScoreRange(0, 100))[20:600, -600:-20]
    assert not np.ptp(even, axis=(0, 1)).any()
    assert [ScoreRange(*r).decimals for r in ((0, 100), (0, 1), (1, 5), (0, 10), (0, 1000))] == [1, 3, 3, 2, 0]


@pytest.mark.parametrize("size", [(3000, 100), (100, 3000), (12, 9), (480, 640)])
def test_maps_of_every_shape_have_room_for_their_legend(size: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    drawn = draw_quality(image, np.array([[10.0, 90.0]], np.float32), ScoreRange(0, 100))
    assert max(drawn.shape) < 3000
    legend = drawn[-50:]
    colours = np.unique(legend[:13].reshape(-1, 3), axis=0)
    assert len(colours) > 100
    dark = (legend[13:].max(2) < 120).any(0).nonzero()[0]  # the numbers at both ends
    assert dark[0] < 20
    assert dark[-1] > drawn.shape[1] - 20


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"precision": "half"}, "'half' is none of"),
        ({"device": "gpu"}, "device: 'gpu' is none of auto, cpu"),
        ({"device": "cuda:99"}, "this machine has no cuda:99"),
    ],
)
def test_bad_options(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        Predictor(Brightness(), **{"device": "cpu", **options})
    assert caught.value.exit_code == 2
    with pytest.raises(UserError, match="batch_size is 0"):
        Predictor(Brightness(), device="cpu").stream([], batch_size=0)


def test_a_saved_model_and_one_in_training_mode_score_alike(tmp_path: Path) -> None:
    network = tiny().train()
    network.save_pretrained(tmp_path)
    array = noise(3, 40, 50)
    result = Predictor(tmp_path, device="cpu")(array)
    assert isinstance(result, Prediction)
    assert Predictor(network, device="cpu")(array).score == result.score


PEAK = """
import sys
from pathlib import Path
from PIL import Image
from iqa.predict import Predictor
result = Predictor(sys.argv[1], device="cpu")(sys.argv[2])
assert (result.width, result.height) == (12_000, 8_400), result
print(next(int(line.split()[1]) >> 10 for line in Path("/proc/self/status").open() if line.startswith("VmHWM:")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_of_a_100_megapixel_jpeg(tmp_path: Path) -> None:
    tiny(image_size=512).save_pretrained(tmp_path / "model")
    Image.new("RGB", (12_000, 8_400), (90, 120, 60)).save(tmp_path / "big.jpg")
    command = [sys.executable, "-c", PEAK, str(tmp_path / "model"), str(tmp_path / "big.jpg")]
    result = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path.cwd())
    assert int(result.stdout) < 1500
