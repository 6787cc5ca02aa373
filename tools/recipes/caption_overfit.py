"""Learns 159 photographs by heart: `python tools/recipes/caption_overfit.py COCO OUT [--steps 6000]`.

The proof of the path from scratch: CLIP, pyramid, GPT-2 and detection head, all small and random, have to bring the
loss of the captions to nearly nothing. COCO is a folder in COCO's layout with train2017 and val2017, such as coco_mini
(159 images); one caption of each image is learnt, since of five the model cannot know which one is asked for.

OUT gets the data set, in which the photographs are hard links: all of them for training, and again, under other names,
for validation and test. So the scores that are printed are those of learnt images. A stopped call goes on where it was,
and so does one with more steps.
"""

import argparse
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

from caption_det.config import PRESETS, Config
from caption_det.train import train
from polyscale.commands import keep_heap
from polyscale.settings import resolve
from polyscale.training import read_journal

BATCH, VALIDATED = 16, 8
SETTINGS = {
    "model.backbone": "clip", "model.vision_width": "128", "model.vision_layers": "4", "model.vision_patch": "16",
    "model.image_size": "128", "model.width": "96", "model.memory": "queries", "model.queries": "16",
    "model.text_width": "128", "model.text_layers": "3", "model.max_tokens": "32", "model.dropout": "0",
    "data.vocab_size": "1500", "loss.words": "0", "train.batch_size": str(BATCH), "train.lr": "1e-3", "train.ema": "0",
    "train.weight_decay": "0", "train.log_every": "10",
}  # fmt: skip


def main() -> None:
    """Train, or go on, and print the loss of the captions at the start and at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("coco", type=Path, help="folder with train2017, val2017 and annotations")
    parser.add_argument("out", type=Path, help="folder for the data set and the run")
    parser.add_argument("--steps", type=int, default=6000)
    options = parser.parse_args()
    keep_heap()
    data, out = options.out / "data", options.out / "run"
    count = make_data(options.coco, data)
    epochs = math.ceil(options.steps / math.ceil(count / BATCH))
    given = {"data.path": str(data), "train.max_steps": str(options.steps), "train.epochs": str(epochs),
             "train.eval_every": str(epochs)}  # fmt: skip
    config = resolve(Config, presets=PRESETS, default_preset="nano", overrides={**SETTINGS, **given})
    train(config, out, resume=(out / "config.yaml").is_file())
    records = list(read_journal(out / "log.jsonl"))
    losses = [(record["step"], record["caption"]) for record in records if record["kind"] == "training"]
    scores = [record for record in records if record["kind"] == "validation"][-1]
    (first, before), (last, after) = losses[0], losses[-1]
    print(f"{count} images; loss of the captions {before:.3f} at step {first}, {after:.4f} at step {last}")
    print(f"{VALIDATED} of the learnt images: CIDEr {scores['CIDEr']:.1f}, AP50 {scores['AP50']:.3f}")


def make_data(coco: Path, out: Path) -> int:
    """Write the data set, unless it is there, and return the number of its images."""
    parts = [(split, read(coco, "captions", split), read(coco, "instances", split)) for split in ("train", "val")]
    images = [(split, image) for split, captions, _ in parts for image in captions["images"]]
    for name, chosen in (("train", images), ("val", images[:VALIDATED]), ("test", images)):
        known = {image["id"] for _, image in chosen}
        listed = [{**image, "file_name": f"{name}/{name}_{image['file_name']}"} for _, image in chosen]
        first = {note["image_id"]: note for _, captions, _ in parts for note in reversed(captions["annotations"])}
        boxes = [box for *_, instances in parts for box in instances["annotations"] if box["image_id"] in known]
        (out / name).mkdir(parents=True, exist_ok=True)
        for (split, image), made in zip(chosen, listed, strict=True):
            link(coco / f"{split}2017" / image["file_name"], out / made["file_name"])
        write(out / f"captions_{name}.json", listed, [first[number] for number in sorted(known)])
        write(out / f"instances_{name}.json", listed, boxes, parts[0][2]["categories"])
    return len(images)


def read(coco: Path, kind: str, split: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((coco / f"annotations/{kind}_{split}2017.json").read_text(encoding="utf-8"))
    return content


def write(file: Path, images: list[Any], notes: list[Any], categories: list[Any] | None = None) -> None:
    content = {"images": images, "annotations": notes} | ({"categories": categories} if categories else {})
    file.write_text(json.dumps(content), encoding="utf-8")


def link(source: Path, target: Path) -> None:
    """Make a hard link, or a copy on another disk."""
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


if __name__ == "__main__":
    main()
