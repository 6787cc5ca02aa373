"""`caption-det data PATH` describes a data set, `caption-det data split PATH OUT` splits COCO so that nothing leaks."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from caption_det.cli.options import Images
from caption_det.config import Config
from polyscale.commands import note, print_json, table
from polyscale.commands.types import AsJson, DataArgument
from polyscale.settings import resolve_for


class _ShowGroup(TyperGroup):
    """`caption-det data PATH` means `caption-det data show PATH`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = args[:1] and args[0] in (*self.commands, "--help", "-h")
        return super().parse_args(ctx, args if named else ["show", *args])


data = typer.Typer(cls=_ShowGroup, help="Describe a data set (caption-det data PATH), or split COCO (data split).")


@data.command()
def show(path: DataArgument = "synthetic", images: Images = None, as_json: AsJson = False) -> None:
    """Check and describe a data set: the images, captions and boxes of each split, and what cannot be used."""
    from caption_det.build import open_sets
    from caption_det.data import describe_sources

    opened = open_sets(resolve_for(Config, None, {"path": path, "images": images}))
    rows = describe_sources(opened.splits)
    if as_json:
        print_json({"splits": rows, "notes": opened.notes})
        return
    table(rows, title=path, digits=3)
    for line in opened.notes:
        note(line)


@data.command()
def split(
    path: Annotated[Path, typer.Argument(help="Folder of COCO 2017: captions and instances of train and val.")],
    out: Annotated[Path, typer.Argument(help="Folder for the label files; the images stay where they are.")],
    lists: Annotated[
        Path, typer.Option(help="Folder with karpathy_val_images.txt and karpathy_test_images.txt (Up-Down-Captioner).")
    ],
    protocol: Annotated[
        Literal["clean"],
        typer.Option(help="clean: no test image of captions or of boxes is learnt or validated on."),
    ] = "clean",
    as_json: AsJson = False,
) -> None:
    """Split COCO so that captions can be tested on Karpathy's test split and boxes on val2017 without a leak.

    OUT gets the training and validation labels and the test of captions, OUT/boxes the test of boxes.
    """
    from caption_det.data.protocol import split_clean
    from polyscale.commands import check_folder

    check_folder(out)
    rows = split_clean(path, lists, out)
    if as_json:
        print_json({"protocol": protocol, "parts": rows})
        return
    table(rows, title=f"{path}, protocol {protocol}")
    note(f"made {out}: caption-det train --data.path {out} --data.images {path}")
