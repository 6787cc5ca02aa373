"""A mixture of experts next to one of its experts: `python tools/bench/camo_seg_moe.py [--preset small] [--rounds N]`.

Times the whole network, forward (eval) and forward + backward (train), of N experts of which top K decode an image,
against the same network with a single one of the experts and no router, for each kind of expert, interleaved in one
process at the same input. `--clock process` counts what this process computed, for a busy machine.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from typing import Any

import torch
import torch.nn.functional as F
from interleaved import Pair, Side, compare, machine
from torch import Tensor, nn

from camo_seg.build import build_model
from camo_seg.config import PRESETS, Config
from camo_seg.model.mixture import MixtureDecoder, expert_names
from camo_seg.model.network import CamoSegmenter
from polyscale.commands import keep_heap
from polyscale.settings import resolve


class OneExpert(nn.Module):
    """The network with one expert: [B, 3, H, W] -> logits [B, 1, H, W]."""

    def __init__(self, network: CamoSegmenter, number: int) -> None:
        super().__init__()
        assert isinstance(network.decoder, MixtureDecoder)
        self.backbone: Any = network.backbone
        self.levels, self.expert = network.decoder, network.decoder.experts[number]

    def forward(self, images: Tensor) -> Tensor:
        """Decode every image by the one expert."""
        network = getattr(self.backbone, "backbone", self.backbone)
        features = self.backbone(network.normalise(images))
        levels, _ = self.levels.descend(features)
        return F.interpolate(self.expert(levels), images.shape[-2:], mode="bilinear")


def main() -> None:
    """Measures and prints a Markdown table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="small", help="network and image size")
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0], help="input scales (default 1)")
    parser.add_argument("--experts", type=int, default=4)
    parser.add_argument("--top-k", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1, help="images per pass (default 1)")
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds of both sides (default 9)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    parser.add_argument("--clock", choices=["wall", "process"], default="wall")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    options = parser.parse_args()
    kept_heap = keep_heap()
    torch.set_num_threads(options.threads)
    changes = {
        "model.pretrained": "none",
        "model.scales": options.scales,
        "model.experts": options.experts,
        "model.top_k": options.top_k,
        "loss.scale_loss": 0,
    }
    config = resolve(Config, options.preset, overrides=changes, presets=PRESETS)
    torch.manual_seed(0)
    network = build_model(config).to(memory_format=torch.channels_last)
    images = torch.rand(options.batch, 3, network.input_size, network.input_size).contiguous(
        memory_format=torch.channels_last
    )
    clock = time.process_time if options.clock == "process" else time.perf_counter
    rows = []
    for number, name in enumerate(expert_names(min(4, options.experts))):
        pair = Pair(Side(network, (images,)), Side(OneExpert(network, number), (images,)))
        times = compare(pair, options.rounds, clock)
        rows += [{"expert": name, "pass": step, **asdict(timing)} for step, timing in times.items()]
    m = config.model
    setting = (
        f"{m.backbone}, {m.image_size} px, scales {m.scales}, {m.experts} experts, top {m.top_k}, "
        f"batch {options.batch}; {options.clock} time; {machine(kept_heap)}"
    )
    sys.stdout.write(json.dumps({"setting": setting, "rows": rows}) + "\n" if options.json else _table(setting, rows))


def _table(setting: str, rows: list[dict[str, Any]]) -> str:
    lines = [
        f"{setting}; median ms, ratio mixture / one expert (middle half of the rounds).",
        "",
        "| pass | expert | mixture ms | one expert ms | ratio |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        ratio = "{:.2f} ({:.2f}..{:.2f})".format(*row["ratio"])
        lines.append(f"| {row['pass']} | {row['expert']} | {row['ours'][0]:.1f} | {row['peer'][0]:.1f} | {ratio} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
