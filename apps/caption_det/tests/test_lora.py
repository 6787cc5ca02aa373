"""Adapters: what learns, that a run with them resumes bit-equal, and that what it saves is an ordinary model."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from caption_det.data.tokenizer import train_tokenizer
from caption_det.model import CaptionDetConfig, CaptionDetModel, load
from caption_det.model.lora import add_adapters, merged_state
from polyscale.errors import UserError
from polyscale.testing.apps.base import Killed, count_steps
from polyscale.testing.command import call, one_line

pytest.importorskip("peft")

VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
          "image_size": 32, "patch_size": 8}  # fmt: skip
FEW = ("--data.train_images", "12", "--data.eval_images", "2", "--train.batch_size", "4", "--train.log_every", "1")
SMALL = (
    *("--model.backbone", "clip", "--model.vision_width", "16", "--model.vision_layers", "1", "--model.vision_patch"),
    *("16", "--model.image_size", "64", "--model.width", "16", "--model.heads", "2", "--model.queries", "4"),
    *("--model.text_width", "16", "--model.text_layers", "1", "--model.max_tokens", "12", "--data.vocab_size", "280"),
)


def build(**changes: Any) -> CaptionDetModel:
    """A small CLIP and GPT-2 whose zeros are none, so that every part passes a gradient on."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["a cat on a mat", "two dogs run"], 300)
    text = {"vocab_size": len(tokenizer), "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2,
            "initializer_range": 0.5, "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id}  # fmt: skip
    shape = {"vision_config": VISION, "image_size": 32, "width": 16, "num_heads": 2, "num_queries": 4, "dropout": 0.0,
             "memory_layers": 1, "max_tokens": 8, "words_weight": 0.5, "categories": ["cat", "dog"]}  # fmt: skip
    model = CaptionDetModel(CaptionDetConfig(text_config=text, **(shape | changes)))
    model.tokenizer = tokenizer
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
    return model


def adapt(model: CaptionDetModel) -> CaptionDetModel:
    add_adapters(model.decoder, model.encoder.tower, 2)
    return model


def batch() -> dict[str, Any]:
    boxes = [{"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.3, 0.2]])}] * 2
    generator = torch.Generator().manual_seed(1)
    return {"pixel_values": torch.rand(2, 3, 32, 32, generator=generator), "detection_labels": boxes,
            "labels": torch.randint(5, 40, (2, 6), generator=generator)}  # fmt: skip


def learn(model: CaptionDetModel, steps: int) -> None:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-2)
    for _ in range(steps):
        model(**batch()).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def test_adapters_and_the_parts_of_this_application_learn_and_nothing_else() -> None:
    model = adapt(build()).train()
    before = {name: value.clone() for name, value in model.named_parameters()}
    learn(model, 2)  # the first step moves one half of an adapter, the second both
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    text = "decoder.transformer.h"
    layers = [f"{text}.{i}.attn.{name}" for i in range(2) for name in ("c_attn", "c_proj")]
    layers += [f"encoder.tower.net.encoder.layers.{i}.self_attn.{name}_proj" for i in range(2) for name in "qv"]
    adapters = {f"{name}.lora_{half}.default.weight" for name in layers for half in "AB"}
    ours = ("encoder.tower.norm", "encoder.neck", "encoder.memory", "encoder.bridge", "detector", "words")
    crossing = tuple(f"{text}.{i}.{name}" for i in range(2) for name in ("crossattention", "ln_cross_attn"))
    assert {name for name in moved if "lora_" in name} == adapters
    assert moved - adapters == {name for name in before if name.startswith((*ours, *crossing))}
    assert {name for name, value in model.named_parameters() if value.requires_grad} == moved
    assert "decoder.transformer.wte.weight" in before.keys() - moved


def test_a_saved_model_is_an_ordinary_one_and_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = build()
    model = adapt(build()).train()
    learn(model, 3)
    model.eval().save_pretrained(tmp_path)
    monkeypatch.setitem(sys.modules, "peft", None)
    loaded = load(tmp_path)
    assert loaded.state_dict().keys() == plain.state_dict().keys()
    inputs, words = batch()["pixel_values"], torch.tensor([[0, 9, 12], [0, 20, 7]])
    logits = [one.eval()(inputs, decoder_input_ids=words) for one in (loaded, model, plain)]
    torch.testing.assert_close(logits[0].logits, logits[1].logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits[0].pred_boxes, logits[1].pred_boxes, atol=1e-5, rtol=1e-4)
    assert (logits[0].logits - logits[2].logits).abs().max() > 0.1
    ids = [one.generate(inputs, num_beams=1) for one in (loaded, model)]
    assert torch.equal(*ids)


def test_the_adapters_themselves_are_merged() -> None:
    model = adapt(build())
    name = "decoder.transformer.h.0.attn.c_attn"
    layer = model.get_submodule(name)
    layer.lora_B["default"].weight.data.normal_()  # type: ignore[index, union-attr]
    difference = merged_state(model)[f"{name}.weight"] - model.state_dict()[f"{name}.base_layer.weight"]
    a, b = (model.state_dict()[f"{name}.lora_{half}.default.weight"] for half in "AB")
    torch.testing.assert_close(difference, 2 * (b @ a).T, atol=1e-5, rtol=1e-4)


def test_a_frozen_tower_has_none_and_a_model_needs_a_part_for_them() -> None:
    model = build()
    model.encoder.tower.requires_grad_(False)
    assert not [name for name, _ in adapt(model).encoder.named_parameters() if "lora_" in name]
    with pytest.raises(UserError, match=r"model\.lora"):
        adapt(build(vision_config=None, backbone="test_resnet", captioner="none"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "base"
    run = call("caption-det", "train", *SMALL, *FEW, "--train.epochs", "1", "--out", out)
    assert run.returncode == 0, run.stderr
    return out


@pytest.fixture
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_one_thread")
def test_killed_and_resumed_it_ends_bit_equal(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = (*FEW, "--model.init", base, "--model.lora", "2", "--train.epochs", "2", "--train.ema", "0.5")
    whole = call("caption-det", "train", *options, "--out", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    with monkeypatch.context() as patch:
        count_steps(patch, stop_at=5, by_signal=False)
        with pytest.raises(Killed):
            call("caption-det", "train", *options, "--out", tmp_path / "again")
    assert not (tmp_path / "again/metrics.json").exists()
    resumed = call("caption-det", "train", "--resume", tmp_path / "again")
    assert resumed.returncode == 0, resumed.stderr
    for name in ("best", "last"):
        both = [(tmp_path / run / name / "model.safetensors").read_bytes() for run in ("whole", "again")]
        assert both[0] == both[1], name
    kept = names(next((tmp_path / "whole/checkpoints").iterdir()) / "model.safetensors")
    assert kept  # a checkpoint has the adapters, a saved model has none
    assert names(tmp_path / "whole/best/model.safetensors") == names(base / "best/model.safetensors")
    assert not moved(base, tmp_path / "whole", "decoder.transformer.wte.weight")
    assert moved(base, tmp_path / "whole", "decoder.transformer.h.0.attn.c_attn.weight")


def names(file: Path) -> set[str]:
    with safe_open(file, "pt") as tensors:
        return set(tensors.keys())


def moved(first: Path, second: Path, name: str) -> bool:
    values: list[Tensor] = []
    for run in (first, second):
        with safe_open(run / "best/model.safetensors", "pt") as tensors:
            values.append(tensors.get_tensor(name))
    return not torch.equal(*values)


def test_what_is_missing_is_one_line(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_line(call("caption-det", "train", *SMALL, "--model.lora", "2"), 2, "model.lora", "model.init")
    monkeypatch.setitem(sys.modules, "peft", None)
    result = call("caption-det", "train", *FEW, "--model.init", base, "--model.lora", "2", "--out", tmp_path / "a")
    assert result.returncode == 1
    assert result.errors == ['error: model.lora: adapters need a package: pip install "polyscale-caption-det[lora]"']
    assert not (tmp_path / "a").exists()
    assert json.loads(call("caption-det", "info", base, "--json").stdout) == {}
