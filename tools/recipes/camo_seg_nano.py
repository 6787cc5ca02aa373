"""Makes the weights that camo-seg ships: `python tools/recipes/camo_seg_nano.py RUN`, RUN being the folder of.

    camo-seg train --out RUN --data.train_images 400 --train.epochs 5          (preset nano, embedded data, seed 0)

The heads that supervise the scales in training are left out, tensors are stored as float16, and the model card states
data, metrics, seed and commit. The image of the README is made from the same run.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from camo_seg.build import build_set
from camo_seg.config import Config
from camo_seg.evaluation.assess import examples
from camo_seg.evaluation.evaluate import evaluate
from camo_seg.model.network import CamoSegmenter
from polyscale.data.images import save_png
from polyscale.report.drawing import panel
from polyscale.settings import resolve

ROOT = Path(__file__).parents[2]
CARD = """# camo-seg nano

Finds camouflaged objects; {backbone} at {size} px, input scales {scales}. Trained by `camo-seg train` (preset nano)
from scratch on the generated scenes of the package, seed {seed}, commit {commit}; no photograph was used, so expect
little of it on real ones: it is there to try the commands and to start from (`--model.weights nano`).

Synthetic test split (120 images, scored once): {metrics}.

Stored in float16, Apache-2.0.
"""


def main() -> None:
    """Writes weights/nano of camo-seg and docs/images/camo-seg.png from the run given."""
    run = Path(sys.argv[1])
    config = resolve(Config, file=run / "config.yaml")
    trained = CamoSegmenter.from_pretrained(run)
    lean = CamoSegmenter(**{**trained.arguments, "scale_heads": False, "pretrained": False})
    lean.load_state_dict({k: v for k, v in trained.state_dict().items() if k in lean.state_dict()})
    metrics = json.loads((run / "metrics.json").read_text())["model"]
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True).strip()
    about = {"data": "synthetic", "seed": config.train.seed, "commit": commit, "metrics": metrics}
    folder = ROOT / "apps/camo_seg/src/camo_seg/weights/nano"
    lean.save_pretrained(folder, dtype=torch.float16, about=about)
    shown = ", ".join(f"{key} {metrics[key]:.3f}" for key in ("wF", "S", "E_mean", "MAE", "IoU"))
    m = config.model
    text = CARD.format(backbone=m.backbone, size=m.image_size, scales=m.scales, **{**about, "metrics": shown})
    (folder / "README.md").write_text(text, encoding="utf-8")
    test_set = build_set(config.data, "test", m.image_size)
    stored = CamoSegmenter.from_pretrained("nano")
    chosen = [e.images for e in examples(stored, test_set, evaluate(stored, test_set)) if e.kind != "worst"][::3]
    titles = ["image", "truth", "prediction", "overlay"]
    rows = [panel(pictures, titles if i == 0 else (), height=200) for i, pictures in enumerate(chosen)]
    width = min(row.shape[1] for row in rows)
    save_png(ROOT / "docs/images/camo-seg.png", np.concatenate([row[:, :width] for row in rows]))


if __name__ == "__main__":
    main()
