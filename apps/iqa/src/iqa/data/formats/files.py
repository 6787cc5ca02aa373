"""Finding the files that a table names: folders and images whatever their capitals, with every missing one told."""

import os
from collections.abc import Sequence
from pathlib import Path

from iqa.data.listing import some
from polyscale.data.listing import list_images
from polyscale.errors import UserError


def subfolder(root: Path, *names: str) -> Path | None:
    """The folder below `root` called like the first of `names` that exists; a name may be a path ("a/b")."""
    return next((path for name in names if (path := _below(root, name)) and path.is_dir()), None)


def file_in(root: Path, *names: str) -> Path | None:
    """The file below `root` called like the first of `names` that exists, whatever its capitals."""
    return next((path for name in names if (path := _below(root, name)) and path.is_file()), None)


def _below(root: Path, name: str) -> Path | None:
    path: Path | None = root
    for part in name.split("/"):
        path = _member(path, part) if path else None
    return path


def _member(folder: Path, name: str) -> Path | None:
    if (folder / name).exists():
        return folder / name
    return _names(folder).get(name.casefold()) if folder.is_dir() else None


def _names(folder: Path) -> dict[str, Path]:
    """What lies in a folder: by name, and by name in small letters where nothing else is called so."""
    with os.scandir(folder) as found:
        paths = [folder / entry.name for entry in found]
    return {path.name.casefold(): path for path in paths} | {path.name: path for path in paths}


def pictures(folder: Path, names: Sequence[str], table: Path) -> list[Path]:
    """The file of every name that `table` gives, relative to `folder`; capitals may differ.

    Raises UserError with the first ten names of missing files and their count.
    """
    inside: dict[str, dict[str, Path]] = {}
    found: list[Path | None] = []
    for name in names:
        place, _, own = name.replace("\\", "/").rpartition("/")
        if place not in inside:
            inside[place] = _members(folder, place)
        found.append(inside[place].get(own) or inside[place].get(own.casefold()))
    return _all_found(found, folder, names, table)


def _members(folder: Path, place: str) -> dict[str, Path]:
    """As `_names`, of the folder `place` below `folder`, whatever its capitals; empty where there is none."""
    parent = folder / place if (folder / place).is_dir() else _below(folder, place)
    return _names(parent) if parent is not None and parent.is_dir() else {}


def picture_folder(table: Path, names: Sequence[str]) -> Path:
    """The folder that the names in a table are relative to: its own, one below it, or two below it."""
    own = table.parent
    inner = sorted(path for path in own.iterdir() if path.is_dir() and not path.name.startswith("."))
    deeper = [path for folder in inner for path in sorted(folder.iterdir()) if path.is_dir()]
    probes = [name.replace("\\", "/") for name in names[:10]]
    return next((f for f in (own, *inner, *deeper) if any((f / name).is_file() for name in probes)), own)


def pictures_below(folder: Path, names: Sequence[str], table: Path) -> list[Path]:
    """As `images`, for names without their folders: each is looked for everywhere below `folder`."""
    found: dict[str, Path] = {}
    for top, _, files in os.walk(folder):
        for name in files:
            found.setdefault(name.casefold(), Path(top, name))
    return _all_found([found.get(name.casefold()) for name in names], folder, names, table)


def picture_by_stem(folder: Path, names: Sequence[str], table: Path) -> list[Path]:
    """As `images`, whatever suffix the files have ("00001.jpg" finds 00001.png)."""
    stems = {path.stem.casefold(): path for path in list_images(folder)}
    return _all_found([stems.get(Path(name).stem.casefold()) for name in names], folder, names, table)


def _all_found(found: Sequence[Path | None], folder: Path, names: Sequence[str], table: Path) -> list[Path]:
    missing = [name for name, path in zip(names, found, strict=True) if path is None]
    if missing:
        raise UserError(f"{table}: {len(missing)} of {len(names)} images are not in {folder}: {some(missing)}")
    return [path for path in found if path is not None]
