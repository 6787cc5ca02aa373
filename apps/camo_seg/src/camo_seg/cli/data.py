"""`camo-seg data PATH` describes a data set, `camo-seg data check PATH` opens every file of it."""

from typing import Annotated, Any

import typer

from camo_seg.cli.options import CamOnly, Layout, MaskRule, Masks
from camo_seg.config import Config
from polyscale.commands import note, print_json, table
from polyscale.commands.data import CheckedPath, ShowGroup, run_check
from polyscale.commands.types import AsJson
from polyscale.settings import resolve_for

DataPath = Annotated[
    str, typer.Argument(metavar="[PATH]", help="Folder of a data set, YAML file of several, or synthetic.")
]

data = typer.Typer(
    cls=ShowGroup, help="Describe a data set (camo-seg data FOLDER), or check it (camo-seg data check FOLDER)."
)


@data.command()
def show(
    path: DataPath = "synthetic",
    layout: Layout = None,
    masks: Masks = None,
    cam_only: CamOnly = None,
    mask_rule: MaskRule = None,
    as_json: AsJson = False,
) -> None:
    """Describe a data set: its layout, splits, image sizes and how large the objects are."""
    from camo_seg.data import describe

    rows = describe(path, **_reading(path, layout, masks, cam_only, mask_rule))
    notes = list(dict.fromkeys(line for row in rows for line in row.pop("notes")))
    if as_json:
        print_json({"splits": rows, "notes": notes})
        return
    table(rows, title=path, digits=3)
    for line in notes:
        note(line)


@data.command()
def check(
    path: CheckedPath,
    layout: Layout = None,
    masks: Masks = None,
    cam_only: CamOnly = None,
    mask_rule: MaskRule = None,
    as_json: AsJson = False,
) -> None:
    """Open every file: broken files, masks that fit no image or are not binary, images that two splits share.

    Exits 1 on errors (what cannot be used), 0 on warnings (copies) and notes (counts other than the published ones).
    """
    from camo_seg.data.check import check as check_set

    reading = _reading(path, layout, masks, cam_only, mask_rule)
    run_check(path, lambda progress: check_set(path, progress=progress, **reading), as_json=as_json)


def _reading(path: str, layout: Any, masks: Any, cam_only: Any, mask_rule: Any) -> dict[str, Any]:
    """Options as camo_seg.data takes them."""
    given = {"layout": layout, "masks": masks, "cam_only": cam_only, "mask_rule": mask_rule}
    settings = resolve_for(Config, None, {"path": path, **given}).data
    return {key: getattr(settings, key) for key in given}
