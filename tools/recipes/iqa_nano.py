"""Makes the weights that iqa ships: `python tools/recipes/iqa_nano.py RUN`, RUN being the folder of

    iqa train --out RUN --data.path BIQ2021 COMMAND

with BIQ2021 the clone of its public repository (12,000 photographs with opinions; none of them is in this project) and
COMMAND as in docs/results.md. Tensors are stored as float16, scores are said from 0 to 100; the model card states data,
metrics, seed and commit. What the card says of the test split is RUN's own table, taken once with the epoch that
validation chose.
"""

import json
import subprocess
import sys
from pathlib import Path

import torch

from iqa.config import Config
from iqa.model import QualityNet
from polyscale.settings import resolve

ROOT = Path(__file__).parents[2]
LOW, HIGH = 0.0, 100.0  # what users of quality scores expect; BIQ2021's opinions lie in 0 to 1
CARD = """# iqa nano

Scores photographs from {low:g} to {high:g}, higher is better; {backbone} on the picture shrunk {shrink} times beside
scene statistics of all of it. Trained by `iqa train` from scratch on the 10,000 training photographs of BIQ2021 and the
opinions of its 30 observers (validation cut from them, near-duplicates kept together), and on the order of distortion
levels; seed {seed}, commit {commit}.

BIQ2021 test split: {metrics}. {clean}

BIQ2021 is one collection judged by one laboratory: expect the order of photographs to carry over, not the values.
Stored in float16, Apache-2.0.
"""


def main() -> None:
    """Writes weights/nano of iqa from the run given."""
    run = Path(sys.argv[1])
    config = resolve(Config, file=run / "config.yaml")
    trained = QualityNet.from_pretrained(run)
    model = QualityNet(**{**trained.arguments, "pretrained": False, "low": LOW, "high": HIGH})
    model.load_state_dict(trained.state_dict())
    metrics = json.loads((run / "metrics.json").read_text())
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True).strip()
    about = {"data": "BIQ2021", "seed": config.train.seed, "commit": commit, "metrics": metrics["model"]}
    folder = ROOT / "apps/iqa/src/iqa/weights/nano"
    model.save_pretrained(folder, dtype=torch.float16, about=about)
    shown = ", ".join(f"{key} {metrics['model'][key]:.3f}" for key in ("SRCC", "PLCC", "KRCC", "RMSE"))
    clean = metrics.get("clean", {}).get("model")
    said = f"Without near-duplicates of training photographs: SRCC {clean['SRCC']:.3f}." if clean else ""
    words = {
        **about,
        "clean": said,
        "metrics": shown,
        "low": model.low,
        "high": model.high,
        "backbone": config.model.backbone,
        "shrink": model.shrink,
    }
    (folder / "README.md").write_text(CARD.format(**words), encoding="utf-8")


if __name__ == "__main__":
    main()
