"""tools/new_app.py in a copy of the workspace: the new application is in every list, lints, and works at once."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import test_readme
from product import ROOT

pytest.importorskip("ruff")  # in the group lint
NAME, COMMAND, ABOUT = "zebra_count", "zebra-count", "Counting zebras (a test's stand-in)"
# Its own tests, then its command as the console entry point runs it: one process, as torch takes seconds to import.
TESTS_AND_TRAIN = f"""
import sys, pytest
from {NAME}.cli import main
failed = pytest.main(["-q", "-p", "no:cacheprovider", "apps/{NAME}"])
assert not failed, failed
sys.argv = ["{COMMAND}", "train", "--out", "runs/a", "--train.epochs", "1", "--data.train_images", "16",
            "--data.eval_images", "4", "--model.image_size", "32", "--train.log_every", "1"]
main()
"""


def python(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python process in the copy, where the new application is on the path instead of installed."""
    environment = {**os.environ, "PYTHONPATH": str(root / f"apps/{NAME}/src"), "HF_HUB_OFFLINE": "1", "COLUMNS": "100"}
    environment |= {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=300, check=False)


def copy_workspace(root: Path) -> Path:
    """Copy what the tool reads and edits, and the manifests of the members."""
    manifests = [path.relative_to(ROOT) for path in ROOT.glob("*/*/pyproject.toml")]
    for file in (*map(Path, ("pyproject.toml", "README.md", "LICENSE", "tools/new_app.py")), *manifests):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, root / file)
    shutil.copytree(ROOT / "tools/templates", root / "tools/templates", ignore=shutil.ignore_patterns("__pycache__"))
    return root


