"""Every benchmark by the file names and columns of its release: scores, splits, subsets and references."""

import csv
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from iqa.data import list_folder, open_split
from iqa.data.formats.benchmarks.live import LIVE_FOLDERS
from iqa.data.formats.files import find_below, find_by_stem, find_images
from iqa.data.formats.xlsx import read_xlsx
from polyscale.errors import UserError


def write_image(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (18, 24, 3), np.uint8)).save(path)


def write_images(folder: Path, names: Any) -> None:
    for seed, name in enumerate(names):
        write_image(folder / name, seed)


def table(path: Path, header: str, rows: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header.split(","), *rows])


def scores(root: Path, split: str, **settings: Any) -> dict[Any, Any]:
    part = open_split(root, split, size=32, **settings)
    part[0]
    return dict(zip(part.names, part.scores.tolist(), strict=True))


def sizes(root: Path, **settings: Any) -> dict[Any, Any]:
    return {split: len(part) for split, part in list_folder(root, **settings).splits.items()}


KONIQ_NAMES = [f"{n}.jpg" for n in (10004473376, 10007357496, 10007903636, 10009096245)]
KONIQ_HEADER = "image_name,c1,c2,c3,c4,c5,c_total,MOS,SD"


def koniq_sets(root: Path, mos: tuple[float, ...] = (77.38, 68.73, 78.63, 77.24)) -> None:
    words = ("training", "test", "training", "validation")
    rows = [[n, 0, 0, 0.24, 0.7, 0.06, 105, m, 0.5, w] for n, m, w in zip(KONIQ_NAMES, mos, words, strict=True)]
    table(root / "koniq10k_distributions_sets.csv", f"{KONIQ_HEADER},set", rows)


def test_koniq_official_split_and_scale(tmp_path: Path) -> None:
    koniq_sets(tmp_path)
    write_images(tmp_path / "512x384", KONIQ_NAMES)
    assert sizes(tmp_path) == {"train": 2, "test": 1, "val": 1}
    assert scores(tmp_path, "test") == {"10007357496.jpg": 68.73}
    part = open_split(tmp_path, "val", size=32)
    assert (part.low, part.high, part.title) == (0, 100, "KonIQ-10k/val")
    assert part.notes == ["4 images found, the published set has 10,073"]


def test_koniq_the_other_table_has_mos_of_1_to_5_beside_zscore(tmp_path: Path) -> None:
    rows = [[n, 0, 0, 25, 73, 7, 105, 3.8, 0.5, z] for n, z in zip(KONIQ_NAMES, (77.4, 68.7, 78.6, 77.2), strict=True)]
    other = tmp_path / "koniq10k_scores_and_distributions.csv"
    table(other, f"{KONIQ_HEADER},MOS_zscore", rows)
    write_images(tmp_path / "1024x768", KONIQ_NAMES)
    listing = list_folder(tmp_path)
    assert {entry.name: entry.score for entry in listing.entries()}["10004473376.jpg"] == 77.4
    assert "the official split is in koniq10k_distributions_sets.csv, which is not here" in " ".join(listing.notes)
    table(other, KONIQ_HEADER, [row[:-1] for row in rows])
    listing = list_folder(tmp_path)
    assert (listing.low, listing.high) == (1, 5)
    koniq_sets(tmp_path)  # both tables: the one with the split
    assert sizes(tmp_path) == {"train": 2, "test": 1, "val": 1}


def test_koniq_folder_of_images_can_be_chosen(tmp_path: Path) -> None:
    koniq_sets(tmp_path)
    write_images(tmp_path / "512x384", KONIQ_NAMES)
    write_images(tmp_path / "1024x768", KONIQ_NAMES)
    assert any("images of 512x384 are taken" in note for note in list_folder(tmp_path).notes)
    chosen = list_folder(tmp_path, images=tmp_path / "1024x768")
    assert {entry.image.parent.name for entry in chosen.entries()} == {"1024x768"}


