"""What the command `data` of the applications shares: `X data PATH` describes a set, `X data check PATH` opens it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from polyscale.commands.output import print_json
from polyscale.errors import UserError
from polyscale.terminal import note, progress

if TYPE_CHECKING:
    from polyscale.data.check import Finding

CheckedPath = Annotated[str, typer.Argument(metavar="PATH", help="Folder or file of a data set.")]


class ShowGroup(TyperGroup):
    """`X data PATH` means `X data show PATH`."""

    default = "show"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default command in front of what begins with none."""
        named = args[:1] and args[0] in (*self.commands, "--help", "-h")
        return super().parse_args(ctx, args if named else [self.default, *args])


def run_check(path: str, check: Callable[[Callable[[int, int], None]], "Sequence[Finding]"], *, as_json: bool) -> None:
    """Check a data set and print what was found, one line each.

    Args:
        path: what the user named.
        check: called with what shows progress, (images done, of all).
        as_json: print a list of objects.

    Raises:
        UserError: the data set is the embedded one.
        typer.Exit: with 1 where there is an error.
    """
    if path == "synthetic":
        raise UserError(f"{path} is drawn anew each time; there is nothing to check", exit_code=2)
    with progress("opening images", transient=True) as bar:
        findings = check(bar.reach)
    if as_json:
        print_json([vars(finding) for finding in findings])
    else:
        for finding in findings:
            typer.echo(f"{finding.level}: {finding.line()}")
        if all(finding.level == "note" for finding in findings):
            note(f"{path}: nothing wrong")
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)
