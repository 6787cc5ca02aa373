"""Where text goes: data (tables, JSON) to stdout, notes and progress to stderr, both only from the main process."""

import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

console = Console()
err_console = Console(stderr=True)


def is_main_process() -> bool:
    """Whether this process talks to the user: it is rank 0 of `accelerate launch` or torchrun, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def note(text: str) -> None:
    """One line for the user on stderr, from the main process only."""
    if is_main_process():
        err_console.print(text, markup=False, highlight=False, soft_wrap=True)


def table(rows: Sequence[Mapping[str, Any]], title: str | None = None, *, digits: int = 4) -> None:
    """Prints one row per mapping on stdout, one column per key in order of first appearance; numbers align right.

    Floats are shown with `digits` decimals, a missing or None cell as "-". Nothing is cut off when stdout is a file.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if not is_main_process():
        return
    columns = list(dict.fromkeys(key for row in rows for key in row))
    heading = Text(title, style="bold") if title else None
    drawn = Table(title=heading, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        numeric = all(isinstance(row.get(column), (int, float, type(None))) for row in rows)
        drawn.add_column(Text(column), justify="right" if numeric else "left", overflow="fold", no_wrap=numeric)
    for row in rows:
        drawn.add_row(*(Text(_cell(row.get(column), digits)) for column in columns))
    wide = console if console.is_terminal else Console(width=10_000)
    wide.print(drawn)


def _cell(value: Any, digits: int) -> str:
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def print_json(document: Any) -> None:
    """One compact JSON document on one line of stdout; NaN and infinities become null, paths become text."""
    if is_main_process():
        sys.stdout.write(json.dumps(_jsonable(document), separators=(",", ":"), allow_nan=False) + "\n")
        sys.stdout.flush()


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_jsonable(item) for item in value]
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist"):  # numpy scalars and arrays, torch tensors
        return _jsonable(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class Bar:
    """A running progress bar; `advance` counts, `text` shows something short behind it (the loss)."""

    def __init__(self, drawn: "Progress", task: "TaskID") -> None:
        self._drawn, self._task = drawn, task

    def advance(self, steps: float = 1, text: str | None = None) -> None:
        """Counts `steps` more, and shows `text` behind the bar from now on."""
        fields = {} if text is None else {"text": text}
        self._drawn.update(self._task, advance=steps, **fields)  # type: ignore[arg-type]

    def reach(self, done: int, total: int | None = None) -> None:
        """Set the count to `done` of `total`: the callback of what reports its progress that way."""
        self._drawn.update(self._task, completed=done, total=total)

    def restart(self, description: str, total: float | None = None) -> None:
        """Begins a new count under another description (the next epoch) in the same line."""
        self._drawn.reset(self._task, description=description, total=total)


@contextmanager
def progress(description: str, total: float | None = None, *, transient: bool = False) -> Iterator[Bar]:
    """`with progress("train", total=90) as bar: bar.advance(text="loss 0.31")`: a progress bar on stderr.

    Silent where stderr is no terminal and outside the main process. `total` None shows a moving bar without an end;
    `transient` removes the bar afterwards.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[text]}", markup=False),
    )
    # stdout stays what it is: redirected, its data would end up on stderr
    drawn = Progress(*columns, console=err_console, transient=transient, redirect_stdout=False)
    bar = Bar(drawn, drawn.add_task(description, total=total, text=""))
    if err_console.is_terminal and is_main_process():
        with drawn:
            yield bar
    else:
        yield bar
