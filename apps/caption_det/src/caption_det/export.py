"""A model as ONNX: an encoder, and one step of GPT-2 with its state as explicit inputs and outputs.

The state is the keys and values of the words so far, and with cross-attention those of the memory, which the encoder
computes once. Both files are run next to the model, and only kept where boxes and greedy captions agree.

    B images, Q memory vectors, P words so far, H heads, d channels of a head, V words, N boxes, K classes
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from caption_det.model import CaptionDetModel
from caption_det.onnx import DECODER, ENCODER, TOKENIZER, OnnxCaptioner
from polyscale.errors import UserError
from polyscale.inference.export import export_graph, sample_images
from polyscale.losses import cxcywh_to_xyxy

PROGRAM = "caption-det"
TOLERANCE = 1e-4  # of boxes as fractions of the image
SCORE_TOLERANCE = 1e-3  # a score is the root of a product, steep near 0
COMPARED = 3  # images


class Encoder(nn.Module):
    """image [B, 3, S, S] in [0, 1] -> boxes [B, N, 4] (x1, y1, x2, y2 as fractions), scores [B, N, K], the state.

    With cross-attention the state is memory_key_i and memory_value_i [B, H, Q, d] of every block i; with a prefix it is
    the key_i and value_i with which the words begin. A model without boxes or captions has none of these.
    """

    def __init__(self, model: CaptionDetModel) -> None:
        super().__init__()
        self.model = model
        self.outputs = ["boxes", "scores"] if model.detector is not None else []
        if model.decoder is not None:
            kind = "memory_" if model.config.captioner == "cross_attention" else ""
            self.outputs += _pairs(kind, len(model.decoder.transformer.h))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs."""
        encoded = self.model.encoder(image)
        outputs: list[Tensor] = []
        if self.model.detector is not None:
            found = self.model.find(encoded)
            scores = found.classes.sigmoid() * found.objectness.sigmoid()[..., None]
            outputs += [cxcywh_to_xyxy(found.boxes).clamp(0, 1), scores.sqrt()]
        if self.model.decoder is not None:
            outputs += self._start(encoded.last_hidden_state)
        return tuple(outputs)

    def _start(self, memory: Tensor) -> list[Tensor]:
        body: Any = self.model.decoder.transformer  # type: ignore[union-attr]
        state: list[Tensor] = []
        if self.model.config.captioner == "cross_attention":
            for block in body.h:
                state += _heads(block.crossattention.c_attn(memory), block, 2)
            return state
        x = memory + body.wpe(torch.arange(memory.shape[1]))
        for block in body.h:
            x, key, value = _attend(block, x, None)
            x = x + block.mlp(block.ln_2(x))
            state += [key, value]
        return state


