"""Options on the data set that several commands of iqa share."""

from pathlib import Path
from typing import Annotated

import typer

Layout = Annotated[str | None, typer.Option(help="Layout of the folder, as in iqa train --data.layout.")]
Images = Annotated[str | None, typer.Option(help="Folder of the images, where it is not the usual one.")]
Scale = Annotated[str | None, typer.Option(metavar="LOW,HIGH", help="CSV: lowest and highest possible score.")]
LowerBetter = Annotated[bool | None, typer.Option(help="CSV: lower scores mean better quality (DMOS).")]
SplitColumn = Annotated[str | None, typer.Option(help="CSV: the column that names the split.")]
ValFraction = Annotated[float | None, typer.Option(help="Share of train cut off for validation where there is none.")]
Exclude = Annotated[
    Path | None, typer.Option(help="CSV (image_name, near_dup): compare also without those near-duplicates of train.")
]
