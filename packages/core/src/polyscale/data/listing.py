"""Finding the files of a data set: image files in and below a folder, folders and files by name in any case.

A `Listing` holds what a data set folder contains, a `Layout` is one way in which a data set is published. Hidden and
system folders are passed over, linked folders are followed once, names are compared in Unicode's composed form (NFC),
because macOS stores decomposed ones.
"""

import contextlib
import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, NamedTuple, Self, TypeVar

from polyscale.data.decoding.opening import HEIF_SUFFIXES, IMAGE_SUFFIXES, UNREAD_SUFFIXES, name_of, why_not_opened
from polyscale.data.naming import natural_key, plural
from polyscale.errors import UserError

_SYSTEM_NAMES = frozenset(
    {"__macosx", "@eadir", "@tmp", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "lost+found"}
    | {"system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini"}
)

FolderPath = str | os.PathLike[str]
T = TypeVar("T")


@dataclass(frozen=True)
class Listing(Generic[T]):
    """The samples of a data set by split ("train", "val", "test"; "" holds those without one), before any is opened.

    `title` names the data set, `notes` are one-line remarks for the user.
    """

    title: str
    splits: dict[str, list[T]]
    notes: list[str] = field(default_factory=list)

    def entries(self) -> list[T]:
        """Return the samples of all splits, in the order of the splits."""
        return [entry for part in self.splits.values() for entry in part]

    def present_splits(self) -> list[str]:
        """Return those of train, val and test that hold anything."""
        return [name for name in ("train", "val", "test") if self.splits.get(name)]

    def with_splits(self, splits: dict[str, list[T]], notes: Sequence[str] = ()) -> Self:
        """Return the listing with other splits and `notes` behind its own."""
        return replace(self, splits=splits, notes=[*self.notes, *notes])


L = TypeVar("L")


@dataclass(frozen=True)
class Layout(Generic[L]):
    """One way in which the files of a data set are arranged.

    `fits(folder)` is whether it is this folder's. `list(folder, option)` lists it; `option` is the application's own.
    `published` is how many samples the data set has, 0 where that is not known.
    """

    fits: Callable[[Path], bool]
    list: Callable[..., L]
    published: int = 0


def locate(root: Path, layouts: Mapping[str, Layout[L]], layout: str, fallback: str) -> tuple[Path, str]:
    """Find the folder of a data set: `root`, or the only folder in it, as unzipping leaves it.

    Args:
        root: Where to look.
        layouts: The known layouts by name; the first that fits is taken.
        layout: The name of the wanted one, "auto" for any.
        fallback: The name to return for "auto" where none fits.

    Returns:
        (folder, name of the layout). The folder is `root` where the layout does not fit.
    """
    inner = folders_in(root)
    for folder in (root, *inner) if len(inner) == 1 else (root,):
        for name, known in layouts.items():
            if layout in ("auto", name) and known.fits(folder):
                return folder, name
    return root, fallback if layout == "auto" else layout


