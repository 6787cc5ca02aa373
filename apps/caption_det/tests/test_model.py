"""The model as transformers and users of qvision's guide meet it: tiny random towers and GPT-2, offline."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, CLIPVisionConfig, GPT2Config, GPT2LMHeadModel

from caption_det.data.tokenizer import train_tokenizer
from caption_det.model import CaptionDetConfig, CaptionDetModel, MultiScaleCLIPEncoder, ResnetGPT2Wrapper, load
from caption_det.model.detections import Detections
from caption_det.model.memory import choose_objects
from polyscale.errors import UserError

TEXT = {"vocab_size": 300, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 2, "bos_token_id": 0,
        "eos_token_id": 1, "pad_token_id": 2}  # fmt: skip
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
          "image_size": 32, "patch_size": 8}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "clip, dense": {"vision_config": VISION},
    "timm, set": {"detector": "set"},
    "prefix": {"captioner": "prefix", "detector": "none"},
    "map": {"vision_config": VISION, "memory": "map", "detector": "none"},
    "boxes only": {"captioner": "none"},
    "objects": {"memory": "objects", "num_objects": 3, "words_weight": 0.5},
}


def build(**changes: Any) -> CaptionDetModel:
    torch.manual_seed(0)
    shape = {"backbone": "test_resnet", "width": 32, "num_heads": 4, "num_queries": 9, "image_size": 64,
             "memory_layers": 1, "object_queries": 12, "detector_layers": 2, "max_tokens": 6}  # fmt: skip
    config = CaptionDetConfig(text_config=TEXT, categories=["cat", "dog"], **(shape | changes))
    model = CaptionDetModel(config).eval()
    if model.decoder is not None:  # random blocks hardly see the image: let them look
        for block in model.decoder.transformer.h:
            if hasattr(block, "crossattention"):
                block.crossattention.c_proj.weight.data.normal_(std=2.0)
    return model


@pytest.fixture(scope="module", params=list(KINDS))
def model(request: pytest.FixtureRequest) -> CaptionDetModel:
    return build(**KINDS[request.param])


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def batch(images: Tensor) -> dict[str, Any]:
    labels = torch.randint(3, 300, (4, 5), generator=torch.Generator().manual_seed(2))
    labels[0, 3:] = -100
    known = torch.tensor([[0.5, 0.5, 0.3, 0.2], [0.1, 0.2, 0.04, 0.1]])
    boxes = [{"class_labels": torch.tensor([0, 1]), "boxes": known},
             {"class_labels": torch.zeros(0, dtype=torch.int64), "boxes": torch.zeros(0, 4)}]  # fmt: skip
    return {"pixel_values": images, "labels": labels, "detection_labels": boxes}


def test_every_parameter_learns(model: CaptionDetModel, images: Tensor) -> None:
    model = copy.deepcopy(model)
    with torch.no_grad():  # what starts as zero passes no gradient on
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.02)
    output = model(**batch(images))
    assert output.losses is not None
    assert ("caption" in output.losses) == (model.decoder is not None)
    assert ("class" in output.losses) == (model.detector is not None)
    assert torch.stack(list(output.losses.values())).isfinite().all()
    model.zero_grad()
    output.loss.backward()
    silent = {n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())}
    if model.config.memory == "map":  # reads one level of three
        silent = {name for name in silent if ".neck." not in name}
    assert not silent


def test_objects_are_the_best_places_apart() -> None:
    boxes = torch.tensor([[[0.3, 0.3, 0.2, 0.2], [0.31, 0.3, 0.2, 0.2], [0.7, 0.7, 0.2, 0.2], [0.1, 0.9, 0.1, 0.1]]])
    found = Detections(boxes, torch.tensor([[3.0, 2.0, 1.0, 0.0]]), torch.zeros(1, 4, 2))
    assert choose_objects(found, 3).tolist() == [[0, 2, 3]]


def test_a_caption_reads_what_was_found(images: Tensor) -> None:
    model = build(memory="objects", num_objects=3)
    encoded = model.encoder(images)
    assert encoded.last_hidden_state.shape == (2, 9 + 3 + 1, 32)
    assert torch.equal(model.find(encoded).boxes, model.detector(list(encoded.levels)).boxes)
    copied = copy.deepcopy(model)
    copied.detector.classes.bias.data += 5  # another head, other objects: the copy's encoder has to ask the copy's head
    assert not torch.equal(copied.encoder(images)[0], encoded[0])
    assert torch.equal(model.encoder(images)[0], encoded[0])
    with pytest.raises(ValueError, match="dense"):
        build(memory="objects", detector="set")


def test_the_tuple_is_qvisions(model: CaptionDetModel, images: Tensor) -> None:
    logits, boxes, objectness, classes, loss = model(**batch(images)).to_tuple()
    if model.decoder is not None:
        assert logits.shape == (4, 5, 300)
    if model.detector is not None:
        assert boxes.shape == (2, objectness.shape[1], 4)
        assert classes.shape == (*objectness.shape, 2)
    assert loss.ndim == 0


def test_saved_and_loaded_it_is_bit_equal(model: CaptionDetModel, images: Tensor, tmp_path: Path) -> None:
    model.tokenizer = train_tokenizer(["a cat", "a dog"], 290)
    model.save_pretrained(tmp_path)
    wanted = model(**batch(images))
    for loaded in (load(tmp_path), AutoModel.from_pretrained(tmp_path), CaptionDetModel.from_pretrained(tmp_path)):
        assert isinstance(loaded, CaptionDetModel)
        for name, value in model.state_dict().items():
            assert torch.equal(value, loaded.state_dict()[name]), name
        output = loaded.eval()(**batch(images))
        assert torch.equal(output.loss, wanted.loss)
        assert loaded.generation_config.max_new_tokens == 6
    assert AutoConfig.from_pretrained(tmp_path).to_dict()["categories"] == ["cat", "dog"]


def test_the_cache_changes_nothing(model: CaptionDetModel, images: Tensor) -> None:
    if model.decoder is None:
        pytest.skip("no words")
    encoded = model.encoder(images)
    for options in ({"num_beams": 1}, {"num_beams": 3, "num_return_sequences": 2}, {"do_sample": True, "top_k": 5}):
        made = []
        for use_cache in (True, False):
            torch.manual_seed(3)
            made.append(model.generate(images, use_cache=use_cache, max_new_tokens=5, **options))
        assert torch.equal(*made), options
        torch.manual_seed(3)
        assert torch.equal(made[0], model.generate(encoder_outputs=encoded, max_new_tokens=5, **options))


def test_words_depend_on_the_image(model: CaptionDetModel, images: Tensor) -> None:
    if model.decoder is None:
        pytest.skip("no words")
    ids = torch.tensor([[0, 5, 7]])
    first, second = (model(images[i : i + 1], decoder_input_ids=ids).logits for i in range(2))
    assert (first - second).abs().max() > 1e-4


def test_other_sizes_and_detection(model: CaptionDetModel) -> None:
    encoded = model.encoder(torch.rand(1, 3, 75, 100))
    assert encoded.last_hidden_state.shape[-1] == 32
    (found,) = model.detect(encoded, threshold=0.001)
    assert ((found.boxes >= 0) & (found.boxes <= 1)).all()
    assert torch.equal(found.scores, found.scores.sort(descending=True).values)
    assert (model.detector is None) == (len(found.boxes) == 0)


def test_unknown_boxes_are_not_learnt(images: Tensor) -> None:
    model = build()
    full = batch(images)
    known = model(**full, has_boxes=torch.tensor([True, False])).losses
    alone = model(images[:1], labels=full["labels"][:2], detection_labels=full["detection_labels"][:1]).losses
    assert known["class"].item() == pytest.approx(alone["class"].item(), rel=1e-5)
    nothing = model(**full, has_boxes=torch.zeros(2, dtype=torch.bool)).losses
    assert nothing["class"] == 0


def test_a_few_steps_learn_one_image(images: Tensor) -> None:
    model = build().train()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    for _ in range(40):
        output = model(**batch(images))
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(output.loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_recomputed_activations_give_the_same_gradient(images: Tensor) -> None:
    def gradient(recompute: bool) -> Tensor:
        model = build(vision_config=VISION, dropout=0.0).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        if recompute:
            model.gradient_checkpointing_enable()
        model(**batch(images)).loss.backward()
        return model.decoder.transformer.wte.weight.grad

    torch.testing.assert_close(gradient(True), gradient(False))


def test_damaged_and_foreign_folders_are_one_line(tmp_path: Path) -> None:
    model = build()
    model.save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text(encoding="utf-8")
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(text.replace('"n_layer": 2', '"n_layer": 900000'), encoding="utf-8")
    with pytest.raises(UserError, match="far larger"):
        load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    with pytest.raises(UserError, match="holds a bert"):
        load(tmp_path)


# qvision's guide


def test_the_programs_of_the_guide_run_and_learn() -> None:
    torch.manual_seed(0)
    encoder = MultiScaleCLIPEncoder(
        embed_size=48, freeze_vision=True, num_heads=4, num_points=2, dropout=0.1, num_queries=9, width=32,
        vision_config=CLIPVisionConfig(**VISION),
    )  # fmt: skip
    gpt = GPT2LMHeadModel(GPT2Config(**TEXT))
    decoder = ResnetGPT2Wrapper(
        gpt_decoder=gpt, embed_size=48, vocab_size=gpt.config.vocab_size, pad_token_id=2, num_heads=4, num_img_tokens=9
    )
    assert torch.equal(decoder.decoder.transformer.wte.weight, gpt.transformer.wte.weight)
    features = encoder(torch.rand(2, 3, 64, 64))
    assert features.shape == (2, 9, 48)
    captions = torch.randint(3, 300, (2, 6))
    logits, boxes, objectness, classes, loss = decoder(features, captions, attention_mask=None, mode="inference")
    assert logits.shape == (2, 6, 300)
    assert boxes.shape == (2, 9, 4)
    assert objectness.shape == (2, 9, 1)
    assert classes.shape == (2, 9, 91)
    assert loss is None
    targets = torch.tensor([[[0.5, 0.5, 0.2, 0.2], [-1, -1, -1, -1]], [[0.3, 0.3, 0.1, 0.1], [0.7, 0.2, 0.2, 0.1]]])
    loss = decoder(features, captions, bbox_targets=targets, class_targets=torch.tensor([[4, -1], [5, 90]]))[-1]
    loss.backward()
    look = encoder.memory.layers[0].look
    assert look.sampling_offsets.bias.grad.abs().max() > 0  # the seed's offsets had no gradient
    assert all(p.grad is None for p in encoder.tower.net.parameters())
    with pytest.raises(ValueError, match="9"):
        decoder(features[:, :3], captions)


def test_a_hub_model_that_is_not_here_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="nobody/no-clip"):
        MultiScaleCLIPEncoder(32, "nobody/no-clip")


def test_the_words_of_all_captions_of_an_image_are_predicted(images: Tensor) -> None:
    model = build(words_weight=1.0)
    assert model.words is not None
    labels = torch.tensor([[5, 0, -100], [7, 5, -100], [9, -100, -100], [9, 9, 8]])  # two captions of each image
    with torch.no_grad():
        model.words.weight.zero_()
        model.words.bias.fill_(-20.0)
        for word in (0, 5, 7, 8, 9):
            model.words.bias[word] = 20.0
    loss = model(images, labels=labels).losses["words"]
    assert loss.item() == pytest.approx(20 * 5 / 5, rel=1e-3)  # words 8, 9 of the first image, 0, 5, 7 of the second
    assert build().words is None
