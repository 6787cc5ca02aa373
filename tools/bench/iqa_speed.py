"""Speed and memory of scoring: `python tools/bench/iqa_speed.py [speed|compiled|folder|memory ...] [--rounds N]`.

speed: Swin-T with HyperIQA-Swin's heads on one 384 x 512 image: one pass over all of it against 20 and 25 crops of
224 one by one (the protocol of HyperIQA and HyperIQA-Swin), and the same pass in bf16; interleaved, random weights.
compiled: the pass in bf16 as torch.compile makes it with frozen weights (a minute of compiling; needs a C++ compiler),
against the same pass as it is and 20 crops.
folder: `Predictor.stream` on a folder of 384 x 512 JPEGs against the bare backbone on ready tensors, images a second.
memory: peak memory of a fresh process that scores one 100-megapixel JPEG with nano's network.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from interleaved import machine
from PIL import Image
from torch import Tensor

from iqa.model.network import QualityNet
from iqa.predict import Predictor
from polyscale.commands import keep_heap
from polyscale.inference.precision import autocast

HEIGHT, WIDTH, CROP = 384, 512, 224
MEGAPIXELS = (10_000, 10_000)
SCORE_ONE = """
import re, sys
from pathlib import Path
from iqa.predict import Predictor
from polyscale.commands import keep_heap
keep_heap()
print(Predictor("nano", runtime="torch")(Path(sys.argv[1])).score)
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024)
"""


def main() -> None:
    """Measures what is asked for and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[[], *MEASUREMENTS], help="default: all of them")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds (default 5)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    options = parser.parse_args()
    kept_heap = keep_heap()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    sys.stdout.write(f"{machine(kept_heap)}, {options.rounds} rounds; median (least..most)\n\n")
    for name in options.what or MEASUREMENTS:
        sys.stdout.write("\n".join(MEASUREMENTS[name](options.rounds)) + "\n\n")


def speed(rounds: int) -> list[str]:
    """One pass over the whole image against crops one by one."""
    model = QualityNet().eval()
    image = torch.rand(1, 3, HEIGHT, WIDTH)
    ways: dict[str, Callable[[], object]] = {
        "one pass, whole image": lambda: model(image),
        "20 crops one by one": lambda: crops(model, image, 20),
        "25 crops one by one": lambda: crops(model, image, 25),
        "one pass, bf16": lambda: in_bf16(model, image),
    }
    return against(interleaved(ways, rounds), "one pass, whole image")


def compiled(rounds: int) -> list[str]:
    """One pass in bf16, compiled, against crops one by one."""
    from torch._inductor import config

    model = QualityNet().eval()
    image = torch.rand(1, 3, HEIGHT, WIDTH)
    fast = torch.compile(model)
    ways: dict[str, Callable[[], object]] = {
        "one pass, bf16, compiled": lambda: in_bf16(fast, image),
        "one pass, bf16": lambda: in_bf16(model, image),
        "20 crops one by one": lambda: crops(model, image, 20),
        "25 crops one by one": lambda: crops(model, image, 25),
    }
    with config.patch(freezing=True):
        return against(interleaved(ways, rounds), "one pass, bf16, compiled")


def against(times: dict[str, list[float]], reference: str) -> list[str]:
    """A table of each way's time, and its ratio to the reference's round by round."""
    lines = ["| way | ms | times |", "|---|---|---|"]
    for name, seconds in times.items():
        ratios = [a / b for a, b in zip(seconds, times[reference], strict=True)]
        lines.append(f"| {name} | {spread([1e3 * s for s in seconds], 0)} | {spread(ratios, 2)} |")
    return lines


def crops(model: QualityNet, image: Tensor, count: int) -> float:
    """Mean score of `count` random crops, each a forward pass of its own."""
    generator = torch.Generator().manual_seed(0)
    total = 0.0
    for _ in range(count):
        top = int(torch.randint(HEIGHT - CROP + 1, (), generator=generator))
        left = int(torch.randint(WIDTH - CROP + 1, (), generator=generator))
        total += float(model(image[..., top : top + CROP, left : left + CROP]))
    return total / count


def in_bf16(model: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    with autocast("bf16", "cpu"):
        return model(image)


def folder(rounds: int, count: int = 24, batch_size: int = 8) -> list[str]:
    """Scoring files, decoding and all, against the bare backbone on tensors."""
    model = QualityNet().eval()
    predictor = Predictor(model)
    with tempfile.TemporaryDirectory() as name:
        files = images(Path(name), count)
        batch = torch.rand(batch_size, 3, HEIGHT, WIDTH)
        ways: dict[str, Callable[[], object]] = {
            "bare backbone, tensors": lambda: [model.backbone(batch) for _ in range(count // batch_size)],
            "Predictor.stream, JPEG files": lambda: list(predictor.stream(files, batch_size=batch_size)),
        }
        times = interleaved(ways, rounds)
    bare, ours = times.values()
    lines = ["| what | images a second |", "|---|---|"]
    lines += [f"| {name} | {spread([count / s for s in seconds], 2)} |" for name, seconds in times.items()]
    share = [b / o for b, o in zip(bare, ours, strict=True)]
    return [*lines, "", f"Share of the bare backbone's throughput: {spread(share, 2)}."]


def images(place: Path, count: int) -> list[Path]:
    """Smooth random JPEGs of about the size of photographs."""
    rng = np.random.default_rng(0)
    files = []
    for number in range(count):
        small = Image.fromarray(rng.integers(0, 255, (HEIGHT // 4, WIDTH // 4, 3), dtype=np.uint8))
        files.append(place / f"{number:03d}.jpg")
        small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(files[-1], quality=92)
    return files


def memory(rounds: int) -> list[str]:
    """Peak resident memory of scoring one huge JPEG, imports and weights included."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "huge.jpg"
        Image.effect_noise((1000, 1000), 60).convert("RGB").resize(MEGAPIXELS, Image.Resampling.BILINEAR).save(file)
        peaks = []
        for _ in range(min(rounds, 3)):
            done = subprocess.run(
                [sys.executable, "-c", SCORE_ONE, str(file)], capture_output=True, text=True, check=True
            )
            peaks.append(float(done.stdout.split()[-1]))
    return [f"Peak memory of scoring a JPEG of {MEGAPIXELS[0]} x {MEGAPIXELS[1]}: {spread(peaks, 0)} MiB."]


def interleaved(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round, after one round that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    with torch.inference_mode():
        for number in range(rounds + 1):
            for name, call in ways.items():
                start = time.perf_counter()
                call()
                if number:
                    times[name].append(time.perf_counter() - start)
    return times


def spread(values: list[float], digits: int) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}..{max(values):.{digits}f})"


MEASUREMENTS: dict[str, Callable[[int], list[str]]] = {
    "speed": speed,
    "compiled": compiled,
    "folder": folder,
    "memory": memory,
}

if __name__ == "__main__":
    main()
