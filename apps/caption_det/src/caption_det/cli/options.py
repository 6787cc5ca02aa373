"""Options that several commands of caption-det share."""

from typing import Annotated

import typer

Images = Annotated[str | None, typer.Option(help="Folder of the images where they do not lie next to the labels.")]
Beams = Annotated[int | None, typer.Option(min=1, help="Beams of the search for a caption; 1 is greedy.")]
