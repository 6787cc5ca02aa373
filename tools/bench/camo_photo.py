"""camo-seg on photographs: the scores of models by set, the low-contrast half apart, and the time of one photograph.

    python tools/bench/camo_photo.py score FOLDER MODEL [--split val|test] [--size 288] [--only bsds_fg ecssd] [--json]
    python tools/bench/camo_photo.py time MODEL [MODEL ...]          one thread, 480 x 320, end to end, interleaved

FOLDER holds the sets foreground and bsds_fg. The low-contrast half of each set is that of its column
lab_hist_contrast: the distance of the object's colours to those around it. Time is from the bytes of a JPEG to the
probability map at the photograph's size; that of each model is given as the median of single runs.
"""

import argparse
import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from camo_seg import Predictor
from camo_seg.data import open_split
from camo_seg.evaluation.evaluate import Scores, evaluate
from camo_seg.model import CamoSegmenter
from polyscale.data.tables import read_csv

METRICS = ("wF", "S", "E_mean", "MAE", "IoU")


def score(root: Path, model: str, split: str, size: int | None, only: list[str]) -> dict[str, Any]:
    """Scores of `model` by set: all images of the set's split, and the half of lowest contrast."""
    network = CamoSegmenter.from_pretrained(model)
    side = size or network.input_size
    found: dict[str, Any] = {}
    for name in ("bsds_fg", "foreground"):
        rows = {row["name"]: row for row in read_csv(root / name / "meta.csv")}
        data = open_split(root / name, split, size=side)
        kinds = [rows[image].get("set", name) for image in data.names]
        chosen = [i for i, kind in enumerate(kinds) if not only or kind in only]
        if not chosen:
            continue
        data.source.pairs = [data.source.pairs[i] for i in chosen]  # type: ignore[attr-defined]
        data.names = data.source.names = [data.names[i] for i in chosen]
        scores = evaluate(network, data)
        contrast = np.array([float(rows[image]["lab_hist_contrast"]) for image in data.names])
        for kind in dict.fromkeys(kinds[i] for i in chosen):
            part = [i for i, j in enumerate(chosen) if kinds[j] == kind]
            low = [i for i in part if contrast[i] <= np.median(contrast[part])]
            found[kind] = _summary(scores, part) | {"wF low contrast": _summary(scores, low)["wF"]}
        if name == "foreground":
            low = [i for i in range(len(chosen)) if contrast[i] <= np.median(contrast)]
            whole = _summary(scores, list(range(len(chosen))))
            found["foreground"] = whole | {"wF low contrast": _summary(scores, low)["wF"]}
    return {"model": model, "split": split, "size": side, "sets": found}


def _summary(scores: Scores, indices: list[int]) -> dict[str, float]:
    summary = scores.part(indices).summary
    return {"images": len(indices), **{name: summary[name] for name in METRICS if name in summary}}


def measure(models: list[str], rounds: int) -> dict[str, float]:
    """Median milliseconds of one photograph, end to end."""
    torch.set_num_threads(1)
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((480, 320), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=92)
    predictors = {model: Predictor(model, "cpu", "fp32") for model in models}
    times: dict[str, list[float]] = {model: [] for model in models}
    for turn in range(rounds + 3):
        for model, predictor in predictors.items():
            start = time.perf_counter()
            predictor(buffer.getvalue())
            if turn >= 3:
                times[model].append(1000 * (time.perf_counter() - start))
    return {model: float(np.median(values)) for model, values in times.items()}


def main() -> None:
    """Read the command line, print tables or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    scoring = commands.add_parser("score")
    scoring.add_argument("root", type=Path)
    scoring.add_argument("model")
    scoring.add_argument("--split", default="val")
    scoring.add_argument("--size", type=int)
    scoring.add_argument("--only", nargs="*", default=[])
    timing = commands.add_parser("time")
    timing.add_argument("models", nargs="+")
    timing.add_argument("--rounds", type=int, default=30)
    for command in (scoring, timing):
        command.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.command == "time":
        found: dict[str, Any] = measure(given.models, given.rounds)
    else:
        found = score(given.root, given.model, given.split, given.size, given.only)
    if given.json:
        print(json.dumps(found, indent=1))
        return
    for name, row in (found["sets"] if given.command == "score" else found).items():
        print(name, {k: round(v, 4) for k, v in row.items()} if isinstance(row, dict) else f"{row:.1f} ms")


if __name__ == "__main__":
    main()
