"""The settings of a run, as its folder records them."""

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polyscale.errors import UserError
from polyscale.settings.tree import Preset, Tree, resolve

SPLIT_FILE = "split.json"  # the splits of a run, in its folder


def run_config(model: str | Path) -> Path | None:
    """The config.yaml of the run that `model` is the folder of (or of its best/), if it is one."""
    folder = Path(model).resolve()
    run = folder.parent if folder.name == "best" else folder
    return run / "config.yaml" if folder.is_dir() and (run / "config.yaml").is_file() else None


def begin_run(
    config: Tree, out: Path | None, resume: Path | None, *, presets: Mapping[str, Preset], default_preset: str | None
) -> tuple[Tree, Path]:
    """The settings and the folder of a run that was asked for: `config` and `out` (runs/DATE-TIME where that is None),
    or, to go on with the run in the folder `resume`, its own.

    Raises UserError where settings or another folder were given beside `resume` (exit code 2), and where no run is.
    """
    if resume is None:
        return config, out or Path("runs") / datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    if config != resolve(type(config), presets=presets, default_preset=default_preset) or out not in (None, resume):
        wrong = f"--resume takes the settings of {resume}/config.yaml; leave the other options out"
        raise UserError(wrong, exit_code=2)
    if not (resume / "config.yaml").is_file():
        raise UserError(f"{resume}: no run to resume (no config.yaml)")
    return resolve(type(config), file=resume / "config.yaml", presets=presets), resume


def resolve_for(tree: type[Tree], model: str | Path | None, data: Mapping[str, Any]) -> Tree:
    """The tree in which `model` is to meet the data set that `data` (keys of the tree's `data`) asks for.

    That of the run whose folder `model` is, where `data` names no path or the run's own: its data are then split as
    the run split them, so that what it learnt from stays in train. Else the defaults. None in `data` is not given.
    """
    overrides = {f"data.{key}": value for key, value in data.items() if value is not None}
    file = None if model is None else run_config(model)
    if file is not None and data.get("path") is not None:
        own: Any = resolve(tree, file=file)
        file = file if _same(own.data.path, data["path"]) else None
    return resolve(tree, file=file, overrides=overrides)


def _same(first: str | Path, second: str | Path) -> bool:
    return Path(first).resolve() == Path(second).resolve()


def recorded_splits(tree: type[Tree], model: str | Path, data: Mapping[str, Any]) -> Path | None:
    """Return the split.json of the run whose folder `model` is, None where there is none or other data are asked for.

    `data` is that of `resolve_for`. Options that change what is listed need a listing of their own.
    """
    file = run_config(model)
    changing = ("layout", "masks", "cam_only", "images", "split_column")
    if file is None or any(data.get(key) is not None for key in changing):
        return None
    own: Any = resolve(tree, file=file)
    if data.get("path") is not None and not _same(own.data.path, data["path"]):
        return None
    path = file.parent / SPLIT_FILE
    return path if path.is_file() else None
