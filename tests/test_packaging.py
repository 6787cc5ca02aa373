"""What is released: versions agree, wheels are complete, blocks need no more than torch."""

import importlib
import re
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
from product import ROOT

MEMBERS = [path.parent for path in sorted(ROOT.glob("*/*/pyproject.toml"))]
PROJECTS = {folder: tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"] for folder in MEMBERS}
# import names of the packages that only the extras predict and train of polyscale bring
OPTIONAL = (
    "PIL accelerate annotated_types huggingface_hub pydantic rich safetensors timm torchvision typer yaml onnxruntime"
)


@pytest.fixture(scope="module", params=MEMBERS, ids=lambda folder: folder.name)
def wheel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    pytest.importorskip("hatchling")
    out = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=request.param, check=True, capture_output=True, timeout=120)
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path)


def test_versions_agree() -> None:
    version = PROJECTS[ROOT / "packages/core"]["version"]
    for folder, project in PROJECTS.items():
        (package,) = (path.name for path in (folder / "src").iterdir() if path.is_dir())
        assert project["version"] == version
        assert importlib.import_module(package).__version__ == version
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text("utf-8")


def test_apps_are_bound_to_the_core_of_their_release() -> None:
    major, minor = map(int, PROJECTS[ROOT / "packages/core"]["version"].split(".")[:2])
    for folder, project in PROJECTS.items():
        if folder.parent.name == "apps":
            bound = [d for d in project["dependencies"] if d.startswith("polyscale[")]
            assert [d.partition("]")[2] for d in bound] == [f">={major}.{minor},<{major}.{minor + 1}"]
            light = bound[0].startswith("polyscale[predict]")
            assert not light or "polyscale[train]" in project["optional-dependencies"]["train"]


def test_wheel_is_complete(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    fields = message_from_string(wheel.read(metadata).decode("utf-8"))
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert any(name.endswith("/py.typed") for name in names)
    assert any(name.endswith("/__init__.pyi") for name in names)
    assert not [name for name in names if "test" in Path(name).parts or "__pycache__" in name]
    assert fields["License-Expression"] == "Apache-2.0"
    for field in ("Author", "Summary", "Keywords", "Classifier", "Requires-Python"):
        assert fields[field], field
    page = fields.get_payload()
    assert isinstance(page, str)
    assert not re.findall(r"\]\((?!https?:|#)[^)]*\)", page), "a relative link is dead on a package index"


def test_licences_are_copies_of_one() -> None:
    for folder in MEMBERS:
        assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes(), folder


def test_the_workspace_is_not_for_upload() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["classifiers"] == ["Private :: Do Not Upload"]


def test_blocks_and_losses_work_with_the_extra_torch_alone() -> None:
    code = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OPTIONAL.split()}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
import torch, polyscale
for package in (polyscale.blocks, polyscale.losses):
    for name in package.__all__:
        getattr(package, name)
polyscale.UNet(3, 1)(torch.rand(1, 3, 32, 32))
x = torch.rand(1, 1, 32, 32)
polyscale.structure_loss(x, x.round())
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
