"""`app-name data`: describes a data set, or opens every file of it (`data check`)."""

import typer

from app_name.config import Config
from polyscale.commands import print_json, table
from polyscale.commands.data import CheckedPath, ShowGroup, run_check
from polyscale.commands.types import AsJson, DataArgument
from polyscale.settings import resolve_for

data = typer.Typer(cls=ShowGroup, help="Describe a data set (data PATH), or check it (data check PATH).")


@data.command()
def show(path: DataArgument = "synthetic", as_json: AsJson = False) -> None:
    """Describe a data set: the images of each split and how large the masks are."""
    from app_name.build import build_set
    from app_name.data.dataset import SPLITS

    config = resolve_for(Config, None, {"path": path})
    rows = [build_set(config, split).describe() for split in SPLITS]
    if as_json:
        print_json({"splits": rows})
    else:
        table(rows, title=path, digits=3)


@data.command()
def check(path: CheckedPath, as_json: AsJson = False) -> None:
    """Open every file: what cannot be used (then it exits 1), copies and near-duplicates across splits."""
    from app_name.data.check import check as check_set

    run_check(path, lambda progress: check_set(path, progress), as_json=as_json)
