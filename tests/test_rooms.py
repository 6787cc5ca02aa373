"""A folder of a package holds about a dozen modules: a topic that has three gets a folder of its own."""

from collections import Counter

from product import ROOT

MOST = 13


def test_no_folder_is_crowded() -> None:
    modules = [path for source in ROOT.glob("*/*/src") for path in source.rglob("*.py")]
    folders = Counter(path.parent.relative_to(ROOT).as_posix() for path in modules)
    assert len(folders) > 50
    assert {folder: count for folder, count in folders.items() if count > MOST} == {}
