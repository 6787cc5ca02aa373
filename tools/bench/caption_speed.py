"""Speed of captions: `python tools/bench/caption_speed.py [--rounds N] [--threads N] [--small]`.

CLIP ViT-B/32 at 224 px and GPT-2 small with cross-attention, random weights, 20 tokens, greedy. Each line is a ratio of
two ways, timed by turns in one process (tools/bench/interleaved.py), with the middle half of the ratios.

- The ancestor's loop: for every token the image branch once more, and GPT-2 over all tokens so far, without a cache
  (qvision's generate_caption); the network is the same on both sides.
- Caption and boxes from one pass of the encoder against the caption alone.
- Eight images in a batch against eight one by one.
- transformers' VisionEncoderDecoderModel with a ViT-B/32 and the same GPT-2.
"""

import argparse
import sys
from collections.abc import Callable

import torch
from interleaved import Timing, interleave, machine
from torch import Tensor, nn
from transformers import CLIPVisionConfig, GPT2Config, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig

from caption_det.model import CaptionDetConfig, CaptionDetModel
from polyscale.commands import keep_heap

TOKENS, BATCH = 20, 8
FULL = {"width": 768, "layers": 12, "heads": 12, "patch": 32, "side": 224, "words": 50259, "pyramid": 256}
SMALL = {"width": 32, "layers": 1, "heads": 2, "patch": 16, "side": 64, "words": 300, "pyramid": 32}


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that it runs")
    options = parser.parse_args()
    kept_heap = keep_heap()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    sizes = SMALL if options.small else FULL
    model, peer = build(sizes), build_peer(sizes)
    sys.stdout.write(f"{machine(kept_heap)}, {options.rounds} rounds, {TOKENS} tokens\n\n")
    sys.stdout.write(
        "| ours against | batch | ours, ms | other, ms | other / ours (middle half) |\n|---|---|---|---|---|\n"
    )
    for name, batch, ours, other in cases(model, peer, torch.rand(BATCH, 3, sizes["side"], sizes["side"])):
        with torch.inference_mode():
            timing = interleave(other, ours, options.rounds)
        sys.stdout.write(line(name, batch, timing))
        sys.stdout.flush()


def build(sizes: dict[str, int]) -> CaptionDetModel:
    vision = CLIPVisionConfig(**transformer(sizes))
    config = CaptionDetConfig(
        vision_config=vision,
        text_config=text(sizes),
        image_size=sizes["side"],
        width=sizes["pyramid"],
        num_heads=min(sizes["heads"], 8),
        detector="set",
        categories=[f"class {i}" for i in range(80)],
    )
    return CaptionDetModel(config).eval()


def build_peer(sizes: dict[str, int]) -> nn.Module:
    vision = ViTConfig(**transformer(sizes))
    model = VisionEncoderDecoderModel(VisionEncoderDecoderConfig.from_encoder_decoder_configs(vision, text(sizes)))
    model.generation_config.decoder_start_token_id = 0
    model.generation_config.pad_token_id = 2
    return model.eval()


def transformer(sizes: dict[str, int]) -> dict[str, int]:
    """The shape of either vision transformer."""
    return {
        "hidden_size": sizes["width"],
        "intermediate_size": 4 * sizes["width"],
        "num_hidden_layers": sizes["layers"],
        "num_attention_heads": sizes["heads"],
        "image_size": sizes["side"],
        "patch_size": sizes["patch"],
    }


def text(sizes: dict[str, int]) -> GPT2Config:
    return GPT2Config(
        vocab_size=sizes["words"],
        n_embd=sizes["width"],
        n_layer=sizes["layers"],
        n_head=sizes["heads"],
        n_positions=1024,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )


Case = tuple[str, int, Callable[[], object], Callable[[], object]]


def cases(model: CaptionDetModel, peer: nn.Module, images: Tensor) -> list[Case]:
    """Name, images, our way and the other; the ancestor's loop is seen to write the same words first."""
    with torch.inference_mode():
        assert torch.equal(write(model, images[:2]), write_as_ancestor(model, images[:2]))
    one = images[:1]
    return [
        *(("the ancestor's loop", len(x), lambda x=x: write(model, x), lambda x=x: write_as_ancestor(model, x))
          for x in (one, images)),
        *(("the same with boxes", len(x), lambda x=x: write(model, x), lambda x=x: write_and_find(model, x))
          for x in (one, images)),
        ("eight one by one", BATCH, lambda: write(model, images), lambda: [write(model, x) for x in images.split(1)]),
        *(("VisionEncoderDecoderModel", len(x), lambda x=x: write(model, x), lambda x=x: write(peer, x))
          for x in (one, images)),
    ]  # fmt: skip


def write(model: nn.Module, images: Tensor) -> Tensor:
    """Write TOKENS tokens with the cache."""
    made: Tensor = model.generate(  # type: ignore[operator]
        pixel_values=images, min_new_tokens=TOKENS, max_new_tokens=TOKENS, num_beams=1, do_sample=False
    )
    return made[:, 1:]


def write_and_find(model: CaptionDetModel, images: Tensor) -> tuple[Tensor, object]:
    """The same and boxes, from one pass of the encoder."""
    encoded = model.encoder(images)
    found = model.detect(encoded)
    made = model.generate(
        encoder_outputs=encoded, min_new_tokens=TOKENS, max_new_tokens=TOKENS, num_beams=1, do_sample=False
    )
    return made[:, 1:], found


def write_as_ancestor(model: CaptionDetModel, images: Tensor) -> Tensor:
    """Write TOKENS tokens with a loop that keeps nothing from token to token."""
    ids = torch.zeros(len(images), 1, dtype=torch.int64)
    for _ in range(TOKENS):
        logits = model(encoder_outputs=model.encoder(images), decoder_input_ids=ids).logits[:, -1]
        logits[:, model.config.text_config.eos_token_id] = -torch.inf  # all captions are of one length
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], 1)
    return ids[:, 1:]


def line(name: str, batch: int, timing: Timing) -> str:
    other, ours, (middle, low, high) = timing.ours[0], timing.peer[0], timing.ratio
    return f"| {name} | {batch} | {ours:.0f} | {other:.0f} | {middle:.2f} ({low:.2f} to {high:.2f}) |\n"


if __name__ == "__main__":
    main()