def create(root: Path, name: str, about: str) -> int:
    """Run the copy's tool in this process and return its exit code."""
    spec = importlib.util.spec_from_file_location("new_app", root / "tools/new_app.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool.main([name, about])


def snapshot(root: Path) -> dict[str, bytes]:
    """Return every file and its content, without bytecode."""
    files = (p for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return {str(p.relative_to(root)): p.read_bytes() for p in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = copy_workspace(tmp_path_factory.mktemp("workspace"))
    done = python(root, "tools/new_app.py", NAME, ABOUT)
    assert done.returncode == 0, done.stderr
    assert f"uv run {COMMAND} train" in done.stdout
    installed = root / f"apps/{NAME}/src/polyscale_{NAME}-0.1.0.dist-info"  # what an installer would write
    installed.mkdir()
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: polyscale-{COMMAND}\nVersion: 0.1.0\n", "utf-8")
    (installed / "entry_points.txt").write_text(f"[console_scripts]\n{COMMAND} = {NAME}.cli:main\n", "utf-8")
    return root


def test_it_is_in_every_list_of_the_root(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_readme, "ROOT", made)
    test_readme.test_every_member_is_in_each_list_of_the_root()
    before, after = (tomllib.loads((root / "pyproject.toml").read_text("utf-8")) for root in (ROOT, made))
    for tool in ("ruff", "mypy"):  # their paths are globs
        assert after["tool"][tool] == before["tool"][tool]
    contracts = after["tool"]["importlinter"]["contracts"]
    assert [NAME in contract.get("containers", ()) for contract in contracts] == [False, True, False, False]
    manifest = tomllib.loads((made / f"apps/{NAME}/pyproject.toml").read_text("utf-8"))
    assert manifest["project"]["scripts"] == {COMMAND: f"{NAME}.cli:main"}


def test_it_has_its_row_and_page(made: Path) -> None:
    row = f"| `{COMMAND}` | {ABOUT} | [docs/{COMMAND}.md](docs/{COMMAND}.md) |"
    lines = (made / "README.md").read_text("utf-8").splitlines()
    assert lines[lines.index(row) - 1].startswith("| `")
    assert lines[lines.index(row) + 1] == ""
    assert (made / f"docs/{COMMAND}.md").read_text("utf-8").startswith(f"# {COMMAND}: {ABOUT}\n")


def test_its_rooms_are_those_of_every_application(made: Path) -> None:
    def rooms(source: Path) -> set[str]:
        return {file for file in snapshot(source) if file.count("/") < 2 and not file.startswith("weights")}

    theirs, ours = rooms(ROOT / "apps/camo_seg/src/camo_seg"), rooms(made / f"apps/{NAME}/src/{NAME}")
    own = {"data/synthetic.py", "data/formats/pairs.py"}  # what camo_seg has several files for
    assert ours - own <= theirs, f"rooms that camo_seg does not have: {ours - own - theirs}"
    named = ["__main__", "config", "build", "model/network", "objective", "train", "predict", "evaluation/evaluate"]
    assert {"py.typed", "__init__.pyi", *(f"{room}.py" for room in named)} <= ours
    for path, content in snapshot(made / "apps" / NAME).items():
        assert not [word for word in (b"app_name", b"app-name", b"APP_ABOUT") if word in content], path


def test_it_lints(made: Path) -> None:
    for arguments in (["check"], ["format", "--check"]):
        done = python(made, "-m", "ruff", *arguments, "--no-cache", f"apps/{NAME}")
        assert done.returncode == 0, done.stdout


def test_its_own_tests_pass_and_its_command_trains(made: Path) -> None:
    done = python(made, "-c", TESTS_AND_TRAIN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^ model .*\n everything ", done.stdout, re.MULTILINE)  # the table: beside the baselines
    for file in ("config.yaml", "log.jsonl", "metrics.json", "report.html", "best/model.safetensors"):
        assert (made / "runs/a" / file).stat().st_size > 0, file


def test_a_long_name_and_line_lint_too(tmp_path: Path) -> None:
    root, name = copy_workspace(tmp_path), "a_name_of_24_letters_abc"
    assert create(root, name, "x" * 80) == 0
    assert python(root, "-m", "ruff", "check", "--no-cache", f"apps/{name}").stdout == "All checks passed!\n"
    assert create(root, "second", "Another one") == 0
    root_project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    layers = root_project["tool"]["importlinter"]["contracts"][0]["layers"][0]
    assert layers.endswith(f" | {name} | second")


@pytest.mark.parametrize(
    ("name", "about", "word"),
    [
        ("Zebra", "x", "package name"),
        ("zebra-count", "x", "package name"),
        ("2zebras", "x", "package name"),
        ("../zebra", "x", "package name"),
        ("class", "x", "package name"),
        ("zebras_of_the_whole_savannah", "x", "more than 24"),
        ("camo_seg", "x", "apps/camo_seg: exists already"),
        ("torch", "x", "another Python package"),
        ("json", "x", "another Python package"),
        ("polyscale", "x", "another Python package"),
        ("zebra", "", "no line about it"),
        ("zebra", 'say "zebra"', "no line about it"),
        ("zebra", "two\nlines", "no line about it"),
        ("zebra", "x" * 81, "more than 80"),
    ],
)
def test_what_cannot_be_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, about: str, word: str
) -> None:
    root = copy_workspace(tmp_path)
    before = snapshot(root)
    assert create(root, name, about) == 2
    stderr = capsys.readouterr().err
    assert word in stderr
    assert stderr.count("\n") == 1
    assert snapshot(root) == before


def test_a_root_without_its_marks_is_refused_untouched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file, old, word in (
        ("pyproject.toml", "# apps: 2 of 3", "apps: 2 of 3"),
        ("pyproject.toml", "containers = [", "containers"),
        ("README.md", "| application |", "| application |"),
    ):
        root = copy_workspace(tmp_path / word.strip("| ").replace(": ", "_"))
        (root / file).write_text((root / file).read_text("utf-8").replace(old, "x"), "utf-8")
        before = snapshot(root)
        assert create(root, NAME, ABOUT) == 2
        assert word in capsys.readouterr().err
        assert snapshot(root) == before
