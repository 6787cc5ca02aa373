"""Options on the data set that several commands of camo-seg share."""

from typing import Annotated

import typer

Layout = Annotated[str | None, typer.Option(help="Layout of the folder, as in camo-seg train --data.layout.")]
Masks = Annotated[str | None, typer.Option(help="Folder of the masks of a plain folder of images.")]
TestSet = Annotated[str | None, typer.Option(help="Test set of a bundle (CAMO, COD10K, ...); all takes all.")]
CamOnly = Annotated[bool | None, typer.Option(help="COD10K: only the images with a camouflaged object.")]
MaskRule = Annotated[str | None, typer.Option(help="How masks are read: auto, nonzero, above_128, alpha or label=N.")]

TtaFlip = Annotated[
    bool, typer.Option("--tta-flip", help="Average the maps of the image and of its mirror image: twice the time.")
]
TtaScales = Annotated[
    str | None,
    typer.Option("--tta-scales", metavar="LIST", help="Average the maps of several sizes, as 0.75,1,1.25."),
]