class DecoderStep(nn.Module):
    """(token int64 [B, 1], state...) -> (logits [B, V], key_0_next, value_0_next, ...).

    The state is key_i and value_i [B, H, P, d] of every block i, and, with cross-attention, memory_key_i and
    memory_value_i behind them.
    """

    def __init__(self, model: CaptionDetModel) -> None:
        super().__init__()
        assert model.decoder is not None
        self.decoder: Any = model.decoder
        self.crosses = model.config.captioner == "cross_attention"
        blocks = len(self.decoder.transformer.h)
        words = _pairs("", blocks)
        self.inputs = ["token", *words, *(_pairs("memory_", blocks) if self.crosses else [])]
        self.outputs = ["logits", *(f"{name}_next" for name in words)]

    def forward(self, token: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Do one step."""
        body = self.decoder.transformer
        count = 2 * len(body.h)
        words, memory = state[:count], state[count:]
        x = body.wte(token) + body.wpe(torch.arange(words[0].shape[2], words[0].shape[2] + 1))
        after: list[Tensor] = []
        for i, block in enumerate(body.h):
            x, key, value = _attend(block, x, (words[2 * i], words[2 * i + 1]))
            after += [key, value]
            if self.crosses:
                (query,) = _heads(block.crossattention.q_attn(block.ln_cross_attn(x)), block, 1)
                read = F.scaled_dot_product_attention(query, memory[2 * i], memory[2 * i + 1])
                x = x + block.crossattention.c_proj(_joined(read))
            x = x + block.mlp(block.ln_2(x))
        return (self.decoder.lm_head(body.ln_f(x))[:, -1], *after)


def export(model: CaptionDetModel, folder: str | Path) -> Path:
    """Write `model` into a folder, see caption_det.onnx.

    Args:
        model: it is moved to the CPU and set to eval.
        folder: is made; files of these names in it are replaced.

    Raises:
        UserError: a package is missing, the network cannot be written, or the files do not agree with it.
    """
    folder = Path(folder)
    model = model.cpu().eval()
    with tempfile.TemporaryDirectory() as made:
        _write(model, Path(made))
        _verify(model, OnnxCaptioner(made))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for file in Path(made).iterdir():
                shutil.copyfile(file, folder / file.name)
        except OSError as error:
            raise UserError(f"{folder}: cannot be written ({error.strerror})") from error
    return folder


def _write(model: CaptionDetModel, folder: Path) -> None:
    batch = torch.export.Dim.AUTO
    encoder, side = Encoder(model), model.config.image_size
    image = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    own = model.generation_config
    about = {
        "class": "CaptionDetModel", "image_size": side, "categories": model.config.categories,
        "captions": model.decoder is not None, "boxes": model.detector is not None, "max_tokens": own.max_new_tokens,
        "nms_iou": None if model.detector is None else model.detector.nms_iou,
        "start": own.decoder_start_token_id, "end": own.eos_token_id, "pad": own.pad_token_id,
    }  # fmt: skip
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # an operator that ONNX has not
    try:
        content = export_graph(
            encoder, {"image": image}, encoder.outputs, {"image": {0: batch}}, program=PROGRAM, about=about
        )
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    (folder / ENCODER).write_bytes(content)
    if model.decoder is None:
        return
    if model.tokenizer is None:
        raise UserError("the model has no tokenizer, without which an exported one cannot write")
    step, text = DecoderStep(model), model.config.text_config
    width = text.n_embd // text.n_head
    lengths = {name: model.config.num_queries + 1 if name.startswith("memory") else 3 for name in step.inputs[1:]}
    inputs = {"token": torch.zeros(2, 1, dtype=torch.int64)}
    inputs |= {name: torch.zeros(2, text.n_head, length, width) for name, length in lengths.items()}
    free = {"token": {0: batch}, "state": tuple({0: batch, 2: torch.export.Dim.AUTO} for _ in lengths)}
    content = export_graph(step, inputs, step.outputs, free, program=PROGRAM, about={"class": "CaptionDetModel"})
    (folder / DECODER).write_bytes(content)
    (folder / TOKENIZER).write_text(model.tokenizer.backend_tokenizer.to_str(), encoding="utf-8")


@torch.no_grad()
def _verify(model: CaptionDetModel, runner: OnnxCaptioner) -> None:
    """Describe an image alone, and several at once, with both."""
    side = model.config.image_size
    images = sample_images((COMPARED, 3, side, side))
    for part in (images[:1], images):
        got = runner.encode(part.numpy())
        boxes, scores = got.pop("boxes", None), got.pop("scores", None)
        if boxes is not None and scores is not None:
            wanted = Encoder(model)(part)[:2]
            off = [float((a - torch.from_numpy(b)).abs().max()) for a, b in zip(wanted, (boxes, scores), strict=True)]
            if not (off[0] <= TOLERANCE and off[1] <= SCORE_TOLERANCE):
                raise UserError(f"the ONNX file's boxes are off by {off[0]:.1g}, its scores by {off[1]:.1g}")
        if model.decoder is not None:
            own = model.generate(part, num_beams=1, do_sample=False)[:, 1:].numpy()
            theirs = runner.tokens(got)
            if own.shape != theirs.shape or (own != theirs).any():
                raise UserError("the ONNX files write other captions than the model")


def _pairs(kind: str, blocks: int) -> list[str]:
    return [f"{kind}{part}_{i}" for i in range(blocks) for part in ("key", "value")]


def _heads(x: Tensor, block: Any, parts: int) -> list[Tensor]:
    """[B, T, parts * C] -> `parts` of [B, H, T, d]."""
    return [part.unflatten(-1, (block.attn.num_heads, -1)).transpose(1, 2) for part in x.chunk(parts, -1)]


def _joined(x: Tensor) -> Tensor:
    """[B, H, T, d] -> [B, T, C], laid out as GPT-2's layers want it whatever the exporter makes of attention."""
    return x.transpose(1, 2).clone(memory_format=torch.contiguous_format).flatten(2)


def _attend(block: Any, x: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor, Tensor]:
    """Add self-attention to x: the first words of a text, or one word after `past`. Also all keys and values."""
    query, key, value = _heads(block.attn.c_attn(block.ln_1(x)), block, 3)
    if past is not None:
        key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
    read = F.scaled_dot_product_attention(query, key, value, is_causal=past is None)
    return x + block.attn.c_proj(_joined(read)), key, value
