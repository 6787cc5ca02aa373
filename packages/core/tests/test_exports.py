"""The public names: all resolve, none hides another, and importing the package imports nothing heavy."""

import subprocess
import sys
from typing import Any

import pytest

import polyscale
from polyscale import blocks, evaluation, inference, losses, models, report, training

ROOMS = (blocks, losses, models, training, evaluation, inference, report)


@pytest.mark.parametrize("package", [polyscale, *ROOMS], ids=lambda p: p.__name__)
def test_every_public_name_resolves(package: Any) -> None:
    for name in package.__all__:
        value = getattr(package, name)
        assert value.__doc__, f"{name} has no docstring"
        assert name in dir(package)


def test_no_name_stands_for_two_things() -> None:
    assert not set(blocks.__all__) & set(losses.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="MultiScaleManager"):
        polyscale.MultiScaleManager  # noqa: B018


def test_import_brings_no_torch_and_blocks_bring_no_timm() -> None:
    code = (
        "import sys, polyscale; assert 'torch' not in sys.modules; "
        "[getattr(polyscale, name) for p in (polyscale.blocks, polyscale.losses) for name in p.__all__]; "
        "bad = {'timm', 'transformers', 'pydantic', 'typer', 'accelerate', 'huggingface_hub'} & set(sys.modules); "
        "assert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
