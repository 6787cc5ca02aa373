"""Progressive unfreezing of the backbone (Howard and Ruder, ACL 2018): the deepest part learns first."""

from torch import nn

from polyscale.models.backbones import Backbone


def parts(model: nn.Module) -> list[nn.Module]:
    """The parts of a model's backbones, each in the order of the forward pass."""
    return [part for network in model.modules() if isinstance(network, Backbone) for part in network.parts()]


def unfreeze(model: nn.Module, epoch: int, epochs: int) -> None:
    """Freeze what does not learn yet in `epoch`, counted from 0, and unfreeze the rest.

    In the first epoch the whole backbone is frozen; then its parts follow evenly, the deepest first, until from
    `epochs` on all of them learn. Frozen parts keep their batch norm's statistics, see `keep_frozen`. With `epochs` 0
    nothing is changed.
    """
    if not epochs:
        return
    every = parts(model)
    frozen = len(every) - len(every) * min(epoch, epochs) // epochs
    for number, part in enumerate(every):
        part.requires_grad_(number >= frozen)


def keep_frozen(model: nn.Module) -> None:
    """Put the frozen parts of the backbone into eval mode."""
    for part in parts(model):
        if not any(parameter.requires_grad for parameter in part.parameters()):
            part.eval()
