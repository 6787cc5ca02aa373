"""Natural order; unique names: short where possible, told apart by suffix and folder, in any order of the files."""

from pathlib import Path

import pytest

from polyscale.data.naming import natural_key, plural, unique_names


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["/p/a/x.png", "/p/b/y.png"], ["x", "y"]),
        (["/p/a/x.png", "/p/b/x.png"], ["a_x", "b_x"]),
        (["/p/a/x.png", "/p/a/x.jpg"], ["x_png", "x_jpg"]),
        (["/p/a/x.png", "/p/a/X.png"], ["x", "X_2"]),
        (["/p/a/q/x.png", "/p/b/q/x.png", "/p/b/q/z.png"], ["a_q_x", "b_q_x", "z"]),
        (["/p/a/x.png", "/p/b/x.png", "/p/c/a_x.png"], None),
        (["/p/a/x.png", "/p/a/x.png"], ["x", "x_2"]),
    ],
)
def test_names(files: list[str], expected: list[str] | None) -> None:
    names = unique_names([Path(file) for file in files])
    assert len({name.casefold() for name in names}) == len(files)
    assert expected is None or names == expected
    if len(set(files)) == len(files) and expected != ["x", "X_2"]:
        assert unique_names([Path(file) for file in files[::-1]]) == names[::-1]


def test_what_is_no_file_is_numbered() -> None:
    assert unique_names([None, Path("/p/frog.png"), None]) == ["image", "frog", "image_2"]
    assert unique_names([None, Path("/p/image.png")]) == ["image", "image_png"]
    assert unique_names([]) == []


def test_many_equal_stems() -> None:
    paths = [Path(f"/set/{i:04d}/frame.jpg") for i in range(3000)]
    assert unique_names(paths) == [f"{i:04d}_frame" for i in range(3000)]


def test_natural_order() -> None:
    assert sorted(["a2b", "a", "a02b", "2", "a10", "b1"], key=natural_key) == ["2", "a", "a02b", "a2b", "a10", "b1"]
    assert sorted(["Img10", "img9", "", "10", "9x"], key=natural_key) == ["", "9x", "10", "img9", "Img10"]


def test_counted() -> None:
    assert [plural(n, "image") for n in (0, 1, 2000)] == ["0 images", "1 image", "2,000 images"]
