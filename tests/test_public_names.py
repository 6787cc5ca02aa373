"""The public names are those of public_names.txt; `uv run python tests/test_public_names.py` renews the file.

A name that goes or comes shows in the difference of that file. A name that goes is a row of CHANGELOG.md.
"""

import importlib
from pathlib import Path

LIST = Path(__file__).with_name("public_names.txt")
SOURCES = sorted(path for folder in ("packages", "apps") for path in (LIST.parents[1] / folder).glob("*/src"))


def public_names() -> str:
    """Return one line for each public name: package.Name, of every package with a stub."""
    stubs = [path.parent.relative_to(source) for source in SOURCES for path in source.rglob("__init__.pyi")]
    packages = [importlib.import_module(".".join(stub.parts)) for stub in sorted(stubs)]
    return "".join(f"{package.__name__}.{name}\n" for package in packages for name in sorted(package.__all__))


def test_public_names_are_those_of_the_list() -> None:
    names, listed = (set(text.splitlines()) for text in (public_names(), LIST.read_text(encoding="utf-8")))
    assert names == listed, "run: uv run python tests/test_public_names.py"


if __name__ == "__main__":
    LIST.write_text(public_names(), encoding="utf-8")