def workbook(path: Path, lines: Any, sheet: str = "Sheet1", at: tuple[int, str] = (1, "A")) -> None:
    """A minimal .xlsx: texts shared, numbers plain, the first cell at row and column `at`."""
    texts: list[str] = []
    rows = []
    for number, line in enumerate(lines, at[0]):
        cells = []
        for offset, value in enumerate(line):
            place = f"{chr(ord(at[1]) + offset)}{number}"
            if value is None:
                continue
            if isinstance(value, str):
                texts.append(value)
                cells.append(f'<c r="{place}" t="s"><v>{len(texts) - 1}</v></c>')
            else:
                cells.append(f'<c r="{place}"><v>{value}</v></c>')
        rows.append(f'<row r="{number}">{"".join(cells)}</row>')
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as book:
        book.writestr(
            "xl/workbook.xml",
            f'<workbook {main} xmlns:r="{office}"><sheets><sheet name="{sheet}" r:id="r1"/></sheets></workbook>',
        )
        book.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{package}"><Relationship Id="r1" Target="worksheets/sheet1.xml"/></Relationships>',
        )
        book.writestr(
            "xl/worksheets/sheet1.xml", f"<worksheet {main}><sheetData>{''.join(rows)}</sheetData></worksheet>"
        )
        shared = "".join(f"<si><r><t>{text[:2]}</t></r><r><t>{text[2:]}</t></r></si>" for text in texts)
        book.writestr("xl/sharedStrings.xml", f"<sst {main}>{shared}</sst>")


def test_xlsx_cells_by_place_and_sheet(tmp_path: Path) -> None:
    workbook(tmp_path / "a.xlsx", [["name", "MOS"], ["x.jpg", 3.5], [None, 2]], at=(3, "Y"))
    assert read_xlsx(tmp_path / "a.xlsx") == [
        [""] * 24 + ["name", "MOS"],
        [""] * 24 + ["x.jpg", "3.5"],
        [""] * 25 + ["2"],
    ]
    with pytest.raises(UserError, match=r"a.xlsx: has no sheet scores; it has Sheet1"):
        read_xlsx(tmp_path / "a.xlsx", "scores")
    (tmp_path / "b.xlsx").write_bytes(b"not a zip file")
    with pytest.raises(UserError, match=r"b.xlsx: cannot be read as an Excel workbook"):
        read_xlsx(tmp_path / "b.xlsx")


SPAQ_NAMES = [f"{n:05d}.jpg" for n in range(1, 21)]


@pytest.mark.parametrize("form", ["xlsx", "csv", "fork"])
def test_spaq_without_official_split(tmp_path: Path, form: str) -> None:
    header = ["Image name", "MOS", "Brightness", "Colorfulness", "Contrast", "Noisiness", "Sharpness"]
    rows = [[name, 40.0 + i, 50, 50, 50, 50, 50] for i, name in enumerate(SPAQ_NAMES)]
    if form == "xlsx":
        workbook(tmp_path / "Annotations" / "MOS and Image attribute scores.xlsx", [header, *rows])
    elif form == "csv":
        table(tmp_path / "Annotations" / "MOS and Image attribute scores.csv", ",".join(header), rows)
    else:
        forked = [[f"Dataset/TestImage_512/{row[0][:-4]}.png", row[1]] for row in rows]
        table(tmp_path / "spaq_all_attributes.csv", "dist_name,mos", forked)
    write_images(tmp_path / "TestImage", SPAQ_NAMES)
    assert sizes(tmp_path) == {"train": 13, "test": 4, "val": 3}
    assert sizes(tmp_path, split="all") == {"all": 20}
    assert scores(tmp_path, "all")[SPAQ_NAMES[4] if form != "fork" else "00005.png"] == 44.0
    part = open_split(tmp_path, "test", size=32)
    assert part.title == "SPAQ/test"
    assert "4 images drawn with seed 0 are the test split" in " ".join(part.notes)
    assert part.names != open_split(tmp_path, "test", size=32, seed=1).names


def kept_whole(root: Path, **settings: Any) -> Any:
    """Splits share no reference; gives the listing."""
    listing = list_folder(root, val_fraction=0.2, **settings)
    groups = {split: {entry.reference for entry in part} for split, part in listing.splits.items()}
    assert sorted(groups) == ["test", "train", "val"]
    assert not groups["train"] & groups["test"]
    assert not groups["val"] & (groups["train"] | groups["test"])
    return listing


