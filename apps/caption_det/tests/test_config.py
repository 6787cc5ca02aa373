"""The settings of caption-det that are read only together with others."""

import re
from pathlib import Path

import pytest

from caption_det.config import OF_CAPTIONS, PRESETS, SHAPE, Config
from polyscale.errors import UserError
from polyscale.settings import resolve
from polyscale.testing.command import call, one_line
from polyscale.testing.needs import check_needs

FILES = {"data.path": "photos"}
INIT = {"model.init": "runs/a"}
BOXES_ALONE = {"model.captioner": "none"}
OTHER = {
    "data.tokenizer": "gpt", "data.vocab_size": 500, "data.captions": 2, "model.backbone": "resnet18",
    "model.pretrained": "hub", "model.image_size": 96, "model.width": 64, "model.memory": "map", "model.queries": 9,
    "model.objects": 3, "model.text": "gpt", "model.text_width": 64, "model.text_layers": 1, "model.heads": 4,
    "model.max_tokens": 9, "model.beams": 1, "model.dropout": 0.2, "model.vision_width": 64, "model.vision_layers": 1,
    "model.vision_patch": 8, "loss.caption": 2.0, "loss.words": 0.5, "optim.text_lr": 0.5,
}  # fmt: skip
IDLE = [
    ({"train.min_lr": 0.1, "train.schedule": "constant"}, {"train.schedule": "step"}),
    *(
        ({key: OTHER[key], **INIT},
         {"model.init": None, **({"model.memory": "objects"} if key == "model.objects" else {})})
        for key in SHAPE if "vision" not in key
    ),
    *(
        ({key: OTHER[key], **BOXES_ALONE},
         {"model.captioner": "prefix", **({"model.memory": "objects"} if key == "model.objects" else {})})
        for key in OF_CAPTIONS
    ),
    *(
        ({key: value, "model.detector": "none"}, {"model.detector": "set"})
        for key, value in {"data.box_share": 0.5, "loss.detection": 2.0}.items()
    ),
    ({"model.queries": 9, "model.memory": "map"}, {"model.memory": "objects"}),
    ({"model.objects": 3}, {"model.memory": "objects"}),
    ({"data.vocab_size": 500, "data.tokenizer": "gpt"}, {"data.tokenizer": "captions"}),
    ({"model.text_width": 64, "model.text": "gpt"}, {"model.text": "fresh"}),
    ({"model.text_layers": 2, "model.text": "gpt"}, {"model.text": "fresh"}),
    *(({key: OTHER[key]}, {"model.backbone": "clip"}) for key in SHAPE if "vision" in key),
    ({"model.pretrained": "package", "model.backbone": "clip"}, {"model.backbone": "tf_efficientnet_lite0"}),
    ({"model.pretrained": "package", "model.backbone": "openai/clip"}, {"model.pretrained": "hub"}),
    ({"optim.tower_lr": 0.1, "model.freeze_tower": True}, {"model.freeze_tower": False}),
    ({"data.train_images": 9, **FILES}, {"data.path": "synthetic"}),
    ({"data.eval_images": 9, **FILES}, {"data.path": "synthetic"}),
    ({"data.images": "images"}, FILES),
    ({"data.val_fraction": 0.2}, FILES),
]  # fmt: skip


def test_what_nothing_reads_is_refused(tmp_path: Path) -> None:
    check_needs(Config, PRESETS, IDLE, tmp_path)


def test_a_file_that_config_wrote_may_be_changed(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(call("caption-det", "config").stdout.replace("captioner: cross_attention", "captioner: none")
                    .replace("memory: objects", "memory: queries"))  # fmt: skip
    config = resolve(Config, file=file, presets=PRESETS, default_preset="nano")
    assert config.model.captioner == "none"
    assert config.loss == resolve(Config, "nano", presets=PRESETS).loss
    file.write_text(re.sub(r"(text_layers|beams): \d+", r"\1: 7", file.read_text()))
    with pytest.raises(UserError, match=r"my\.yaml: model\.text_layers, model\.beams: are read only with a model"):
        resolve(Config, file=file, presets=PRESETS, default_preset="nano")


def test_a_model_to_start_from_keeps_its_shape() -> None:
    refused = call("caption-det", "train", "--model.init", "nano", "--model.width", "32", "--model.heads", "4")
    one_line(refused, 2, "model.width, model.heads: are read only without model.init", "leave them out")
