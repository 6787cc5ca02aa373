"""Where words look: on models whose attention is set by hand, so that the right places are known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from caption_det.data.tokenizer import train_tokenizer
from caption_det.model import CaptionDetConfig, CaptionDetModel, Detections
from caption_det.model.modeling import VisualOutput
from caption_det.model.reading import memory_attention, memory_places, read_tokens, split_words
from caption_det.predict import Predictor
from caption_det.predict_map import WordMap, draw_words
from polyscale.errors import UserError
from polyscale.testing.command import call, one_line

SIDE = 64  # levels of 8x8, 4x4 and 2x2


def build(**changes: Any) -> CaptionDetModel:
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["a cat on a mat", "two dogs run"], 270)
    text = {"vocab_size": len(tokenizer), "n_positions": 40, "n_embd": 8, "n_layer": 2, "n_head": 2,
            "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id}  # fmt: skip
    shape = {"backbone": "test_resnet", "image_size": SIDE, "width": 16, "num_heads": 2, "num_queries": 4,
             "memory_layers": 1, "max_tokens": 8, "categories": ["cat"]}  # fmt: skip
    model = CaptionDetModel(CaptionDetConfig(text_config=text, **(shape | changes))).eval()
    model.tokenizer = tokenizer
    return model


def encode(model: CaptionDetModel) -> VisualOutput:
    with torch.no_grad():
        return model.encoder(torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)))


@torch.no_grad()
def test_each_token_has_the_vectors_that_the_step_writing_it_reads() -> None:
    """The first block's token i reads vector i alone, the second block reads all alike."""
    model = build()
    body: Any = model.decoder.transformer  # type: ignore[union-attr]
    body.wte.weight.zero_()
    start = model.generation_config.decoder_start_token_id
    for place, token in enumerate((start, 5, 6, 7)):
        body.wte.weight[token, place] = 4.0  # after the norm the largest of the first half in `place`
        body.wte.weight[token, place + 4] = 4.0  # and of the second: both heads see the same
    body.wpe.weight.zero_()
    for number, block in enumerate(body.h):
        block.attn.c_proj.weight.zero_()
        cross = block.crossattention
        for layer in (cross.q_attn, cross.c_attn):
            layer.weight.zero_()
        if number == 0:
            cross.q_attn.weight.copy_(50 * torch.eye(8))
            cross.c_attn.weight[:, :8].copy_(torch.eye(8))
    memory = torch.cat([torch.eye(4), torch.eye(4)], 1)[None]
    read = memory_attention(model, VisualOutput(last_hidden_state=memory), torch.tensor([[5, 6, 7]]))
    torch.testing.assert_close(read, (torch.eye(4)[:3] + 0.25) / 2)  # 5 is written by the step that reads the start


