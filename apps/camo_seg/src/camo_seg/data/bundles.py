"""The camouflage benchmarks by their real layouts: COD10K-v3, CAMO, CHAMELEON, NC4K, and the standard bundle.

Layouts and counts are those of the releases and of the bundle that SINet-V2 and its followers share. Stems are
intersected as ZoomNeXt does (some bundles carry stray files); a count other than the published one is a note.
"""

import re
from collections.abc import Callable
from pathlib import Path

from polyscale.errors import UserError

from .pairs import IMAGE_FOLDERS, folder_pair, read_pairs, subfolder
from .splits import Listing, Pair

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
# SINet-V2's README: each of these two pictures lies in both parts of COD10K.
COD10K_TWINS = ("COD10K-CAM-1-Aquatic-3-Crab-32", "COD10K-CAM-2-Terrestrial-23-Cat-1506")
TEST_SETS = ("CAMO", "CHAMELEON", "COD10K", "NC4K")
_TRAIN_FOLDERS = ("TrainDataset", "TrainValDataset")


def _count(notes: list[str], name: str, split: str, pairs: list[Pair], expected: int | None = None) -> None:
    expected = expected or COUNTS.get((name, split))
    if expected and len(pairs) != expected:
        notes.append(f"{name} {split}: {len(pairs)} pairs found, the published set has {expected}")


def is_cod10k(root: Path) -> bool:
    """Train and Test folders, at least one of them with Image and GT_Object."""
    parts = [subfolder(root, [name]) for name in ("Train", "Test")]
    return any(part and subfolder(part, ["GT_Object"]) and subfolder(part, IMAGE_FOLDERS) for part in parts)


def list_cod10k(root: Path, cam_only: bool) -> Listing:
    notes: list[str] = []
    splits: dict[str, list[Pair]] = {}
    for split in ("train", "test"):
        part = subfolder(root, [split])
        if part is None:
            continue
        images, masks = subfolder(part, IMAGE_FOLDERS), subfolder(part, ["GT_Object"])
        if images is None or masks is None:
            raise UserError(f"{part}: COD10K needs the folders Image and GT_Object here")
        pairs = read_pairs(images, masks, notes, strict=False)
        camouflaged = [pair for pair in pairs if "NonCAM" not in pair.name]
        if cam_only and len(camouflaged) < len(pairs):
            notes.append(
                f"COD10K {split}: {len(pairs) - len(camouflaged)} NonCAM pictures (nothing camouflaged, empty mask) are"
                " left out as in published results; cam_only=false keeps them"
            )
        splits[split] = camouflaged if cam_only else pairs
        _count(notes, "COD10K", split, splits[split], None if cam_only else COD10K_MIXED[split])
    notes += _twins(splits)
    return Listing("COD10K", splits, notes)


def _twins(splits: dict[str, list[Pair]]) -> list[str]:
    stems = {split: {Path(pair.name).name for pair in pairs} for split, pairs in splits.items()}
    known = [name for name in COD10K_TWINS if any(name in names for names in stems.values())]
    notes = (
        [f"known duplicates between COD10K train and test: {', '.join(known)} (both kept, as published)"]
        if known
        else []
    )
    shared = sorted(stems.get("train", set()) & stems.get("test", set()))
    if shared:
        notes.append(f"{len(shared)} names lie in both train and test, first {shared[0]}")
    return notes


def is_camo(root: Path) -> bool:
    """Images/{Train,Test} beside one GT folder, as CAMO-V.1.0-CVIU2019 comes."""
    images, masks = subfolder(root, ["Images"]), subfolder(root, ["GT"])
    return bool(images and masks and subfolder(images, ["Test"]) and not subfolder(masks, ["Test"]))


def list_camo(root: Path, cam_only: bool) -> Listing:
    notes: list[str] = []
    images, masks = subfolder(root, ["Images"]), subfolder(root, ["GT"])
    if images is None or masks is None:
        raise UserError(f"{root}: CAMO needs the folders Images and GT here")
    parts = {split: subfolder(images, [split]) for split in ("train", "test")}
    quiet: list[str] = []  # the masks of the other part always look left over
    splits = {split: read_pairs(part, masks, quiet, strict=False) for split, part in parts.items() if part}
    notes += [note for note in quiet if "belong to no picture" not in note]
    for split, pairs in splits.items():
        _count(notes, "CAMO", split, pairs)
    return Listing("CAMO", splits, notes)


def is_bundle(root: Path) -> bool:
    """A TrainDataset or TestDataset folder."""
    return subfolder(root, (*_TRAIN_FOLDERS, "TestDataset")) is not None


def list_bundle(root: Path, cam_only: bool) -> Listing:
    """The standard bundle: 4040 training pairs of COD10K and CAMO, and a test split of every set in TestDataset.

    Names of test pairs start with their set ("NC4K/1"), which is how one of them is picked.
    """
    notes: list[str] = []
    splits: dict[str, list[Pair]] = {}
    train, test = subfolder(root, _TRAIN_FOLDERS), subfolder(root, ["TestDataset"])
    if train:
        splits["train"] = _flat(train, notes)
        _count(notes, "bundle", "train", splits["train"])
    if test:
        for folder in sorted(path for path in test.iterdir() if path.is_dir() and folder_pair(path)):
            pairs = [pair._replace(name=f"{folder.name}/{pair.name}") for pair in _flat(folder, notes)]
            _count(notes, folder.name.upper(), "test", pairs)
            splits.setdefault("test", []).extend(pairs)
        if "test" not in splits:
            raise UserError(
                f"{test}: no test set here; expected folders such as {', '.join(TEST_SETS)}, with Imgs and GT"
            )
    return Listing("bundle", splits, notes + _twins(splits))


def _flat(folder: Path, notes: list[str]) -> list[Pair]:
    pair = folder_pair(folder)
    if pair is None:
        raise UserError(f"{folder}: needs a folder of pictures (Imgs) and one of masks (GT)")
    return read_pairs(*pair, notes, strict=False)


def is_nc4k(root: Path) -> bool:
    return "nc4k" in root.name.casefold() and folder_pair(root) is not None


def is_chameleon(root: Path) -> bool:
    if folder_pair(root) is None:
        return False
    images = subfolder(root, IMAGE_FOLDERS)
    names = [path.stem for path in images.iterdir()] if images else []
    return "chameleon" in root.name.casefold() or (
        len(names) > 0 and sum(bool(re.fullmatch(r"animal-\d+", name)) for name in names) >= 0.9 * len(names)
    )


def _test_only(name: str) -> Callable[[Path, bool], Listing]:
    def listing(root: Path, cam_only: bool) -> Listing:
        notes = [f"{name} is a test set only"]
        pairs = _flat(root, notes)
        _count(notes, name, "test", pairs)
        return Listing(name, {"test": pairs}, notes)

    return listing


# layout name -> (does it lie here?, list it)
LAYOUTS: dict[str, tuple[Callable[[Path], bool], Callable[[Path, bool], Listing]]] = {
    "cod10k": (is_cod10k, list_cod10k),
    "camo": (is_camo, list_camo),
    "bundle": (is_bundle, list_bundle),
    "nc4k": (is_nc4k, _test_only("NC4K")),
    "chameleon": (is_chameleon, _test_only("CHAMELEON")),
}
