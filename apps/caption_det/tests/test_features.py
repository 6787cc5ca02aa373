"""Maps of a frozen tower that are kept on disk: equal to the tower's, computed once, learnt like the images."""

import copy
import json
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor

from caption_det.build import build_model, build_set, build_training_set
from caption_det.config import Config
from caption_det.data import CaptionSet, collate
from caption_det.data.features import FeatureMaps, complete_maps, open_maps
from caption_det.model import CaptionDetModel
from polyscale.errors import UserError
from polyscale.testing.command import call, one_line

SMALL = {
    "data": {"train_images": 10, "eval_images": 4, "vocab_size": 280, "flip": True},
    "model": {
        "backbone": "test_resnet",
        "image_size": 64,
        "width": 16,
        "heads": 2,
        "queries": 9,
        "text_width": 16,
        "text_layers": 1,
        "max_tokens": 12,
        "freeze_tower": True,
        "dropout": 0.0,
    },
}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def parts() -> tuple[Config, CaptionSet, CaptionDetModel]:
    torch.manual_seed(0)
    config = Config(**SMALL)
    base = build_set(config, "train")
    return config, base, build_model(config, base).eval()


def kept(folder: Path, base: CaptionSet, model: CaptionDetModel, views: int = 2) -> FeatureMaps:
    encoder = model.encoder
    maps = open_maps(folder, base, encoder.tower_features, encoder.tower.state_dict(), views)
    complete_maps(maps, base, encoder.tower_features, CPU, batch_size=4)
    return maps


def test_maps_are_those_of_the_tower(parts: tuple[Config, CaptionSet, CaptionDetModel], tmp_path: Path) -> None:
    _, base, model = parts
    maps = kept(tmp_path / "train", base, model)
    assert len(maps) == 10
    assert not len(maps.missing())
    with torch.no_grad():
        for view in (0, 1):
            image = base.network_image(3).flip(-1) if view else base.network_image(3)
            wanted = model.encoder.tower_features(image[None].float() / 255)
            for found, level in zip(maps.get(3, view), wanted, strict=True):
                torch.testing.assert_close(found.float(), level[0], rtol=2e-3, atol=2e-3)
    copied = pickle.loads(pickle.dumps(maps))  # as a worker process gets it
    assert torch.equal(copied.get(3)[0], maps.get(3)[0])


def test_a_batch_of_maps_is_learnt_like_a_batch_of_images(
    parts: tuple[Config, CaptionSet, CaptionDetModel], tmp_path: Path
) -> None:
    config, base, model = parts
    cached = copy.copy(base)
    cached.features = kept(tmp_path / "train", base, model)
    losses = []
    for dataset in (base, cached):
        train_set = build_training_set(config, dataset, model)
        torch.manual_seed(5)  # mirrors some of the images, in both alike
        batch = collate([train_set[i] for i in range(4)])
        assert ("features" in batch) == (dataset is cached)
        losses.append(model(**batch).losses)
    for name, value in losses[0].items():
        torch.testing.assert_close(losses[1][name], value, rtol=1e-2, atol=1e-3)


def test_boxes_of_a_share_of_the_images_are_learnt(parts: tuple[Config, CaptionSet, CaptionDetModel]) -> None:
    config, base, model = parts
    half = build_training_set(config.model_copy(update={"data": config.data.model_copy(update={"box_share": 0.5})}),
                              base, model)  # fmt: skip
    torch.manual_seed(0)
    known = [half[i]["has_boxes"] for i in range(10) for _ in range(10)]
    assert 30 < sum(known) < 70
    assert all(build_training_set(config, base, model)[i]["has_boxes"] for i in range(10))


def test_what_was_stopped_goes_on(parts: tuple[Config, CaptionSet, CaptionDetModel], tmp_path: Path) -> None:
    _, base, model = parts
    encoder = model.encoder
    seen: list[int] = []

    def extract(images: Tensor) -> list[Tensor]:
        if sum(seen) == 8:
            raise KeyboardInterrupt
        seen.append(len(images))
        return encoder.tower_features(images)

    maps = open_maps(tmp_path / "a", base, encoder.tower_features, encoder.tower.state_dict())
    with pytest.raises(KeyboardInterrupt):
        complete_maps(maps, base, extract, CPU, batch_size=4)
    again = open_maps(tmp_path / "a", base, encoder.tower_features, encoder.tower.state_dict())
    assert again.missing().tolist() == [[8, 0], [9, 0]]
    for rank in (0, 1):  # two processes share what is left
        complete_maps(again, base, encoder.tower_features, CPU, share=(rank, 2))
    assert not len(again.missing())


def test_other_maps_are_refused(parts: tuple[Config, CaptionSet, CaptionDetModel], tmp_path: Path) -> None:
    config, base, model = parts
    weights = model.encoder.tower.state_dict()
    open_maps(tmp_path, base, model.encoder.tower_features, weights)
    changed = {name: value + 1 for name, value in weights.items()}
    with pytest.raises(UserError, match="another tower"):
        open_maps(tmp_path, base, model.encoder.tower_features, changed)
    with pytest.raises(UserError, match="mirror images"):
        open_maps(tmp_path, base, model.encoder.tower_features, weights, views=2)
    with pytest.raises(UserError, match="another image size"):
        open_maps(tmp_path, build_set(config, "train", 96), model.encoder.tower_features, weights)


def test_train_keeps_and_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "small.json"
    file.write_text(json.dumps(SMALL), encoding="utf-8")
    options = ("--config", file, "--data.features", tmp_path / "maps", "--train.epochs", "1", "--train.batch_size", "4")
    one_line(call("caption-det", "train", *options, "--no-model.freeze_tower"), 2, "data.features", "freeze")
    first = call("caption-det", "train", *options, "--out", tmp_path / "a", "--json")
    assert first.returncode == 0, first.stderr
    assert (tmp_path / "maps/train/level2.npy").is_file()
    monkeypatch.setattr("caption_det.data.features.FeatureMaps.put", None)  # would fail if anything were computed
    second = call("caption-det", "train", *options, "--out", tmp_path / "b", "--json")
    assert second.returncode == 0, second.stderr
    assert json.loads(first.stdout)["model"] == json.loads(second.stdout)["model"]
