"""Settings that are read only together with others: asking for one where nothing reads it is an error."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

RUN_FILES = ("log.jsonl", "checkpoints", "best")  # lie beside the config.yaml of a run


class Needs(NamedTuple):
    """What some settings need in order to be read.

    Attributes:
        where: in words, as in "is read only ...": "with model.experts of 2 or more".
        met: whether a tree has it.
        keys: the settings, by their dotted names in the tree.
    """

    where: str
    met: Callable[[Any], bool]
    keys: tuple[str, ...]

    def unread(self, tree: Any, values: Mapping[str, tuple[Any, Any]]) -> list[str]:
        """Name the settings that ask for something which nothing in the tree reads.

        Args:
            tree: the settings.
            values: value and default of those that count, by key. The default asks for nothing, and neither does what
                is switched off.
        """
        asking = [key for key in self.keys if key in values and _asks(*values[key])]
        return asking if asking and not self.met(tree) else []


def check_needs(tree: Any, needs: Sequence[Needs], values: Mapping[str, tuple[Any, Any]]) -> None:
    """Raise ValueError, one line, where settings that need others do not have them."""
    for need in needs:
        if unread := need.unread(tree, values):
            verb, them = ("is", "it") if len(unread) == 1 else ("are", "them")
            raise ValueError(f"{', '.join(unread)}: {verb} read only {need.where}; leave {them} out")


def is_run(folder: Path) -> bool:
    """Return whether a folder is that of a run."""
    return any((folder / name).exists() for name in RUN_FILES)


def _asks(value: Any, default: Any) -> bool:
    return value != default and value not in (0, None, "none", "", ())
