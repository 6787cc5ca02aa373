"""Ablations at nano size: `python tools/bench/iqa_ablations.py seed|backbones DATA [--seeds 3] [--set KEY=VALUE ...]`.

seed: the seed's, one thing changed at a time (four stages or the last alone, concat or attention, L1 or L1 with
ranking); the test split is scored once a run. backbones: a small convolutional network and a small Swin without
pretraining, for equally many epochs; scored on validation, with the time that a training step takes. Each with every
seed, on the data set DATA (a folder or csv, as in `iqa train --data.path`), the epoch chosen on validation. Without
scene statistics, so that what is compared is the network. All runs share the decoded pictures, in one process.
"""

import argparse
import itertools
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

sys.path.append(sys.path.pop(0))  # a file beside this one is called like the package that it measures

import torch
from scipy.stats import t
from timm.models import register_model
from timm.models.swin_transformer import swin_tiny_patch4_window7_224
from torch import nn

from iqa.build import Views, build_look, build_model, build_set, build_views
from iqa.config import PRESETS, Config
from iqa.data.views import ViewSet
from iqa.evaluate import evaluate
from iqa.model import QualityNet
from iqa.train import train
from polyscale.commands import keep_heap, note
from polyscale.precision import autocast
from polyscale.settings import resolve

SHARED = {
    "model.statistics": "false",
    "model.shrink": "4",
    "data.crop": "80",
    "data.chains": "0",
    "data.val_fraction": "0.1",
    "loss.norm_in_norm": "0",
    "loss.spread": "0",
    "train.epochs": "3",
}
VARIANTS = {
    "seed": {
        "four stages, concat, L1": {},
        "last stage alone": {"model.multiscale": "false"},
        "attention fusion": {"model.fusion": "attention"},
        "L1 + 0.5 ranking": {"loss.ranking": "0.5"},
    },
    "backbones": {
        "RegNetX-200MF": {},
        "Swin of 32 channels, depths 2, 2, 4, 2": {"model.backbone": "swin_nano"},
    },
}


@register_model
def swin_nano(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A Swin of about the cost of RegNetX-200MF; timm has none below Tiny."""
    size = {"embed_dim": 32, "depths": (2, 2, 4, 2), "num_heads": (1, 2, 4, 8)}
    return swin_tiny_patch4_window7_224(pretrained, **{**size, **kwargs})


def main() -> None:
    """Trains, scores and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(VARIANTS))
    parser.add_argument("data", help="folder or csv of a data set")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each variant (default 3)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further settings of every run")
    options = parser.parse_args()
    keep_heap()
    given = {**SHARED, "data.path": options.data, **dict(item.split("=", 1) for item in options.set)}
    first = configuration(given, 0)
    views = build_views(first, build_look(first))
    scored = test_views(first) if options.what == "seed" else views.val
    split = "validation" if scored is views.val else "test"
    variants = VARIANTS[options.what]
    results: dict[str, list[float]] = {name: [] for name in variants}
    for seed, (name, changes) in itertools.product(range(options.seeds), variants.items()):
        config = configuration({**given, **changes}, seed)
        srcc = score(config, views, scored)
        results[name].append(srcc)
        note(f"{name}, seed {seed}: {split} SRCC {srcc:.4f}")
    costs = {name: cost(configuration({**given, **changes}, 0)) for name, changes in variants.items()}
    sys.stdout.write(table(results, split, costs))


def configuration(given: dict[str, str], seed: int) -> Config:
    return resolve(Config, presets=PRESETS, default_preset="nano", overrides={**given, "train.seed": str(seed)})


def test_views(config: Config) -> ViewSet:
    return ViewSet(build_set(config.data, "test", config.model.image_size), build_look(config), None, False)


def score(config: Config, views: Views, test: ViewSet) -> float:
    """SRCC on `test` of the epoch that validation chose."""
    with tempfile.TemporaryDirectory() as folder:
        run = train(config, Path(folder) / "run", views=views)
        return float(evaluate(QualityNet.from_pretrained(run.out), test).summary["SRCC"])


def cost(config: Config) -> str:
    """Parameters, and the median time of a training step's forward and backward pass."""
    model, side = build_model(config).train(), config.data.crop or 128
    model = model.to(memory_format=torch.channels_last)
    images, times = torch.rand(config.train.batch_size, 3, side, side), []
    for _ in range(12):
        start = time.perf_counter()
        with autocast(config.train.precision, "cpu"):
            scores = model(images, images.new_zeros(len(images), 0))
        scores.sum().backward()
        times.append(time.perf_counter() - start)
    return f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M, {1000 * median(times):.0f} ms"


def table(results: dict[str, list[float]], split: str, costs: dict[str, str]) -> str:
    """Mean over the seeds, and the difference to the first variant, seed by seed, with Student's 95 % interval."""
    reference = next(iter(results.values()))
    lines = [
        f"| variant | {split} SRCC, mean | difference to the first | seeds | size, step |",
        "|---|---|---|---|---|",
    ]
    for name, values in results.items():
        gaps = [a - b for a, b in zip(values, reference, strict=True)]
        each, gap = ", ".join(f"{v:.4f}" for v in values), "" if values is reference else interval(gaps)
        lines.append(f"| {name} | {mean(values):.4f} | {gap} | {each} | {costs[name]} |")
    return "\n".join(lines) + "\n"


def interval(gaps: list[float]) -> str:
    if len(gaps) < 2:
        return f"{mean(gaps):+.4f}"
    half = float(t.ppf(0.975, len(gaps) - 1)) * stdev(gaps) / len(gaps) ** 0.5
    return f"{mean(gaps):+.4f} [{mean(gaps) - half:+.4f}, {mean(gaps) + half:+.4f}]"


if __name__ == "__main__":
    main()
