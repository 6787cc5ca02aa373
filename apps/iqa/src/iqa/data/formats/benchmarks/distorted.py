"""The benchmarks of reference images under synthetic distortions: KADID-10k, TID2013, CSIQ; cut by reference.

KADID-10k (Lin et al. 2019) calls its scores DMOS although higher is better. TID2013 (Ponomarenko et al. 2015) writes
file names in capitals that differ between copies. CSIQ (Larson and Chandler 2010) gives DMOS, lower better, as an
Excel sheet (csiq.DMOS.xlsx) or, in the copies of HyperIQA's followers, as csiq_label.txt. Subsets are distortions.
"""

from pathlib import Path

from iqa.data.formats.files import find_below, find_images
from iqa.data.formats.tables import score_of
from iqa.data.formats.xlsx import read_xlsx
from iqa.data.listing import Entry, ScoredListing, invert_dmos
from polyscale.data.listing import file_in, subfolder
from polyscale.data.tables import as_rows, cell, column, read_csv
from polyscale.errors import UserError

KADID_KINDS = (
    "gaussian blur", "lens blur", "motion blur", "color diffusion", "color shift", "color quantization",
    "color saturation 1", "color saturation 2", "jpeg2000", "jpeg", "white noise", "white noise in color",
    "impulse noise", "multiplicative noise", "denoise", "brighten", "darken", "mean shift", "jitter",
    "non-eccentricity patch", "pixelate", "quantization", "color block", "high sharpen", "contrast change",
)  # fmt: skip
TID_KINDS = (
    "gaussian noise", "noise in color", "correlated noise", "masked noise", "high frequency noise", "impulse noise",
    "quantization noise", "gaussian blur", "denoising", "jpeg", "jpeg2000", "jpeg transmission",
    "jpeg2000 transmission", "non-eccentricity pattern", "block-wise", "mean shift", "contrast change",
    "color saturation", "multiplicative noise", "comfort noise", "lossy compression", "color quantization",
    "chromatic aberration", "sparse sampling",
)  # fmt: skip
_CSIQ_TOKENS = {"noise": "awgn", "jpeg 2000": "jpeg2000"}  # how the sheet calls what the file names call otherwise


def is_kadid(root: Path) -> bool:
    """Whether dmos.csv with distorted images is here."""
    table = file_in(root, "dmos.csv")
    return table is not None and "dist_img" in read_csv(table)[0]


def list_kadid(root: Path, images: Path | None) -> ScoredListing:
    """List KADID-10k; `images` is the folder of its images where it is not the usual one."""
    table, folder = file_in(root, "dmos.csv"), images or subfolder(root, "images", "distorted_images")
    if table is None or folder is None:
        raise UserError(f"{root}: KADID-10k needs dmos.csv and the folder images here")
    rows = read_csv(table)
    column(table, rows, "dmos")
    name_column, reference_column = column(table, rows, "dist_img"), column(table, rows, "ref_img")
    names = [cell(table, row, name_column, number) for number, row in enumerate(rows, 1)]
    files = find_images(folder, names, table)
    entries = [
        Entry(name, file, score_of(table, name, row["dmos"]), _kind(table, name, KADID_KINDS), row[reference_column])
        for name, file, row in zip(names, files, rows, strict=True)
    ]
    notes = ["its DMOS is higher for better images and stays as it is"]
    return ScoredListing("KADID-10k", {"": entries}, notes, low=1.0, high=5.0)


def is_tid2013(root: Path) -> bool:
    """Whether the scores and the distorted images are here."""
    return file_in(root, "mos_with_names.txt") is not None and subfolder(root, "distorted_images") is not None


def list_tid2013(root: Path, images: Path | None) -> ScoredListing:
    """List TID2013; `images` as for list_kadid."""
    table, folder = file_in(root, "mos_with_names.txt"), images or subfolder(root, "distorted_images")
    if table is None or folder is None:
        raise UserError(f"{root}: TID2013 needs mos_with_names.txt and the folder distorted_images here")
    scores, names = zip(*_words(table), strict=True)
    entries = [
        Entry(name, file, score_of(table, name, score), _kind(table, name, TID_KINDS), name.split("_")[0].upper())
        for name, score, file in zip(names, scores, find_images(folder, names, table), strict=True)
    ]
    return ScoredListing("TID2013", {"": entries}, low=0.0, high=9.0)


def _kind(table: Path, name: str, kinds: tuple[str, ...]) -> str:
    """The distortion of I01_04_2.bmp: the fourth."""
    parts = Path(name).stem.split("_")
    if len(parts) != 3 or not parts[1].isdigit() or not 1 <= int(parts[1]) <= len(kinds):
        raise UserError(
            f"{table}: {name} is not called REFERENCE_DISTORTION_LEVEL with one of {len(kinds)} distortions"
        )
    return kinds[int(parts[1]) - 1]


def _words(table: Path) -> list[tuple[str, str]]:
    """The two words of every line of a text file."""
    try:
        lines = [line.split() for line in table.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{table}: cannot be read as text: {error}") from error
    wrong = next((number for number, words in enumerate(lines, 1) if len(words) != 2), None)
    if wrong is not None or not lines:
        raise UserError(f"{table}: line {wrong or 1} is not a score and a name")
    return [(first, second) for first, second in lines]


def is_csiq(root: Path) -> bool:
    """Whether the scores are here, in either form."""
    return file_in(root, "csiq_label.txt", "csiq.DMOS.xlsx") is not None


def list_csiq(root: Path, images: Path | None) -> ScoredListing:
    """List CSIQ; images are found by name, as copies have them in dst_imgs/TYPE or all in one folder."""
    folder = images or subfolder(root, "dst_imgs_all", "dst_imgs", "distorted_images") or root
    labels, sheet = file_in(root, "csiq_label.txt"), file_in(root, "csiq.DMOS.xlsx")
    if labels is not None:
        table, rated = labels, _words(labels)
    elif sheet is not None:
        table, rated = sheet, _csiq_sheet(sheet)
    else:
        raise UserError(f"{root}: CSIQ needs csiq_label.txt or csiq.DMOS.xlsx here")
    files = find_below(folder, [name for name, _ in rated], table)
    entries = []
    for (name, score), file in zip(rated, files, strict=True):
        reference, kind = (*name.split("."), "")[:2]
        entries.append(Entry(file.name, file, score_of(table, name, score), kind.casefold(), reference.casefold()))
    notes = ["DMOS is lower for better images: scores are inverted, 1 - DMOS"]
    return ScoredListing("CSIQ", {"": invert_dmos(entries, 0.0, 1.0)}, notes, low=0.0, high=1.0)


def _csiq_sheet(table: Path) -> list[tuple[str, str]]:
    """(file name, DMOS) of the sheet all_by_image, whose header is somewhere below and right of its corner."""
    lines = read_xlsx(table, "all_by_image")
    start = next((number for number, line in enumerate(lines) if "dmos" in line and "image" in line), None)
    if start is None:
        raise UserError(f"{table}: the sheet all_by_image has no columns image and dmos")
    rows = [row for row in as_rows(table, lines[start:]) if row.get("image")]
    kind, level = column(table, rows, "dst_type"), column(table, rows, "dst_lev")
    named = []
    for row in rows:
        token = _CSIQ_TOKENS.get(row[kind], row[kind])
        named.append((f"{row['image'].removesuffix('.0')}.{token}.{row[level].removesuffix('.0')}.png", row["dmos"]))
    return named
