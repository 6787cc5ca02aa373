"""Turning what a user types (files, folders, globs, file:// URLs, - for standard input) into a list of inputs."""

import glob
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from polyscale.data.naming import natural_key
from polyscale.errors import UserError

MAX_STDIN_BYTES = 1 << 30
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8")  # formats whose first bytes may hold no NUL
_PNM = re.compile(rb"P[1-7]\s+[#\d]")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")  # what PowerShell writes into a list


def gather_inputs(
    paths: Iterable[str | Path],
    suffixes: Iterable[str],
    *,
    recursive: bool = False,
    refused: Callable[[UserError], None] | None = None,
    noted: Callable[[str], None] | None = None,
) -> list[Path | bytes]:
    """Return the files that `paths` mean, in the order of the arguments, each once.

    A file is taken as it is. A folder gives its files with one of `suffixes` (".jpg", any case; hidden files left
    out). A glob ("shots/*.png", ** for any depth) gives the matching files with one of `suffixes`. file:///a%20b.jpg
    is a path. "-" is standard input: an image there is taken as bytes, anything else is a list, one path per line.
    Folders and globs are in natural order (img2 before img10).

    Args:
        paths: what the user typed.
        suffixes: of the files that folders and globs give.
        recursive: search the folders' subfolders too.
        refused: is given each error, and the other arguments go on; without it the first error is raised.
        noted: is given a line for each folder with image files of kinds that are not read.

    Returns:
        Paths, and the bytes of an image from standard input.

    Raises:
        UserError: an argument that does not exist, cannot be read or gives no file; an empty standard input.
    """
    kinds = tuple(suffix.lower() for suffix in suffixes)
    found: dict[str | bytes, Path | bytes] = {}
    for path in _with_standard_input(paths):
        text = path if isinstance(path, bytes) else local_path(path)
        try:
            files = [text] if isinstance(text, bytes) else _expand(text, kinds, recursive, noted)
        except UserError as error:
            if refused is None:
                raise
            refused(error)
            continue
        for file in files:
            # abspath, not resolve: a link stays a file of its own
            key = file if isinstance(file, bytes) else os.path.abspath(file)  # noqa: PTH100
            found.setdefault(key, file)
    return list(found.values())


def local_path(text: str) -> str:
    """Return the path that a file:// URL means, and any other text as it is. Raises UserError for another URL."""
    scheme = text.partition(":")[0].lower()
    if "://" not in text and not (scheme == "file" and text[5:6] == "/"):
        return text
    try:
        url = urlsplit(text)
    except ValueError as error:
        raise UserError(f"{text}: is no URL ({error})", exit_code=2) from error
    if scheme != "file" or url.netloc not in ("", "localhost"):
        raise UserError(f"{text}: only local files are read (paths, file:///...); download it first", exit_code=2)
    from urllib.request import url2pathname  # brings an HTTP client along

    return url2pathname(url.path)


def _with_standard_input(paths: Iterable[str | Path]) -> Iterator[str | bytes]:
    for path in map(str, paths):
        if path == "-":
            content = _read_standard_input()
            yield from [content] if is_image(content) else _lines(content)
        else:
            yield path


def _read_standard_input() -> bytes:
    stream = getattr(sys.stdin, "buffer", None)
    content = sys.stdin.read().encode() if stream is None else stream.read(MAX_STDIN_BYTES + 1)
    if len(content) > MAX_STDIN_BYTES:
        raise UserError(f"standard input: larger than {MAX_STDIN_BYTES >> 20} MB, the most that is read")
    return bytes(content)


def is_image(content: bytes) -> bool:
    """Return whether bytes are an image and not a list of names: by the first bytes of a format, or a NUL."""
    if content.startswith(_UTF16):
        return False
    return content.startswith(_MAGIC) or _PNM.match(content) is not None or b"\0" in content[:4096]


def _lines(content: bytes) -> list[str]:
    """Return the lines that are not empty, as file names: bytes that are no UTF-8 keep their value."""
    if content.startswith(_UTF16):
        text = content.decode("utf-16", "replace")
    else:
        text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    lines = [line for line in io.StringIO(text, newline=None).read().split("\n") if line.strip()]
    if not lines:
        raise UserError("standard input names no file")
    return lines


def _expand(
    path: str, suffixes: tuple[str, ...], recursive: bool, noted: Callable[[str], None] | None
) -> list[Path | bytes]:
    from polyscale.data.listing import passed_over_note, walk_images  # with PIL, which --help does without

    kinds = ", ".join(sorted(suffixes))
    if not path:
        raise UserError("an empty path was given")
    if os.path.isdir(path):  # noqa: PTH112  Path.is_dir raises on a name that is too long
        walk = walk_images(path, recursive=recursive, suffixes=suffixes)
        if noted is not None and walk.passed_over:
            noted(passed_over_note(path, walk.passed_over))
        if not walk.files:
            hint = "" if recursive else " (subfolders were not searched)"
            raise UserError(f"{path}: the folder holds no {kinds} file{hint}")
        return list(walk.files)
    if os.path.exists(path):  # noqa: PTH110
        return [Path(path)]
    if not glob.has_magic(path):
        raise UserError(f"{path}: no such file or folder")
    files = _matches(path, suffixes)
    if not files:
        raise UserError(f"{path}: matches no {kinds} file")
    return list(files)


def _matches(pattern: str, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files that match, folder by folder; with ** each real file once, as links may lead in circles."""
    from polyscale.data.listing import is_hidden

    named = set(Path(pattern).parts)
    found: dict[str, Path] = {}
    for match in map(Path, glob.iglob(pattern, recursive=True)):  # noqa: PTH207  Path.glob refuses absolute patterns
        hidden = any(is_hidden(part) and part not in named | {".", ".."} for part in match.parts)
        if match.suffix.lower() in suffixes and not hidden and match.is_file():
            found.setdefault(os.path.realpath(match) if "**" in pattern else str(match), match)
    return sorted(found.values(), key=lambda file: [natural_key(part) for part in file.parts])
