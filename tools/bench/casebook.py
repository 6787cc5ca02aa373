"""What cases of `core.py` are made with: a case is a function giving both sides, its docstring names the peer."""

import torch
from interleaved import Pair, Side
from torch import Tensor, nn


def image(*shape: int) -> Tensor:
    """A random map that takes gradients."""
    return torch.randn(*shape).requires_grad_()


def pair(ours: nn.Module, peer: nn.Module, *arguments: object, same: bool = False) -> Pair:
    """Two modules on the same arguments; with `same` the peer takes over our weights, in their order."""
    if same:
        peer.load_state_dict(dict(zip(peer.state_dict(), ours.state_dict().values(), strict=True)))
    return Pair(Side(ours, arguments), Side(peer, arguments), same)
