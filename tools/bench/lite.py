"""What prediction without torch costs and whether it says the same: `python tools/bench/lite.py PHOTOS [--models ...]`.

For each model: processor seconds and memory of the whole process that predicts one photograph, by torch and by
onnxruntime in turn after one round that fills the caches, the median; then the largest difference between the two over
the photographs of the folder, as a share of the outputs' range, and the median time of a photograph in each, in one
thread, interleaved. On a busy machine only the ratios mean something.
"""

import argparse
import importlib
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from polyscale.commands import keep_heap
from polyscale.data.listing import list_images
from polyscale.inference.network import RUNTIMES

NAMES = RUNTIMES[1:]
APPS = {"camo_seg": "probability", "iqa": "score"}


def main() -> None:
    """Measures and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder of images")
    parser.add_argument("--models", nargs="+", default=["camo_seg:nano", "iqa:nano"], metavar="PACKAGE:MODEL")
    parser.add_argument("--limit", type=int, default=50, help="images at most (default 50)")
    parser.add_argument("--rounds", type=int, default=5, help="processes of each kind (default 5)")
    options = parser.parse_args()
    keep_heap()
    files = list_images(options.photos)[: options.limit]
    sys.stdout.write(f"{len(files)} photographs, medians of {options.rounds} processes\n\n")
    sys.stdout.write(
        "| model | runtime | seconds | MB | ms a photograph | largest difference |\n|---|---|---|---|---|---|\n"
    )
    named = {entry: (entry.partition(":")[0], entry.partition(":")[2]) for entry in options.models}
    # first, before torch is here: a process counts what its parent held as its own
    costs = {entry: _processes(*words, files[0], options.rounds) for entry, words in named.items()}
    for entry, words in named.items():
        times, worst = _photographs(*words, files)
        for name in NAMES:
            seconds, memory = costs[entry][name]
            shown = f"{worst:.1e}" if name == "onnx" else "-"
            row = f"| {entry} | {name} | {seconds:.2f} | {memory:.0f} | {times[name]:.0f} | {shown} |"
            sys.stdout.write(row + "\n")


def _processes(package: str, model: str, file: Path, rounds: int) -> dict[str, tuple[float, float]]:
    """Median processor seconds and MB of a process that predicts `file`, by runtime."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in NAMES}
    for number in range(rounds + 1):
        for name in NAMES[:: 1 if number % 2 else -1]:
            words = ["predict", str(file), "--json", "--device", "cpu", "--model", model, "--runtime", name]
            process = subprocess.Popen([sys.executable, "-m", package, *words], stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            if status:
                raise SystemExit(f"{package} {' '.join(words)} failed")
            if number:
                spent[name].append((usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024))
    return {name: (median(s for s, _ in rows), median(m for _, m in rows)) for name, rows in spent.items()}


def _photographs(package: str, model: str, files: list[Path]) -> tuple[dict[str, float], float]:
    """Median ms of a photograph by runtime, and the largest difference of the outputs as a share of their range."""
    import torch

    torch.set_num_threads(1)
    predictor: Any = importlib.import_module(f"{package}.predict").Predictor
    predictors = {name: predictor(model, "cpu", "fp32", runtime=name) for name in NAMES}
    times: dict[str, list[float]] = {name: [] for name in NAMES}
    worst = 0.0
    for number, file in enumerate(files):
        outputs = {}
        for name in NAMES[:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            result = predictors[name](file)
            times[name].append(1000 * (time.perf_counter() - start))
            outputs[name] = np.asarray(getattr(result, APPS[package])) / (
                getattr(result, "high", 1.0) - getattr(result, "low", 0.0)
            )
        worst = max(worst, float(np.abs(outputs["torch"] - outputs["onnx"]).max()))
    return {name: median(spent) for name, spent in times.items()}, worst


if __name__ == "__main__":
    main()
