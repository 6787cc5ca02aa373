"""One door to every data set: open_split gives a CamoSet, describe the rows that `camo-seg data` shows."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from camo_seg.data.dataset import CACHE_BYTES, Augment, CamoSet, Recompose, Source
from camo_seg.data.formats.bundles import TEST_SETS
from camo_seg.data.formats.pairs import PairSource
from camo_seg.data.formats.splits import Pair
from camo_seg.data.listing import SYNTHETIC, list_files, names_of_test_sets, one_test_set
from camo_seg.data.mixture import JoinedSource, Shares, is_mixture, read_mixture
from camo_seg.data.synthetic.scenes import SyntheticSource
from polyscale.data.listing import FolderPath, Listing
from polyscale.errors import UserError

SPLITS = ("train", "val", "test")


def open_split(
    path: FolderPath,
    split: str,
    *,
    size: int,
    layout: str = "auto",
    masks: FolderPath | None = None,
    val_fraction: float = 0.15,
    seed: int = 0,
    cam_only: bool = True,
    test_set: str | None = None,
    mask_rule: str = "auto",
    recorded: FolderPath | None = None,
    counts: tuple[int, int, int] = (352, 120, 120),
    native_size: int = 256,
    augment: Augment | None = None,
    cache: bool = True,
    cache_bytes: int = CACHE_BYTES,
    recompose: Recompose | None = None,
) -> CamoSet:
    """The "train", "val" or "test" part of a data set as a CamoSet of side `size`.

    `path` is "synthetic" (then `counts` scenes per split, drawn with `seed` at `native_size`), a YAML file that names
    several sets (see data/mixture.py) or a folder: any folder pair, COD10K-v3, CAMO, CHAMELEON, NC4K or the standard
    bundle, detected by their folders or named by `layout`; layout "test" puts every image in the test split. `masks`
    names the mask folder where `path` is a plain folder of images (layouts auto, pairs and test). `val_fraction` of
    train is cut off for validation where the set has none, always alike for one `seed`. `test_set` picks one test set
    of several by name; None takes all of them.
    `mask_rule` is the rule of `polyscale.data.masks.read_mask`. `recorded` is the split.json of a run: its splits are
    used, and images that are new since then belong to none of them.

    Raises UserError, one line naming file, folder or setting, for whatever is missing or does not fit.
    """
    if split not in SPLITS:
        raise UserError(f"split must be one of {', '.join(SPLITS)}, given {split}", exit_code=2)
    number = SPLITS.index(split)
    if os.fspath(path) == SYNTHETIC:
        if masks is not None:
            raise UserError(f"masks: the {SYNTHETIC} set makes its own, given {masks}", exit_code=2)
        source: Source = SyntheticSource(split, counts[number], seed, native_size)
        return CamoSet(source, size, f"{SYNTHETIC}/{split}", [], augment, cache, cache_bytes, recompose)
    listing = list_files(
        path,
        layout=layout,
        masks=masks,
        val_fraction=val_fraction,
        seed=seed,
        cam_only=cam_only,
        recorded=recorded,
    )
    if test_set is not None and split == "test":
        listing = one_test_set(listing, test_set)
    pairs, order = listing.splits.get(split, []), None
    if is_mixture(path):
        generated = None if test_set and split == "test" else SyntheticSource(split, counts[number], seed, native_size)
        source, order = _join(path, pairs, split, mask_rule, generated)
    else:
        source = _files(pairs, mask_rule)
    if not source.names:
        present = ", ".join(listing.present_splits()) or "none"
        raise UserError(f"{path}: no {split} split here; {listing.title} gives {present}{_way_out(listing)}")
    parts = _parts(source.names) if is_mixture(path) or (split == "test" and names_of_test_sets(listing)) else None
    title = f"{listing.title}/{split}"
    return CamoSet(source, size, title, listing.notes, augment, cache, cache_bytes, recompose, order, parts)


def _join(
    file: FolderPath, pairs: list[Pair], split: str, mask_rule: str, generated: Source | None
) -> tuple[JoinedSource, Shares | None]:
    """Return the samples of the sets that a YAML file names, and the order of training where it gives shares."""
    sources: dict[str, Source] = {}
    shares = []
    for name, member in read_mixture(file).items():
        own = [pair._replace(name=pair.name.removeprefix(f"{name}/")) for pair in pairs if _first(pair.name) == name]
        if own:
            sources[name] = _files(own, mask_rule if member.mask_rule == "auto" else member.mask_rule)
        elif member.path == SYNTHETIC and split in member.splits and generated is not None:
            sources[name] = generated
        else:
            continue
        shares.append(member.share)
    known = [share for share in shares if share is not None]
    counts = [len(source.names) for source in sources.values()]
    return JoinedSource(sources), Shares(counts, known) if split == "train" and known else None


def _files(pairs: list[Pair], mask_rule: str) -> PairSource:
    files = PairSource(pairs, mask_rule)
    files.check_sizes()
    return files


def _first(name: str) -> str:
    return name.partition("/")[0]


def _parts(names: Sequence[str]) -> dict[str, list[int]]:
    """Return the indices of each set, whose name each sample's begins with."""
    parts: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        parts.setdefault(_first(name), []).append(index)
    return parts


