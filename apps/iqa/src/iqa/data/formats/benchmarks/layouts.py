"""The benchmarks that are detected by the files of a folder; list(folder, its images or None)."""

from pathlib import Path

from iqa.data.formats.benchmarks.agiqa import is_agiqa, list_agiqa
from iqa.data.formats.benchmarks.biq2021 import is_biq2021, list_biq2021
from iqa.data.formats.benchmarks.distorted import is_csiq, is_kadid, is_tid2013, list_csiq, list_kadid, list_tid2013
from iqa.data.formats.benchmarks.flive import is_flive, list_flive
from iqa.data.formats.benchmarks.koniq import is_koniq, list_koniq
from iqa.data.formats.benchmarks.live import is_live, is_live_challenge, list_live, list_live_challenge
from iqa.data.formats.benchmarks.spaq import is_spaq, list_spaq
from iqa.data.listing import ScoredListing
from polyscale.data.listing import Layout

LAYOUTS: dict[str, Layout[ScoredListing]] = {
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


def list_layout(root: Path, layout: str, images: Path | None) -> ScoredListing:
    """List a layout, with a note where images are fewer or more than were published."""
    listing, published = LAYOUTS[layout].list(root, images), LAYOUTS[layout].published
    count = len(listing.entries())
    if count == published:
        return listing
    note = f"{count:,} images found, the published set has {published:,}"
    return listing.with_splits(listing.splits, [note])