class Walk(NamedTuple):
    """files: what was asked for, in natural order. passed_over: image files of a kind that is not read."""

    files: list[Path]
    passed_over: list[Path]


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden or made by an operating system, a storage device or an editor."""
    return name.startswith(".") or name.casefold() in _SYSTEM_NAMES


def same_name(name: str) -> str:
    """The form in which names are compared: composed Unicode (NFC), case ignored."""
    return unicodedata.normalize("NFC", name).casefold()


def walk_images(folder: str | Path, *, recursive: bool = True, suffixes: Iterable[str] = IMAGE_SUFFIXES) -> Walk:
    """List the image files in `folder`, with `recursive` also those of the folders below it.

    Hidden and system files and folders are passed over (`is_hidden`). Linked folders are followed; a folder that can
    be reached in several ways is listed once, under its own path where that is below `folder`, and a link to a folder
    around it is not followed.

    Args:
        folder: Where to look.
        recursive: Whether to look into the folders below as well.
        suffixes: Suffixes of the files to list, with their dot, in lower case.

    Returns:
        The files in natural order (img2 before img10), and the image files of other kinds.

    Raises:
        UserError: `folder` or a folder below it is missing, is a file or cannot be read.
    """
    top, wanted = Path(folder), frozenset(suffixes)
    if top.is_file():
        raise UserError(f"{name_of(top)}: is a file, not a folder")
    found = Walk([], [])
    visited: set[str] = set()
    waiting, links = [top], list[Path]()
    while waiting or links:
        # Folders before links, so that a file keeps the path that it has without the links.
        here = waiting.pop() if waiting else links.pop()
        real = os.path.realpath(here)
        if real in visited or (here != top and _is_around(real, here)):
            continue
        visited.add(real)
        with readable(here):
            for path in _members(here):
                if path.is_dir():
                    # A junction of Windows is no symbolic link, but its real path is elsewhere.
                    is_link = path.is_symlink() or Path(os.path.realpath(path)).parent != Path(real)
                    (links if is_link else waiting).append(path)
                elif path.suffix.lower() in wanted:
                    if path.is_file():
                        found.files.append(path)
                elif path.suffix.lower() in UNREAD_SUFFIXES:
                    found.passed_over.append(path)
        if not recursive:
            break
        _sort(links, reverse=True)
    _sort(found.files)
    _sort(found.passed_over)
    return found


def list_images(folder: str | Path) -> list[Path]:
    """List the image files directly in `folder`, img2 before img10; see `walk_images`."""
    return walk_images(folder, recursive=False).files


def passed_over_note(folder: str | Path, paths: list[Path]) -> str:
    """Return the one line that names and counts files of `Walk.passed_over`, "" for none."""
    if not paths:
        return ""
    heif = any(path.suffix.lower() in HEIF_SUFFIXES for path in paths)
    hint = "; pip install 'polyscale[heic]' reads HEIC" if heif else ""
    kinds = ", ".join(sorted({path.suffix.lower() for path in paths}))
    return f"{folder}: {plural(len(paths), 'file')} of kinds that are not read ({kinds}), first {paths[0].name}{hint}"


def resolve_folder(path: FolderPath, hint: str = "") -> Path:
    """Return the absolute path of a folder that is there and holds something; "~" is the home folder.

    Raises:
        UserError: There is no such folder (`hint` is added), it is a file, or it is empty.
    """
    folder = Path(path).expanduser()
    if not os.fspath(path):
        raise UserError("an empty path was given")
    if not folder.exists():
        raise UserError(f"{path}: no such file or folder{hint}")
    if not folder.is_dir():
        raise UserError(f"{path}: is a file, not a folder")
    with readable(path):
        if not any(folder.iterdir()):
            raise UserError(f"{path}: empty folder")
    return folder.resolve()


def subfolder(root: Path, *names: str) -> Path | None:
    """Return the folder below `root` called like the first of `names` that exists, in any case; "a/b" is a path."""
    return next((path for name in names if (path := _below(root, name)) and path.is_dir()), None)


def file_in(root: Path, *names: str) -> Path | None:
    """Return the file below `root` called like the first of `names` that exists, in any case; "a/b" is a path."""
    return next((path for name in names if (path := _below(root, name)) and path.is_file()), None)


def folders_in(root: Path) -> list[Path]:
    """List the folders directly in `root` that are neither hidden nor a system's, in natural order."""
    return [path for path in _members(root) if path.is_dir()]


@contextlib.contextmanager
def readable(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what the operating system refuses inside the block into a UserError that names the file, else `path`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{name_of(error.filename or path)}: {why_not_opened(error)}") from error


def _below(root: Path, name: str) -> Path | None:
    path: Path | None = root
    for part in name.split("/"):
        path = _member(path, part) if path else None
    return path


def _member(folder: Path, name: str) -> Path | None:
    if (folder / name).exists():
        return folder / name
    if not folder.is_dir():
        return None
    wanted = same_name(name)
    with readable(folder), os.scandir(folder) as entries:
        found = min((entry.name for entry in entries if same_name(entry.name) == wanted), default=None)
    return None if found is None else folder / found


def _members(folder: Path) -> list[Path]:
    with readable(folder):
        paths = [path for path in folder.iterdir() if not is_hidden(path.name)]
    return sorted(paths, key=lambda path: natural_key(path.name))


def _is_around(real: str, here: Path) -> bool:
    """Whether the folder `real` holds `here`, which is then a link that leads back."""
    parent = Path(os.path.realpath(here.parent))
    return Path(real) in (parent, *parent.parents)


def _sort(paths: list[Path], *, reverse: bool = False) -> None:
    """Sort in natural order, folder by folder."""
    folders = {folder: [natural_key(part) for part in folder.parts] for folder in {path.parent for path in paths}}
    paths.sort(key=lambda path: [*folders[path.parent], natural_key(path.name)], reverse=reverse)
