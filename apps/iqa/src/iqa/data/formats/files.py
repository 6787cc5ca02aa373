"""Finding the image files that a table names; names are compared as `polyscale.data.listing.same_name` does."""

import os
from collections.abc import Sequence
from pathlib import Path

from polyscale.data.listing import folders_in, list_images, same_name, subfolder, walk_images
from polyscale.data.naming import shorten
from polyscale.errors import UserError


def find_images(folder: Path, names: Sequence[str], table: Path) -> list[Path]:
    """Find the file of every name that `table` gives, relative to `folder`.

    Raises:
        UserError: Files are missing; it gives their count and the first ten names.
    """
    inside: dict[str, dict[str, Path]] = {}
    found: list[Path | None] = []
    for name in names:
        place, _, own = name.replace("\\", "/").rpartition("/")
        if place not in inside:
            parent = subfolder(folder, place) if place else folder
            inside[place] = _index(parent) if parent is not None and parent.is_dir() else {}
        found.append(inside[place].get(own) or inside[place].get(same_name(own)))
    return _all_found(found, folder, names, table)


def find_below(folder: Path, names: Sequence[str], table: Path) -> list[Path]:
    """Find files as `find_images` does, for names without their folders: everywhere below `folder`."""
    found: dict[str, Path] = {}
    for path in walk_images(folder).files:
        found.setdefault(same_name(path.name), path)
    return _all_found([found.get(same_name(name)) for name in names], folder, names, table)


def find_by_stem(folder: Path, names: Sequence[str], table: Path) -> list[Path]:
    """Find files as `find_images` does, with any suffix ("00001.jpg" finds 00001.png)."""
    stems = {same_name(path.stem): path for path in list_images(folder)}
    return _all_found([stems.get(same_name(Path(name).stem)) for name in names], folder, names, table)


def find_folder(table: Path, names: Sequence[str]) -> Path:
    """Return the folder that the names in a table are relative to: its own, one below it, or two below it."""
    own = table.parent
    inner = folders_in(own)
    deeper = [path for folder in inner for path in folders_in(folder)]
    probes = [name.replace("\\", "/") for name in names[:10]]
    return next((f for f in (own, *inner, *deeper) if any((f / name).is_file() for name in probes)), own)


def _index(folder: Path) -> dict[str, Path]:
    """Return what a folder holds: by name, and by the compared form of its name where nothing else is called so."""
    with os.scandir(folder) as found:
        paths = [folder / entry.name for entry in found]
    return {same_name(path.name): path for path in paths} | {path.name: path for path in paths}


def _all_found(found: Sequence[Path | None], folder: Path, names: Sequence[str], table: Path) -> list[Path]:
    missing = [name for name, path in zip(names, found, strict=True) if path is None]
    if missing:
        raise UserError(f"{table}: {len(missing)} of {len(names)} images are not in {folder}: {shorten(missing)}")
    return [path for path in found if path is not None]
