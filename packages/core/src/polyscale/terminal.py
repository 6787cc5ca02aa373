"""What the user is told while something runs: notes and progress on stderr, only from the main process.

Names of files reach a terminal in printable form only (see polyscale.errors.printable).
"""

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console

from polyscale.errors import printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Terminal(Console):
    """Console that leaves a closed pipe to polyscale.commands.application."""

    def on_broken_pipe(self) -> NoReturn:
        """Raise what any other writer raises."""
        raise BrokenPipeError


console = Terminal()
err_console = Terminal(stderr=True)


def is_main_process() -> bool:
    """Return whether this process talks to the user: rank 0 of `accelerate launch` or torchrun, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def note(text: str) -> None:
    """Print one line for the user on stderr, from the main process only."""
    if is_main_process():
        err_console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


class Bar:
    """A running progress bar."""

    def __init__(self, drawn: "Progress", task: "TaskID") -> None:
        self._drawn, self._task = drawn, task

    def advance(self, steps: float = 1, text: str | None = None) -> None:
        """Count `steps` more, and show a short `text` (the loss) after the bar from now on."""
        fields = {} if text is None else {"text": printable(text)}
        self._drawn.update(self._task, advance=steps, **fields)  # type: ignore[arg-type]

    def reach(self, done: int, total: int | None = None) -> None:
        """Set the count to `done` of `total`: the callback of what reports its progress that way."""
        self._drawn.update(self._task, completed=done, total=total)

    def restart(self, description: str, total: float | None = None) -> None:
        """Begin a new count under another description (the next epoch) in the same line."""
        self._drawn.reset(self._task, description=printable(description), total=total)


@contextlib.contextmanager
def progress(description: str, total: float | None = None, *, transient: bool = False) -> Iterator[Bar]:
    """Show a progress bar on stderr.

    Use it as `with progress("train", total=90) as bar: bar.advance(text="loss 0.31")`.
    Silent if stderr is no terminal and outside the main process.

    Args:
        description: shown before the bar.
        total: number of steps; None shows a moving bar without an end.
        transient: remove the bar afterwards.
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
    bar = Bar(drawn, drawn.add_task(printable(description), total=total, text=""))
    if err_console.is_terminal and is_main_process():
        with drawn:
            yield bar
    else:
        yield bar