@torch.no_grad()
def test_a_query_has_the_pixels_that_its_attention_samples() -> None:
    model = build()
    look: Any = model.encoder.memory.layers[0].look
    for layer in (look.sampling_offsets, look.attention_weights):
        layer.weight.zero_()
        layer.bias.zero_()
    places = torch.tensor([[1.5 / 8, 2.5 / 8], [2 / 8, 2.5 / 8], [0.5 / 8, 0.5 / 8], [7.5 / 8, 7.5 / 8]])
    model.encoder.memory.reference.copy_(torch.logit(places))
    look.attention_weights.bias.view(2, 3, 4)[:, 0] = 50.0  # the finest level alone
    fine = read_places(model)
    assert fine.shape == (1, 4, 8, 8)
    assert fine[0, 0, 2, 1] == pytest.approx(1.0, abs=1e-5)
    assert fine[0, 1, 2, 1] == pytest.approx(0.5, abs=1e-5)  # half way between two pixels
    assert fine[0, 1, 2, 2] == pytest.approx(0.5, abs=1e-5)
    look.attention_weights.bias.view(2, 3, 4)[:, 0] = 0.0
    look.attention_weights.bias.view(2, 3, 4)[:, 2] = 50.0  # the coarsest: a pixel there covers 4 x 4
    coarse = read_places(model)
    wanted = torch.zeros(8, 8)
    wanted[:4, :4] = 1 / 16
    torch.testing.assert_close(coarse[0, 2], wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(coarse.sum((2, 3)), torch.ones(1, 4))


def read_places(model: CaptionDetModel) -> Tensor:
    """The places of each vector, from attention that reads one vector alone at a time."""
    count = model.config.num_queries
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("caption_det.model.reading.memory_attention", lambda *_: torch.eye(count))
        image = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
        return read_tokens(model, image, torch.zeros(1, count, dtype=torch.int64))[None]


def test_an_object_has_its_box_and_the_whole_image_all_of_it() -> None:
    model = build(memory="objects", num_objects=1)
    encoded = encode(model)
    assert encoded.found is not None
    count = encoded.found.boxes.shape[1]
    boxes = torch.tensor([0.5, 0.25, 0.25, 0.5]).expand(1, count, 4)  # x from .375 to .625, y from 0 to .5
    encoded.found = Detections(boxes, torch.zeros(1, count), torch.zeros(1, count, 1))
    places = memory_places(model, encoded, [torch.full((1, 5, 84), 1 / 84)])
    wanted = torch.zeros(8, 8)
    wanted[:4, 3:5] = 1 / 8
    torch.testing.assert_close(places[0, 4], wanted)
    torch.testing.assert_close(places[0, 5], torch.full((8, 8), 1 / 64))
    assert places.shape == (1, 6, 8, 8)


def test_a_map_has_its_pixels() -> None:
    model = build(memory="map", detector="none")
    places = memory_places(model, encode(model), [])
    assert places.shape == (1, 4, 8, 8)
    assert places[0, 1, :4, 4:].sum() == 1
    assert places[0, 1, :4, 4:].unique().tolist() == [1 / 16]


@pytest.mark.parametrize("kind", [{}, {"captioner": "prefix", "detector": "none"}, {"memory": "objects"}])
def test_words_are_whole_and_their_tokens_are_averaged(kind: dict[str, Any]) -> None:
    model = build(**kind)
    ids, words = split_words(model.tokenizer, "a zebra, a mat.")
    assert [word for word, _ in words] == ["a", "zebra", "a", "mat"]
    assert len(words[1][1]) > 1
    image = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)
    model.config.max_tokens = len(ids)
    predictor = Predictor(model, "cpu", "fp32")
    maps = predictor.map_words(image, "a zebra, a mat.")
    assert [one.word for one in maps] == ["a", "zebra", "a", "mat"]
    pixels = torch.from_numpy(predictor.read(image).pixels)[None].float() / 255
    tokens = read_tokens(model, pixels, torch.tensor([ids])).numpy()
    np.testing.assert_allclose(maps[1].places, tokens[words[1][1]].mean(0), rtol=1e-5)
    for one in maps:
        assert one.places.sum() == pytest.approx(1, abs=1e-4)
    model.config.max_tokens = 2  # a longer caption than the model writes
    assert [one.word for one in predictor.map_words(image, "a zebra, a mat.")] == ["a"]


def test_the_brightest_place_is_where_the_map_is_largest() -> None:
    places = np.zeros((4, 4), np.float32)
    places[0, 3] = 1
    drawn = draw_words(np.zeros((100, 100, 3), np.uint8), [WordMap("cat", places), WordMap("on", places / 4)])
    first, second = (drawn[10:250, left : left + 240].sum(-1, dtype=int) for left in (260, 510))
    y, x = np.unravel_index(first.argmax(), first.shape)
    assert y < 60
    assert x >= 180
    assert second.max() < first.max()  # one scale for all words


def test_the_command_writes_maps(tmp_path: Path) -> None:
    build().save_pretrained(tmp_path / "model")
    build(captioner="none").save_pretrained(tmp_path / "boxes")
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    words = ("caption-det", "predict", tmp_path / "a.png", "--map", "--out", tmp_path / "out", "--model")
    result = call(*words, tmp_path / "model")
    assert result.returncode == 0, result.stderr
    assert "_words.jpg" in result.stderr
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["a_boxes.jpg", "a_words.jpg"]
    printed = call(*words, tmp_path / "model", "--json")
    assert json.loads(printed.stdout)["name"] == "a"
    assert "_words.jpg" in printed.stderr  # asked for by --map, beside the line
    one_line(call(*words, tmp_path / "boxes"), 2, "--map", "no captions")
    with pytest.raises(UserError, match="no captions"):
        Predictor(tmp_path / "boxes", "cpu").map_words(noise, "a cat")
