"""Polyscale: multi-scale blocks, losses and a training loop for PyTorch.

Every public block and loss is reachable here (`polyscale.UNet`) and in its package (`polyscale.blocks.UNet`);
nothing, torch included, is imported before a name is used.
"""

from polyscale import blocks, losses
from polyscale._lazy import lazy_exports

_EXPORTS: dict[str, str] = {
    "Backbone": "polyscale.backbones",
    "create_backbone": "polyscale.backbones",
    "UserError": "polyscale.errors",
    **blocks._EXPORTS,
    **losses._EXPORTS,
}

__all__ = list(_EXPORTS)
__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)
