"""The public names: all resolve, none hides another, and importing the package imports nothing heavy."""

import subprocess
import sys

import pytest

import polyscale
from polyscale import blocks, losses


@pytest.mark.parametrize("package", [polyscale, blocks, losses], ids=lambda p: p.__name__)
def test_every_public_name_resolves(package) -> None:
    for name, module in package._EXPORTS.items():
        value = getattr(package, name)
        assert value.__module__ == module, f"{name} comes from {value.__module__}, not {module}"
        assert value.__doc__, f"{name} has no docstring"
        assert name in dir(package)


def test_no_name_stands_for_two_things() -> None:
    assert not blocks._EXPORTS.keys() & losses._EXPORTS.keys()


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'MultiScaleManager'"):
        polyscale.MultiScaleManager  # noqa: B018


def test_import_brings_no_torch_and_blocks_bring_no_timm() -> None:
    code = (
        "import sys, polyscale; assert 'torch' not in sys.modules; "
        "[getattr(polyscale, name) for p in (polyscale.blocks, polyscale.losses) for name in p._EXPORTS]; "
        "bad = {'timm', 'transformers', 'pydantic', 'typer', 'accelerate', 'huggingface_hub'} & set(sys.modules); "
        "assert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
