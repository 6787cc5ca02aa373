"""Ablations at nano size: `python tools/bench/iqa_ablations.py seed|backbones|crops DATA [--set KEY=VALUE ...]`.

seed: HyperIQA-Swin's, one thing changed at a time (four stages or the last alone, concat or attention, L1 or L1 with
ranking); the test split is scored once a run. backbones: a small convolutional network and a small Swin without
pretraining, for equally many epochs; scored on validation, with the time that a training step takes. crops: one
network, trained on crops, scores the test split as the mean of 20 and 25 random crops of the size that it was trained
on, and in one pass; another is trained on whole images, for equally many epochs. Each with every seed, on the data
set DATA (a folder or csv, as in `iqa train --data.path`), the epoch chosen on validation, from scratch. Images are
shrunk to the area of 128 x 128 pixels, for the time. All runs share the decoded images, in one process.
"""

import argparse
import itertools
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import torch
from scipy.stats import t
from timm.models import register_model
from timm.models.swin_transformer import swin_tiny_patch4_window7_224
from torch import nn

from iqa.build import TrainingData, build_model, build_set, build_training_data
from iqa.config import PRESETS, Config
from iqa.evaluation.crops import WHOLE, Crops
from iqa.evaluation.evaluate import evaluate
from iqa.model.network import QualityNet
from iqa.train import train
from polyscale.commands import keep_heap, note
from polyscale.inference.precision import autocast
from polyscale.settings import resolve

SHARED = {
    "model.backbone": "regnetx_002",
    "model.pretrained": "none",
    "model.image_size": "128",
    "model.grid": "7",
    "optim.backbone_lr": "1",
    "optim.frozen_norm": "false",
    "data.crop": "80",
    "data.ranked_levels": "0",
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
WHOLE_IMAGES = "trained on whole images, one pass"
CROPS = {"trained on crops, 20 crops": 20, "trained on crops, 25 crops": 25, "trained on crops, one pass": 0}


@register_model  # type: ignore[untyped-decorator]
def swin_nano(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A Swin of about the cost of RegNetX-200MF; timm has none below Tiny."""
    size = {"embed_dim": 32, "depths": (2, 2, 4, 2), "num_heads": (1, 2, 4, 8)}
    return swin_tiny_patch4_window7_224(pretrained, **{**size, **kwargs})


def main() -> None:
    """Trains, scores and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*VARIANTS, "crops"])
    parser.add_argument("data", help="folder or csv of a data set")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each variant (default 3)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further settings of every run")
    options = parser.parse_args()
    keep_heap()
    given = {**SHARED, "data.path": options.data, **dict(item.split("=", 1) for item in options.set)}
    data = build_training_data(configuration(given, 0))
    measure = by_crops if options.what == "crops" else by_variant
    sys.stdout.write(measure(options.what, given, data, range(options.seeds)))


def by_variant(what: str, given: dict[str, str], data: TrainingData, seeds: range) -> str:
    """The table of `seed` and `backbones`."""
    config = configuration(given, 0)
    test = data.val if what == "backbones" else build_set(config.data, "test", config.model.image_size)
    split = "validation" if test is data.val else "test"
    variants = VARIANTS[what]
    results: dict[str, list[float]] = {name: [] for name in variants}
    for seed, (name, changes) in itertools.product(seeds, variants.items()):
        model = train_one(configuration({**given, **changes}, seed), data)
        results[name].append(float(evaluate(model, test).summary["SRCC"]))
        note(f"{name}, seed {seed}: {split} SRCC {results[name][-1]:.4f}")
    costs = {name: cost(configuration({**given, **changes}, 0)) for name, changes in variants.items()}
    return table(results, split, {"size, step": costs})


def by_crops(_: str, given: dict[str, str], data: TrainingData, seeds: range) -> str:
    """The table of `crops`."""
    config = configuration(given, 0)
    side, whole = config.data.crop or 0, config.model.image_size  # smaller images are mirrored up to it
    test = build_set(config.data, "test", whole)
    results: dict[str, list[float]] = {name: [] for name in (*CROPS, WHOLE_IMAGES)}

    def score(name: str, seed: int, model: QualityNet, ways: Crops) -> None:
        results[name].append(float(evaluate(model, test, crops=ways).summary["SRCC"]))
        note(f"{name}, seed {seed}: test SRCC {results[name][-1]:.4f}")

    for seed in seeds:
        model = train_one(configuration(given, seed), data)
        for name, count in CROPS.items():
            score(name, seed, model, Crops("random", count, side, seed) if count else WHOLE)
        data.train.crop = whole
        score(WHOLE_IMAGES, seed, train_one(configuration({**given, "data.crop": str(whole)}, seed), data), WHOLE)
        data.train.crop = config.data.crop
    return table(results, "test", {"of": {name: f"{side} px" for name, count in CROPS.items() if count}})


def configuration(given: dict[str, str], seed: int) -> Config:
    return resolve(Config, presets=PRESETS, default_preset="nano", overrides={**given, "train.seed": str(seed)})


def train_one(config: Config, data: TrainingData) -> QualityNet:
    """The model of the epoch that validation chose."""
    with tempfile.TemporaryDirectory() as folder:
        return QualityNet.from_pretrained(train(config, Path(folder) / "run", data=data).out)


def cost(config: Config) -> str:
    """Parameters, and the median time of a training step's forward and backward pass."""
    model, side = build_model(config).train(), config.data.crop or 128
    model = model.to(memory_format=torch.channels_last)
    images, times = torch.rand(config.train.batch_size, 3, side, side), []
    for _ in range(12):
        start = time.perf_counter()
        with autocast(config.train.precision, "cpu"):
            scores = model(images)
        scores.sum().backward()
        times.append(time.perf_counter() - start)
    return f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M, {1000 * median(times):.0f} ms"


def table(results: dict[str, list[float]], split: str, more: dict[str, dict[str, str]]) -> str:
    """Mean over the seeds, and the difference to the first variant, seed by seed, with Student's 95 % interval.

    more: further columns, a text for each variant that has one.
    """
    reference = next(iter(results.values()))
    lines = [
        " | ".join([f"| variant | {split} SRCC, mean | difference to the first | seeds", *more, ""]).rstrip(),
        "|---" * (4 + len(more)) + "|",
    ]
    for name, values in results.items():
        gaps = [a - b for a, b in zip(values, reference, strict=True)]
        each, gap = ", ".join(f"{v:.4f}" for v in values), "" if values is reference else interval(gaps)
        rest = [column.get(name, "") for column in more.values()]
        lines.append(" | ".join([f"| {name} | {mean(values):.4f} | {gap} | {each}", *rest, ""]).rstrip())
    return "\n".join(lines) + "\n"


def interval(gaps: list[float]) -> str:
    if len(gaps) < 2:
        return f"{mean(gaps):+.4f}"
    half = float(t.ppf(0.975, len(gaps) - 1)) * stdev(gaps) / len(gaps) ** 0.5
    return f"{mean(gaps):+.4f} [{mean(gaps) - half:+.4f}, {mean(gaps) + half:+.4f}]"


if __name__ == "__main__":
    main()
