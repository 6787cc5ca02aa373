"""UserError, the one exception that a command line shows as one line, and reading files that strangers wrote.

Nothing here imports more than the standard library.
"""

import contextlib
import os
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path

JOINERS = "\u200c\u200d"  # of emoji and of several scripts


class UserError(ValueError):
    """Something the user can put right: a bad file, folder, key or value.

    The message is one line that names the file or key and says what is accepted. `exit_code` is what the
    process ends with: 1 for a failure, 2 for wrong usage (unknown key, type or range).
    """

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(printable(message))
        self.exit_code = exit_code


def printable(text: str) -> str:
    """Return `text` on one line, with everything that a terminal would obey (escapes, bidirectional marks) spelt out.

    File names and files may hold any character, and a terminal that meets an escape sequence moves, recolours or
    runs what it says.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_visible, text.replace("\r\n", " ")))


def _visible(letter: str) -> str:
    if letter in "\n\t":
        return " "
    kind = unicodedata.category(letter)
    hidden = kind in ("Cc", "Cs", "Zl", "Zp") or (kind == "Cf" and letter not in JOINERS)
    return letter.encode("unicode_escape", "surrogatepass").decode() if hidden else letter


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, cut at 200 characters; the name of its class if it has none."""
    text = getattr(error, "strerror", None) or str(error)
    return (str(text).strip().splitlines() or [type(error).__name__])[0][:200]


@contextlib.contextmanager
def foreign(source: Path | str, kind: str, *, exit_code: int = 1) -> Iterator[None]:
    """Turn whatever a reader of foreign data raises into one UserError: "SOURCE: cannot be read as KIND (reason)".

    Parsers raise dozens of classes on damaged input, and the list changes with their versions. UserErrors pass.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{source}: cannot be read as {kind} ({first_line(error)})", exit_code=exit_code) from error


def read_bounded(path: Path | str, limit: int, *, exit_code: int = 1) -> bytes:
    """Read a regular file of at most `limit` bytes.

    Raises:
        UserError: the file is missing, unreadable, larger, or no file at all (a folder, a device, a pipe that
            never ends).
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UserError(f"{path}: is not a regular file", exit_code=exit_code)
            content = file.read(limit + 1)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file", exit_code=exit_code) from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder, not a file", exit_code=exit_code) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({first_line(error)})", exit_code=exit_code) from error
    if len(content) > limit:
        raise UserError(f"{path}: larger than {limit / 2**20:g} MB, the most that is read", exit_code=exit_code)
    return content


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting for the other end of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
