"""One run per folder: a lock that the operating system releases when the process ends, however it ends."""

import os
import sys
from pathlib import Path
from typing import IO

from polyscale.errors import UserError
from polyscale.terminal import note

if sys.platform == "win32":
    import msvcrt

    def _acquire(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _acquire(file: IO[bytes]) -> None:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock's, not kept alive by forked workers


LOCK = ".lock"
_held: dict[tuple[int, Path], IO[bytes]] = {}  # open until the process ends: closing a file gives up its lock


def lock_folder(folder: Path) -> None:
    """Hold `folder` for this process until it ends; a second time in the same process does nothing.

    Raises:
        UserError: Another process holds it.
    """
    place = (os.getpid(), folder.resolve())
    if place in _held:
        return
    file = (folder / LOCK).open("ab")
    try:
        _acquire(file)
    except (BlockingIOError, PermissionError) as error:
        file.close()
        raise UserError(f"{folder}: another run is at work here; wait for it or choose another --out") from error
    except OSError as error:
        note(f"{folder}: this file system has no locks ({error.strerror}); start no second run here")
    _held[place] = file
