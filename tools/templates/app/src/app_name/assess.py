"""A model on one split beside the trivial baselines: the table, metrics.json, report.html."""

import json
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from app_name.data import Discs
from app_name.evaluate import BASELINES, evaluate, probabilities
from app_name.model import Segmenter
from polyscale.report.drawing import overlay
from polyscale.report.page import Report
from polyscale.training import read_journal

EXAMPLES = 4


def assess(model: Segmenter, dataset: Discs, accelerator: Accelerator) -> dict[str, dict[str, float]]:
    """The metrics of the model and of each baseline; the same in every process of `accelerator`."""
    predictors = {"model": probabilities(model), **BASELINES}
    return {name: evaluate(predict, dataset, accelerator=accelerator) for name, predict in predictors.items()}


def rows(result: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """The metric table: the model first, then the baselines."""
    return [{"": name, **metrics} for name, metrics in result.items()]


def write_results(
    result: dict[str, dict[str, float]], folder: Path, model: Segmenter, dataset: Discs, config: str = ""
) -> None:
    """metrics.json and report.html into `folder`; curves where a log.jsonl lies there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    report = Report("app-name", f"{dataset.split} split, {len(dataset)} images")
    report.table(rows(result), "Averages over the images.", highlight={"IoU": "max", "MAE": "min"})
    report.history(read_journal(folder / "log.jsonl"), ("IoU",))
    report.images(examples(model, dataset), title="Examples", columns=EXAMPLES)
    if config:
        report.details("Settings", config)
    report.save(folder / "report.html")


@torch.inference_mode()
def examples(model: Segmenter, dataset: Discs) -> list[tuple[Any, str]]:
    """(overlay, caption) of the first images of `dataset`."""
    pictures = []
    for index in range(min(EXAMPLES, len(dataset))):
        image = dataset[index]["image"]
        probability = model(image[None].to(model.mean.device))[0, 0].sigmoid().cpu()
        drawn = overlay((255 * image).byte().permute(1, 2, 0).numpy(), probability.numpy())
        pictures.append((drawn, f"{dataset.split} {index}"))
    return pictures
