"""The camouflage benchmarks by their real layouts: COD10K-v3, CAMO, CHAMELEON, NC4K, and the standard bundle.

Layouts and counts are those of the releases and of the bundle that SINet-V2 and its followers share. Stems are
intersected as ZoomNeXt does (some bundles carry stray files); a count other than the published one is a note.
"""

import re
from pathlib import Path

from camo_seg.data.formats.pairs import (
    IMAGE_FOLDERS,
    describe_content,
    folder_pair,
    is_pairs,
    list_pairs,
    note_spare_masks,
    read_pairs,
)
from camo_seg.data.formats.splits import Pair
from polyscale.data.listing import Layout, Listing, folders_in, subfolder
from polyscale.errors import UserError

COUNTS = {
    ("COD10K", "train"): 3040,
    ("COD10K", "test"): 2026,
    ("CAMO", "train"): 1000,
    ("CAMO", "test"): 250,
    ("CHAMELEON", "test"): 76,
    ("NC4K", "test"): 4121,
    ("bundle", "train"): 4040,
}
COD10K_MIXED = {"train": 6000, "test": 4000}
# SINet-V2's README: each of these two images lies in both parts of COD10K.
COD10K_TWINS = ("COD10K-CAM-1-Aquatic-3-Crab-32", "COD10K-CAM-2-Terrestrial-23-Cat-1506")
TEST_SETS = ("CAMO", "CHAMELEON", "COD10K", "NC4K")
_TRAIN_FOLDERS = ("TrainDataset", "TrainValDataset")


def _note_count(notes: list[str], name: str, split: str, pairs: list[Pair], expected: int | None = None) -> None:
    expected = expected or COUNTS.get((name, split))
    if expected and len(pairs) != expected:
        notes.append(f"{name} {split}: {len(pairs)} pairs found, the published set has {expected}")


def _flat(folder: Path, notes: list[str]) -> list[Pair]:
    """The pairs of a folder with Imgs and GT."""
    found = folder_pair(folder)
    if found is None:
        needed = "needs a folder of images (Imgs, Image) and one of masks (GT, Mask)"
        raise UserError(f"{folder}: {needed}; {describe_content(folder)}")
    pairs = read_pairs(*found, notes, strict=False)
    note_spare_masks(found[1], pairs, notes)
    return pairs


def all_test(listing: Listing[Pair]) -> Listing[Pair]:
    """The listing with every pair in the test split, which a note says."""
    pairs = [pair for part in listing.splits.values() for pair in part]
    notes = [f"{listing.title}: every image here is in the test split", *listing.notes]
    _note_count(notes, listing.title, "test", pairs)
    return Listing(listing.title, {"test": pairs}, notes)


def _test_only(name: str, root: Path) -> Listing[Pair]:
    notes: list[str] = []
    return all_test(Listing(name, {"": _flat(root, notes)}, notes))


def _is_flat_release(root: Path, name: str) -> bool:
    """Imgs (or Image) and GT in a folder that is called after the set: the bundle's layout of a test set.

    The name alone is not enough: people call a folder nc4k and keep images and masks of their own in it.
    """
    return name in root.name.casefold() and None not in (subfolder(root, "Imgs", "Image"), subfolder(root, "GT"))


def is_cod10k(root: Path) -> bool:
    """Train and Test folders, at least one of them with Image and GT_Object; or a folder COD10K with Imgs and GT."""
    parts = [subfolder(root, name) for name in ("Train", "Test")]
    release = any(part and subfolder(part, "GT_Object") and subfolder(part, *IMAGE_FOLDERS) for part in parts)
    return release or _is_flat_release(root, "cod10k")


def list_cod10k(root: Path, cam_only: bool) -> Listing[Pair]:
    """COD10K-v3; `cam_only` leaves the NonCAM half (empty masks) out, without which no published score compares."""
    if folder_pair(root):
        return _test_only("COD10K", root)
    notes: list[str] = []
    splits: dict[str, list[Pair]] = {}
    for split in ("train", "test"):
        part = subfolder(root, split)
        if part is None:
            continue
        images, masks = subfolder(part, *IMAGE_FOLDERS), subfolder(part, "GT_Object")
        if images is None or masks is None:
            raise UserError(f"{part}: COD10K needs the folders Image and GT_Object here; {describe_content(part)}")
        pairs = read_pairs(images, masks, notes, strict=False)
        camouflaged = [pair for pair in pairs if "NonCAM" not in pair.name]
        if cam_only and len(camouflaged) < len(pairs):
            notes.append(
                f"COD10K {split}: {len(pairs) - len(camouflaged)} NonCAM images (nothing camouflaged, empty mask) are"
                " left out as in published results; turn cam_only off to keep them"
            )
        splits[split] = camouflaged if cam_only else pairs
        _note_count(notes, "COD10K", split, splits[split], None if cam_only else COD10K_MIXED[split])
    if not splits:
        raise UserError(f"{root}: COD10K has the folders Train and Test; {describe_content(root)}")
    return Listing("COD10K", splits, notes + _twins(splits))


