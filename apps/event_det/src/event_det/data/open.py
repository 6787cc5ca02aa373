"""One door to every data set: `open_split` gives the steps of a split."""

import json
from pathlib import Path
from typing import Any

from event_det.config import Config
from event_det.data.boxes import STANDARDS, BoxFilter, Standard
from event_det.data.rvt import FRAMES, Sequence
from event_det.data.steps import EventSet
from event_det.data.synthetic import synthetic_folder
from polyscale.data.listing import folders_in, resolve_folder, subfolder
from polyscale.errors import UserError, foreign

SPLITS = ("train", "val", "test")
SYNTHETIC = "synthetic"
DESCRIPTION = "event_det.json"
"""File beside the splits that says what the classes are; `event-det data prepare` writes it, RVT passes it over."""


def open_split(config: Config, split: str) -> EventSet:
    """Open the "train", "val" or "test" split of `config.data.path`: "synthetic" or a folder in RVT's layout.

    Raises:
        UserError: one line naming the file, folder or setting, for whatever is missing or does not fit.
    """
    data, window, bins = config.data, config.representation.window_ms, config.representation.bins
    if split not in SPLITS:
        raise UserError(f"split must be one of {', '.join(SPLITS)}, given {split}", exit_code=2)
    if data.path == SYNTHETIC:
        if window != 50:
            raise UserError(f"representation.window_ms: the {SYNTHETIC} set has windows of 50 ms, not {window:g}")
        folder = synthetic_folder(split, data.train_recordings, bins, config.representation.cutoff)
        sequences = [Sequence(path, 50, bins) for path in folders_in(folder)]
        standard = STANDARDS[SYNTHETIC]
        return EventSet(sequences, standard.classes, f"{SYNTHETIC}/{split}", standard.evaluate, standard.ranking)
    root = resolve_folder(data.path, f" (the embedded data set is called {SYNTHETIC})")
    folder_ = subfolder(root, split)
    if folder_ is None:
        present = ", ".join(name for name in SPLITS if subfolder(root, name)) or "none"
        raise UserError(f"{data.path}: holds no folder {split}; of the splits it has {present}")
    paths = [path for path in folders_in(folder_) if (path / FRAMES).is_dir()]
    if not paths:
        raise UserError(
            f"{folder_}: holds no recording in RVT's layout; make them with: event-det data prepare RAW OUT"
        )
    sequences = [Sequence(path, round(window), bins) for path in paths]
    standard = find_standard(root, data.dataset, sequences[0])
    factor = 0.5 if sequences[0].half else 1.0
    evaluate = standard.evaluate.scaled(factor)
    return EventSet(sequences, standard.classes, f"{root.name}/{split}", evaluate, standard.ranking)


def find_standard(root: Path, name: str, sample: Sequence) -> Standard:
    """Return what a data set is: by its name, by its own description, or by the size of its frames.

    Raises:
        UserError: it cannot be told.
    """
    if name != "auto":
        return STANDARDS[name]
    if (root / DESCRIPTION).is_file():
        return read_description(root / DESCRIPTION)
    height, width = sample.histograms.shape[1:]
    sample.close()
    known = {(240, 304): "gen1", (360, 640): "gen4"}
    if (height, width) not in known:
        raise UserError(
            f"{root}: frames of {width}x{height} are of no data set that is known by its size; set data.dataset, or "
            f'write {DESCRIPTION} beside the splits: {{"classes": ["...", "..."]}}'
        )
    return STANDARDS[known[height, width]]


def read_description(path: Path) -> Standard:
    """Read the classes of a data set, and which boxes count in its evaluation, if it says so."""
    with foreign(path, "a description of a data set"):
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        classes = found["classes"]
        if not classes or not all(isinstance(name, str) for name in classes):
            raise UserError(f"{path}: classes should be a list of names")
        evaluate = BoxFilter(**found.get("evaluate", {}))
    return Standard(str(found.get("about", path.parent.name)), tuple(classes), (0, 0), evaluate=evaluate)


def write_description(path: Path, standard: Standard) -> None:
    """Write what `read_description` reads."""
    content = {"about": standard.about, "classes": standard.classes, "evaluate": vars(standard.evaluate)}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
