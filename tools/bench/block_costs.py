"""The table of blocks in packages/core/README.md: `python tools/bench/block_costs.py` measures it anew and writes it.

A row of ROWS says what the code cannot: symbolic shapes, source, when to use. Parameters and multiply-adds are counted
on the meta device for the stated example: those of convolutions and matrix products (torch's FlopCounterMode, halved);
interpolation, pooling, sampling and norms are not in it. `--check` only compares, and fails where the page is old.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from polyscale import blocks
from polyscale.models.cost import Cost, count

PAGE = Path(__file__).parents[2] / "packages/core/README.md"
START, END = "<!-- blocks: python tools/bench/block_costs.py -->", "<!-- end of blocks -->"
LEVELS = (64, 128, 320, 512)  # channels of a PVT-v2-b1 to b5 at strides 4, 8, 16, 32
HEAD = ("block", "in → out", "parameters", "multiply-adds", "source", "use it")


@dataclass(frozen=True)
class Row:
    """What the table says of a block; `build` and `inputs` make the example that is counted."""

    shapes: str
    source: str
    use: str
    build: Callable[[], nn.Module] | None = None
    inputs: Callable[[], Sequence[Any]] = lambda: [image()]


def image() -> Tensor:
    """One image of 256 x 256 px."""
    return torch.empty(1, 3, 256, 256)


def feature() -> Tensor:
    """The map of such an image at stride 4, 64 channels."""
    return torch.empty(1, 64, 64, 64)


def pyramid() -> list[Tensor]:
    """Its maps at strides 4, 8, 16, 32."""
    return [torch.empty(1, channels, 64 >> i, 64 >> i) for i, channels in enumerate(LEVELS)]


def scales() -> list[Tensor]:
    """Its stride-4 maps of 64 channels at scales 0.5, 1, 1.5."""
    return [torch.empty(1, 64, side, side) for side in (32, 64, 96)]


def encoder() -> list[Any]:
    """Every pixel of four levels of 64 channels as a query and as a value: what one encoder layer attends to."""
    tokens, shapes = blocks.flatten_levels([torch.empty(1, 64, 64 >> i, 64 >> i) for i in range(4)])
    return [tokens, blocks.reference_grid(shapes), tokens, shapes]


class FreeBackbone(nn.Module):
    """Levels of LEVELS channels out of nothing, so that only what is built around a backbone is counted."""

    channels = LEVELS

    def forward(self, x: Tensor) -> list[Tensor]:
        height, width = x.shape[-2:]
        return [x.new_empty(len(x), c, height // 4 >> i, width // 4 >> i) for i, c in enumerate(LEVELS)]


ROWS: dict[str, Row] = {
    "MultiScaleModel": Row(
        "image → n C or C maps",
        "Neurenix; Chen 2016",
        "any network at several input scales, also after training",
        lambda: blocks.MultiScaleModel(base_model=nn.Conv2d(3, 64, 3, padding=1), fusion_method="attention"),
    ),
    "PyramidNetwork": Row(
        "image → D maps, full size",
        "Neurenix; FPN, Lin 2017",
        "dense output from scratch, few channels",
        lambda: blocks.PyramidNetwork(3, 64, num_levels=4, base_channels=16),
    ),
    "UNet": Row(
        "image → D logits, full size",
        "Neurenix; Ronneberger 2015",
        "segmentation from scratch, fine borders",
        lambda: blocks.UNet(3, 1, features=[16, 32, 64, 128]),
    ),
    "MultiScalePooling": Row(
        "C → n C, same size",
        "Neurenix; PSPNet, Zhao 2017",
        "context without parameters",
        blocks.MultiScalePooling,
        lambda: [feature()],
    ),
    "PyramidPooling": Row(
        "C → D, same size",
        "Neurenix; PSPNet",
        "context of the whole image on the coarsest level",
        lambda: blocks.PyramidPooling(512, 64),
        lambda: [pyramid()[-1]],
    ),
    "SpatialPyramidPooling": Row(
        "C → vector of 21 C",
        "Neurenix; SPPNet, He 2014",
        "a fixed length from any size, before a linear head",
        blocks.SpatialPyramidPooling,
        lambda: [feature()],
    ),
    "FeatureFusion": Row(
        "list of C_i → D at the largest",
        "Neurenix",
        "maps of one network to one; concat, sum or attention",
        lambda: blocks.FeatureFusion(LEVELS, 64),
        lambda: [pyramid()],
    ),
    "AttentionFusion": Row(
        "list of C_i → D at the largest",
        "Neurenix; ASFF, Liu 2019",
        "each pixel chooses its level",
        lambda: blocks.AttentionFusion(LEVELS, 64),
        lambda: [pyramid()],
    ),
    "ScaleFusion": Row(
        "list of C → D at scale 1",
        "Neurenix",
        "one level seen at several input scales",
        lambda: blocks.ScaleFusion([0.5, 1.0, 1.5], 64, 64),
        lambda: [scales()],
    ),
    "MultiScaleTransform": Row(
        "image → list at s H x s W",
        "Neurenix",
        "the scales of an image, and back (`inverse`)",
        blocks.MultiScaleTransform,
    ),
    "Rescale": Row(
        "image → f H x f W",
        "Neurenix",
        "one scale, and back to the very size",
        blocks.Rescale,
    ),
    "PyramidDownsample": Row(
        "image → list, halved each time",
        "Neurenix",
        "image pyramids at a backbone's strides",
        blocks.PyramidDownsample,
    ),
    "enable_gradient_checkpointing": Row(
        "context manager",
        "Neurenix",
        "a third more time for less memory in MultiScaleModel, PyramidNetwork, UNet",
    ),
    "MultiScaleInputGenerator": Row(
        "image → list at s H x s W",
        "camoXpert",
        "input of one backbone at 0.5, 1 and 1.5 times the size",
        blocks.MultiScaleInputGenerator,
    ),
    "MultiScaleInputProcessor": Row(
        "image → list of C_i",
        "camoXpert; ZoomNeXt",
        "in place of a backbone: small and camouflaged objects. Adds this to its 3 passes",
        lambda: blocks.MultiScaleInputProcessor(FreeBackbone()),
    ),
    "HierarchicalScaleIntegration": Row(
        "list of C → C at scale 1",
        "camoXpert; CBAM, Woo 2018",
        "scales joined coarse to fine; starts as the plain network",
        lambda: blocks.HierarchicalScaleIntegration(64),
        lambda: [scales()],
    ),
    "AttentionBasedScaleIntegrationUnit": Row(
        "list of C → C at scale 1",
        "camoXpert",
        "scales joined by attention that can be looked at; starts as the plain network",
        lambda: blocks.AttentionBasedScaleIntegrationUnit(64),
        lambda: [scales()],
    ),
    "ScalePredictionHead": Row(
        "list of C_i → 1 logit, stride 4",
        "camoXpert",
        "supervision of one scale while training",
        lambda: blocks.ScalePredictionHead(LEVELS),
        lambda: [pyramid()],
    ),
    "FPN": Row(
        "list of C_i → list of D",
        "Lin 2017",
        "detectors and dense heads: every level with the semantics of the coarsest",
        lambda: blocks.FPN(LEVELS, 64),
        lambda: [pyramid()],
    ),
    "PAFPN": Row(
        "list of C_i → the same shapes",
        "YOLOX, Ge 2021; PANet, Liu 2018",
        "detectors of the YOLOX family",
        lambda: blocks.PAFPN(LEVELS, depth=0.33),
        lambda: [pyramid()],
    ),
    "SimpleFeaturePyramid": Row(
        "one map C → list of D",
        "ViTDet, Li 2022",
        "levels from the last map of a plain ViT",
        lambda: blocks.SimpleFeaturePyramid(320, 64),
        lambda: [pyramid()[2]],
    ),
    "MultiScaleSpatialAttention": Row(
        "C → C, same size",
        "eTram-rvt",
        "where to look, seen at several ranges; starts as the plain network",
        lambda: blocks.MultiScaleSpatialAttention(64),
        lambda: [feature()],
    ),
    "ScaleAwareChannelAttention": Row(
        "C → C, same size",
        "eTram-rvt; SE, Hu 2018",
        "channel weights that know their stride; starts as the plain network",
        lambda: blocks.ScaleAwareChannelAttention(64, stride=4),
        lambda: [feature()],
    ),
    "EventTemporalAttention": Row(
        "C, state → C, state",
        "eTram-rvt",
        "video and events: what changes, one state per stream; starts as the plain network",
        lambda: blocks.EventTemporalAttention(64),
        lambda: [feature()],
    ),
    "SmallObjectAttentionModule": Row(
        "C, state → C, state",
        "eTram-rvt",
        "spatial and temporal attention together; starts as the plain network",
        lambda: blocks.SmallObjectAttentionModule(64),
        lambda: [feature()],
    ),
    "MultiScaleDeformableAttention": Row(
        "Q x C queries, levels → Q x C",
        "Zhu 2021 (Deformable DETR)",
        "attention over all levels, linear in their pixels",
        lambda: blocks.MultiScaleDeformableAttention(64),
        encoder,
    ),
    "ConvBNSiLU": Row(
        "C → D at 1/stride",
        "YOLOX, Ge 2021",
        "the convolution of heads and pyramids that load checkpoints of the YOLOX family",
        lambda: blocks.ConvBNSiLU(64, 64, 3),
        lambda: [feature()],
    ),
    "deformable_sample": Row("levels, places, weights → Q x C", "Zhu 2021", "the same with places of your own"),
    "flatten_levels": Row("list of C → N x C, shapes", "Zhu 2021", "the value and shapes that the attention takes"),
    "reference_grid": Row("shapes → N x L x 2 in [0, 1]", "Zhu 2021", "the pixel centres as an encoder's places"),
    "match_size": Row("C → C at any size", "ZoomNeXt, Pang 2024", "resizing features so that small responses survive"),
}


def cost(row: Row) -> Cost | None:
    """(parameters, multiply-adds of one forward pass) of the row's example; None for what is no module."""
    if row.build is None:
        return None
    block = row.build().eval().to("meta")
    with torch.device("meta"):
        return count(block, *row.inputs())


def table() -> str:
    """The Markdown table, one line per row of ROWS."""
    lines = [HEAD, ["---", "---", "--:", "--:", "---", "---"]]
    for name, row in ROWS.items():
        counted = cost(row)
        numbers = ("", "") if counted is None else (short(counted[0]), short(counted[1]))
        lines.append([f"`{name}`", row.shapes, *numbers, row.source, row.use])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def short(count: int) -> str:
    """Three digits and k, M or G."""
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= 0.9995 * size:
            return f"{count / size:.3g}{letter}"
    return str(count)


def rewritten(page: str) -> str:
    """`page` with the table between the markers measured anew."""
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"{PAGE}: the markers {START} and {END} are not in it")
    return f"{before}{START}\n\n{table()}\n\n{END}{after}"


def main() -> int:
    """Rewrites the page, or with --check says whether it would change."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where the page is old")
    check = parser.parse_args().check
    old = PAGE.read_text(encoding="utf-8")
    new = rewritten(old)
    if not check:
        PAGE.write_text(new, encoding="utf-8")
    elif new != old:
        sys.stderr.write("packages/core/README.md: the table is old; run python tools/bench/block_costs.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
