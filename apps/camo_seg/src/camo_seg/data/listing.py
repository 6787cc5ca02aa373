"""The files of a data set by split, before any is opened: one folder of any layout, or the sets that a file names."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from camo_seg.config import MOST_VALIDATION, Layout
from camo_seg.data.formats.bundles import LAYOUTS, all_test
from camo_seg.data.formats.pairs import list_pairs
from camo_seg.data.formats.splits import Pair, complete, named_by_table
from camo_seg.data.mixture import is_mixture, read_mixture
from polyscale.data.listing import FolderPath, Listing, file_in, locate, readable, resolve_folder
from polyscale.data.splits import apply_recorded
from polyscale.errors import UserError

LAYOUT_NAMES = get_args(Layout)
SYNTHETIC = "synthetic"
_HINT = f" (the embedded data set is called {SYNTHETIC})"


def list_folder(
    path: FolderPath,
    *,
    layout: str = "auto",
    masks: FolderPath | None = None,
    val_fraction: float = 0.15,
    seed: int = 0,
    cam_only: bool = True,
    recorded: FolderPath | None = None,
    only: Mapping[str, Sequence[str]] | None = None,
) -> Listing[Pair]:
    """The files of a data set folder by split, validation cut off, without opening any of them.

    `only` keeps those whose columns in the set's table hold these values.
    """
    if layout not in LAYOUT_NAMES:
        raise UserError(f"layout must be one of {', '.join(LAYOUT_NAMES)}, given {layout}", exit_code=2)
    if not 0 < val_fraction < MOST_VALIDATION:
        raise UserError(f"val_fraction must lie between 0 and {MOST_VALIDATION}, given {val_fraction}", exit_code=2)
    if masks is not None and layout not in ("auto", "pairs", "test"):
        raise UserError(f"masks: go with layout auto, pairs or test, not with {layout}", exit_code=2)
    root = resolve_folder(path, _HINT)
    with readable(path):
        if masks is not None:
            listing = list_pairs(root, resolve_folder(masks))
            listing = all_test(listing) if layout == "test" else listing
        else:
            root, layout = locate(root, LAYOUTS, layout, "pairs")
            listing = LAYOUTS[layout].list(root, cam_only)
    if recorded is not None:
        splits, notes = apply_recorded(Path(recorded), listing.splits, lambda pair: pair.name)
        return listing.with_splits(splits, notes)
    listing = complete(listing, val_fraction, seed)
    return _only(root, listing, only) if only else listing


def _only(root: Path, listing: Listing[Pair], only: Mapping[str, Sequence[str]]) -> Listing[Pair]:
    table = file_in(root, "split.csv", "meta.csv")
    if table is None:
        raise UserError(f"{root}: only: needs a split.csv or meta.csv with the column {next(iter(only))}")
    names = named_by_table(table, listing.entries(), only)
    kept = {split: [pair for pair in pairs if pair.name in names] for split, pairs in listing.splits.items()}
    return Listing(listing.title, kept, listing.notes)


def list_files(path: FolderPath, *, recorded: FolderPath | None = None, **settings: Any) -> Listing[Pair]:
    """The files of a folder, or of all sets that a YAML file names; `settings` are those of `list_folder`.

    The names of the latter begin with their set ("birds/img_1"); generated sets have no files.
    """
    if not is_mixture(path):
        return list_folder(path, recorded=recorded, **settings)
    for key in ("layout", "masks"):
        if settings.pop(key, None) not in (None, "auto"):
            raise UserError(f"{path}: {key} is given for each set in the file", exit_code=2)
    splits: dict[str, list[Pair]] = {}
    notes: list[str] = []
    for name, member in read_mixture(path).items():
        if member.path == SYNTHETIC:
            continue
        listing = list_folder(member.path, **settings, layout=member.layout, only=member.only)
        notes += [f"{name}: {note}" for note in listing.notes]
        found = [split for split in listing.present_splits() if split in member.splits]
        if not found:
            raise UserError(f"{path}: {name}: nothing is left of {member.path} in {', '.join(member.splits)}")
        # a record says itself what is in which split, whatever would be drawn today
        for split in found if recorded is None else listing.present_splits():
            splits.setdefault(split, []).extend(p._replace(name=f"{name}/{p.name}") for p in listing.splits[split])
    listing = Listing(Path(path).name, splits, notes)
    if recorded is None:
        return listing
    recorded_splits, new = apply_recorded(Path(recorded), splits, lambda pair: pair.name)
    return listing.with_splits(recorded_splits, new)


def names_of_test_sets(listing: Listing[Pair]) -> list[str]:
    """Names of the test sets that a listing keeps apart (the standard bundle and a file of sets do), else none."""
    names = [pair.name.split("/")[0] for pair in listing.splits.get("test", [])]
    return list(dict.fromkeys(names)) if listing.title == "bundle" or is_mixture(listing.title) else []


def one_test_set(listing: Listing[Pair], name: str) -> Listing[Pair]:
    """The listing with only the named set as its test split, called after it."""
    known = {found.casefold(): found for found in names_of_test_sets(listing)}
    if name.casefold() not in known:
        choice = ", ".join(known.values()) or f"none, {listing.title} is one set"
        raise UserError(f"no test set {name} here; accepted: {choice}", exit_code=2)
    prefix = f"{known[name.casefold()]}/"
    chosen = [pair for pair in listing.splits["test"] if pair.name.startswith(prefix)]
    return Listing(f"{listing.title}/{prefix[:-1]}", {"test": chosen}, listing.notes)
