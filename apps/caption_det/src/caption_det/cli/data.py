"""`caption-det data PATH` describes a data set, `data check` opens its images, `data split` splits COCO."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from caption_det.cli.options import Images
from caption_det.config import Config
from polyscale.commands import note, print_json, table
from polyscale.commands.data import CheckedPath, ShowGroup, run_check
from polyscale.commands.types import AsJson, DataArgument
from polyscale.settings import resolve_for

data = typer.Typer(
    cls=ShowGroup,
    help="Describe a data set (caption-det data PATH), check it (data check), or split COCO (data split).",
)


@data.command()
def show(path: DataArgument = "synthetic", images: Images = None, as_json: AsJson = False) -> None:
    """Describe a data set: the images, captions and boxes of each split, and what cannot be used."""
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
def check(path: CheckedPath, images: Images = None, as_json: AsJson = False) -> None:
    """Open every image: broken ones, sizes that the labels do not have, copies and near-duplicates across splits.

    Exits 1 on errors, 0 on warnings alone. What is wrong with labels ends it before, as it would end a training.
    """
    from caption_det.build import open_sets
    from caption_det.data.check import check as check_set

    opened = open_sets(resolve_for(Config, None, {"path": path, "images": images}))
    run_check(path, lambda progress: check_set(opened.splits, opened.notes, progress), as_json=as_json)


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
