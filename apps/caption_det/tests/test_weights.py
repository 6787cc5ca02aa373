"""The models that ship: they load, know what their cards say, and look at the image."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from caption_det.build import build_set
from caption_det.config import Config
from caption_det.data.synthetic import World
from caption_det.describer import Decoding
from caption_det.model.loading import SHIPPED
from caption_det.predict import Predictor
from polyscale.models.sources import shipped_names
from polyscale.settings import resolve_for
from polyscale.testing.command import call, one_line

MODELS = ("nano", "photo")
PHOTOGRAPHS = Path(__file__).parents[4] / "shared/data/caption/coco_mini"


@pytest.mark.parametrize("name", MODELS)
def test_card_and_size(name: str) -> None:
    assert f"# caption-det {name}" in call("caption-det", "info", name).stdout
    about = json.loads(call("caption-det", "info", name, "--json").stdout)
    assert {"license", "terms", "data", "seed", "commit", "metrics"} <= about.keys()
    with safe_open(SHIPPED / name / "model.safetensors", "pt") as file:
        assert {file.get_tensor(key).dtype for key in file.keys()} <= {torch.float16, torch.int64}  # noqa: SIM118


def test_they_stay_small_and_are_known() -> None:
    assert shipped_names(SHIPPED) == sorted(MODELS)
    assert sum(file.stat().st_size for file in SHIPPED.rglob("*") if file.is_file()) <= 20e6
    one_line(call("caption-det", "info", "runs/none"), 1, "runs/none")


def test_nano_describes_scenes_it_has_not_seen() -> None:
    world = World("test", 48, side=128)
    seen = [i for i in range(len(world)) if not world.is_held_out(i)]
    predictor = Predictor("nano", device="cpu")
    answers = [predictor(world.draw(i)[0]) for i in seen]
    right = [world.judge(i, answer.caption or "") for i, answer in zip(seen, answers, strict=True)]
    blind = [world.judge(i, answer.caption or "") for i, answer in zip(seen, answers[1:] + answers[:1], strict=True)]
    stated = json.loads(call("caption-det", "info", "nano", "--json").stdout)["metrics"]
    assert sum(right) / len(seen) > stated["attributes"] - 0.3  # 24 scenes
    assert sum(blind) <= 1


def test_eval_draws_scenes_as_large_as_the_model_sees_them() -> None:
    dataset = build_set(resolve_for(Config, "nano", {}), "test", 128)
    assert dataset.source.image_size(0) == (128, 128)  # squeezed ones have other boxes and other scores


def test_photo_looks_at_the_image(tmp_path: Path) -> None:
    data = pytest.importorskip("skimage.data")
    files = []
    for name in ("chelsea", "rocket"):
        Image.fromarray(getattr(data, name)()).save(tmp_path / f"{name}.png")
        files.append(tmp_path / f"{name}.png")
    result = call("caption-det", "predict", *files, "--json")
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert len({row["caption"] for row in rows}) == 2
    assert all(len(row["caption"].split()) >= 4 for row in rows)


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="the COCO photographs are not here")
def test_photo_describes_many_photographs_differently() -> None:
    files = sorted(PHOTOGRAPHS.rglob("*.jpg"))[:24]
    predictor = Predictor("photo", device="cpu", decoding=Decoding(beams=1))
    captions = [predictor(file).caption for file in files]
    assert len(captions) == 24
    assert len(set(captions)) >= 12
