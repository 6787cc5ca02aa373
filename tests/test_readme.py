"""Every python block of the pages runs, their links lead somewhere, the root's lists agree."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from product import ROOT

PAGES = [
    p for p in sorted(ROOT.rglob("*.md")) if not {".venv", "runs", "node_modules"} & set(p.relative_to(ROOT).parts)
]
BLOCKS = [
    pytest.param(block, id=f"{page.relative_to(ROOT)}:{i}")
    for page in PAGES
    for i, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_python_block_runs(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (96, 64), (120, 90, 60)).save("photo.jpg")  # what the examples predict
    if "event_det" in block:
        pytest.importorskip("numba")
        _record(Path("recording.raw"))
    exec(compile(block, "README", "exec"), {"__name__": "readme"})


def _record(path: Path) -> None:
    from event_det import Events, write_recording

    along = np.arange(100, dtype=np.uint16)
    events = Events(np.arange(0, 160_000, 1600), along, along, (along % 2).astype(np.uint8))
    write_recording(path, [events], (160, 128))


def test_the_two_commands_stand_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "pip install uv && uv run camo-seg train" in text
    assert "pip install uv && uv run pytest -n 2\n" in text
    assert "pip install uv && uv run pytest -n 2\n" in (ROOT / ".ci/run").read_text(encoding="utf-8")


def test_every_member_is_in_each_list_of_the_root() -> None:
    root = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = root["tool"]["importlinter"]["contracts"][0]["layers"]
    apps = {app.strip() for app in layers[0].split("|")}
    folders = {p.parent.name for p in ROOT.glob("apps/*/pyproject.toml")}
    assert apps == folders
    for member in ROOT.glob("*/*/pyproject.toml"):
        name = tomllib.loads(member.read_text(encoding="utf-8"))["project"]["name"]
        assert any(re.match(rf"{name}(\[[\w,]+\])? @", d) for d in root["project"]["dependencies"]), name
        assert root["tool"]["uv"]["sources"][name] == {"workspace": True}
    assert folders < set(root["tool"]["importlinter"]["root_packages"])
    assert folders == set(root["tool"]["importlinter"]["contracts"][1]["containers"])


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} -> {target}"
