"""Make the weights that iqa ships, on two CPU cores, in three steps.

    python tools/recipes/iqa_nano.py train BIQ2021 RUNS [--seeds 3] [--set KEY=VALUE ...]
    iqa eval RUNS/0 --exclude biq2021_test_neardup.csv --out RUNS/0                 (and RUNS/1, RUNS/2)
    python tools/recipes/iqa_nano.py ship RUNS/0

BIQ2021 is the clone of its public repository (12,000 photographs with MOS; none of them is in this project).
`train` gives what `iqa train` gives with SETTINGS, but computes the features once for all seeds and trains two of them
at a time. `ship` stores tensors as float16 and gives scores from 0 to 100; the model card states data, metrics, seed
and commit. Its numbers on the test split are the run's own table, taken once with the epoch that validation chose.
"""

import argparse
import json
import multiprocessing
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iqa.build import TrainingData, build_extractor, build_training_data
from iqa.config import PRESETS, Config
from iqa.model.network import QualityNet
from iqa.train import train
from polyscale.commands import keep_heap, note
from polyscale.settings import resolve

ROOT = Path(__file__).parents[2]
LOW, HIGH = 0.0, 100.0  # what users of quality scores expect; BIQ2021's MOS are in 0 to 1
PROCESSES = 2
SETTINGS = {
    "data.val_fraction": "0.1",
    "data.crop": "80",
    "data.ranked_levels": "2400",
    "train.epochs": "24",
    "train.ema": "0.998",
}
CARD = """# iqa nano

Scores photographs from {low:g} to {high:g}, higher is better; {backbone} on the image shrunk {shrink} times beside
scene statistics of all of it. Trained by `iqa train` from scratch on the 10,000 training photographs of BIQ2021 and the
opinions of its 30 observers (validation cut from them, near-duplicates kept together), and on the order of distortion
levels; seed {seed}, commit {commit}.

BIQ2021 test split: {metrics}. {clean}

BIQ2021 is one collection judged by one laboratory: expect the order of photographs to carry over, not the values.
Stored in float16, Apache-2.0.
"""

Seen = tuple[Tensor, Tensor]
Make = Callable[[int], Seen]
_make: Make | None = None  # what the processes of a pool were forked with: pickling it for every task would cost more


def main() -> None:
    """Train the seeds, or ship one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="train every seed")
    training.add_argument("data", help="the clone of BIQ2021")
    training.add_argument("runs", type=Path, help="folder for the runs, one folder a seed")
    training.add_argument("--seeds", type=int, default=3)
    training.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="replaces one of SETTINGS")
    commands.add_parser("ship", help="write weights/nano").add_argument("run", type=Path)
    options = parser.parse_args()
    if options.command == "ship":
        return ship(options.run)
    given = {**SETTINGS, "data.path": options.data, **dict(item.split("=", 1) for item in options.set)}
    return train_seeds(given, options.runs, options.seeds)


def train_seeds(given: dict[str, str], runs: Path, seeds: int) -> None:
    """One run a seed, PROCESSES at a time in one thread each, from features that are computed once."""
    torch.set_num_threads(1)
    keep_heap()
    configs = [
        resolve(Config, presets=PRESETS, default_preset="nano", overrides={**given, "train.seed": str(seed)})
        for seed in range(seeds)
    ]
    data = build_training_data(configs[0], build_extractor(configs[0]))
    fill(data)
    forked = multiprocessing.get_context("fork")
    waiting = [
        forked.Process(target=train, args=(config, runs / str(config.train.seed)), kwargs={"data": data})
        for config in configs
    ]
    for start in range(0, seeds, PROCESSES):
        group = waiting[start : start + PROCESSES]
        for process in group:
            process.start()
        for process in group:
            process.join()
            if process.exitcode:
                raise SystemExit(process.exitcode)


def fill(data: TrainingData) -> None:
    """Compute the features of every image and every ranked sequence now, in PROCESSES processes."""
    compute(data.train._features, len(data.train), data.train._cached)
    compute(data.val._features, len(data.val), data.val._cached)
    if data.ranked is not None:
        compute(data.ranked._sequence, data.ranked.count, data.ranked._cached)


def compute(make: Make, count: int, into: dict[int, Seen]) -> None:
    """Put `make(i)` for every i below `count` into a dictionary."""
    global _make  # noqa: PLW0603
    _make = make
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        for index, arrays in enumerate(pool.imap(_as_arrays, range(count), chunksize=16)):
            image, statistics = map(torch.from_numpy, arrays)
            into[index] = image, statistics
            if index % 500 == 0:
                note(f"{make.__qualname__} {index} of {count}")


def _as_arrays(index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    assert _make is not None
    image, statistics = _make(index)
    return image.numpy(), statistics.numpy()


def ship(run: Path) -> None:
    """Write weights/nano of iqa from a run."""
    config = resolve(Config, file=run / "config.yaml")
    trained = QualityNet.from_pretrained(run)
    model = QualityNet(**{**trained.arguments, "pretrained": False, "low": LOW, "high": HIGH})
    model.load_state_dict(trained.state_dict())
    metrics = json.loads((run / "metrics.json").read_text())
    parts = [part["model"] for part in metrics.get("parts", {}).values()]  # without near-duplicates, if asked for
    for part in (metrics["model"], *parts):
        for unit in {"RMSE", "MAE"} & set(part):  # in the units of the scores
            part[unit] *= (HIGH - LOW) / (trained.high - trained.low)
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True).strip()
    about = {"data": "BIQ2021", "seed": config.train.seed, "commit": commit, "metrics": metrics["model"]}
    folder = ROOT / "apps/iqa/src/iqa/weights/nano"
    model.save_pretrained(folder, dtype=torch.float16, about=about)
    shown = ", ".join(f"{key} {metrics['model'][key]:.3f}" for key in ("SRCC", "PLCC", "KRCC"))
    shown += f", RMSE {metrics['model']['RMSE']:.1f}"
    clean = [f"Without near-duplicates of training photographs: SRCC {part['SRCC']:.3f}." for part in parts]
    words = {
        **about,
        "clean": " ".join(clean),
        "metrics": shown,
        "low": model.low,
        "high": model.high,
        "backbone": config.model.backbone,
        "shrink": model.shrink,
    }
    (folder / "README.md").write_text(CARD.format(**words), encoding="utf-8")


if __name__ == "__main__":
    main()
