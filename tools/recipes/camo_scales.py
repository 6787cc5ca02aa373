"""What several scales and a mixture of experts gain: `python tools/recipes/camo_scales.py SETS OUT [--steps N]`.

SETS is a folder of the sets foreground, bsds_fg and mtd (see docs/results.md). Every row of ROWS is trained on all
three with the same steps and three seeds, the epoch chosen on validation; then its test splits are scored, once, and
the table of means and deviations is printed. A run that was stopped goes on where it was, a score that is there stays.

The column "cost" is counted multiply-adds; times and memory are measured by tools/bench/camo_seg_scales.py and
camo_seg_moe.py. "larger" is the fair control: one scale at the side that costs 1.44 times as much.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from camo_seg.cli.info import cost_rows
from camo_seg.config import PRESETS, Config
from camo_seg.data import open_split
from camo_seg.evaluation.evaluate import Scores, evaluate
from camo_seg.model import CamoSegmenter
from camo_seg.train import train
from polyscale.commands import note, table
from polyscale.data.tables import read_csv
from polyscale.settings import resolve

SETS = ("foreground", "bsds_fg", "mtd")
METRICS = ("S", "wF", "wF_small", "wF_medium", "wF_large", "MAE")
SHOWN = (*METRICS, "wF low contrast")
ROWS: dict[str, dict[str, Any]] = {
    "single": {"model.scales": (1.0,)},
    "larger": {"model.scales": (1.0,)},  # and a larger side
    "absi": {"model.scales": (0.5, 1.0, 1.5), "model.fusion": "absi"},
    "hierarchical": {"model.scales": (0.5, 1.0, 1.5), "model.fusion": "hierarchical"},
    "window": {"model.scales": (1.0, 1.5), "model.fusion": "window"},
    "single, experts": {"model.scales": (1.0,), "model.experts": 4},
    "window, experts": {"model.scales": (1.0, 1.5), "model.fusion": "window", "model.experts": 4},
}
LARGER = 416 / 352  # of the side


def main() -> None:
    """Train what is not trained, score what is not scored, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", nargs="+", choices=sorted(ROWS), default=list(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--pretrained", choices=["package", "hub", "none"], default="package")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=3000, help="optimizer steps of every run (default 3000)")
    parser.add_argument("--epochs", type=int, default=10, help="parts of these steps, each with a validation")
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    data = options.out / "sets.yaml"
    data.write_text(yaml.safe_dump({name: {"path": str((options.sets / name).resolve())} for name in SETS}))
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in options.seeds:  # a whole table of one seed is worth more than three seeds of one row
        for row in options.rows:
            config = configured(row, seed, data, options)
            run = options.out / f"{row.replace(', ', '-')}-{seed}"
            found.setdefault(row, []).append(score_once(trained(config, run), options.sets))
    table([summed_up(row, scores, configured(row, 0, data, options)) for row, scores in found.items()], digits=3)


def configured(row: str, seed: int, data: Path, options: argparse.Namespace) -> Config:
    """Return the settings of a row: preset photo, but for what the table compares."""
    side = options.image_size
    changes = {
        "data.path": str(data),
        "model.backbone": options.backbone,
        "model.pretrained": options.pretrained,
        "model.image_size": round(side * LARGER / 8) * 8 if row == "larger" else side,
        "train.batch_size": options.batch,
        "train.steps_per_epoch": max(1, options.steps // options.epochs),
        "train.epochs": options.epochs,
        "train.seed": seed,
    }
    return resolve(Config, "photo", overrides={**changes, **ROWS[row]}, presets=PRESETS)


def trained(config: Config, run: Path) -> Path:
    """Train, or go on, or find that it was done; returns the folder of the run."""
    if not (run / "last").is_dir():
        note(f"training {run.name}")
        train(config, run, resume=(run / "checkpoints").is_dir())
    return run


def score_once(run: Path, sets: Path) -> dict[str, Any]:
    """Score the test split of every set, unless that was done."""
    kept = run / "test.json"
    if not kept.is_file():
        network = CamoSegmenter.from_pretrained(run / "best")
        scores = {name: scored(network, sets / name) for name in SETS}
        kept.write_text(json.dumps(scores, indent=1))
    loaded: dict[str, Any] = json.loads(kept.read_text())
    return loaded


def scored(network: CamoSegmenter, folder: Path) -> dict[str, float]:
    """Return METRICS on the test split of a set, and weighted F on its half of lowest contrast."""
    data = open_split(folder, "test", size=network.input_size)
    contrasts = {row["name"]: float(row["lab_hist_contrast"]) for row in read_csv(folder / "meta.csv")}
    scores: Scores = evaluate(network, data)
    contrast = np.array([contrasts[name] for name in data.names])
    low = np.flatnonzero(contrast <= np.median(contrast)).tolist()
    summary = {name: scores.summary[name] for name in METRICS if name in scores.summary}
    return {**summary, "wF low contrast": scores.part(low).summary["wF"]}


def summed_up(row: str, scores: Sequence[dict[str, Any]], config: Config) -> dict[str, Any]:
    """Return a row of the table: the mean over the sets, then mean and deviation over the seeds."""
    cells: dict[str, Any] = {"": row, "seeds": len(scores)}
    for name in SHOWN:
        values = [statistics.mean(found[name] for found in score.values() if name in found) for score in scores]
        spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
        cells[name] = f"{statistics.mean(values):.3f}{spread}"
    for name in SETS:
        cells[f"wF {name}"] = f"{statistics.mean(score[name]['wF'] for score in scores):.3f}"
    last = cost_rows(config)[-1]
    return {**cells, "parameters_M": last["parameters_M"], "multiply_adds_G": last["multiply_adds_G"]}


if __name__ == "__main__":
    main()
