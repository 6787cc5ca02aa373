"""Sizes of the tree at a commit and as it is: modules, lines, the largest folder, functions, exported names, template.

python tools/bench/ledger.py [BEFORE [AFTER]]; commits, 7f3e71f and the working tree by default.

Counted are the Python files of each package, without tests and stubs. A line is a line of such a file, blank ones and
comments too; a function's lines are those from def to its end, nested ones also on their own. A name is exported where
the package or one inside it states it: in its stub, or in the table or list of exports that 7f3e71f had; a name that
two of them export counts once. The template's source is what tools/new_app.py writes into a new application's src.
"""

import ast
import io
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polyscale.commands import table

ROOT = Path(__file__).parents[2]
BEFORE = "7f3e71f"
Row = dict[str, Any]


def measure(tree: Path) -> dict[str, Row]:
    """Count the packages of a source tree and its template."""
    sources = [*tree.glob("packages/*/src/*"), *tree.glob("apps/*/src/*")]
    rows = {folder.name: count(folder) for folder in sorted(sources) if (folder / "__init__.py").is_file()}
    template = tree / "tools/templates/app"
    rows["template: source"] = sizes(sorted(template.glob("src/**/*.py")))
    rows["template: tests"] = sizes(sorted(template.glob("tests/*.py")))
    return rows


def count(package: Path) -> Row:
    """Count one package."""
    files = sorted(package.rglob("*.py"))
    folders = Counter(file.parent for file in files)
    largest, modules = folders.most_common(1)[0]
    names = {name for folder in folders for name in exported(folder)}
    where = "the top" if largest == package else f"{largest.relative_to(package).as_posix()}/"
    return {**sizes(files), "largest folder": f"{modules} ({where})", "names": len(names)}


def sizes(files: list[Path]) -> Row:
    """Count files, their lines, and the lines of their functions."""
    texts = [file.read_text(encoding="utf-8") for file in files]
    lengths = [length for text in texts for length in functions(text)]
    lines = [text.count("\n") for text in texts]
    return {
        "modules": len(texts),
        "lines": sum(lines),
        "median module": round(statistics.median(lines)),
        "longest": max(lines),
        "median function": statistics.median(lengths),
    }


def functions(text: str) -> Iterator[int]:
    """Yield the lines of each function."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1


def exported(folder: Path) -> set[str]:
    """Return the names that a package exports: those of its stub, else of _EXPORTS or __all__."""
    stub, plain = folder / "__init__.pyi", folder / "__init__.py"
    if not plain.is_file() or folder.name.startswith("_"):
        return set()
    names: set[str] = set()
    if stub.is_file():
        for node in ast.parse(stub.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom):
                names |= {alias.asname or alias.name for alias in node.names}
    else:
        for node in ast.parse(plain.read_text(encoding="utf-8")).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            if {"__all__", "_EXPORTS"} & {target.id for target in targets if isinstance(target, ast.Name)}:
                value = getattr(node, "value", None)
                found = value.keys if isinstance(value, ast.Dict) else getattr(value, "elts", [])
                names |= {str(each.value) for each in found if isinstance(each, ast.Constant)}
    return {name for name in names if not name.startswith("_")}


def at_commit(commit: str) -> dict[str, Row]:
    """Count the tree of a commit."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
        return measure(Path(folder))


def main(before: str = BEFORE, after: str | None = None) -> None:
    """Print before and after, package by package."""
    old, new = at_commit(before), measure(ROOT) if after is None else at_commit(after)
    rows = []
    for name in new:
        rows += [{"": name, "of": before, **old[name]}] if name in old else []
        rows += [{"": name if name not in old else "", "of": after or "now", **new[name]}]
    table(rows, title=f"{before} and {after or 'the working tree'}", digits=0)


if __name__ == "__main__":
    main(*sys.argv[1:])
