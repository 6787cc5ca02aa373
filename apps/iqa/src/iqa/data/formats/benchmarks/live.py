"""The two LIVE benchmarks that come as MATLAB files: LIVE release 2 (synthetic) and LIVE In the Wild Challenge (real).

LIVE release 2 (Sheikh et al. 2006): 29 references, five distortions, 779 distorted images; the realigned DMOS, lower
better, runs from -2.6 to 111.8, so its range is declared as -3 to 112 and inverted. The 203 copies of references among
its 982 rows carry no opinion and are left out. LIVE Challenge (Ghadiyaram and Bovik 2016): 1,162 photographs of 0 to
100; the first seven rows showed observers what to do and are left out, as everybody does.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iqa.data.formats.files import find_images
from iqa.data.formats.matlab import read_matlab
from iqa.data.listing import Entry, ScoredListing, invert_dmos
from polyscale.data.listing import file_in, subfolder
from polyscale.errors import UserError

# in the order of the rows of dmos_realigned.mat
LIVE_FOLDERS = (("jp2k", 227), ("jpeg", 233), ("wn", 174), ("gblur", 174), ("fastfading", 174))
LIVE_LOW, LIVE_HIGH = -3.0, 112.0
CHALLENGE_TRAINING = 7


def is_live(root: Path) -> bool:
    """Whether the scores and the names of the references are here."""
    return file_in(root, "dmos_realigned.mat") is not None and file_in(root, "refnames_all.mat") is not None


def list_live(root: Path, images: Path | None) -> ScoredListing:
    """List LIVE release 2; `images` is the folder of its images where it is not the usual one."""
    scores, names = (_needed(root, name, "LIVE release 2") for name in ("dmos_realigned.mat", "refnames_all.mat"))
    dmos, copies = _numbers(scores, "dmos_new"), _numbers(scores, "orgs")
    references = _texts(names, "refnames_all")
    rows = [(folder, f"{folder}/img{number}.bmp") for folder, count in LIVE_FOLDERS for number in range(1, count + 1)]
    if not len(dmos) == len(copies) == len(references) == len(rows):
        given = f"{len(dmos)}, {len(copies)} and {len(references)}"
        raise UserError(f"{scores}: dmos_new, orgs and refnames_all have {given} rows; LIVE release 2 has {len(rows)}")
    rated = [index for index in range(len(rows)) if not copies[index]]
    files = find_images(images or root, [rows[index][1] for index in rated], scores)
    entries = [
        Entry(rows[index][1], file, float(dmos[index]), rows[index][0], references[index])
        for index, file in zip(rated, files, strict=True)
    ]
    notes = [
        f"DMOS is lower for better images: scores are inverted, {LIVE_LOW:g} + {LIVE_HIGH:g} - DMOS",
        f"{len(rows) - len(rated)} copies of reference images carry no opinion and are left out",
    ]
    rated_entries = {"": invert_dmos(entries, LIVE_LOW, LIVE_HIGH)}
    return ScoredListing("LIVE", rated_entries, notes, low=LIVE_LOW, high=LIVE_HIGH)


def is_live_challenge(root: Path) -> bool:
    """Whether the scores are here."""
    return file_in(root, "Data/AllMOS_release.mat") is not None


def list_live_challenge(root: Path, images: Path | None) -> ScoredListing:
    """List LIVE Challenge; `images` is the folder of its images where it is not the usual one."""
    title = "LIVE Challenge"
    table, table_names = (_needed(root, f"Data/All{part}_release.mat", title) for part in ("MOS", "Images"))
    scores = _numbers(table, "AllMOS_release")
    names = _texts(table_names, "AllImages_release")
    if len(names) != len(scores):
        raise UserError(f"{table}: holds {len(scores)} scores for the {len(names)} names of {table_names.name}")
    names, scores = names[CHALLENGE_TRAINING:], scores[CHALLENGE_TRAINING:]
    files = find_images(images or subfolder(root, "Images") or root, names, table_names)
    entries = [Entry(name, file, float(score)) for name, file, score in zip(names, files, scores, strict=True)]
    notes = [f"the first {CHALLENGE_TRAINING} images, shown to observers for practice, are left out"]
    return ScoredListing(title, {"": entries}, notes, low=0.0, high=100.0)


def _needed(root: Path, name: str, title: str) -> Path:
    found = file_in(root, name)
    if found is None:
        raise UserError(f"{root}: {title} needs {name} here")
    return found


def _numbers(path: Path, key: str) -> NDArray[np.float64]:
    values = read_matlab(path, key)
    if not isinstance(values, np.ndarray) or not np.isfinite(values).all():
        raise UserError(f"{path}: {key} is not an array of finite numbers")
    return values.astype(np.float64)


def _texts(path: Path, key: str) -> list[str]:
    values = read_matlab(path, key)
    texts = [
        value[0] if isinstance(value, list) and value else value
        for value in (values if isinstance(values, list) else ())
    ]
    if not isinstance(values, list) or not all(isinstance(text, str) and text.isprintable() for text in texts):
        raise UserError(f"{path}: {key} is not a list of names")
    return texts