def _twins(splits: dict[str, list[Pair]]) -> list[str]:
    """Remarks on images known, or by their names seen, to lie in train and test."""
    stems = {split: {Path(pair.name).name for pair in pairs} for split, pairs in splits.items()}
    known = [name for name in COD10K_TWINS if any(name in names for names in stems.values())]
    notes = []
    if known:
        notes.append(f"COD10K train and test share the images {', '.join(known)}; both are kept, as published")
    shared = sorted(stems.get("train", set()) & stems.get("test", set()))
    if shared:
        notes.append(f"{len(shared)} names lie in both train and test, first {shared[0]}")
    return notes


def _camo_release(root: Path) -> tuple[Path, Path] | None:
    images, masks = subfolder(root, "Images"), subfolder(root, "GT")
    split = images and (subfolder(images, "Test") or subfolder(images, "Train"))
    return (images, masks) if images and masks and split and not subfolder(masks, "Test", "Train") else None


def is_camo(root: Path) -> bool:
    """Images/{Train,Test} beside one flat GT, as CAMO-V.1.0-CVIU2019 comes; or a folder CAMO with Imgs and GT."""
    return _camo_release(root) is not None or (root.name.casefold() == "camo" and _is_flat_release(root, "camo"))


def list_camo(root: Path, cam_only: bool) -> Listing[Pair]:
    """List CAMO; `cam_only` makes no difference, the data set has no other half."""
    release = _camo_release(root)
    if release is None:
        return _test_only("CAMO", root)
    notes: list[str] = []
    splits: dict[str, list[Pair]] = {}
    for split in ("train", "test"):
        part = subfolder(release[0], split)
        if part:
            splits[split] = read_pairs(part, release[1], notes, strict=False)
            _note_count(notes, "CAMO", split, splits[split])
    note_spare_masks(release[1], [pair for pairs in splits.values() for pair in pairs], notes)
    return Listing("CAMO", splits, notes)


def _test_folder(root: Path) -> Path | None:
    """TestDataset in `root`, or `root` itself where it holds folders called after the test sets."""
    inner = (subfolder(root, name) for name in TEST_SETS)
    return subfolder(root, "TestDataset") or (root if any(path and folder_pair(path) for path in inner) else None)


def is_bundle(root: Path) -> bool:
    """A TrainDataset or TestDataset folder, or the test sets themselves."""
    return subfolder(root, *_TRAIN_FOLDERS) is not None or _test_folder(root) is not None


def list_bundle(root: Path, cam_only: bool) -> Listing[Pair]:
    """The standard bundle: 4040 training pairs of COD10K and CAMO, and a test split of every set in TestDataset.

    Names of test pairs start with their set ("NC4K/1"), which is how one of them is picked.
    """
    notes: list[str] = []
    splits: dict[str, list[Pair]] = {}
    train, test = subfolder(root, *_TRAIN_FOLDERS), _test_folder(root)
    if train is None and test is None:
        raise UserError(f"{root}: a bundle has the folders TrainDataset and TestDataset; {describe_content(root)}")
    if train:
        splits["train"] = _flat(train, notes)
        _note_count(notes, "bundle", "train", splits["train"])
    for folder in [path for path in folders_in(test) if folder_pair(path)] if test else []:
        pairs = [pair._replace(name=f"{folder.name}/{pair.name}") for pair in _flat(folder, notes)]
        _note_count(notes, folder.name.upper(), "test", pairs)
        splits.setdefault("test", []).extend(pairs)
    if test and "test" not in splits:
        raise UserError(f"{test}: no test set here; expected folders such as {', '.join(TEST_SETS)} with Imgs and GT")
    return Listing("bundle", splits, notes + _twins(splits))


def is_nc4k(root: Path) -> bool:
    """Imgs and GT in a folder that is called after NC4K."""
    return _is_flat_release(root, "nc4k")


def is_chameleon(root: Path) -> bool:
    """Imgs and GT in a folder called after CHAMELEON, or with images named animal-1.jpg and so on."""
    found = folder_pair(root)
    if found is None:
        return False
    names = [path.stem for path in found[0].iterdir()]
    animals = sum(re.fullmatch(r"animal-\d+", name) is not None for name in names)
    return _is_flat_release(root, "chameleon") or (len(names) > 0 and animals >= 0.9 * len(names))


# What locate tries, in this order; "test" is for any folder pair and is never detected. list(folder, cam_only).
LAYOUTS: dict[str, Layout[Listing[Pair]]] = {
    "cod10k": Layout(is_cod10k, list_cod10k),
    "camo": Layout(is_camo, list_camo),
    "bundle": Layout(is_bundle, list_bundle),
    "nc4k": Layout(is_nc4k, lambda root, _: _test_only("NC4K", root)),
    "chameleon": Layout(is_chameleon, lambda root, _: _test_only("CHAMELEON", root)),
    "test": Layout(lambda _: False, lambda root, _: _test_only(root.name, root)),
    "pairs": Layout(is_pairs, lambda root, _: list_pairs(root)),
}
