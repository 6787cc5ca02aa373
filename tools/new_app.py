"""Make a new application: `uv run --group lint python tools/new_app.py my_app "one line about it"`.

The files are those of tools/templates/app, where app_name stands for the package, app-name for the command and
APP_ABOUT for the line. The application works at once and is part of the workspace: it is entered in the lists of the
root pyproject.toml and in the table of the README. All texts are made and checked before the first file is written.
"""

import argparse
import importlib.util
import keyword
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "tools/templates/app"
MAX_NAME, MAX_ABOUT = 24, 80  # more breaks the lines of the generated code
TAKEN = {"polyscale", "test", "tests", "app_name"}
ARRAYS = ("root_packages", "containers")  # lists of import-linter in the root pyproject.toml that name every app


class RefusedError(ValueError):
    """The reason in one line why no application was made."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0 if the application was made, 2 if it was refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="package and folder, such as my_app; the command is then my-app")
    parser.add_argument("about", help="one line about it: 'Counting cells in microscope images'")
    args = parser.parse_args(arguments)
    try:
        create(args.name, args.about.strip().rstrip("."))
    except RefusedError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    command = args.name.replace("_", "-")
    sys.stdout.write(
        f"made apps/{args.name} and docs/{command}.md, and entered them in pyproject.toml and README.md\n"
        f"next: uv run {command} train    then uv run pytest apps/{args.name}, and docs/{command}.md room by room\n"
    )
    return 0


def create(name: str, about: str) -> None:
    """Write the application and its entries.

    Raises:
        RefusedError: before anything is written.
    """
    check_name(name)
    check_about(about)
    words = {"app_name": name, "app-name": name.replace("_", "-"), "APP_ABOUT": about}
    folder, page = ROOT / "apps" / name, ROOT / "docs" / f"{words['app-name']}.md"
    if importlib.util.find_spec("ruff") is None:
        raise RefusedError("ruff is not installed here; start it with: uv run --group lint python tools/new_app.py")
    project, readme = ROOT / "pyproject.toml", ROOT / "README.md"
    entries = {project: with_app(_read(project), name), readme: with_row(_read(readme), words)}
    files = {**render(folder, page, words), **entries}
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for step in (["check", "--fix", "--quiet", "--select", "I"], ["format", "--quiet"]):  # the name moves lines
        subprocess.run([sys.executable, "-m", "ruff", *step, str(folder)], cwd=ROOT, check=True)


def check_name(name: str) -> None:
    """Raise RefusedError unless `name` can be a new package next to those of the workspace and the installed ones."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise RefusedError(f"{name!r} is no package name: lower-case letters, digits and single _, such as my_app")
    if len(name) > MAX_NAME:
        raise RefusedError(f"{name!r} has {len(name)} letters, more than {MAX_NAME}")
    for path in (f"apps/{name}", f"docs/{name.replace('_', '-')}.md"):
        if (ROOT / path).exists():
            raise RefusedError(f"{path}: exists already; choose another name")
    if name in TAKEN or name in sys.stdlib_module_names or importlib.util.find_spec(name) is not None:
        raise RefusedError(f"{name!r} is the name of another Python package here; choose another")


def check_about(about: str) -> None:
    """Raise RefusedError unless `about` fits on one line of TOML, Python, Markdown and --help."""
    if not about or not about.isprintable() or set(about) & set('"\\|`[]{}<>'):
        raise RefusedError(f'{about!r} is no line about it: plain text without " \\ | ` or brackets')
    if len(about) > MAX_ABOUT:
        raise RefusedError(f"the line about it has {len(about)} letters, more than {MAX_ABOUT}")