def _way_out(listing: Listing[Pair]) -> str:
    """What to do where a folder was taken for a benchmark by its name alone."""
    known = listing.title in TEST_SETS and list(listing.splits) == ["test"]
    return f"; if it is not {listing.title}, set layout to pairs" if known else ""


def describe(path: FolderPath, *, at_most: int = 200, **settings: Any) -> list[dict[str, Any]]:
    """One row per split: images, their sizes and how large the objects are; `settings` are those of open_split.

    Areas are shares of the image, read from at most `at_most` masks spread evenly over the split ("measured").
    """
    settings = {"size": 1, "cache": False, **settings}
    if os.fspath(path) == SYNTHETIC:
        return [_row(split, open_split(path, split, **settings), at_most) for split in SPLITS]
    known = ("layout", "masks", "val_fraction", "seed", "cam_only", "recorded")
    listing = list_files(path, **{key: settings[key] for key in known if key in settings})
    rule = settings.get("mask_rule", "auto")
    rows = []
    for split in listing.present_splits():
        source = PairSource(listing.splits[split], rule)
        part = CamoSet(source, 1, f"{listing.title}/{split}", listing.notes, cache=False)
        rows.append(_row(split, part, at_most, list(source.problems())))
    return rows


def _row(split: str, part: CamoSet, at_most: int, problems: Sequence[str] = ()) -> dict[str, Any]:
    chosen = np.unique(np.linspace(0, len(part) - 1, min(at_most, len(part))).astype(int))
    problems, masks = list(problems), []
    for index in chosen:
        try:
            masks.append(part.original(int(index)).mask)
        except UserError as error:
            problems.append(str(error))
    problems = list(dict.fromkeys(problems))
    if not masks:
        raise UserError(problems[0])
    part.notes += [f"cannot be used: {line}" for line in problems[:10]]
    if len(problems) > 10:
        part.notes.append(f"{len(problems) - 10} more files cannot be used")
    areas = np.array([mask.mean() for mask in masks])
    heights, widths = zip(*(mask.shape for mask in masks), strict=True)
    return {
        "split": split,
        "images": len(part),
        "measured": len(masks),
        "height": f"{min(heights)}-{max(heights)}",
        "width": f"{min(widths)}-{max(widths)}",
        "median_area": float(np.median(areas)),
        "empty": int((areas == 0).sum()),
        "below_1_percent": int(((areas > 0) & (areas < 0.01)).sum()),
        "1_to_5_percent": int(((areas >= 0.01) & (areas <= 0.05)).sum()),
        "above_5_percent": int((areas > 0.05).sum()),
        "notes": part.notes,
    }
