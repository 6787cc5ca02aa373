"""File names: their natural order, and names for the results of many inputs in one folder; things by their number."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any


def natural_key(text: str) -> tuple[list[Any], str]:
    """Sort key: runs of digits as numbers (img2 before img10), case ignored; the plain text breaks ties."""
    parts = re.split(r"([0-9]+)", text)
    return [int(part) if index % 2 else part.casefold() for index, part in enumerate(parts)], text


def plural(number: int, noun: str) -> str:
    """1, "image" -> "1 image"; 2 or 0 of them are images, 2000 are "2,000 images"; "box" becomes "boxes"."""
    ending = "es" if noun.endswith("x") else "s"
    return f"{number:,} {noun}{'' if number == 1 else ending}"


def shorten(names: Iterable[object]) -> str:
    """Join the first ten names, and say how many there are beyond them."""
    listed = [str(name) for name in names]
    more = f" and {len(listed) - 10} more" if len(listed) > 10 else ""
    return ", ".join(listed[:10]) + more


def unique_names(paths: Sequence[Path | None]) -> list[str]:
    """A name without separators for each path, all different, also for a file system that ignores case.

    A file is called by its stem. Those that clash get their suffix behind, then the folder in front, then both, then
    one folder more; each name depends on the files given, not on their order. What still clashes (the same file
    twice, or what is no file: None, called "image") is numbered.
    """
    choices = [_choices(path) for path in paths]
    level = [0] * len(choices)
    clashing = set(range(len(choices)))
    while clashing:
        files: dict[str, set[str]] = {}
        for choice, at in zip(choices, level, strict=True):
            files.setdefault(choice[at].casefold(), set()).add(choice[-1].casefold())
        clashing = {
            i
            for i, choice in enumerate(choices)
            if len(files[choice[level[i]].casefold()]) > 1 and level[i] + 1 < len(choice)
        }
        for i in clashing:
            level[i] += 1
    taken: set[str] = set()
    unique = []
    for choice, at in zip(choices, level, strict=True):
        name = next(n for n in _numbered(choice[at]) if n.casefold() not in taken)
        taken.add(name.casefold())
        unique.append(name)
    return unique


def names_as_they_come(paths: Iterable[Path | None]) -> Iterator[str]:
    """Yield a name for each path of an endless stream, all different: what comes first keeps the short one."""
    taken: set[str] = set()
    for path in paths:
        *short, longest = _choices(path)
        name = next(n for n in itertools.chain(short, _numbered(longest)) if n.casefold() not in taken)
        taken.add(name.casefold())
        yield name


def _choices(path: Path | None) -> list[str]:
    """Names for a file, from the short to the one that only this file can have."""
    if path is None:
        return ["image"]
    folders = path.parent.resolve().parts[1:]
    fronts = ["".join(f"{folder}_" for folder in folders[len(folders) - k :]) for k in range(len(folders) + 1)]
    ends = [path.stem, path.name.replace(".", "_")]
    return [front + end for front in fronts for end in ends]


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}_{number}" for number in itertools.count(2))
