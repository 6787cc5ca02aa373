"""Exported models: onnxruntime alone writes the model's captions and finds its boxes."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from caption_det.data.tokenizer import train_tokenizer
from caption_det.export import export
from caption_det.model import CaptionDetConfig, CaptionDetModel
from caption_det.onnx import OnnxCaptioner
from caption_det.predict import Decoding, describe
from polyscale.errors import UserError
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
    result = call("caption-det", "export", tmp_path / "model", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == ["decoder.onnx", "encoder.onnx", "tokenizer.json"]
    assert OnnxCaptioner(tmp_path / "out").about["categories"] == ["cat", "dog"]
    one_line(call("caption-det", "export", tmp_path / "none", tmp_path / "x"), 1, "none")
    (tmp_path / "file").touch()
    one_line(call("caption-det", "export", tmp_path / "model", tmp_path / "file"), 2, "file")
    with pytest.raises(UserError, match=r"encoder\.onnx"):
        OnnxCaptioner(tmp_path)
