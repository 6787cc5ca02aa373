"""`camo-seg data`."""

from camo_seg.cli.options import CamOnly, Layout, MaskRule, Masks
from camo_seg.config import Config
from polyscale.commands import note, print_json, table
from polyscale.commands.types import AsJson, DataArgument
from polyscale.settings import resolve_for


def data(
    path: DataArgument = "synthetic",
    layout: Layout = None,
    masks: Masks = None,
    cam_only: CamOnly = None,
    mask_rule: MaskRule = None,
    as_json: AsJson = False,
) -> None:
    """Describe a data set: its layout, splits, image sizes and how large the objects are."""
    from camo_seg.data import describe

    given = {"path": path, "layout": layout, "masks": masks, "cam_only": cam_only, "mask_rule": mask_rule}
    settings = resolve_for(Config, None, given).data
    rows = describe(
        path,
        layout=settings.layout,
        masks=settings.masks,
        cam_only=settings.cam_only,
        mask_rule=settings.mask_rule,
    )
    notes = list(dict.fromkeys(line for row in rows for line in row.pop("notes")))
    if as_json:
        print_json({"splits": rows, "notes": notes})
        return
    table(rows, title=path, digits=3)
    for line in notes:
        note(line)
