"""The layouts that are told from what lies in a folder, and the one that reads them."""

from collections.abc import Callable
from pathlib import Path

from .biq2021 import is_biq2021, list_biq2021
from .listing import Listing

# layout -> (does it lie here?, list it, pictures in the given folder if any); more than one may fit: the first is taken
LAYOUTS: dict[str, tuple[Callable[[Path], bool], Callable[[Path, Path | None], Listing]]] = {
    "biq2021": (is_biq2021, list_biq2021),
}


def located(root: Path, layout: str) -> tuple[Path, str]:
    """The folder that holds the layout (root, or the only folder in it, as unzipping leaves it) and its name."""
    inner = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))]
    for folder in (root, *inner) if len(inner) == 1 else (root,):
        for name, (fits, _) in LAYOUTS.items():
            if layout in ("auto", name) and fits(folder):
                return folder, name
    return root, "csv" if layout == "auto" else layout
