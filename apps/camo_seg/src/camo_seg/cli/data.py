"""`camo-seg data`."""

from typing import Annotated, Any

import typer

from camo_seg.cli.options import CamOnly, Layout, MaskRule, Masks
from camo_seg.config import Config
from polyscale.commands import note, print_json, progress, table
from polyscale.commands.types import AsJson
from polyscale.data.naming import plural
from polyscale.errors import UserError
from polyscale.settings import resolve_for

CHECK = "check"


def data(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[check] [PATH]", help="Folder of a data set, YAML file of several, or synthetic."),
    ] = None,
    layout: Layout = None,
    masks: Masks = None,
    cam_only: CamOnly = None,
    mask_rule: MaskRule = None,
    as_json: AsJson = False,
) -> None:
    """Describe a data set: its layout, splits, image sizes and how large the objects are.

    `camo-seg data check PATH` reads every file and names what is wrong: broken files, masks that fit no image or are
    not binary, counts other than the published ones, the same image in two splits. It exits with 1 for faults.
    """
    given = list(words or [])
    checked = len(given) > 1 and given[0] == CHECK
    path, *more = given[1:] if checked else given or ["synthetic"]
    if more:
        raise UserError(f"data: one PATH is read at a time, given {', '.join([path, *more])}", exit_code=2)
    overrides = {"path": path, "layout": layout, "masks": masks, "cam_only": cam_only, "mask_rule": mask_rule}
    settings = resolve_for(Config, None, overrides).data
    options = {
        "layout": settings.layout,
        "masks": settings.masks,
        "cam_only": settings.cam_only,
        "mask_rule": settings.mask_rule,
    }
    (_check if checked else _describe)(path, options, as_json)


def _describe(path: str, options: dict[str, Any], as_json: bool) -> None:
    from camo_seg.data import describe

    rows = describe(path, **options)
    notes = list(dict.fromkeys(line for row in rows for line in row.pop("notes")))
    if as_json:
        print_json({"splits": rows, "notes": notes})
        return
    table(rows, title=path, digits=3)
    for line in notes:
        note(line)


def _check(path: str, options: dict[str, Any], as_json: bool) -> None:
    from camo_seg.data.check import check

    with progress("checking", transient=True) as bar:
        findings = check(path, progress=bar.reach, **options)
    if as_json:
        print_json(findings.to_dict())
    else:
        table([{"split": split, "images": count} for split, count in findings.counts.items()], title=path)
        for line in findings.remarks:
            note(line)
        for line in findings.faults:
            note(f"fault: {line}")
        note(f"{path}: {plural(len(findings.faults), 'fault')}" if findings.faults else f"{path}: no fault found")
    if findings.faults:
        raise typer.Exit(1)
