"""The layouts that are told from what lies in a folder, what lists each and how many images it should give."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from iqa.data.formats.agiqa import is_agiqa, list_agiqa
from iqa.data.formats.biq2021 import is_biq2021, list_biq2021
from iqa.data.formats.distorted import is_csiq, is_kadid, is_tid2013, list_csiq, list_kadid, list_tid2013
from iqa.data.formats.flive import is_flive, list_flive
from iqa.data.formats.koniq import is_koniq, list_koniq
from iqa.data.formats.live import is_live, is_live_challenge, list_live, list_live_challenge
from iqa.data.formats.spaq import is_spaq, list_spaq
from iqa.data.listing import Listing


class Layout(NamedTuple):
    """fits(folder): does it lie here? list(folder, its images or None). published: images with an opinion."""

    fits: Callable[[Path], bool]
    list: Callable[[Path, Path | None], Listing]
    published: int


LAYOUTS = {
    "koniq": Layout(is_koniq, list_koniq, 10_073),
    "spaq": Layout(is_spaq, list_spaq, 11_125),
    "livec": Layout(is_live_challenge, list_live_challenge, 1_162),
    "kadid": Layout(is_kadid, list_kadid, 10_125),
    "tid2013": Layout(is_tid2013, list_tid2013, 3_000),
    "csiq": Layout(is_csiq, list_csiq, 866),
    "live": Layout(is_live, list_live, 779),
    "flive": Layout(is_flive, list_flive, 39_810),
    "agiqa": Layout(is_agiqa, list_agiqa, 2_982),
    "biq2021": Layout(is_biq2021, list_biq2021, 12_000),
}


def located(root: Path, layout: str) -> tuple[Path, str]:
    """The folder that holds the layout (root, or the only folder in it, as unzipping leaves it) and its name."""
    inner = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))]
    for folder in (root, *inner) if len(inner) == 1 else (root,):
        for name, known in LAYOUTS.items():
            if layout in ("auto", name) and known.fits(folder):
                return folder, name
    return root, "csv" if layout == "auto" else layout


def list_layout(root: Path, layout: str, images: Path | None) -> Listing:
    """What the layout lists, with a note where images are fewer or more than were published."""
    listing, published = LAYOUTS[layout].list(root, images), LAYOUTS[layout].published
    count = len(listing.entries())
    if count == published:
        return listing
    note = f"{count:,} images found, the published set has {published:,}"
    return replace(listing, notes=[*listing.notes, note])
