"""Makes the weights that event-det ships, in two steps.

    event-det train --train.seed 0 --out RUN
    python tools/recipes/event_nano.py RUN [NOTE]

The first is preset nano on the embedded set: it chooses the epoch on validation and scores the test split once, at its
end. The second stores that epoch as float16, having checked on validation that this does not move AP, and writes the
card from the run's own numbers; NOTE is a sentence for the card. docs/results.md has them, and what the machine was.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from event_det import Config, EventDetector, open_split
from event_det.evaluation.evaluate import evaluate
from polyscale.settings import resolve

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "apps/event_det/src/event_det/weights/nano"
MOVED = 0.002
"""AP on validation that float16 may cost."""
KEYS = ("AP", "AP50", "AP75", "AP_S", "AP_M", "AP pedestrian", "AP two-wheeler", "AP car")
CARD = """---
license: apache-2.0
library_name: polyscale
pipeline_tag: object-detection
tags: [event-camera, object-detection, rvt]
datasets: [event-det synthetic traffic]
metrics: [AP, AP50, AP75, AP_S, AP_M]
---

# event-det nano

Finds pedestrians, two-wheelers and cars in drawn traffic that the model of an event camera has filmed: RVT of width
{width} ({parameters:.2f} M parameters), attention blocks {blocks} by stage, {levels} levels of the pyramid, windows of
50 ms, frames of {columns}x{height}. Trained from scratch by `event-det train` (tools/recipes/event_nano.py),
seed {seed}, commit {commit}.{note}

Data: {recordings} generated recordings of 4 s and nothing else. The epoch was chosen on 12 others; the numbers below
are of 16 others, scored once, with boxes ranked by the class probability times the objectness.

Not for: real recordings. On those at hand it boxes whatever moves and calls most of it a two-wheeler or pedestrian. It
is a start for your own data of the same classes and windows: `event-det train --data.path DATA --model.weights nano`.

| test split of the embedded set | {heads} |
|---|{lines}
{rows}

{standing}

One seed. Stored in float16. Apache-2.0, weights and data.
"""


def main() -> None:
    """Write weights/nano of event-det from the run given."""
    run = Path(sys.argv[1])
    scores = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    config = resolve(Config, file=run / "config.yaml")
    model = EventDetector.from_pretrained(run)
    check_rounding(model, config)
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True).strip()
    about = {
        "license": "apache-2.0",
        "data": "embedded synthetic traffic (event-det train)",
        "not_for": "real recordings: it was trained on drawn traffic alone (event-det info nano)",
        "seed": config.train.seed,
        "commit": commit,
        "metrics": {key: scores["model"][key] for key in KEYS},
    }
    model.save_pretrained(FOLDER, dtype=torch.float16, about=about)
    (FOLDER / "README.md").write_text(card(model, config, scores, commit), encoding="utf-8")


def check_rounding(model: EventDetector, config: Config) -> None:
    """Compare AP on validation before and after float16.

    Raises:
        SystemExit: it moves by more than MOVED.
    """
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, dtype=torch.float16)
        rounded = EventDetector.from_pretrained(folder)
    val = open_split(config, "val")
    before, after = (evaluate(network, val, precision="fp32").summary["AP"] for network in (model, rounded))
    print(f"AP on validation: {before:.4f}, as float16 {after:.4f}")
    if abs(after - before) > MOVED:
        sys.exit("float16 moves AP: keep float32")


def card(model: EventDetector, config: Config, scores: dict[str, Any], commit: str) -> str:
    """The model card."""
    rows = {"nano": scores["model"], **scores["baselines"]}
    subsets = {row["subset"]: row for row in scores["subsets"]}
    return CARD.format(
        width=config.model.width,
        parameters=sum(p.numel() for p in model.parameters()) / 1e6,
        blocks=", ".join(map(str, config.model.blocks)),
        levels=config.model.levels,
        note=f" {sys.argv[2]}" if len(sys.argv) > 2 else "",
        columns=model.size[1],
        height=model.size[0],
        rows="\n".join(line(name, row) for name, row in rows.items()),
        seed=config.train.seed,
        commit=commit,
        recordings=config.data.train_recordings,
        heads=" | ".join(KEYS),
        lines="---|" * len(KEYS),
        standing=", ".join(f"{name} objects: AP {subsets[name]['AP']:.3f}" for name in ("standing", "moving")) + ".",
    )


def line(name: str, row: dict[str, float]) -> str:
    """A line of the table."""
    return f"| {name} | " + " | ".join(f"{row[key]:.3f}" for key in KEYS) + " |"


if __name__ == "__main__":
    main()