def test_kadid_is_cut_by_reference_and_its_dmos_stays(tmp_path: Path) -> None:
    names = [f"I{ref:02d}_{kind:02d}_{level:02d}.png" for ref in range(1, 11) for kind in (1, 25) for level in (1, 5)]
    table(tmp_path / "dmos.csv", "dist_img,ref_img,dmos,var", [[n, f"{n[:3]}.png", 4.57, 0.5] for n in names])
    write_images(tmp_path / "images", names)
    listing = kept_whole(tmp_path)
    assert (listing.low, listing.high, len(listing.entries())) == (1, 5, 40)
    assert {entry.score for entry in listing.entries()} == {4.57}
    assert {entry.subset for entry in listing.entries()} == {"gaussian blur", "contrast change"}


def test_tid2013_whatever_the_capitals(tmp_path: Path) -> None:
    names = [f"I{ref:02d}_{kind:02d}_{level}.bmp" for ref in range(1, 11) for kind in (8, 24) for level in (1, 2)]
    lines = [f"{5.5 + i / 100:.5f} {name}" for i, name in enumerate(names)]
    (tmp_path / "mos_with_names.txt").write_text("\n".join(lines) + "\n")
    write_images(
        tmp_path / "distorted_images", [name.lower() if i % 2 else name.upper() for i, name in enumerate(names)]
    )
    listing = kept_whole(tmp_path)
    assert len(listing.entries()) == 40
    first = next(entry for entry in listing.entries() if entry.name == names[1])
    assert (first.score, first.subset, first.reference) == (5.51, "gaussian blur", "I01")
    assert first.image.name == names[1].lower()
    (tmp_path / "mos_with_names.txt").write_text("5.5 I01_99_1.bmp\n")
    write_image(tmp_path / "distorted_images" / "I01_99_1.bmp")
    with pytest.raises(UserError, match="not called REFERENCE_DISTORTION_LEVEL"):
        list_folder(tmp_path)


CSIQ = [("AWGN", "noise"), ("BLUR", "blur"), ("contrast", "contrast"), ("jpeg2000", "jpeg 2000")]


@pytest.mark.parametrize("form", ["label", "xlsx"])
def test_csiq_dmos_is_inverted(tmp_path: Path, form: str) -> None:
    references = ["1600", "aerial_city", "boston", "bridge", "child_swimming"]
    rated = [(ref, file, word, level) for ref in references for file, word in CSIQ for level in (1, 2)]
    names = [f"{ref}.{file}.{level}.png" for ref, file, _, level in rated]
    if form == "label":
        (tmp_path / "csiq_label.txt").write_text("".join(f"{name} 0.061\n" for name in names))
        write_images(tmp_path / "dst_imgs_all", names)
    else:
        header = ["image", "dst_idx", "dst_type", "dst_lev", "dmos_std", "dmos"]
        rows = [[1600 if r == "1600" else r, 1, word, level, 0.05, 0.061] for r, _, word, level in rated]
        workbook(tmp_path / "csiq.DMOS.xlsx", [header, *rows], "all_by_image", (4, "D"))
        write_images(tmp_path / "dst_imgs", [f"{name.split('.')[1].lower()}/{name}" for name in names])
    listing = kept_whole(tmp_path)
    assert len(listing.entries()) == 40
    assert {round(entry.score, 6) for entry in listing.entries()} == {0.939}
    assert {entry.subset for entry in listing.entries()} == {"awgn", "blur", "contrast", "jpeg2000"}
    assert {entry.reference for entry in listing.entries()} == set(references)
    assert any("scores are inverted" in note for note in listing.notes)


def test_names_are_found_below_a_folder_as_people_have_it(tmp_path: Path) -> None:
    write_images(tmp_path / "images" / "one", ["a.png", unicodedata.normalize("NFD", "\u00e9.png")])
    write_images(tmp_path / "images" / ".thumbnails", ["a.png"])
    (tmp_path / "images" / "one" / "loop").symlink_to(tmp_path / "images", target_is_directory=True)
    names = ["A.png", "\u00e9.png"]
    found = find_below(tmp_path / "images", names, tmp_path / "table.csv")
    assert [path.parent.name for path in found] == ["one", "one"]
    assert find_by_stem(found[0].parent, names, tmp_path / "table.csv") == found
    assert find_images(tmp_path / "images", [f"ONE/{name}" for name in names], tmp_path / "table.csv") == found


