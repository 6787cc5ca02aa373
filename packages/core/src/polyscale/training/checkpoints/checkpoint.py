"""Checkpoint folders that are either whole and verified or ignored.

A checkpoint is written next to its place, sealed with the SHA-256 of every file, flushed, moved in one step, and only
then are older ones removed: a full disk or a kill while saving never loses the one before it.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from polyscale.errors import UserError

MANIFEST = "manifest.json"
_STEP = re.compile(r"step-(\d+)")


def step_folder(root: Path, step: int) -> Path:
    """Return the folder of the checkpoint of `step` under `root`."""
    return root / f"step-{step:08d}"


def step_of(folder: Path) -> int:
    """Return the step in a checkpoint folder's name, -1 if it is none."""
    match = _STEP.fullmatch(folder.name)
    return int(match[1]) if match else -1


def checkpoints(root: Path) -> list[Path]:
    """List the checkpoints under `root`, oldest first by step number, not by name or time."""
    if not root.is_dir():
        return []
    return sorted((f for f in root.iterdir() if f.is_dir() and step_of(f) >= 0), key=step_of)


def newest(root: Path) -> Path | None:
    """Return the checkpoint with the highest step, or None."""
    return next(reversed(checkpoints(root)), None)


def seal(folder: Path) -> None:
    """Write the manifest of `folder`: {file name: SHA-256} of every file in it."""
    files = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps(files, indent=1) + "\n", encoding="utf-8")


def find_damage(folder: Path) -> str | None:
    """Return one line that names the first damaged file of a sealed folder, or None if every file is as written.

    Raises:
        UserError: The folder was written by a version that pickled its checkpoints.
    """
    manifest = folder / MANIFEST
    if not manifest.exists() and any(folder.glob("*.pkl")):
        raise UserError(
            f"{folder}: written by an older version, which cannot be resumed safely; start a new run "
            f"(the weights in {folder.parent.parent / 'best'} still load)"
        )
    try:
        files = json.loads(manifest.read_text(encoding="utf-8"))
        damaged = [name for name, digest in files.items() if _sha256(folder / name) != digest]
    except OSError as error:
        return f"{error.filename}: cannot be read ({error.strerror})"
    except (ValueError, AttributeError, TypeError):
        return f"{manifest}: not a manifest of checksums"
    return f"{folder / damaged[0]}: not as it was written (its checksum differs)" if damaged else None


def newest_sound(root: Path) -> tuple[Path | None, list[str]]:
    """Find the newest checkpoint whose files are as they were written.

    Returns:
        The folder (None if there is no sound one), and a line about each newer one that is damaged.

    Raises:
        UserError: A checkpoint is of the older, pickled format.
    """
    faults: list[str] = []
    for folder in reversed(checkpoints(root)):
        fault = find_damage(folder)
        if fault is None:
            return folder, faults
        faults.append(fault)
    return None, faults


def unfinished(folder: Path) -> Path:
    """Return the folder in which the content of `folder` is written before it is put in place."""
    return folder.with_name(f".{folder.name}.unfinished")


def begin(folder: Path) -> Path:
    """Create the empty unfinished folder of `folder`, whatever an interrupted save has left there."""
    temporary = unfinished(folder)
    _remove(temporary)
    temporary.mkdir(parents=True)
    return temporary


def put_in_place(temporary: Path, folder: Path) -> None:
    """Flush `temporary` to disk and make it `folder` at once, replacing what was there."""
    for path in temporary.rglob("*"):
        if path.is_file():
            _flush(path)
    old = folder.with_name(f".{folder.name}.old")
    _remove(old)
    if folder.exists():
        folder.replace(old)
    temporary.replace(folder)
    if os.name != "nt":  # Windows cannot open a folder, and needs no flush for a rename
        _flush(folder.parent)
    _remove(old)


def write_whole(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a new folder and put it in place of `folder`; on an error the old one stays untouched."""
    temporary = begin(folder)
    try:
        write(temporary)
        put_in_place(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def recover(root: Path) -> None:
    """Undo replacements under `root` that were interrupted between taking the old away and putting the new in place."""
    for old in root.glob(".*.old"):
        folder = old.with_name(old.name[1:-4])
        if not folder.exists():
            old.replace(folder)


def prune(root: Path, current: Path, keep: int) -> None:
    """Remove all checkpoints but `current` and the `keep` - 1 before it, and what interrupted saves left behind.

    Later ones are removed too: they were damaged, and the run has gone back behind them.
    """
    known = checkpoints(root)
    place = known.index(current) + 1
    for folder in [*known[: max(place - keep, 0)], *known[place:]]:
        shutil.rmtree(folder)
    for leftover in root.glob(".step-*"):
        _remove(leftover)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)  # Windows flushes only what may be written
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
