"""Training steps on a GPU: `python tools/bench/gpu.py [--rounds N] [--only NAME ...] [--compile]`.

For one network of each application, with random weights: milliseconds of forward + backward (median, middle half) and
peak memory in float32 and in bf16 (autocast), with --compile under torch.compile too. Then event-det's two orders of
computation side by side: all steps of a stage at once, and all stages of a step.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

import camo_seg.build
import camo_seg.config
import iqa.build
import iqa.config
from caption_det.model import CaptionDetConfig, CaptionDetModel
from event_det.model import EventDetector
from polyscale.settings import resolve

FREE: dict[str, Any] = {"model.pretrained": "none"}
Case = tuple[nn.Module, Callable[[nn.Module], Any]]


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", nargs="+", choices=sorted(CASES), default=list(CASES))
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("needs a GPU of CUDA")
    sys.stdout.write(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {options.rounds} rounds\n\n")
    sys.stdout.write("| network | numbers | compiled | step, ms (middle half) | peak, GiB |\n|---|---|---|---|---|\n")
    for name in options.only:
        for compiled in (False, True) if options.compile else (False,):
            for numbers in ("fp32", "bf16"):
                sys.stdout.write(measure(name, numbers, compiled, options.rounds))
                sys.stdout.flush()
    sys.stdout.write(orders(options.rounds))


def segmenter() -> Case:
    """camo-seg small at 352 px, three scales, batch 8."""
    changes = {**FREE, "model.image_size": 352}
    config = resolve(camo_seg.config.Config, "small", overrides=changes, presets=camo_seg.config.PRESETS)
    image = torch.rand(8, 3, 352, 352, device="cuda")
    return camo_seg.build.build_model(config), lambda model: model(image)


def scorer() -> Case:
    """Iqa tiny (Swin) at 384 px, batch 16."""
    config = resolve(iqa.config.Config, "tiny", overrides=FREE, presets=iqa.config.PRESETS)
    image = torch.rand(16, 3, 384, 384, device="cuda")
    return iqa.build.build_model(config), lambda model: model(image)


def detector(order: Any = "auto") -> Case:
    """event-det base (RVT) on Gen1's frames, 10 steps of 8 streams."""
    model = EventDetector(["car", "pedestrian"], (240, 304), order=order)
    frames = torch.randint(0, 10, (10, 8, 20, 240, 304), dtype=torch.uint8, device="cuda")
    return model, lambda model: model(frames)


def captioner() -> Case:
    """caption-det with EfficientNet-Lite0 at 224 px and GPT-2 small, 16 images with one caption of 20 words."""
    model = CaptionDetModel(CaptionDetConfig(image_size=224))
    image = torch.rand(16, 3, 224, 224, device="cuda")
    words = torch.randint(3, 1000, (16, 20), device="cuda")
    return model, lambda model: model(image, input_ids=words, labels=words)


CASES: dict[str, Callable[[], Case]] = {
    "camo-seg": segmenter, "iqa": scorer, "event-det": detector, "caption-det": captioner,
}  # fmt: skip


def measure(name: str, numbers: str, compiled: bool, rounds: int) -> str:
    """Return the row of one network."""
    torch.manual_seed(0)
    torch.cuda.empty_cache()
    model, call = CASES[name]()
    step = stepper(model, call, numbers, compiled)
    for _ in range(3):
        step()
    torch.cuda.reset_peak_memory_stats()
    times = [step() for _ in range(rounds)]
    low, _, high = statistics.quantiles(times)
    peak = torch.cuda.max_memory_allocated() / 2**30
    what = "yes" if compiled else "no"
    return f"| {name} | {numbers} | {what} | {statistics.median(times):.1f} ({low:.1f}, {high:.1f}) | {peak:.2f} |\n"


def stepper(model: nn.Module, call: Callable[[nn.Module], Any], numbers: str, compiled: bool) -> Callable[[], float]:
    """Return a function that does forward and backward and says its milliseconds."""
    model.cuda().train()
    run: Any = torch.compile(model) if compiled else model

    def step() -> float:
        torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16, enabled=numbers == "bf16"):
            output = call(run)
        torch.stack([leaf.float().square().mean() for leaf in leaves(output)]).sum().backward()
        model.zero_grad()
        torch.cuda.synchronize()
        return 1000 * (time.perf_counter() - start)

    return step


def leaves(value: Any) -> Iterator[Tensor]:
    """Yield the tensors with a gradient in nested outputs."""
    if isinstance(value, Tensor):
        if value.requires_grad:
            yield value
    elif isinstance(value, dict):
        yield from leaves(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from leaves(part)
    elif hasattr(value, "__dict__"):
        yield from leaves(vars(value))


def orders(rounds: int) -> str:
    """Return steps a second of both orders, timed by turns, and their ratio."""
    steps = {order: stepper(*detector(order), "fp32", False) for order in ("stage", "time")}
    for step in steps.values():
        step()
    times: dict[str, list[float]] = {order: [] for order in steps}
    for _ in range(rounds):
        for order, step in steps.items():
            times[order].append(step())
    ratios = [b / a for a, b in zip(times["stage"], times["time"], strict=True)]
    low, middle, high = statistics.quantiles(ratios)
    rates = ", ".join(f"{order} {1000 / statistics.median(ms):.1f} steps/s" for order, ms in times.items())
    return f"\nevent-det base, 10 steps of 8 streams, fp32: {rates}; ratio {middle:.2f} ({low:.2f}, {high:.2f})\n"


if __name__ == "__main__":
    main()