def cells(words: Any) -> Any:
    """A MATLAB cell array of one row."""
    array = np.empty((1, len(words)), object)
    array[0, :] = words
    return array


def test_live_drops_the_copies_of_references_and_turns_dmos(tmp_path: Path) -> None:
    count = sum(number for _, number in LIVE_FOLDERS)
    copies = np.zeros((1, count))
    copies[0, :-60] = 1  # the last 60 of fastfading are rated
    dmos = np.where(copies, 0, np.linspace(-2.6, 111.8, count)[None])
    savemat(tmp_path / "dmos_realigned.mat", {"dmos_new": dmos, "orgs": copies})
    savemat(tmp_path / "refnames_all.mat", {"refnames_all": cells([f"ref{i % 6}.bmp" for i in range(count)])})
    write_images(tmp_path / "fastfading", [f"img{number}.bmp" for number in range(115, 175)])
    listing = kept_whole(tmp_path)
    entries = sorted(listing.entries(), key=lambda entry: entry.score)
    assert len(entries) == 60
    assert entries[0].name == "fastfading/img174.bmp"
    assert entries[0].score == pytest.approx(112 - 3 - 111.8)
    assert {entry.subset for entry in entries} == {"fastfading"}
    savemat(tmp_path / "dmos_realigned.mat", {"dmos_new": dmos[:, :5], "orgs": copies})
    with pytest.raises(UserError, match=r"dmos_realigned.mat: .* have 5, 982 and 982 rows"):
        list_folder(tmp_path)


def test_live_challenge_without_its_seven_practice_images(tmp_path: Path) -> None:
    names = [f"t{i}.bmp" for i in range(1, 8)] + [f"{i}.JPG" for i in range(3, 23)]
    column = np.empty((len(names), 1), object)
    column[:, 0] = names
    savemat(_made(tmp_path / "Data" / "AllImages_release.mat"), {"AllImages_release": column})
    savemat(tmp_path / "Data" / "AllMOS_release.mat", {"AllMOS_release": np.linspace(3.4, 92.4, len(names))[None]})
    write_images(tmp_path / "Images", names[7:])
    assert sizes(tmp_path) == {"train": 13, "test": 4, "val": 3}
    every = scores(tmp_path, "all")
    assert list(every) == names[7:]
    assert every["22.JPG"] == pytest.approx(92.4)
    savemat(tmp_path / "Data" / "AllMOS_release.mat", {"other": np.zeros(3)})
    with pytest.raises(UserError, match=r"has no variable AllMOS_release; it has other"):
        list_folder(tmp_path)
    (tmp_path / "Data" / "AllMOS_release.mat").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"AllMOS_release.mat: cannot be read as a MATLAB file"):
        list_folder(tmp_path)


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_flive_split_from_its_three_label_files(tmp_path: Path) -> None:
    names = [f"voc_emotic_ava/p{i}.jpg" for i in range(7)]
    table(tmp_path / "labels_image.csv", "name,mos", [[n, 70 + i] for i, n in enumerate(names)])
    write_images(tmp_path / "database", names)
    assert "results will not compare" in " ".join(list_folder(tmp_path).notes)
    padded = [[n, valid] for n, valid in zip(names[:4], (False, False, False, True), strict=True)]
    table(tmp_path / "labels=640_padded.csv", "name_image,is_valid", padded)
    table(tmp_path / "labels640.csv", "name_image,mos_image", [[n, 1] for n in names[4:6]])
    listing = list_folder(tmp_path)
    assert {split: len(part) for split, part in listing.splits.items()} == {"train": 3, "val": 1, "test": 2}
    assert any("1 image in no list of the official split left out" in note for note in listing.notes)
    assert {entry.subset for entry in listing.entries()} == {"voc_emotic_ava"}


