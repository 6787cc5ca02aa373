"""Where GPT-2 looks for each word: its attention over the memory, taken back to the image by what each vector read.

B images, T words, Q memory vectors, N pixels of all levels, h and w sides of the finest level
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from caption_det.model.memory import MapMemory, ObjectMemory, QueryMemory, choose_objects
from caption_det.model.modeling import CaptionDetModel, VisualOutput
from polyscale.blocks import deformable_sample
from polyscale.losses import cxcywh_to_xyxy

Shapes = list[tuple[int, int]]


def split_words(tokenizer: PreTrainedTokenizerBase, caption: str) -> tuple[list[int], list[tuple[str, list[int]]]]:
    """Return the tokens of a caption, and its words, each with the places of its tokens; punctuation is no word."""
    encoding = tokenizer(caption, add_special_tokens=False)
    words: list[tuple[str, list[int]]] = []
    owners = encoding.word_ids()
    for number in dict.fromkeys(owner for owner in owners if owner is not None):
        span = encoding.word_to_chars(number)
        word = caption[span.start : span.end].strip()
        if any(letter.isalnum() for letter in word):
            words.append((word, [place for place, owner in enumerate(owners) if owner == number]))
    return encoding["input_ids"], words


@torch.no_grad()
def read_tokens(model: CaptionDetModel, pixel_values: Tensor, ids: Tensor) -> Tensor:
    """Return where the model looks to write each token of a caption: [T, h, w], each with the sum 1.

    Args:
        model: in eval mode, with captions.
        pixel_values: one image [1, 3, H, W] in [0, 1].
        ids: int64 [1, T], the tokens of the caption.
    """
    with _sampling(model) as looked:
        encoded = model.encoder(pixel_values)
    places = memory_places(model, encoded, looked)[0]
    attention = memory_attention(model, encoded, ids)
    return torch.einsum("tq,qhw->thw", attention, places)


def memory_attention(model: CaptionDetModel, encoded: VisualOutput, ids: Tensor) -> Tensor:
    """Return the attention over the memory with which each token is written, [T, Q], the mean of blocks and heads.

    With a prefix it is that part of the self-attention, brought to the sum 1.
    """
    assert model.decoder is not None
    start = ids.new_full((len(ids), 1), model.generation_config.decoder_start_token_id)
    written = torch.cat([start, ids[:, :-1]], 1)  # the step that reads a token writes the next one
    with _eager(model.decoder):
        output = model(encoder_outputs=encoded, decoder_input_ids=written, output_attentions=True)
    if model.config.captioner == "cross_attention":
        blocks = output.cross_attentions
    else:
        count = encoded[0].shape[1]
        blocks = [block[..., count:, :count] for block in output.decoder_attentions]
    attention = torch.stack([block.float() for block in blocks]).mean((0, 2))[0]
    return attention / attention.sum(-1, keepdim=True)


def memory_places(model: CaptionDetModel, encoded: VisualOutput, looked: list[Tensor]) -> Tensor:
    """Return what each memory vector has of the image: [B, Q, h, w], each with the sum 1.

    A query has the pixels that its deformable attention reads, the mean of layers and heads; what it takes from other
    queries is left out. An object has its box, the whole image has every pixel alike, a map's vector its pixel.

    Args:
        model: with captions.
        encoded: what its encoder returned.
        looked: of each layer of queries, see `_sampling`.
    """
    memory, levels = model.encoder.memory, encoded.levels
    assert levels is not None
    shapes = [(level.shape[-2], level.shape[-1]) for level in levels]
    if isinstance(memory, MapMemory):
        count = shapes[memory.level][0] * shapes[memory.level][1]
        pixels = torch.eye(count).unflatten(-1, shapes[memory.level])
        return _spread(pixels, shapes[0]).expand(len(levels[0]), -1, -1, -1)
    queries = _to_finest(torch.stack(looked).mean(0), shapes)
    if isinstance(memory, ObjectMemory):
        assert encoded.found is not None
        chosen = choose_objects(encoded.found, memory.objects)[..., None].expand(-1, -1, 4)
        boxes = _box_pixels(cxcywh_to_xyxy(encoded.found.boxes.gather(1, chosen)).clamp(0, 1), shapes[0])
        own = queries[:, : -memory.objects]
        queries = torch.cat([own, boxes, torch.ones_like(own[:, :1])], 1)
    return queries / queries.sum((2, 3), keepdim=True).clamp(min=1e-9)


@contextlib.contextmanager
def _sampling(model: CaptionDetModel) -> Iterator[list[Tensor]]:
    """Note how much of each pixel the queries of every layer read, [B, Q, N], the mean of the heads."""
    memory, read = model.encoder.memory, list[Tensor]()
    queries = memory.queries if isinstance(memory, ObjectMemory) else memory

    def note(look: Any, given: tuple[Any, ...], _: Tensor) -> None:
        query, reference, value, shapes = given
        places, weights = look.sampling(query, reference, shapes)  # [B, Q, H, L, P, 2], [B, Q, H, L, P]
        places, weights = (x.transpose(2, 3).flatten(3, 4)[:, :, None] for x in (places, weights / look.num_heads))
        pixels = torch.eye(value.shape[1], device=value.device)[None, :, None].expand(len(query), -1, -1, -1)
        read.append(deformable_sample(pixels, shapes, places, weights))

    layers = queries.layers if isinstance(queries, QueryMemory) else ()
    hooks = [layer.look.register_forward_hook(note) for layer in layers]  # type: ignore[union-attr]
    try:
        yield read
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def _eager(decoder: Any) -> Iterator[None]:
    """Let GPT-2 compute its attention step by step; the fused kernels do not give it away."""
    before = decoder.config._attn_implementation
    decoder.set_attn_implementation("eager")
    try:
        yield
    finally:
        decoder.set_attn_implementation(before)


def _to_finest(read: Tensor, shapes: Shapes) -> Tensor:
    """Bring [B, Q, N] to the finest level: a coarse pixel is spread over those that it covers."""
    parts = read.split([h * w for h, w in shapes], -1)
    return torch.stack(
        [_spread(part.unflatten(-1, shape), shapes[0]) for part, shape in zip(parts, shapes, strict=True)]
    ).sum(0)


def _spread(maps: Tensor, shape: tuple[int, int]) -> Tensor:
    """Enlarge [..., h, w] to `shape` with the same sum."""
    flat = maps.reshape(1, -1, *maps.shape[-2:])
    larger = F.interpolate(flat, shape, mode="nearest-exact")
    return (larger * (maps.shape[-2] * maps.shape[-1] / (shape[0] * shape[1]))).reshape(*maps.shape[:-2], *shape)


def _box_pixels(boxes: Tensor, shape: tuple[int, int]) -> Tensor:
    """The share of each pixel that lies in each box (x1, y1, x2, y2 as fractions) [B, O, 4]: [B, O, h, w]."""
    height, width = shape

    def covered(low: Tensor, high: Tensor, side: int) -> Tensor:
        edges = torch.arange(side, device=boxes.device) / side
        return (torch.minimum(high, edges + 1 / side) - torch.maximum(low, edges)).clamp(min=0) * side

    x1, y1, x2, y2 = boxes.split(1, -1)
    return covered(y1, y2, height)[..., None] * covered(x1, x2, width)[..., None, :]
