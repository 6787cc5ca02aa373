"""The seed's ablations at nano size: `python tools/bench/iqa_ablations.py DATA [--seeds 3] [--set KEY=VALUE ...]`.

Trains the same small network from scratch with one thing changed at a time (four stages or the last alone, concat or
attention, L1 or L1 with ranking), each with every seed, on the data set DATA (a folder or csv, as in `iqa train
--data.path`); the epoch is chosen on validation and the test split scored once a run. Without scene statistics, so
that what is compared is the network. All runs share the decoded pictures, in one process.
"""

import argparse
import itertools
import sys
import tempfile
from pathlib import Path
from statistics import mean, stdev

sys.path.append(sys.path.pop(0))  # a file beside this one is called like the package that it measures

from scipy.stats import t

from iqa.build import Views, build_look, build_set, build_views
from iqa.config import PRESETS, Config
from iqa.data.views import ViewSet
from iqa.evaluate import evaluate
from iqa.model import QualityNet
from iqa.train import train
from polyscale.commands import keep_heap, note
from polyscale.settings import resolve

SHARED = {
    "model.statistics": "false",
    "model.shrink": "4",
    "data.crop": "80",
    "data.pairs": "0",
    "data.val_fraction": "0.1",
    "loss.norm_in_norm": "0",
    "loss.spread": "0",
    "train.epochs": "3",
}
VARIANTS = {
    "four stages, concat, L1": {},
    "last stage alone": {"model.multiscale": "false"},
    "attention fusion": {"model.fusion": "attention"},
    "L1 + 0.5 ranking": {"loss.ranking": "0.5"},
}


def main() -> None:
    """Trains, scores and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder or csv of a data set")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each variant (default 3)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further settings of every run")
    options = parser.parse_args()
    keep_heap()
    given = {**SHARED, "data.path": options.data, **dict(item.split("=", 1) for item in options.set)}
    first = configuration(given, 0)
    views, test = build_views(first, build_look(first)), test_views(first)
    results: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for seed, (name, changes) in itertools.product(range(options.seeds), VARIANTS.items()):
        srcc = score(configuration({**given, **changes}, seed), views, test)
        results[name].append(srcc)
        note(f"{name}, seed {seed}: test SRCC {srcc:.4f}")
    sys.stdout.write(table(results))


def configuration(given: dict[str, str], seed: int) -> Config:
    return resolve(Config, presets=PRESETS, default_preset="nano", overrides={**given, "train.seed": str(seed)})


def test_views(config: Config) -> ViewSet:
    return ViewSet(build_set(config.data, "test", config.model.image_size), build_look(config), None, False)


def score(config: Config, views: Views, test: ViewSet) -> float:
    """Test SRCC of the epoch that validation chose."""
    with tempfile.TemporaryDirectory() as folder:
        run = train(config, Path(folder) / "run", views=views)
        return float(evaluate(QualityNet.from_pretrained(run.out), test).summary["SRCC"])


def table(results: dict[str, list[float]]) -> str:
    """Mean over the seeds, and the difference to the first variant, seed by seed, with Student's 95 % interval."""
    reference = next(iter(results.values()))
    lines = ["| variant | test SRCC, mean | difference to the first | seeds |", "|---|---|---|---|"]
    for name, values in results.items():
        gaps = [a - b for a, b in zip(values, reference, strict=True)]
        each = ", ".join(f"{v:.4f}" for v in values)
        lines.append(f"| {name} | {mean(values):.4f} | {'' if values is reference else interval(gaps)} | {each} |")
    return "\n".join(lines) + "\n"


def interval(gaps: list[float]) -> str:
    if len(gaps) < 2:
        return f"{mean(gaps):+.4f}"
    half = float(t.ppf(0.975, len(gaps) - 1)) * stdev(gaps) / len(gaps) ** 0.5
    return f"{mean(gaps):+.4f} [{mean(gaps) - half:+.4f}, {mean(gaps) + half:+.4f}]"


if __name__ == "__main__":
    main()