def test_agiqa_keeps_prompts_together(tmp_path: Path) -> None:
    names = [f"{model}_normal_{i:03d}.jpg" for i in range(10) for model in ("AttnGAN", "midjourney")]
    header = "name,prompt,adj1,adj2,style,mos_quality,std_quality,mos_align,std_align"
    rows = [[n, f"a cat, number {i // 2}", "", "", "", 1.5, 0.3, 2, 0.1] for i, n in enumerate(names)]
    table(tmp_path / "data.csv", header, rows)
    write_images(tmp_path / "AGIQA-3K", names)
    listing = kept_whole(tmp_path)
    assert (listing.low, listing.high, listing.title) == (0, 5, "AGIQA-3K")
    assert {entry.subset for entry in listing.entries()} == {"AttnGAN", "midjourney"}


BIQ_TRAIN = [f"ss0{1 + i % 3} ({i}).jpg" for i in range(30)]


def biq2021(root: Path, copies: tuple[()] = ()) -> None:
    """30 training and 3 test images; `copies` (i, j): image j is image i, saved again."""
    table(
        root / "Train (Images and MOS).csv", "Image Name,MOS,,", [[n, i / 30, "", ""] for i, n in enumerate(BIQ_TRAIN)]
    )
    table(root / "Test (Images and MOS).csv", "Image Name,MOS", [[f"ss03 (9{i}).jpg", 0.5] for i in range(3)])
    write_images(root / "Images", [*BIQ_TRAIN, *(f"ss03 (9{i}).jpg" for i in range(3))])
    for source, target in copies:
        Image.open(root / "Images" / BIQ_TRAIN[source]).save(root / "Images" / BIQ_TRAIN[target], quality=90)


def test_biq2021_official_test_and_subsets(tmp_path: Path) -> None:
    biq2021(tmp_path)
    (tmp_path / "Images" / BIQ_TRAIN[4]).rename(tmp_path / "Images" / BIQ_TRAIN[4].replace("jpg", "JPG"))
    assert sizes(tmp_path) == {"train": 26, "test": 3, "val": 4}
    assert sizes(tmp_path, split="test") == {"train": 30, "test": 3}
    part = open_split(tmp_path, "train", size=32)
    assert set(part.subsets) == {"ss01", "ss02", "ss03"}
    assert set(part.names) | set(open_split(tmp_path, "val", size=32).names) == set(BIQ_TRAIN)


def test_biq2021_validation_takes_near_duplicates_along(tmp_path: Path) -> None:
    biq2021(tmp_path / "plain")
    plain = list_folder(tmp_path / "plain").splits
    inside, outside = plain["val"][0].name, plain["train"][0].name
    first, second = sorted((BIQ_TRAIN.index(inside), BIQ_TRAIN.index(outside)))
    biq2021(tmp_path / "copied", copies=[(first, second)])
    listing = list_folder(tmp_path / "copied")
    sides = {entry.name: split for split, part in listing.splits.items() for entry in part}
    assert sides[inside] == sides[outside]
    moved = {entry.name for split, part in plain.items() for entry in part if sides[entry.name] != split}
    assert len(moved) == 1  # the draw itself is the same
    assert any("1 image changed sides" in note for note in listing.notes)


def test_the_only_folder_of_an_unzipped_archive_is_looked_into(tmp_path: Path) -> None:
    koniq_sets(tmp_path / "koniq10k")
    write_images(tmp_path / "koniq10k" / "512x384", KONIQ_NAMES)
    assert open_split(tmp_path, "test", size=32).title == "KonIQ-10k/test"
    assert open_split(tmp_path, "test", size=32, layout="koniq").title == "KonIQ-10k/test"


def test_missing_images_are_named_and_counted(tmp_path: Path) -> None:
    names = [f"I01_01_{i:02d}.png" for i in range(1, 16)]
    table(tmp_path / "dmos.csv", "dist_img,ref_img,dmos,var", [[n, "I01.png", 3, 1] for n in names])
    write_images(tmp_path / "images", names[:2])
    with pytest.raises(
        UserError, match=r"dmos.csv: 13 of 15 images are not in .*images: I01_01_03.png, .* and 3 more$"
    ):
        list_folder(tmp_path)
