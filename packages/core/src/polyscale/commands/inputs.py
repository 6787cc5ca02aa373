"""Turning what a user types (files, folders, globs, - for a list) into a list of files."""

import glob
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from polyscale.data.naming import natural_key
from polyscale.errors import UserError


def gather_inputs(
    paths: Iterable[str | Path],
    suffixes: Iterable[str],
    *,
    recursive: bool = False,
    refused: Callable[[UserError], None] | None = None,
) -> list[Path]:
    """The files meant by `paths`, in the order of the arguments, each once.

    A file is taken as it is. A folder gives its files with one of `suffixes` (".jpg", any case; hidden files left
    out), with `recursive` those of its subfolders too. A glob ("shots/*.png", ** for any depth) gives the matching
    files with one of `suffixes`. "-" reads paths from standard input, one a line. Folders and globs are in natural
    order (img2 before img10).

    An argument that does not exist, cannot be read or gives no file is named by a UserError: raised, or, where
    `refused` is given, handed to it, and the others go on. Raises UserError for an empty standard input.
    """
    kinds = tuple(suffix.lower() for suffix in suffixes)
    found: dict[str, Path] = {}
    for path in _with_standard_input(paths):
        try:
            files = _expand(path, kinds, recursive)
        except UserError as error:
            if refused is None:
                raise
            refused(error)
            continue
        for file in files:
            found.setdefault(os.path.abspath(file), file)  # noqa: PTH100  a link stays a file of its own
    return list(found.values())


def _with_standard_input(paths: Iterable[str | Path]) -> Iterator[str]:
    for path in map(str, paths):
        if path == "-":
            yield from standard_input()
        else:
            yield path


def standard_input() -> list[str]:
    """The lines of standard input that are not empty. Raises UserError where there is none."""
    lines = [line for line in sys.stdin.read().splitlines() if line.strip()]
    if not lines:
        raise UserError("standard input names no file")
    return lines


def _expand(path: str, suffixes: tuple[str, ...], recursive: bool) -> list[Path]:
    kinds = ", ".join(sorted(suffixes))
    if not path:
        raise UserError("an empty path was given")
    if os.path.isdir(path):  # noqa: PTH112  Path.is_dir raises on a name that is too long
        files = _listing(Path(path), suffixes, recursive)
        if not files:
            hint = "" if recursive else " (subfolders were not searched)"
            raise UserError(f"{path}: the folder holds no {kinds} file{hint}")
    elif os.path.exists(path):  # noqa: PTH110
        return [Path(path)]
    elif glob.has_magic(path):
        matches = map(Path, glob.iglob(path, recursive=True))  # noqa: PTH207  Path.glob refuses absolute patterns
        files = [match for match in matches if match.suffix.lower() in suffixes and match.is_file()]
        if not files:
            raise UserError(f"{path}: matches no {kinds} file")
    else:
        raise UserError(f"{path}: no such file or folder")
    return sorted(files, key=lambda file: [natural_key(part) for part in file.parts])  # folder by folder


def _listing(folder: Path, suffixes: tuple[str, ...], recursive: bool) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})")

    files = []
    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        files += [Path(root, name) for name in names if not name.startswith(".") and name.lower().endswith(suffixes)]
    return files
