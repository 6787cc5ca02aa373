"""`caption-det data`."""

from caption_det.cli.options import Images
from caption_det.config import Config
from polyscale.commands import note, print_json, table
from polyscale.commands.types import AsJson, DataArgument
from polyscale.settings import resolve_for


def data(path: DataArgument = "synthetic", images: Images = None, as_json: AsJson = False) -> None:
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
