"""Several input scales next to one in camo-seg: `python tools/bench/camo_seg_scales.py [--preset P] [--mode M]`.

Times inference and a training step (forward + backward) of the same network with one scale and with several,
interleaved in one process at the same input, and measures the peak memory of each in a process of its own. Modes:
hierarchical and absi pass the scales 0.5, 1 and 1.5 whole; window passes scale 1 whole and one window of 1.5; larger is
a single scale at 416 / 352 of the side, the control that a claim for several scales has to beat; experts is one scale
with a mixture of four decoders. `--clock process` counts what this process computed, for a busy machine.
"""

import argparse
import json
import multiprocessing
import re
import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from interleaved import Pair, Side, compare, machine

from camo_seg.build import build_model
from camo_seg.config import PRESETS, Config
from polyscale.commands import keep_heap
from polyscale.settings import resolve


def main() -> None:
    """Measures and prints a Markdown table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="small", help="network and image size")
    parser.add_argument("--image-size", type=int, help="pixels a side (default: the preset's)")
    parser.add_argument(
        "--mode", choices=["hierarchical", "absi", "window", "larger", "experts"], default="hierarchical"
    )
    parser.add_argument("--batch", type=int, default=1, help="images per pass (default 1)")
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds of both sides (default 9)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    parser.add_argument("--clock", choices=["wall", "process"], default="wall")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    options = parser.parse_args()
    kept_heap = keep_heap()
    torch.set_num_threads(options.threads)
    changes: dict[str, Any] = {"model.pretrained": "none"}
    if options.image_size:
        changes["model.image_size"] = options.image_size
    config = resolve(Config, options.preset, overrides=changes, presets=PRESETS)
    config, single = _changed(config, **_mode(config, options.mode)), _changed(config, scales=(1.0,))
    sides = {"several": _side(config, options.batch), "single": _side(single, options.batch)}
    clock = time.process_time if options.clock == "process" else time.perf_counter
    times = compare(Pair(sides["several"], sides["single"]), options.rounds, clock)
    memory = {
        (name, train): _peak(c, options.batch, train)
        for name, c in (("several", config), ("single", single))
        for train in (False, True)
    }
    m = config.model
    setting = (
        f"{m.backbone}, {single.model.image_size} px, {options.mode}, scales {m.scales}, batch {options.batch}; "
        f"{options.clock} time; {machine(kept_heap)}"
    )
    rows = []
    for step, train in (("forward", False), ("forward+backward", True)):
        several, one = memory["several", train], memory["single", train]
        rows.append({"pass": step, **asdict(times[step]), "MiB": [several, one], "MiB_ratio": several / one})
    sys.stdout.write(json.dumps({"setting": setting, "rows": rows}) + "\n" if options.json else _table(setting, rows))


def _mode(config: Config, mode: str) -> dict[str, Any]:
    if mode == "window":
        return {"fusion": mode, "scales": (1.0, 1.5)}
    if mode == "larger":
        return {"scales": (1.0,), "image_size": round(config.model.image_size * 416 / 352 / 8) * 8}
    if mode == "experts":
        return {"scales": (1.0,), "experts": 4}
    return {"fusion": mode, "scales": (0.5, 1.0, 1.5)}


def _changed(config: Config, **model: Any) -> Config:
    return config.model_copy(update={"model": config.model.model_copy(update=model)})


def _side(config: Config, batch: int) -> Side:
    torch.manual_seed(0)
    model = build_model(config).to(memory_format=torch.channels_last)
    side = model.input_size
    images = torch.rand(batch, 3, side, side).to(memory_format=torch.channels_last)
    return Side(model, (images,))


def _peak(config: Config, batch: int, train: bool) -> float:
    """Peak resident memory in MiB of a fresh process that makes three passes, imports and weights included."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_passes, (config, batch, train))


def _passes(config: Config, batch: int, train: bool) -> float:
    side = _side(config, batch)
    model = side.run
    assert isinstance(model, torch.nn.Module)
    model.train(train)
    for _ in range(3):
        with torch.set_grad_enabled(train):
            logits = model(*side.arguments)
            if train:
                logits.mean().backward()
    return _peak_memory()


def _peak_memory() -> float:
    """MiB. Linux keeps the parent's ru_maxrss over fork and exec, the high-water mark of the address space not."""
    status = Path("/proc/self/status")
    if status.is_file():
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 1024  # type: ignore[index]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _table(setting: str, rows: list[dict[str, Any]]) -> str:
    lines = [
        f"{setting}; median ms, ratio several / one (middle half of the rounds), peak MiB in a process of its own.",
        "",
        "| pass | several ms | one ms | ratio | several MiB | one MiB | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratio = "{:.2f} ({:.2f}..{:.2f})".format(*row["ratio"])
        memory = "{:.0f} | {:.0f}".format(*row["MiB"])
        medians = f"{row['ours'][0]:.1f} | {row['peer'][0]:.1f}"
        lines.append(f"| {row['pass']} | {medians} | {ratio} | {memory} | {row['MiB_ratio']:.2f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
