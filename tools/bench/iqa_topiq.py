"""One pass of ours against pyiqa's topiq_nr network: `uv run --with pyiqa==0.1.16 python tools/bench/iqa_topiq.py`.

Both networks have random weights (time does not depend on them) and score one image of 512 x 384 in one thread, turn by
turn in one process; `--clock process` counts processor time, which other processes hardly move. Ours is the network of
preset photo with its own normalisation and score; topiq_nr is a ResNet-50 with CFANet's head, built without downloads.
"""

import argparse
import sys
import time

import torch
from interleaved import Side, _forward, interleave, machine

from iqa.build import build_model
from iqa.config import PRESETS, Config
from polyscale.commands import keep_heap
from polyscale.settings import resolve


def main() -> None:
    """Prints one row of a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--clock", choices=("wall", "process"), default="wall")
    options = parser.parse_args()
    from pyiqa.archs.topiq_arch import CFANet  # type: ignore[import-not-found]

    torch.set_num_threads(1)
    kept = keep_heap()
    overrides = {"model.pretrained": "none"}
    ours = build_model(resolve(Config, presets=PRESETS, default_preset="photo", overrides=overrides)).eval()
    peer = CFANet(semantic_model_name="resnet50", use_ref=False, pretrained=False, backbone_pretrain=False).eval()
    image = torch.rand(1, 3, 384, 512)
    sides = (
        Side(ours.to(memory_format=torch.channels_last).score, (image.to(memory_format=torch.channels_last),)),
        Side(peer, (image,)),
    )
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    timing = interleave(_forward(sides[0]), _forward(sides[1]), options.rounds, clock)
    middle, low, high = timing.ratio
    sys.stdout.write(
        f"{machine(bool(kept))}, {options.clock} time\n"
        f"ours {timing.ours[0]:.0f} ms, topiq_nr {timing.peer[0]:.0f} ms, ratio {middle:.2f} ({low:.2f}..{high:.2f})\n"
    )


if __name__ == "__main__":
    main()
