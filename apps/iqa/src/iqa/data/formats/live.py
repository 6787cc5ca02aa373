"""The two LIVE benchmarks that come as MATLAB files: LIVE release 2 (synthetic) and LIVE In the Wild Challenge (real).

LIVE release 2 (Sheikh et al. 2006): 29 references, five distortions, 779 distorted images; the realigned DMOS, lower
better, runs from -2.6 to 111.8, so its range is declared as -3 to 112 and turned. The 203 copies of references among
its 982 rows carry no opinion and are left out. LIVE Challenge (Ghadiyaram and Bovik 2016): 1,162 photographs of 0 to
100; the first seven rows showed observers what to do and are left out, as everybody does.
"""

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from iqa.data.formats.files import file_in, pictures, subfolder
from iqa.data.listing import Entry, Listing, turned
from polyscale.errors import UserError

# in the order of the rows of dmos_realigned.mat
LIVE_FOLDERS = (("jp2k", 227), ("jpeg", 233), ("wn", 174), ("gblur", 174), ("fastfading", 174))
LIVE_LOW, LIVE_HIGH = -3.0, 112.0
CHALLENGE_TRAINING = 7


def is_live(root: Path) -> bool:
    return file_in(root, "dmos_realigned.mat") is not None and file_in(root, "refnames_all.mat") is not None


def list_live(root: Path, images: Path | None) -> Listing:
    scores, names = (_needed(root, name, "LIVE release 2") for name in ("dmos_realigned.mat", "refnames_all.mat"))
    dmos, copies = _matrix(scores, "dmos_new").ravel(), _matrix(scores, "orgs").ravel()
    references = [_word(item) for item in _matrix(names, "refnames_all").ravel()]
    rows = [(folder, f"{folder}/img{number}.bmp") for folder, count in LIVE_FOLDERS for number in range(1, count + 1)]
    if not len(dmos) == len(copies) == len(references) == len(rows):
        given = f"{len(dmos)}, {len(copies)} and {len(references)}"
        raise UserError(f"{scores}: dmos_new, orgs and refnames_all have {given} rows; LIVE release 2 has {len(rows)}")
    rated = [index for index in range(len(rows)) if not copies[index]]
    files = pictures(images or root, [rows[index][1] for index in rated], scores)
    entries = [
        Entry(rows[index][1], file, float(dmos[index]), rows[index][0], references[index])
        for index, file in zip(rated, files, strict=True)
    ]
    notes = [
        f"DMOS is lower for better images: scores are turned, {LIVE_LOW:g} + {LIVE_HIGH:g} - DMOS",
        f"{len(rows) - len(rated)} copies of reference images carry no opinion and are left out",
    ]
    return Listing("LIVE", {"": turned(entries, LIVE_LOW, LIVE_HIGH)}, LIVE_LOW, LIVE_HIGH, notes)


def is_live_challenge(root: Path) -> bool:
    return file_in(root, "Data/AllMOS_release.mat") is not None


def list_live_challenge(root: Path, images: Path | None) -> Listing:
    title = "LIVE Challenge"
    table, table_names = (_needed(root, f"Data/All{part}_release.mat", title) for part in ("MOS", "Images"))
    scores = _matrix(table, "AllMOS_release").ravel()
    names = [_word(item) for item in _matrix(table_names, "AllImages_release").ravel()]
    if len(names) != len(scores):
        raise UserError(f"{table}: holds {len(scores)} scores for the {len(names)} names of {table_names.name}")
    names, scores = names[CHALLENGE_TRAINING:], scores[CHALLENGE_TRAINING:]
    files = pictures(images or subfolder(root, "Images") or root, names, table_names)
    entries = [Entry(name, file, float(score)) for name, file, score in zip(names, files, scores, strict=True)]
    notes = [f"the first {CHALLENGE_TRAINING} images, shown to observers for practice, are left out"]
    return Listing(title, {"": entries}, 0.0, 100.0, notes)


def _needed(root: Path, name: str, title: str) -> Path:
    found = file_in(root, name)
    if found is None:
        raise UserError(f"{root}: {title} needs {name} here")
    return found


def _matrix(path: Path, key: str) -> Any:
    """One variable of a MATLAB file, as scipy gives it."""
    from scipy.io.matlab import MatReadError, loadmat

    broken = (OSError, ValueError, TypeError, EOFError, IndexError, NotImplementedError, zlib.error, MatReadError)
    try:
        values = loadmat(path)
    except broken as error:
        raise UserError(f"{path}: cannot be read as a MATLAB file: {error}") from error
    if key not in values:
        given = ", ".join(name for name in values if not name.startswith("__"))
        raise UserError(f"{path}: has no variable {key}; it has {given or 'none'}")
    return values[key]


def _word(item: Any) -> str:
    """The text of a MATLAB cell, which scipy wraps in arrays."""
    while isinstance(item, np.ndarray):
        item = item.flat[0] if item.size else ""
    return str(item)
