"""Labels of one's own: JSON lines with captions, boxes or both, and tables of captions.

    {"file": "a.jpg", "captions": ["a dog runs"], "objects": [{"label": "dog", "box": [10, 20, 110, 90]}]}

Boxes are (x1, y1, x2, y2) in pixels, as `caption-det predict --json` prints them; "split" (train, val, test) is
optional; an image without "objects" has unknown boxes, one with [] has no object. Tables have the columns image and
caption, one line for each caption: Flickr8k's captions.txt, a .csv, or Flickr8k.token.txt ("a.jpg#0", a tab, words).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from caption_det.data.files import Labelled
from polyscale.data.splits import SPLIT_WORDS
from polyscale.data.tables import cell, column, find_column, read_csv
from polyscale.errors import UserError, foreign

TABLES = ("captions.txt", "captions.csv", "Flickr8k.token.txt", "results.csv")


def fits(path: Path) -> bool:
    """Whether `path` is such a file, or a folder that holds one."""
    return _label_file(path) is not None


def read(path: Path) -> tuple[list[Labelled], list[str], list[str]]:
    """Return (images, names of the categories in alphabetical order, notes).

    Raises:
        UserError: a line that cannot be read; its number is named.
    """
    file = _label_file(path)
    assert file is not None
    if file.suffix == ".jsonl":
        items = [_from_json(file, number, line) for number, line in _lines(file)]
    elif file.name.endswith(".token.txt"):
        items = _grouped(_tokens(file))
    else:
        rows = read_csv(file)
        image, caption = column(file, rows, "image", "file", "image_name"), column(file, rows, "caption", "comment")
        split = find_column(rows, "split")
        items = _grouped(
            [
                (
                    cell(file, row, image, number),
                    cell(file, row, caption, number),
                    _split(file, number, row[split]) if split else "",
                )
                for number, row in enumerate(rows, start=2)
            ]
        )
    if not items:
        raise UserError(f"{file}: is empty")
    return items, sorted({label for item in items for label in item.labels}), []


def _label_file(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix in (".jsonl", ".csv") or path.name in TABLES else None
    found = sorted(path.glob("*.jsonl")) + [path / name for name in TABLES if (path / name).is_file()]
    if len(found) > 1 and found[1].suffix == ".jsonl":
        raise UserError(
            f"{path}: holds {len(found)} label files, such as {found[0].name} and {found[1].name}; name one"
        )
    return found[0] if found else None


def _lines(file: Path) -> list[tuple[int, str]]:
    with foreign(file, "JSON lines"):
        text = file.read_text(encoding="utf-8-sig")
    return [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]


def _from_json(file: Path, number: int, line: str) -> Labelled:
    where = f"{file}: line {number}"
    with foreign(where, "an image with its labels"):
        try:
            values: dict[str, Any] = json.loads(line)
        except json.JSONDecodeError as error:  # whose text has a line number of its own
            raise UserError(f"{where}: is no JSON ({error.msg}, character {error.pos + 1})") from error
        if not isinstance(values, dict):
            raise UserError(f'{where}: must be {{"file": "a.jpg", "captions": [...], "objects": [...]}}')
        name = values.get("file", values.get("image"))
        if not isinstance(name, str) or not name:
            raise UserError(f'{where}: "file" must name an image')
        captions = values.get("captions", [values["caption"]] if values.get("caption") is not None else [])
        if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
            raise UserError(f'{where}: "captions" must be a list of texts')
        objects = values.get("objects")
        boxes = None
        if objects is not None:
            if not isinstance(objects, list) or not all(map(_is_object, objects)):
                raise UserError(f'{where}: "objects" must be a list of {{"label": "dog", "box": [x1, y1, x2, y2]}}')
            boxes = np.array([entry["box"] for entry in objects], np.float64).reshape(-1, 4)
        elif "boxes" in values:
            raise UserError(f'{where}: boxes must stand in "objects": [{{"label": "dog", "box": [x1, y1, x2, y2]}}]')
        labels = tuple(str(entry["label"]) for entry in objects or ())
        split = _split(file, number, values["split"]) if values.get("split") else ""
    return Labelled(name, tuple(captions), boxes, labels, (False,) * len(labels), split)


def _is_object(entry: Any) -> bool:
    """Whether an entry of "objects" has a label and four numbers."""
    if not isinstance(entry, dict) or entry.get("label") in (None, "") or not isinstance(entry.get("box"), list):
        return False
    return len(entry["box"]) == 4 and all(isinstance(side, int | float) for side in entry["box"])


def _split(file: Path, number: int, word: str) -> str:
    try:
        return SPLIT_WORDS[str(word).strip().lower()]
    except KeyError:
        raise UserError(f"{file}: line {number}: split {word} is none of train, val, test") from None


def _tokens(file: Path) -> list[tuple[str, str, str]]:
    rows = []
    for number, line in _lines(file):
        name, tab, caption = line.partition("\t")
        if not tab:
            raise UserError(f"{file}: line {number}: no tab between the image and its caption")
        rows.append((name.partition("#")[0], caption, ""))
    return rows


def _grouped(rows: list[tuple[str, str, str]]) -> list[Labelled]:
    captions: dict[str, list[str]] = {}
    splits: dict[str, str] = {}
    for name, caption, split in rows:
        captions.setdefault(name, []).append(caption)
        splits.setdefault(name, split)
    return [Labelled(name, tuple(texts), split=splits[name]) for name, texts in captions.items()]
