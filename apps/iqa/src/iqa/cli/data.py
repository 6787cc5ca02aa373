"""`iqa data FOLDER` describes a data set, `iqa data check FOLDER` opens every image of it."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from iqa.cli.options import Images, Layout, LowerBetter, Scale, SplitColumn, ValFraction
from iqa.config import Config
from polyscale.commands import note, print_json, progress, table
from polyscale.commands.types import AsJson
from polyscale.settings import resolve_for

DataPath = Annotated[str, typer.Argument(metavar="[PATH]", help="Folder or CSV of a data set, or synthetic.")]


class _ShowGroup(TyperGroup):
    """`iqa data FOLDER` means `iqa data show FOLDER`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = args[:1] and args[0] in (*self.commands, "--help", "-h")
        return super().parse_args(ctx, args if named else ["show", *args])


data = typer.Typer(cls=_ShowGroup, help="Describe a data set (iqa data FOLDER), or check it (iqa data check FOLDER).")


@data.command()
def show(
    path: DataPath = "synthetic",
    layout: Layout = None,
    images: Images = None,
    scale: Scale = None,
    lower_better: LowerBetter = None,
    split_column: SplitColumn = None,
    val_fraction: ValFraction = None,
    as_json: AsJson = False,
) -> None:
    """Show a data set's splits, scores, image sizes and subsets, from listings and headers alone."""
    from iqa.data.open import describe

    given = {"layout": layout, "images": images, "scale": scale, "lower_better": lower_better}
    rows = describe(path, **_reading(path, given | {"split_column": split_column, "val_fraction": val_fraction}))
    notes = list(dict.fromkeys(line for row in rows for line in row.pop("notes")))
    if as_json:
        print_json({"splits": rows, "notes": notes})
        return
    table([{**row, "subsets": _describe_subsets(row["subsets"])} for row in rows], title=path, digits=3)
    for line in notes:
        note(line)


@data.command()
def check(
    path: DataPath,
    layout: Layout = None,
    images: Images = None,
    scale: Scale = None,
    lower_better: LowerBetter = None,
    split_column: SplitColumn = None,
    val_fraction: ValFraction = None,
    as_json: AsJson = False,
) -> None:
    """Open every image: broken and missing ones, scores out of range, copies and near-duplicates across splits.

    Exits 1 on errors (broken images, missing or impossible scores, repeated names), 0 on warnings alone.
    """
    from iqa.data.check import check as check_set

    given = {"layout": layout, "images": images, "scale": scale, "lower_better": lower_better}
    reading = _reading(path, given | {"split_column": split_column, "val_fraction": val_fraction})
    with progress("opening images") as bar:
        findings = check_set(path, progress=lambda done, total: bar.advance(text=f"of {total}"), **reading)
    if as_json:
        print_json([vars(finding) for finding in findings])
    else:
        for finding in findings:
            typer.echo(finding.line())
        if all(finding.level == "note" for finding in findings):
            note(f"{path}: nothing wrong")
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)


def _reading(path: str, given: dict[str, Any]) -> dict[str, Any]:
    """Options as iqa.data.open takes them."""
    settings = resolve_for(Config, None, {"path": path, **given}).data
    return {key: getattr(settings, key) for key in given}


def _describe_subsets(subsets: dict[str, int]) -> str:
    if len(subsets) > 8:
        return f"{len(subsets)} of {min(subsets.values())}-{max(subsets.values())}"
    return ", ".join(f"{name} {count}" for name, count in subsets.items()) or "-"
