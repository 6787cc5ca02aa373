"""Exported models: onnxruntime alone writes the model's captions and finds its boxes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from caption_det.data.tokenizer import train_tokenizer
from caption_det.describe import describe
from caption_det.describer import Decoding, choose_boxes
from caption_det.export import export
from caption_det.model import CaptionDetConfig, CaptionDetModel
from caption_det.model.detections import Detections, score_boxes
from caption_det.onnx import OnnxCaptioner
from caption_det.predict import Predictor
from polyscale.errors import UserError
from polyscale.testing.apps.prediction import call_without_torch
from polyscale.testing.command import call, one_line

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package)

VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
          "image_size": 32, "patch_size": 8}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "objects": {"memory": "objects", "num_objects": 3},
    "clip, prefix, words only": {"vision_config": VISION, "captioner": "prefix", "detector": "none"},
}


def build(**changes: Any) -> CaptionDetModel:
    """A small model whose random words depend on the image and on the words before."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["a cat on a mat", "two dogs run"], 300)
    text = {"vocab_size": len(tokenizer), "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2,
            "initializer_range": 0.5, "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id}  # fmt: skip
    shape = {"backbone": "test_resnet", "image_size": 64, "width": 16, "num_heads": 2, "num_queries": 9,
             "memory_layers": 1, "object_queries": 6, "detector_layers": 1, "max_tokens": 8}  # fmt: skip
    config = CaptionDetConfig(text_config=text, categories=["cat", "dog"], **(shape | changes))
    model = CaptionDetModel(config).eval()
    model.tokenizer = tokenizer
    if model.decoder is not None:
        for name, parameter in model.decoder.named_parameters():
            if "c_proj.weight" in name:
                parameter.data.normal_(std=4.0 if "crossattention" in name else 1.0)
    return model


@torch.no_grad()
def find_boxes(model: CaptionDetModel, pixels: Tensor) -> list[tuple[Tensor, Tensor] | None]:
    """Boxes as corners and scores of each image, from the head itself."""
    if model.detector is None:
        return [None] * len(pixels)
    found = model.find(model.encoder(pixels))
    centre, size = found.boxes.split(2, -1)
    scores = (found.classes.sigmoid() * found.objectness.sigmoid()[..., None]) ** 0.5
    return list(zip(torch.cat([centre - size / 2, centre + size / 2], -1).clamp(0, 1), scores, strict=True))


@pytest.fixture(scope="module", params=list(KINDS))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[CaptionDetModel, Path]:
    model = build(**KINDS[request.param])
    return model, export(model, tmp_path_factory.mktemp("export") / "made")


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    noise = np.random.default_rng(0).integers(0, 256, (120, 90, 3), dtype=np.uint8)
    blue = noise[:70] // np.array([9, 9, 1], np.uint8)
    return [noise, np.zeros((64, 64, 3), np.uint8), np.full((50, 90, 3), 255, np.uint8), blue]


def test_captions_and_boxes_are_the_models(pair: tuple[CaptionDetModel, Path], images: list[np.ndarray]) -> None:
    model, folder = pair
    runner = OnnxCaptioner(folder)
    made = runner(images)
    pixels = torch.from_numpy(np.stack([runner.squeezed(image) for image in images]))
    greedy = describe(model, pixels, Decoding(beams=1), precision="fp32")
    assert [one.caption for one in made] == [captions[0] for captions, _ in greedy]
    assert len({one.caption for one in made}) > 1  # else equality says little
    for one, found in zip(made, find_boxes(model, pixels), strict=True):
        assert (one.boxes is None) == (found is None)
        if found is not None:
            np.testing.assert_allclose(one.boxes, found[0], atol=1e-4)
            np.testing.assert_allclose(one.scores, found[1], atol=1e-3)
    alone = runner(images[1:2])[0]
    assert alone.caption == made[1].caption


def test_it_runs_without_torch(pair: tuple[CaptionDetModel, Path]) -> None:
    _, folder = pair
    program = (
        "import sys, numpy as np\n"
        "from caption_det.onnx import OnnxCaptioner\n"
        "print(OnnxCaptioner(sys.argv[1])([np.zeros((64, 64, 3), np.uint8)])[0].caption)\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    words = [sys.executable, "-c", program, str(folder)]
    result = subprocess.run(words, check=False, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_predict_runs_the_folder_as_it_runs_the_model(
    pair: tuple[CaptionDetModel, Path], images: list[np.ndarray], tmp_path: Path
) -> None:
    model, folder = pair
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    files = sorted(tmp_path.glob("*.png"))
    model.save_pretrained(tmp_path / "model")
    options = ("predict", *map(str, files), "--json", "--threshold", "0.05", "--device", "cpu", "--precision", "fp32")
    wanted = call("caption-det", *options, "--model", tmp_path / "model", "--beams", "1")
    got = call_without_torch("caption-det", *options, "--model", folder)
    assert got.returncode == 0, got.stderr
    rows = [[json.loads(line) for line in text.splitlines()] for text in (got.stdout, wanted.stdout)]
    assert len(rows[0]) == len(rows[1]) == len(images)
    for one, other in zip(*rows, strict=True):
        objects = [row.pop("objects") for row in (one, other)]
        assert (len(objects[1]) > 0) == (model.detector is not None)
        assert one == other
        assert [found["label"] for found in objects[0]] == [found["label"] for found in objects[1]]
        for found, known in zip(*objects, strict=True):
            assert found["score"] == pytest.approx(known["score"], abs=1e-3)
            assert found["box"] == pytest.approx(known["box"], abs=0.11)  # rounded to a tenth of a pixel


def test_without_torch_the_other_commands_say_what_to_install(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    for words in (
        ("train", "--out", tmp_path / "run"),
        ("eval", "nano"),
        ("export", "nano", "--out", tmp_path / "out"),
    ):
        needed = call_without_torch("caption-det", *words)
        one_line(needed, 1, "which is not installed", 'pip install "polyscale-caption-det[train]"')
    shipped = call_without_torch("caption-det", "predict", tmp_path / "a.png")
    one_line(shipped, 1, "photo/onnx/encoder.onnx", "`caption-det export`", "polyscale-caption-det[export]")
    assert call_without_torch("caption-det", "predict", "--help").returncode == 0


def test_what_a_folder_cannot_do_is_one_line(pair: tuple[CaptionDetModel, Path], tmp_path: Path) -> None:
    model, folder = pair
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    words = ("caption-det", "predict", tmp_path / "a.png", "--out", tmp_path / "out", "--model", folder)
    for option in (("--beams", "3"), ("--captions", "2"), ("--temperature", "1"), ("--top-p", "0.5")):
        one_line(call(*words, *option), 2, str(folder), "greedy")
    one_line(call(*words, "--device", "cuda"), 2, "device", "cpu")
    one_line(call(*words, "--precision", "bf16"), 2, "precision", "fp32")
    one_line(call(*words, "--runtime", "torch"), 1, "runtime", "ONNX")
    if model.decoder is not None:
        one_line(call(*words, "--map"), 2, "--map", str(folder), "does not say where it looks")
        assert not (tmp_path / "out").exists()
    model.save_pretrained(tmp_path / "model")
    missing = call(*words[:-1], tmp_path / "model", "--runtime", "onnx")
    one_line(missing, 1, "encoder.onnx", "caption-det export")


def test_boxes_are_chosen_as_with_torch() -> None:
    rng = np.random.default_rng(0)
    centres, sides = rng.uniform(0.3, 0.7, (400, 2)), rng.uniform(0.05, 0.5, (400, 2))
    sides[:20] = 0  # no area
    corners = np.concatenate([centres - sides / 2, centres + sides / 2], 1).astype(np.float32)
    classes, objectness = torch.randn(1, 400, 3), torch.randn(1, 400)
    boxes = torch.from_numpy(np.concatenate([centres, sides], 1)).float()[None]
    scores = (classes.sigmoid() * objectness.sigmoid()[..., None]).sqrt()[0].numpy()
    for nms_iou in (0.6, 0.3, None):
        (wanted,) = score_boxes(Detections(boxes, objectness, classes), nms_iou=nms_iou, threshold=0.2)
        found = choose_boxes(corners, scores, nms_iou, 0.2)
        np.testing.assert_allclose(found[0], wanted.boxes, atol=1e-6)
        np.testing.assert_allclose(found[1], wanted.scores, atol=1e-6)
        np.testing.assert_array_equal(found[2], wanted.labels)
        assert len(found[2]) > 5


def test_files_that_differ_are_not_kept(
    pair: tuple[CaptionDetModel, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, folder = pair
    own = OnnxCaptioner.tokens

    def wrong(self: OnnxCaptioner, state: dict[str, Any]) -> np.ndarray:
        return own(self, state)[:, ::-1]

    monkeypatch.setattr("caption_det.export._write", lambda _, made: shutil.copytree(folder, made, dirs_exist_ok=True))
    assert export(model, tmp_path / "right").is_dir()
    monkeypatch.setattr(OnnxCaptioner, "tokens", wrong)
    with pytest.raises(UserError, match="other captions"):
        export(model, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_the_command_writes_and_refuses(
    pair: tuple[CaptionDetModel, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, folder = pair
    model.save_pretrained(tmp_path / "model")
    monkeypatch.setattr("caption_det.export._write", lambda _, made: shutil.copytree(folder, made, dirs_exist_ok=True))
    result = call("caption-det", "export", tmp_path / "model", "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == ["decoder.onnx", "encoder.onnx", "tokenizer.json"]
    assert OnnxCaptioner(tmp_path / "out").about["categories"] == ["cat", "dog"]
    assert call("caption-det", "export", tmp_path / "model").returncode == 0
    assert OnnxCaptioner(tmp_path / "model" / "onnx").about == OnnxCaptioner(tmp_path / "out").about
    Predictor(tmp_path / "model", runtime="onnx")  # finds it there
    one_line(call("caption-det", "export", tmp_path / "none"), 1, "none")
    (tmp_path / "file").touch()
    one_line(call("caption-det", "export", tmp_path / "model", "--out", tmp_path / "file"), 2, "file")
    with pytest.raises(UserError, match=r"encoder\.onnx"):
        OnnxCaptioner(tmp_path)
