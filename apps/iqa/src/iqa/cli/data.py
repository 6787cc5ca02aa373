"""`iqa data FOLDER` describes a data set, `iqa data check FOLDER` opens every image of it."""

from typing import Annotated, Any

import typer

from iqa.cli.options import Images, Layout, LowerBetter, Scale, SplitColumn, ValFraction
from iqa.config import Config
from polyscale.commands import note, print_json, table
from polyscale.commands.data import CheckedPath, ShowGroup, run_check
from polyscale.commands.types import AsJson
from polyscale.settings import resolve_for

DataPath = Annotated[str, typer.Argument(metavar="[PATH]", help="Folder or CSV of a data set, or synthetic.")]


data = typer.Typer(cls=ShowGroup, help="Describe a data set (iqa data FOLDER), or check it (iqa data check FOLDER).")


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
    path: CheckedPath,
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
    run_check(path, lambda progress: check_set(path, progress=progress, **reading), as_json=as_json)


def _reading(path: str, given: dict[str, Any]) -> dict[str, Any]:
    """Options as iqa.data.open takes them."""
    settings = resolve_for(Config, None, {"path": path, **given}).data
    return {key: getattr(settings, key) for key in given}


def _describe_subsets(subsets: dict[str, int]) -> str:
    if len(subsets) > 8:
        return f"{len(subsets)} of {min(subsets.values())}-{max(subsets.values())}"
    return ", ".join(f"{name} {count}" for name, count in subsets.items()) or "-"
