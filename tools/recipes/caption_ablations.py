"""What each part of caption-det gives: `python tools/recipes/caption_ablations.py RUNS [--data DATA] [--seeds 3]`.

Trains every variant with every seed, seed by seed, one folder of RUNS each, and scores the test split once a run. By
default preset nano on the embedded world; with --data preset photo on photographs:

    python tools/recipes/caption_ablations.py RUNS --data FLICKR8K --images IMAGES --features MAPS

FLICKR8K, IMAGES and MAPS as in caption_models.py. Preset nano lets captions read what was detected, which they cannot
where nothing is: there "queries" is what "caption only" is compared with. "single scale" reads one pyramid level.
A stopped call goes on where it was; --table prints what is there and trains nothing; --only takes some variants.
"""

import argparse
import itertools
import json
from pathlib import Path
from statistics import mean, stdev

from caption_det.build import build_set
from caption_det.config import PRESETS, Config
from caption_det.evaluation.baselines import most_frequent, nearest_neighbour
from caption_det.evaluation.evaluate import evaluate, score
from caption_det.model import load
from caption_det.train import train
from polyscale.commands import keep_heap, note
from polyscale.settings import SPLIT_FILE, resolve

QUERIES = {"model.memory": "queries"}
VARIANTS: dict[str, dict[str, str]] = {
    "joint": {},
    "queries": QUERIES,
    "caption only": {**QUERIES, "model.detector": "none"},
    "detection only": {"model.captioner": "none"},
    "single scale": {"model.memory": "map"},
}
COLUMNS = ("CIDEr", "CIDEr_shuffled", "BLEU4", "attributes", "attributes_unseen", "AP", "AP50", "AP_S")


def main() -> None:
    """Train and score what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder of the runs, one folder for each variant and seed")
    parser.add_argument("--data", help="photographs with captions and boxes, in place of the embedded world")
    parser.add_argument("--images", help="their folder")
    parser.add_argument("--features", help="folder for the maps of the frozen tower")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), metavar="NAME")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further settings of every run")
    parser.add_argument("--table", action="store_true", help="train nothing")
    options = parser.parse_args()
    keep_heap()
    places = {"data.path": options.data, "data.images": options.images, "data.features": options.features}
    given = {key: value for key, value in places.items() if value} | dict(x.split("=", 1) for x in options.set)
    preset = "photo" if options.data else "nano"
    if preset == "photo":
        VARIANTS.pop("queries")  # are what preset photo reads
    chosen = [name for name in options.only or VARIANTS if name in VARIANTS]
    for seed, name in itertools.product(range(0 if options.table else options.seeds), chosen):
        settings = {**given, **VARIANTS[name], "train.seed": str(seed)}
        score_one(folder(options.runs, name, seed), resolve_run(preset, settings))
    print(table(options.runs, options.seeds), end="")
    if not options.table:
        print(baselines(resolve_run(preset, given)), end="")


def resolve_run(preset: str, given: dict[str, str]) -> Config:
    return resolve(Config, presets=PRESETS, default_preset=preset, overrides=given)


def folder(runs: Path, name: str, seed: int) -> Path:
    return runs / f"{name.replace(' ', '-')}-{seed}"


def score_one(out: Path, config: Config) -> None:
    """Train one model, or go on with it, and write scores.json of the epoch that validation chose."""
    if (out / "scores.json").is_file():
        return
    run = train(config, out, resume=(out / "config.yaml").is_file())
    recorded = out / SPLIT_FILE if (out / SPLIT_FILE).is_file() else None
    model = load(run.out).to(run.accelerator.device)
    scores = evaluate(model, build_set(config, "test", recorded=recorded))
    parts = {False: model.decoder, True: model.detector}  # what a model has no part for it does not answer with 0
    found = {key: scores.summary.get(key) if parts[key.startswith("AP")] is not None else None for key in COLUMNS}
    (out / "scores.json").write_text(json.dumps(found) + "\n", encoding="utf-8")
    note(f"{out.name}: {found}")


def table(runs: Path, seeds: int) -> str:
    """A line for each variant: mean and deviation over the seeds."""
    lines = ["| variant | seeds | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name in VARIANTS:
        files = [folder(runs, name, seed) / "scores.json" for seed in range(seeds)]
        rows = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.is_file()]
        cells = [spread([row[key] for row in rows], key) for key in COLUMNS] if rows else ["not measured here"]
        cells += [""] * (len(COLUMNS) - len(cells))
        lines.append(f"| {name} | {len(rows)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def baselines(config: Config) -> str:
    """A line for each answer that needs no learning, on the same split."""
    train_set, test_set = (build_set(config, split) for split in ("train", "test"))
    answers = {"most frequent": [most_frequent(train_set)] * len(test_set),
               "nearest neighbour": nearest_neighbour(train_set, test_set)}  # fmt: skip
    lines = []
    for name, given in answers.items():
        summary = score(given, test_set).summary
        lines.append(f"| {name} | | " + " | ".join(spread([summary.get(key)], key) for key in COLUMNS) + " |\n")
    return "".join(lines)


def spread(values: list[float | None], key: str) -> str:
    """Mean and, of several seeds, standard deviation; - where a variant has no such number."""
    found = [value for value in values if value is not None and value == value]  # NaN is undefined
    digits = 1 if key.startswith(("CIDEr", "BLEU")) else 3
    if not found:
        return "-"
    return f"{mean(found):.{digits}f}" + (f" ± {stdev(found):.{digits}f}" if len(found) > 1 else "")


if __name__ == "__main__":
    main()
