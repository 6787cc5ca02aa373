"""The model card (README.md) of a saved model, with the front matter that the Hugging Face hub reads."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CARD = "README.md"
_MARK = "<!-- written by polyscale with the weights; remove this line to keep your own text -->"


def write_card(folder: Path, text: str) -> None:
    """Write the card into `folder`, unless a README.md that is not ours is there."""
    path = folder / CARD
    if not path.exists() or _MARK in path.read_text(encoding="utf-8", errors="replace"):
        path.write_text(text, encoding="utf-8")


def card_text(title: str, class_name: str, *, task: str, tags: tuple[str, ...], about: Mapping[str, Any]) -> str:
    """Return a card made of what `about` records.

    Args:
        title: heading, one line.
        class_name: the class that loads the weights, for example "iqa.QualityNet".
        task: the hub's `pipeline_tag`, for example "image-segmentation"; "" for none.
        tags: further tags.
        about: what is recorded about the weights; `license`, `data`, `metrics`, `seed` and `commit` have a place.
    """
    metrics = {key: value for key, value in dict(about.get("metrics") or {}).items() if isinstance(value, int | float)}
    front: dict[str, Any] = {
        "license": about.get("license", "unknown"),
        "library_name": "polyscale",
        "pipeline_tag": task,
        "tags": list(tags),
        "datasets": [about["data"]] if about.get("data") else [],
        "metrics": list(metrics),
    }
    lines = ["---", *(f"{key}: {json.dumps(value)}" for key, value in front.items() if value), "---", _MARK, ""]
    lines += [f"# {title}", "", f"Load it with `{class_name}.from_pretrained(FOLDER_OR_HUB_ID)`.", ""]
    facts = [(key, value) for key, value in about.items() if key != "metrics" and not isinstance(value, Mapping)]
    lines += [f"- {key}: {value}" for key, value in facts] + [""] * bool(facts)
    if metrics:
        lines += [
            "| metric | value |",
            "|---|---|",
            *(f"| {key} | {value:.4g} |" for key, value in metrics.items()),
            "",
        ]
    return "\n".join(lines)
