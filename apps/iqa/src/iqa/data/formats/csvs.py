"""Any CSV of images and scores, among them pyiqa's meta_info files; its columns are detected by their names.

pyiqa's files give name, mos, std and one column per split ("official_split", "ratio802_seed123_split_01"); there val
without test is what others call test.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from iqa.data.formats.files import find_folder, find_images
from iqa.data.formats.tables import score_of
from iqa.data.listing import Entry, ScoredListing, invert_dmos
from polyscale.data.naming import shorten
from polyscale.data.splits import SPLIT_WORDS
from polyscale.data.tables import Row, cell, column, find_column, read_csv
from polyscale.errors import UserError

NAME_COLUMNS = (
    "image", "path", "name", "file", "filename", "image_path", "img_path", "image_name", "image name", "img_name",
    "file_name", "dist_name", "dist_img",
)  # fmt: skip
SCORE_COLUMNS = ("score", "mos", "mos_quality", "quality", "rating", "mos_zscore", "dmos")
SPLIT_COLUMNS = ("split", "official_split", "set")
REFERENCE_COLUMNS = ("reference", "ref_name", "ref_img", "ref", "group")
SUBSET_COLUMNS = ("subset", "dist_type", "distortion")
_NUMBERED = {"0": "train", "1": "val", "2": "test"}  # as the meta_info files of some forks write it
SCALES = ((0, 1), (1, 5), (0, 5), (1, 10), (0, 10), (0, 100))


@dataclass(frozen=True)
class Reading:
    """What a CSV file does not say by itself; None and "" leave it to its columns.

    images: folder that its names are relative to. scale: (low, high) of the scores. lower_better: the scores are such
    and are inverted. split: the column of the split to take.
    """

    images: Path | None = None
    scale: tuple[float, float] | None = None
    lower_better: bool | None = None
    split: str = ""


def is_csv(path: Path) -> bool:
    """Whether `path` is a CSV file or a folder with at least one."""
    return path.suffix.casefold() == ".csv" if path.is_file() else any(_csv_files(path))


def list_csv(path: Path, reading: Reading) -> ScoredListing:
    """List one CSV file, of the only one in a folder, or of train.csv, val.csv and test.csv in it."""
    notes: list[str] = []
    splits: dict[str, list[Entry]] = {}
    for split, table in ({"": path} if path.is_file() else _tables_in(path)).items():
        rows = read_csv(table)
        columns = _columns(table, rows, reading, notes)
        if columns.score == "dmos" and reading.lower_better is None:
            wrong = "dmos runs either way (KADID-10k's is higher for better images)"
            raise UserError(f"{table}: {wrong}; set lower_better to true or false", exit_code=2)
        for word, entry in _entries(table, rows, columns, reading):
            splits.setdefault(split or word, []).append(entry)
    low, high = reading.scale or _scale([entry.score for part in splits.values() for entry in part], notes)
    if reading.lower_better:
        splits = {split: invert_dmos(part, low, high) for split, part in splits.items()}
        notes.append(f"lower was better: scores are inverted, {low:g} + {high:g} - score")
    return ScoredListing(path.stem if path.is_file() else path.name, splits, notes, low=low, high=high)


def _csv_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.casefold() == ".csv" and path.is_file())


def _tables_in(folder: Path) -> dict[str, Path]:
    """The CSV files of a folder by split, {"": the only one}; UserError where they are several others."""
    found = _csv_files(folder)
    by_split = {SPLIT_WORDS[path.stem.casefold()]: path for path in found if path.stem.casefold() in SPLIT_WORDS}
    if by_split:
        return by_split
    if len(found) != 1:
        raise UserError(
            f"{folder}: holds {len(found)} CSV files ({shorten(path.name for path in found)}); name one of them"
        )
    return {"": found[0]}


class Columns(NamedTuple):
    """Which column says what; None where there is none."""

    name: str
    score: str
    split: str | None
    subset: str | None
    reference: str | None


def _columns(table: Path, rows: Sequence[Row], reading: Reading, notes: list[str]) -> Columns:
    split = find_column(rows, *SPLIT_COLUMNS)
    drawn = [name for name in rows[0] if re.fullmatch(r"ratio\d+_seed\d+_split_?\d+", name)]
    if reading.split:
        split = column(table, rows, reading.split.casefold())
    elif split is None and drawn:
        split = drawn[0]
        notes.append(f"{table.name}: of {len(drawn)} columns of splits, {split} is taken")
    return Columns(
        column(table, rows, *NAME_COLUMNS),
        column(table, rows, *SCORE_COLUMNS),
        split,
        find_column(rows, *SUBSET_COLUMNS),
        find_column(rows, *REFERENCE_COLUMNS),
    )


def _entries(table: Path, rows: Sequence[Row], columns: Columns, reading: Reading) -> Iterator[tuple[str, Entry]]:
    """(split, entry) of every row; the split is "" where the table has none."""
    names = [cell(table, row, columns.name, number) for number, row in enumerate(rows, 1)]
    files = find_images(reading.images or find_folder(table, names), names, table)
    for name, file, row in zip(names, files, rows, strict=True):
        word = row[columns.split] if columns.split else ""
        split = SPLIT_WORDS.get(_NUMBERED.get(word, word).casefold()) if columns.split else ""
        if split is None:
            raise UserError(f"{table}: {columns.split} of {name} is '{word}'; accepted are train, val and test")
        subset = row[columns.subset] if columns.subset else ""
        reference = row[columns.reference] if columns.reference else ""
        yield split, Entry(name, file, score_of(table, name, row[columns.score]), subset, reference)


def _scale(scores: Sequence[float], notes: list[str]) -> tuple[float, float]:
    """The first customary scale that all scores lie on, else their own extremes; a note says which."""
    known = [score for score in scores if not math.isnan(score)]
    least, most = min(known, default=0.0), max(known, default=1.0)
    if least == most:
        raise UserError(f"every score is {least:g}: nothing to learn from, or the wrong column")
    low, high = next(((a, b) for a, b in SCALES if a <= least and most <= b), (least, most))
    notes.append(
        f"scores {least:g} to {most:g} are taken to be on a scale of {low:g} to {high:g}; set scale if it is another"
    )
    return float(low), float(high)
