"""Walking folders as people have them: hidden and system ones, links and loops, other kinds, names in any form."""

import os
import unicodedata
from pathlib import Path

import pytest

from polyscale.data.listing import (
    Layout,
    Listing,
    file_in,
    folders_in,
    list_images,
    locate,
    passed_over_note,
    readable,
    resolve_folder,
    subfolder,
    walk_images,
)
from polyscale.errors import UserError


def put(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def walked(folder: Path, **options: bool) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in walk_images(folder, **options).files]


def test_list_images(tmp_path: Path) -> None:
    names = ["img10.png", "img2.JPG", "Img1.tif", "10.png", "9.png", "a.png"]
    for name in [*names, "notes.txt", ".hidden.png", "._img2.JPG"]:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    found = [path.name for path in list_images(tmp_path)]
    assert found == ["9.png", "10.png", "a.png", "Img1.tif", "img2.JPG", "img10.png"]
    with pytest.raises(UserError, match="no such file or folder"):
        list_images(tmp_path / "missing")
    with pytest.raises(UserError, match=r"notes\.txt: is a file, not a folder"):
        list_images(tmp_path / "notes.txt")


def test_subfolders_are_walked_in_natural_order_where_asked(tmp_path: Path) -> None:
    put(tmp_path / "b2" / "x.png", tmp_path / "b10" / "x.png", tmp_path / "a.png")
    assert walked(tmp_path) == ["a.png", "b2/x.png", "b10/x.png"]
    assert walked(tmp_path, recursive=False) == ["a.png"]


@pytest.mark.parametrize(
    "name",
    [".ipynb_checkpoints", "@eaDir", "__MACOSX", ".thumbnails", ".git", "$RECYCLE.BIN", "System Volume Information",
     "#recycle", "@Recycle", ".@__thumb", ".Trash-1000", "lost+found"],
)  # fmt: skip
def test_hidden_and_system_folders_are_passed_over(tmp_path: Path, name: str) -> None:
    put(tmp_path / "a.png", tmp_path / name / "a.png", tmp_path / "sub" / name / "deep" / "a.png")
    put(tmp_path / "._a.png", tmp_path / "Thumbs.db", tmp_path / "sub" / "b.png")
    assert walked(tmp_path) == ["a.png", "sub/b.png"]
    assert [path.name for path in folders_in(tmp_path)] == ["sub"]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_linked_folders_are_followed_once_and_loops_not_at_all(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "c.png", tmp_path / "set" / "images" / "day" / "a.png", tmp_path / "set" / "m.png")
    images = tmp_path / "set" / "images"
    (images / "aa_link").symlink_to(images / "day")  # sorts before the folder itself, which keeps its name
    (images / "day" / "loop").symlink_to(images)
    (images / "around").symlink_to(tmp_path / "set")  # would bring in what is around the folder
    (images / "itself").symlink_to(images / "itself")
    (images / "other").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(images)
    (images / "twice").symlink_to(tmp_path / "elsewhere")
    (images / "gone.png").symlink_to(tmp_path / "nothing.png")
    assert walked(images) == ["day/a.png", "other/c.png"]
    (tmp_path / "link").symlink_to(images)
    assert walked(tmp_path / "link") == ["day/a.png", "other/c.png"]


def test_images_of_other_kinds_are_counted_and_named(tmp_path: Path) -> None:
    put(tmp_path / "a.png", tmp_path / "b.CR2", tmp_path / "sub" / "c.psd", tmp_path / "notes.txt")
    walk = walk_images(tmp_path)
    assert [path.name for path in walk.passed_over] == ["b.CR2", "c.psd"]
    note = passed_over_note(tmp_path, walk.passed_over)
    assert note == f"{tmp_path}: 2 files of kinds that are not read (.cr2, .psd), first b.CR2"
    assert passed_over_note(tmp_path, []) == ""
    assert "polyscale[heic]" in passed_over_note(tmp_path, [tmp_path / "x.HEIC"])


def test_names_are_found_in_any_case_and_unicode_form(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "Prüfung")
    put(tmp_path / decomposed / "Täble.CSV".replace("ä", "a\u0308"))
    folder = subfolder(tmp_path, "nothing", unicodedata.normalize("NFC", "prüfung"))
    assert folder == tmp_path / decomposed
    assert file_in(tmp_path, "PRÜFUNG/täble.csv") is not None
    assert file_in(tmp_path, "prüfung") is None
    assert subfolder(tmp_path, "prüfung/täble.csv") is None


def test_what_the_system_refuses_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone.*: no such file or folder"), readable(tmp_path):
        (tmp_path / "gone").read_bytes()


def test_a_data_set_is_located_in_the_only_folder_of_a_folder(tmp_path: Path) -> None:
    layouts = {name: Layout(lambda root, n=name: (root / n).is_dir(), list_images) for name in ("a", "b")}
    put(tmp_path / "unzipped" / "b" / "1.png", tmp_path / "__MACOSX" / "._1.png")
    inner = tmp_path / "unzipped"
    assert locate(tmp_path, layouts, "auto", "none") == (inner, "b")
    assert locate(tmp_path, layouts, "b", "none") == (inner, "b")
    assert locate(tmp_path, layouts, "a", "none") == (tmp_path, "a")
    put(tmp_path / "second" / "1.png")
    assert locate(tmp_path, layouts, "auto", "none") == (tmp_path, "none")


def test_a_listing_keeps_its_notes_and_its_kind() -> None:
    listing = Listing("set", {"test": [1], "": [2, 3], "train": []}, ["first"])
    assert listing.entries() == [1, 2, 3]
    assert listing.present_splits() == ["test"]
    assert listing.with_splits({"train": [2]}, ["second"]) == Listing("set", {"train": [2]}, ["first", "second"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "an empty path was given"),
        ("nowhere", r"nowhere: no such file or folder \(hint\)"),
        ("file.txt", r"file\.txt: is a file, not a folder"),
        ("hollow", "hollow: empty folder"),
    ],
)
def test_a_folder_that_cannot_be_a_data_set_is_one_line(tmp_path: Path, name: str, message: str) -> None:
    put(tmp_path / "file.txt")
    (tmp_path / "hollow").mkdir()
    with pytest.raises(UserError, match=message):
        resolve_folder(tmp_path / name if name else "", " (hint)")
    assert resolve_folder(tmp_path) == tmp_path.resolve()