def render(folder: Path, page: Path, words: dict[str, str]) -> dict[Path, str]:
    """Return path and text of each file of the application, its licence and its page in docs."""
    files = {folder / "LICENSE": _read(ROOT / "LICENSE")}
    for source in sorted(TEMPLATE.rglob("*")):
        relative = source.relative_to(TEMPLATE)
        if source.is_file() and "__pycache__" not in relative.parts:
            target = page if relative == Path("page.md") else folder / _fill(str(relative), words)
            files[target] = _fill(source.read_text(encoding="utf-8"), words)
    return files


def with_app(project: str, name: str) -> str:
    """Return the root's pyproject.toml with the application in every list.

    Raises:
        RefusedError: a list is not found.
    """
    distribution = f"polyscale-{name.replace('_', '-')}"
    lines = project.splitlines(keepends=True)
    lines.insert(_find_end(lines, 1), f'    "{distribution} @ {{root:uri}}/apps/{name}",\n')
    lines.insert(_find_end(lines, 2), f"{distribution} = {{ workspace = true }}\n")
    layer = _find_mark(lines, 3)
    lines[layer] = re.sub(r'"([^"]+)"', rf'"\1 | {name}"', lines[layer], count=1)
    text = "".join(lines)
    for key in ARRAYS:
        text = _append(text, key, name)
    check_lists(tomllib.loads(text), name)
    return text


def check_lists(project: dict[str, Any], name: str) -> None:
    """Raise RefusedError unless the parsed pyproject.toml names the application in every list."""
    distribution, tool = f"polyscale-{name.replace('_', '-')}", project["tool"]
    between, inside = tool["importlinter"]["contracts"][:2]
    layer = between["layers"][0].split("|")
    found = {
        "dependencies": any(entry.startswith(f"{distribution} @") for entry in project["project"]["dependencies"]),
        "tool.uv.sources": distribution in tool["uv"]["sources"],
        "importlinter layers": name in [app.strip() for app in layer],
        "importlinter root_packages": name in tool["importlinter"]["root_packages"],
        "importlinter containers": name in inside["containers"],
    }
    missing = [key for key, there in found.items() if not there]
    if missing:
        raise RefusedError(f"pyproject.toml: {name} could not be entered in {', '.join(missing)}")


def with_row(readme: str, words: dict[str, str]) -> str:
    """Return the README with a row for the application at the end of the table of applications."""
    table = re.search(r"^\| application \|.*\n(?:\|.*\n)+", readme, re.MULTILINE)
    if table is None:
        raise RefusedError("README.md: no table that begins with | application |")
    row = _fill("| `app-name` | APP_ABOUT | [docs/app-name.md](docs/app-name.md) |\n", words)
    return readme[: table.end()] + row + readme[table.end() :]


def _find_mark(lines: Sequence[str], number: int) -> int:
    """Return the index of the last line that carries the mark of list `number`."""
    found = [i for i, line in enumerate(lines) if f"# apps: {number} of 3" in line]
    if not found:
        raise RefusedError(f"pyproject.toml: no line is marked '# apps: {number} of 3'")
    return found[-1]


def _find_end(lines: Sequence[str], number: int) -> int:
    """Return the index after the marked line of list `number` and the applications that follow it."""
    index = _find_mark(lines, number) + 1
    while index < len(lines) and lines[index].lstrip(' "').startswith("polyscale-"):
        index += 1
    return index


def _append(text: str, key: str, entry: str) -> str:
    """Append `entry` to the list `key = [...]` in `text`, on one line or on several."""
    match = re.search(rf"^{re.escape(key)} = \[(.*?)(,?\s*)\]", text, re.MULTILINE | re.DOTALL)
    if match is None:
        raise RefusedError(f"pyproject.toml: no list {key} = [...]")
    before = f'{match[1]},\n    "{entry}",\n' if "\n" in match[2] else f'{match[1]}, "{entry}"'
    return f"{text[: match.start()]}{key} = [{before}]{text[match.end() :]}"


def _fill(text: str, words: dict[str, str]) -> str:
    for placeholder, word in words.items():
        text = text.replace(placeholder, word)
    return text


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
