"""Checkpoint folders that are either whole or absent.

Accelerate's automatic naming deletes the old checkpoint before it writes the new one, so a full disk or a kill while
saving loses both. Here a checkpoint is written beside its place, flushed, moved there in one step, and only then are
older ones removed.
"""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

_STEP = re.compile(r"step-(\d+)")


def step_folder(root: Path, step: int) -> Path:
    """Where the checkpoint of `step` lies under `root`."""
    return root / f"step-{step:08d}"


def step_of(folder: Path) -> int:
    """The step in a checkpoint folder's name, -1 if it is none."""
    match = _STEP.fullmatch(folder.name)
    return int(match[1]) if match else -1


def checkpoints(root: Path) -> list[Path]:
    """The complete checkpoints under `root`, oldest first by step number, not by name or time."""
    if not root.is_dir():
        return []
    return sorted((f for f in root.iterdir() if f.is_dir() and step_of(f) >= 0), key=step_of)


def newest(root: Path) -> Path | None:
    """The complete checkpoint with the highest step, or None."""
    return next(reversed(checkpoints(root)), None)


def unfinished(folder: Path, create: bool = True) -> Path:
    """The empty folder in which the content of `folder` is written before it is put in place."""
    temporary = folder.with_name(f".{folder.name}.unfinished")
    if create:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    return temporary


def recover(folder: Path) -> None:
    """Undo a replacement of `folder` that was interrupted between taking the old away and putting the new in place."""
    old = folder.with_name(f".{folder.name}.old")
    if old.exists() and not folder.exists():
        old.replace(folder)


def put_in_place(temporary: Path, folder: Path) -> None:
    """Flush `temporary` to disk and make it `folder` at once, replacing what was there."""
    for path in temporary.rglob("*"):
        if path.is_file():
            _flush(path)
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.replace(old)
    temporary.replace(folder)
    _flush(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def write_whole(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a new folder and put it in place of `folder`; on an error the old one stays untouched."""
    temporary = unfinished(folder)
    try:
        write(temporary)
        put_in_place(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def prune(root: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints and what interrupted saves left behind."""
    for folder in checkpoints(root)[:-keep]:
        shutil.rmtree(folder)
    for leftover in root.glob(".step-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
