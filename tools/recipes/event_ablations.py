"""What each part of event-det gives: `python tools/recipes/event_ablations.py RUNS [--data DATA] [--seeds 3]`.

Trains every variant of preset nano with every seed, seed by seed, one folder of RUNS each, and scores the test split
once a run: AP, AP of small boxes, and AP of objects that stand, which only memory can find. All boxes count from one
score, evaluation's .001. A stopped call goes on where it was; `--table` prints what is there, and trains nothing;
`--only` takes some of the variants.

By default on the embedded set; DATA is a prepared one. For the 891 labelled frames of a Prophesee EVK3 (one class, two
recordings, one bin), trained on the first recording and tested on the second:

    event-det data prepare EVK3 OUT --classes person
    python tools/recipes/event_ablations.py RUNS --data OUT --only base "no recurrence" --set representation.bins=1

with EVK3 the folder Datasets of the repository below. Its frames are of 1280x720, 45 times those of the embedded set:
take a GPU.

    github.com/Obaid-Alkaabi9/Object-Detection-using-Neuromorphic-camera-Prophesee-EVK3-IMX636
"""

import argparse
import itertools
import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy.stats import t

from event_det import PRESETS, Config, load_model, open_split
from event_det.evaluation.assess import evaluate_baselines
from event_det.evaluation.baselines import fit_prior
from event_det.evaluation.evaluate import evaluate, subsets
from event_det.train import train
from polyscale.commands import keep_heap, note
from polyscale.settings import resolve

ATTENTION = {"model.enable_small_object_attention": "true"}
VARIANTS: dict[str, dict[str, str]] = {
    "base": {},
    "no recurrence": {"model.recurrent": "false"},
    "attention, spatial and temporal": ATTENTION,
    "attention, spatial": {**ATTENTION, "model.attention_temporal": "false"},
    "attention, temporal": {**ATTENTION, "model.attention_spatial": "false"},
    "attention, channels only": {
        **ATTENTION,
        "model.attention_spatial": "false",
        "model.attention_temporal": "false",
    },
    "size-aware, original": {"loss.size_aware": "original"},
    "size-aware, normalised": {"loss.size_aware": "normalised"},
    "Wasserstein boxes": {"loss.box": "nwd"},
    "3 levels": {"model.levels": "3"},
}
COLUMNS = {"AP": "AP", "AP_S": "AP_S", "standing": "AP, standing", "moving": "AP, moving"}


def main() -> None:
    """Train and score what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder of the runs, one folder for each variant and seed")
    parser.add_argument("--data", default="synthetic", help="the embedded set, or a folder in RVT's layout")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further settings of every run")
    parser.add_argument("--table", action="store_true", help="train nothing")
    options = parser.parse_args()
    keep_heap()
    given = {"data.path": options.data, **dict(item.split("=", 1) for item in options.set)}
    if not options.table:
        for seed, name in itertools.product(range(options.seeds), options.only):
            score_one(folder(options.runs, name, seed), {**given, **VARIANTS[name], "train.seed": str(seed)})
    print(table(options.runs, options.seeds), end="")
    print(baselines(given), end="")


def folder(runs: Path, name: str, seed: int) -> Path:
    return runs / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"


def score_one(out: Path, given: dict[str, str]) -> None:
    """Train one model, or go on with it, and write scores.json of the epoch that validation chose."""
    if (out / "scores.json").is_file():
        return
    config = resolve(Config, presets=PRESETS, default_preset="nano", overrides=given)
    run = train(config, out, resume=(out / "config.yaml").is_file())
    scores = evaluate(load_model(run.out), open_split(config, "test"))
    parts = {row["subset"]: row["AP"] for row in subsets(scores)}
    found = {key: parts.get(key, scores.summary.get(key)) for key in COLUMNS}
    (out / "scores.json").write_text(json.dumps(found) + "\n", encoding="utf-8")
    note(f"{out.name}: {found}")


def table(runs: Path, seeds: int) -> str:
    """A line for each variant: mean over the seeds, deviation, and the difference of AP to the base by seed."""
    known = {
        name: {
            seed: json.loads((folder(runs, name, seed) / "scores.json").read_text(encoding="utf-8"))
            for seed in range(seeds)
            if (folder(runs, name, seed) / "scores.json").is_file()
        }
        for name in VARIANTS
    }
    heads = ["variant", "seeds", *COLUMNS.values(), "AP against base", "standing against base"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, scores in known.items():
        cells = [name, str(len(scores))]
        if scores:
            cells += [spread([row[key] for row in scores.values()]) for key in COLUMNS]
            both = [seed for seed in scores if seed in known["base"] and name != "base"]
            cells += [gap([difference(scores[s], known["base"][s], key) for s in both]) for key in ("AP", "standing")]
        else:
            cells += ["not measured here"] + [""] * (len(heads) - 3)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def difference(row: dict[str, Any], base: dict[str, Any], key: str) -> float | None:
    return None if row[key] is None or base[key] is None else float(row[key] - base[key])


def spread(values: list[float | None]) -> str:
    """Mean and standard deviation over the seeds."""
    found = [value for value in values if value is not None]
    if not found:
        return "-"
    return f"{mean(found):.3f}" + (f" ± {stdev(found):.3f}" if len(found) > 1 else "")


def gap(values: list[float | None]) -> str:
    """Mean difference and, from two seeds on, Student's 95 % interval."""
    found = [value for value in values if value is not None]
    if len(found) < 2:
        return f"{found[0]:+.3f}" if found else ""
    half = float(t.ppf(0.975, len(found) - 1)) * stdev(found) / len(found) ** 0.5
    return f"{mean(found):+.3f} [{mean(found) - half:+.3f}, {mean(found) + half:+.3f}]"


def baselines(given: dict[str, str]) -> str:
    """A line for each trivial baseline on the same split."""
    config = resolve(Config, presets=PRESETS, default_preset="nano", overrides=given)
    scores = evaluate_baselines(open_split(config, "test"), fit_prior(open_split(config, "val")))
    return "".join(
        f"| {name} | | " + " | ".join(spread([row.summary.get(key)]) for key in COLUMNS) + " | | |\n"
        for name, row in scores.items()
    )


if __name__ == "__main__":
    main()
