"""`app-name data`."""

from app_name.config import Config
from polyscale.commands import print_json, table
from polyscale.commands.types import AsJson, DataArgument
from polyscale.settings import resolve_for


def data(path: DataArgument = "synthetic", as_json: AsJson = False) -> None:
    """Describe a data set: the images of each split and how large the masks are."""
    from app_name.build import build_set
    from app_name.data.dataset import SPLITS

    config = resolve_for(Config, None, {"path": path})
    rows = [build_set(config, split).describe() for split in SPLITS]
    if as_json:
        print_json({"splits": rows})
    else:
        table(rows, title=path, digits=3)
