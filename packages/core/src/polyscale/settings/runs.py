"""The settings of a run, as its folder records them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from polyscale.errors import UserError
from polyscale.settings.needs import is_run
from polyscale.settings.tree import NO_PRESETS, Preset, Settings, Tree, resolve
from polyscale.settings.writing import to_yaml

Section = TypeVar("Section", bound=Settings)
SPLIT_FILE = "split.json"  # the splits of a run, in its folder


@dataclass(frozen=True)
class OnDisk:
    """Marks a setting that names a file or folder, so that a run records where it is: `Annotated[str, OnDisk()]`.

    What does not exist on disk (a hub id) and the `words` that mean something else are recorded as they are.
    """

    words: tuple[str, ...] = ()


DiskPath = Annotated[str, OnDisk(words=("synthetic",))]
OptionalDiskPath = Annotated[str | None, OnDisk(words=("synthetic",))]


def record(config: Settings) -> str:
    """Return the text of a run's config.yaml: its paths are absolute, so that the run works from any folder."""
    return to_yaml(_absolute(config))


def run_config(model: str | Path) -> Path | None:
    """Return the config.yaml of the run whose folder, saved model or checkpoint `model` is, or None if it is none."""
    folder = Path(model).resolve()
    if not folder.is_dir():
        return None
    runs = (run for run in (folder, *folder.parents[:2]) if (run / "config.yaml").is_file())
    return next((run / "config.yaml" for run in runs if run == folder or is_run(run)), None)


def resume_config(
    tree: type[Tree], run: Path, options: Mapping[str, Any], *, presets: Mapping[str, Preset] = NO_PRESETS
) -> Tree:
    """Return the settings of the run to go on with: those that its folder records.

    Args:
        tree: The class of the settings.
        run: The folder of the run.
        options: What was given next to it, by dotted key; only train.epochs may be.
        presets: The app's presets.

    Raises:
        UserError: Other options were given (exit code 2), or no run is there.
    """
    if not options.keys() <= {"train.epochs"}:
        wrong = f"--resume takes the settings of {run}/config.yaml; leave the other options out"
        raise UserError(f"{wrong} (only --train.epochs may be given, to train longer)", exit_code=2)
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run}: no run to resume (no config.yaml)")
    return resolve(tree, file=run / "config.yaml", overrides=options, presets=presets)


def resolve_for(tree: type[Tree], model: str | Path | None, data: Mapping[str, Any]) -> Tree:
    """Return the settings for evaluating `model` on the data set described by `data`.

    Those of the run whose folder `model` is, where `data` names no path or the run's own: its data are then split as
    the run split them, so that what it learnt from stays in train. Else the defaults.

    Args:
        tree: The class of the settings.
        model: A folder, a name or None.
        data: Keys of the tree's `data`; None is not given.
    """
    overrides = {f"data.{key}": value for key, value in data.items() if value is not None}
    file = None if model is None else run_config(model)
    if file is not None and data.get("path") is not None:
        own: Any = resolve(tree, file=file)
        file = file if _is_same(own.data.path, data["path"]) else None
    return resolve(tree, file=file, overrides=overrides)


def _is_same(first: str | Path, second: str | Path) -> bool:
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
    if data.get("path") is not None and not _is_same(own.data.path, data["path"]):
        return None
    path = file.parent / SPLIT_FILE
    return path if path.is_file() else None


def _absolute(section: Section) -> Section:
    changes: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        mark = next((item for item in field.metadata if isinstance(item, OnDisk)), None)
        if isinstance(value, Settings):
            changes[name] = _absolute(value)
        elif mark is not None and value and value not in mark.words and Path(value).exists():
            changes[name] = str(Path(value).absolute())
    return section.model_copy(update=changes)
